"""`evaluate.Metric` modules around the metrics, without the Hub.

    metric = load_metric("ood_detection")
    metric.add_batch(predictions=[0.1, 0.9], references=[0, 1])    # scores; 1 where a sample is OOD, 0 where it is ID
    metric.compute(tpr=0.9)                                        # {"auroc": 1.0, "aupr_in": 1.0, ...}
    evaluate.combine([load_metric("auroc"), load_metric("fpr")])

`ood_detection` gives all of `detection_metrics`, the modules named after one of them give that. `ece` takes rows of
probabilities and class indices, `accuracy` predicted class indices and class indices.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..errors import InputError, unknown
from .calibration import accuracy, ece
from .inputs import array, same
from .metrics import METRICS, detection_metrics

DETECTION = ("ood_detection", *METRICS)
NAMES = (*DETECTION, "accuracy", "ece")


def labelled_metrics(scores: Any, is_ood: Any, tpr: float = 0.95) -> dict[str, float]:
    """`detection_metrics` of scores (n,) of which some are OOD: `is_ood` (n,) is 1 there and 0 where a sample is ID.

    >>> labelled_metrics([0.1, 0.9], [0, 1])["auroc"]
    1.0
    """
    values, labels = array(scores, "scores", 1), array(is_ood, "references", 1)
    same(len(values), len(labels), "The number of scores", "that of references")
    if not np.isin(labels, (0, 1)).all():
        wrong = labels[~np.isin(labels, (0, 1))][0]
        raise InputError(f"There is a reference {wrong}: give 1 for OOD samples and 0 for ID samples.")
    for side, what in ((0, "ID"), (1, "OOD")):
        if not (labels == side).any():
            raise InputError(
                f"No reference is {side}, so there are no {what} samples: add some, as both sides are compared."
            )
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
    """An `evaluate.Metric` by name; `kwargs` go to its constructor (importing evaluate is slow).

    Options go to `compute`: `tpr` for detection, `bins` for `ece`.

    Raises:
        InputError: there is no such metric.

    >>> load_metric("auroc").compute(predictions=[0.1, 0.9], references=[0, 1])
    {'auroc': 1.0}
    """
    if name not in NAMES:
        raise unknown("metric", name, NAMES)
    metric = _module_class(name)(**kwargs)
    metric.info.metric_name = name  # evaluate takes it from a module's file, and this class has none of its own
    return metric
