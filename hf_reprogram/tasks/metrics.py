"""Metrics: pure functions first, `evaluate.Metric` modules around them that need no Hub.

    metric = load_metric("matthews")
    metric.add_batch(predictions=[0, 1], references=[0, 1])
    metric.compute()                                          # {"matthews": 1.0}
    evaluate.combine([load_metric("accuracy"), load_metric("f1")])

What a metric takes is said in `METRICS`: class indices, numbers, scores that order the examples (ROC-AUC, average
precision), or logits at positions (infilling). NaN predictions and empty input raise.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


def rmse(predictions: np.ndarray, references: np.ndarray) -> float:
    """Root of the mean squared error, in the label's unit."""
    return float(np.sqrt(np.mean((predictions - references) ** 2)))


def mae(predictions: np.ndarray, references: np.ndarray) -> float:
    """Mean absolute error, in the label's unit."""
    return float(np.mean(np.abs(predictions - references)))


def roc_auc(predictions: np.ndarray, references: np.ndarray) -> float:
    """Area under the ROC curve, in [0, 1].

    Args:
        predictions: (n,) scores of class 1; (n, classes) probabilities, averaged one class against the rest; or
            (n, tasks) scores of as many labels.
        references: (n,) class indices, or (n, tasks) 0, 1 or NaN for a missing label. The mean is over the tasks, each
            over its labelled examples, as in MoleculeNet (Wu et al. 2018, arXiv 1703.00564); a task where only one
            class is labelled has no curve and is left out.

    Raises:
        InputError: only one class is there, in every task.
    """
    from sklearn.metrics import roc_auc_score

    return _mean_over_tasks("ROC-AUC", roc_auc_score, predictions, references)


def average_precision(predictions: np.ndarray, references: np.ndarray) -> float:
    """Area under the curve of precision over recall, in [0, 1]; what chance gives is the positives' share.

    Its arguments, and what it averages and raises, are those of `roc_auc`.
    """
    from sklearn.metrics import average_precision_score

    return _mean_over_tasks("Average precision", average_precision_score, predictions, references)


def _mean_over_tasks(name: str, function: Callable, predictions: np.ndarray, references: np.ndarray) -> float:
    """The mean of `function(labels, scores)` over classes or tasks that have both kinds of label; see `roc_auc`."""
    if references.ndim == 1 and predictions.ndim == 1:
        predictions, references = predictions[:, None], references[:, None]
    elif references.ndim == 1:
        references = np.eye(predictions.shape[1])[references.astype(int)]
    areas = []
    for scores, labels in zip(predictions.T, references.T, strict=True):
        known = ~np.isnan(labels.astype(float))
        if len(np.unique(labels[known])) == 2:
            areas.append(function(labels[known], scores[known]))
    if not areas:
        raise InputError(
            f"{name} is undefined: the labels are all of one class; score accuracy, or draw more examples."
        )
    return float(np.mean(areas))


def recovery(predictions: np.ndarray, references: np.ndarray) -> float:
    """Share of the hidden tokens that are guessed, averaged over the sequences, in [0, 1].

    Args:
        predictions: (n, tokens, vocabulary) logits.
        references: (n, tokens) token ids, negative where nothing was hidden.
    """
    hidden = _hidden(references)
    right = (predictions.argmax(-1) == references) & hidden
    rows = hidden.any(1)
    return float(np.mean(right.sum(1)[rows] / hidden.sum(1)[rows]))


def perplexity(predictions: np.ndarray, references: np.ndarray) -> float:
    """Exponential of the mean negative log-likelihood of the hidden tokens; arguments as for `recovery`."""
    hidden = _hidden(references)
    logits = predictions[hidden]
    log_norm = np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1)
    loss = np.mean(log_norm - logits[np.arange(len(logits)), references[hidden]])
    return float(np.exp(min(loss, 700.0)))  # the largest that is still a number


def _hidden(references: np.ndarray) -> np.ndarray:
    hidden = references >= 0
    if not hidden.any():
        raise InputError("There is nothing to score: no token is hidden.")
    return hidden


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        function: from predictions and references to a number.
        takes: "classes" (n,), "numbers" (n,), "scores" (see `roc_auc`) or "positions" (see `recovery`).
        lower_is_better: as for an error, whose unit is the label's and not a share.
    """

    function: Callable[..., float]
    takes: str
    lower_is_better: bool = False

    def benefit(self, value: float) -> float:
        """The value, negated if a lower one is better: what selection takes the maximum of."""
        return -value if self.lower_is_better else value


METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy, "classes"),
    "f1": Metric(f1, "classes"),
    "matthews": Metric(matthews, "classes"),
    "pearson": Metric(pearson, "numbers"),
    "spearman": Metric(spearman, "numbers"),
    "rmse": Metric(rmse, "numbers", lower_is_better=True),
    "mae": Metric(mae, "numbers", lower_is_better=True),
    "roc_auc": Metric(roc_auc, "scores"),
    "average_precision": Metric(average_precision, "scores"),
    "recovery": Metric(recovery, "positions"),
    "perplexity": Metric(perplexity, "positions", lower_is_better=True),
}


def check_metric(name: str, takes: Sequence[str], problem_type: str) -> None:
    """Raise `InputError` unless a metric exists and takes what a problem has to give."""
    if name not in METRICS:
        raise unknown("metric", name, METRICS)
    if METRICS[name].takes not in takes:
        fit = ", ".join(sorted(other for other, metric in METRICS.items() if metric.takes in takes))
        raise InputError(f"The metric {name!r} does not fit a {problem_type.replace('_', ' ')}: choose one of {fit}.")


def score(names: Sequence[str], predictions: Any, references: Any, average: str = "binary") -> dict[str, float]:
    """Several metrics at once.

    Args:
        names: keys of `METRICS`.
        predictions, references: as many of each; what they are is up to the metrics.
        average: for F1, "binary" or "macro".
    """
    predictions, references = np.asarray(predictions), np.asarray(references)
    if len(predictions) != len(references):
        raise InputError(f"There are {len(predictions)} predictions for {len(references)} references: give one each.")
    if len(references) == 0:
        raise InputError("There is nothing to score: the split is empty.")
    if not np.isfinite(predictions.astype(float)).all():
        raise InputError("The predictions hold NaN or infinities: lower the learning rate.")
    scores = {}
    for name in names:
        if name not in METRICS:
            raise unknown("metric", name, METRICS)
        if METRICS[name].takes in ("classes", "numbers") and predictions.shape != references.shape:
            raise InputError(f"Predictions of shape {predictions.shape} do not go with {references.shape} references.")
        extra = {"average": average} if name == "f1" else {}
        scores[name] = METRICS[name].function(predictions, references, **extra)
    return scores


@cache
def _metric_class(name: str):
    import datasets
    import evaluate

    function, takes = METRICS[name].function, METRICS[name].takes

    class ReprogramMetric(evaluate.Metric):
        def _info(self):
            predicted = datasets.Value("int64" if takes == "classes" else "float64")
            reference = datasets.Value("float64" if takes == "numbers" else "int64")
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
    """An `evaluate.Metric` by name, without the Hub; `kwargs` go to its constructor (importing evaluate is slow)."""
    if name not in METRICS:
        raise unknown("metric", name, METRICS)
    if METRICS[name].takes == "positions":
        raise InputError(f"The metric {name!r} takes logits at positions: call hf_reprogram.tasks.metrics.{name}.")
    metric = _metric_class(name)(**kwargs)
    metric.info.metric_name = name  # evaluate takes it from a module's file, and this class has none of its own
    return metric
