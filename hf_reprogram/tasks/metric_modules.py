"""The metrics of tasks as `evaluate.Metric` modules that need no Hub.

metric = load_metric("matthews")
metric.add_batch(predictions=[0, 1], references=[0, 1])
metric.compute()                                          # {"matthews": 1.0}
evaluate.combine([load_metric("accuracy"), load_metric("f1")])
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ..errors import InputError, unknown
from .metrics import METRICS, score

_SEVERAL = {
    "positions": "logits at positions",
    "forecasts": "forecasts of several steps",
    "probabilities": "a probability of each class",
}


@cache
def _metric_class(name: str):
    import datasets
    import evaluate

    function, takes = METRICS[name].function, METRICS[name].takes

    class ReprogramMetric(evaluate.Metric):
        def _info(self):
            predicted = datasets.Value("int64" if takes in ("classes", "bits") else "float64")
            reference = datasets.Value("float64" if takes in ("numbers", "errors") else "int64")
            return evaluate.MetricInfo(
                description=function.__doc__ or name,
                citation="",
                features=datasets.Features({"predictions": predicted, "references": reference}),
            )

        def _compute(self, predictions, references, **extra):
            if extra and name != "f1":
                raise InputError(f"The metric {name!r} takes no option {next(iter(extra))!r}.")
            return score([name], predictions, references, **extra)

    ReprogramMetric.__name__ = name.title()
    return ReprogramMetric


def load_metric(name: str, **kwargs: Any):
    """An `evaluate.Metric` by name, without the Hub. It imports evaluate, which is slow.

    Args:
        name: a key of `METRICS` that takes a number, a class or a score per example.
        kwargs: arguments of the constructor of `evaluate.Metric`.

    Raises:
        InputError: there is no such metric, or it takes logits at positions, probabilities or forecasts.

    >>> load_metric("accuracy").compute(predictions=[0, 1], references=[0, 0])
    {'accuracy': 0.5}
    """
    if name not in METRICS:
        raise unknown("metric", name, METRICS)
    if what := _SEVERAL.get(METRICS[name].takes):
        raise InputError(
            f"The metric {name!r} takes {what}, which evaluate cannot: call hf_reprogram.tasks.metrics.{name}."
        )
    metric = _metric_class(name)(**kwargs)
    metric.info.metric_name = name  # evaluate would take it from the file of a module
    return metric
