"""`evaluate.Metric` modules around the metrics, without the Hub.

    metric = load_metric("ood_detection")
    metric.add_batch(predictions=[0.1, 0.9], references=[0, 1])    # scores; 1 where a sample is OOD, 0 where it is ID
    metric.compute(tpr=0.9)                                        # {"auroc": 1.0, "aupr_in": 1.0, ...}
    evaluate.combine([load_metric("auroc"), load_metric("fpr")])

The module `ood_detection` returns all of `detection_metrics`; a module named like one of these metrics returns that one. `ece`
takes rows of probabilities and class indices, `accuracy` predicted class indices and class indices.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..arrays import array, same
from ..errors import InputError, unknown
from .calibration import accuracy, ece
from .metrics import METRICS, detection_metrics

DETECTION = ("ood_detection", *METRICS)
NAMES = (*DETECTION, "accuracy", "ece")


def labelled_metrics(scores: Any, is_ood: Any, tpr: float = 0.95) -> dict[str, float]:
    """`detection_metrics` of the scores (n,) of ID and OOD samples; `is_ood` (n,) is 1 for OOD and 0 for ID samples.

    >>> labelled_metrics([0.1, 0.9], [0, 1])["auroc"]
    1.0
    """
    values, labels = array(scores, "scores", 1), array(is_ood, "references", 1)
    same(len(values), len(labels), "The number of scores", "that of references")
    if not np.isin(labels, (0, 1)).all():
        wrong = labels[~np.isin(labels, (0, 1))][0]
        raise InputError(f"There is a reference {wrong}: give 1 for OOD samples and 0 for ID samples.")
    for side, name in ((0, "ID"), (1, "OOD")):
        if not (labels == side).any():
            raise InputError(f"No reference is {side}, so there are no {name} samples: give samples of both sides.")
    return detection_metrics(values[labels == 0], values[labels == 1], tpr)


@cache
def _module_class(name: str) -> Callable[..., Any]:
    import datasets
    import evaluate

    class OODMetric(evaluate.Metric):
        def _info(self) -> Any:
            number, index = datasets.Value("float64"), datasets.Value("int64")
            taken = {"accuracy": index, "ece": datasets.Sequence(number)}.get(name, number)
            return evaluate.MetricInfo(
                description=__doc__ or name,
                citation="",
                features=datasets.Features({"predictions": taken, "references": index}),
            )

        def _compute(self, predictions: Any, references: Any, **options: Any) -> dict[str, float]:
            if name == "accuracy":
                return {name: accuracy(predictions, references, **options)}
            if name == "ece":
                return {name: ece(predictions, references, **options)}
            values = labelled_metrics(predictions, references, **options)
            return values if name == "ood_detection" else {name: values[name]}

    OODMetric.__name__ = name.title().replace("_", "")
    return OODMetric


def load_metric(name: str, **kwargs: Any) -> Any:
    """An `evaluate.Metric` by name. It imports evaluate, which is slow.

    Args:
        name: "ood_detection", one of its metrics, "accuracy" or "ece".
        kwargs: arguments of the constructor of `evaluate.Metric`. Its method `compute` takes the options: `tpr` for detection,
            `bins` for `ece`.

    Raises:
        InputError: there is no such metric.

    >>> load_metric("auroc").compute(predictions=[0.1, 0.9], references=[0, 1])
    {'auroc': 1.0}
    """
    if name not in NAMES:
        raise unknown("metric", name, NAMES)
    metric = _module_class(name)(**kwargs)
    metric.info.metric_name = (
        name  # evaluate reads the name from the module's file, and this class has no file of its own
    )
    return metric
