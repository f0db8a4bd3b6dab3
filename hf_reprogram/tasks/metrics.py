"""Metrics: pure functions first, `evaluate.Metric` modules around them that need no Hub.

    metric = load_metric("matthews")
    metric.add_batch(predictions=[0, 1], references=[0, 1])
    metric.compute()                                          # {"matthews": 1.0}
    evaluate.combine([load_metric("accuracy"), load_metric("f1")])

Classification metrics take class indices, regression metrics numbers. NaN predictions and empty input raise.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from ..errors import InputError, unknown


def accuracy(predictions: np.ndarray, references: np.ndarray) -> float:
    """Share of predictions that equal their reference, in [0, 1]."""
    return float(np.mean(predictions == references))


def f1(predictions: np.ndarray, references: np.ndarray, average: str = "binary") -> float:
    """F1 of class 1 ("binary") or the plain mean over classes ("macro"), in [0, 1]; 0 for a class never predicted."""
    from sklearn.metrics import f1_score

    return float(f1_score(references, predictions, average=average, zero_division=0))


def matthews(predictions: np.ndarray, references: np.ndarray) -> float:
    """Matthews correlation coefficient, in [-1, 1]; 0 if only one class is predicted."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(references, predictions))


def pearson(predictions: np.ndarray, references: np.ndarray) -> float:
    """Pearson correlation, in [-1, 1]; 0 if either side is constant."""
    from scipy.stats import pearsonr

    return _correlation(pearsonr, predictions, references)


def spearman(predictions: np.ndarray, references: np.ndarray) -> float:
    """Spearman rank correlation, in [-1, 1]; 0 if either side is constant."""
    from scipy.stats import spearmanr

    return _correlation(spearmanr, predictions, references)


def _correlation(function: Callable, predictions: np.ndarray, references: np.ndarray) -> float:
    if len(references) < 2:
        raise InputError(f"A correlation needs at least 2 values, not {len(references)}.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a constant side: defined as 0 here
        return float(np.nan_to_num(function(predictions, references).statistic))


METRICS: dict[str, tuple[Callable[..., float], str]] = {  # name: (function, dtype of its input)
    "accuracy": (accuracy, "int64"),
    "f1": (f1, "int64"),
    "matthews": (matthews, "int64"),
    "pearson": (pearson, "float64"),
    "spearman": (spearman, "float64"),
}


def score(names: Sequence[str], predictions: Any, references: Any, average: str = "binary") -> dict[str, float]:
    """Several metrics at once.

    Args:
        names: keys of `METRICS`.
        predictions, references: (n,), class indices or numbers.
        average: for F1, "binary" or "macro".
    """
    predictions, references = np.asarray(predictions), np.asarray(references)
    if predictions.shape != references.shape:
        raise InputError(f"There are {len(predictions)} predictions for {len(references)} references: give one each.")
    if len(references) == 0:
        raise InputError("There is nothing to score: the split is empty.")
    if not np.isfinite(predictions.astype(float)).all():
        raise InputError("The predictions hold NaN or infinities: lower the learning rate.")
    scores = {}
    for name in names:
        if name not in METRICS:
            raise unknown("metric", name, METRICS)
        extra = {"average": average} if name == "f1" else {}
        scores[name] = METRICS[name][0](predictions, references, **extra)
    return scores


@cache
def _metric_class(name: str):
    import datasets
    import evaluate

    function, dtype = METRICS[name]

    class ReprogramMetric(evaluate.Metric):
        def _info(self):
            value = datasets.Value(dtype)
            return evaluate.MetricInfo(
                description=function.__doc__ or name,
                citation="",
                features=datasets.Features({"predictions": value, "references": value}),
            )

        def _compute(self, predictions, references, **extra):
            if extra and name != "f1":
                raise InputError(f"The metric {name!r} takes no option {next(iter(extra))!r}.")
            return score([name], predictions, references, **extra)

    ReprogramMetric.__name__ = name.title()
    return ReprogramMetric


def load_metric(name: str, **kwargs: Any):
    """An `evaluate.Metric` by name, without the Hub; `kwargs` go to its constructor (importing evaluate is slow)."""
    if name not in METRICS:
        raise unknown("metric", name, METRICS)
    metric = _metric_class(name)(**kwargs)
    metric.info.metric_name = name  # evaluate takes it from a module's file, and this class has none of its own
    return metric
