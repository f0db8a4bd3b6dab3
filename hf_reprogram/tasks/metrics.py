"""Metrics as pure functions. `hf_reprogram.tasks.metric_modules` has `evaluate.Metric` modules around them.

`METRICS` says which predictions each metric takes: class indices, numbers, scores that order the examples (ROC-AUC, average
precision), probabilities (calibration, from `hf_reprogram.ood`), or logits at positions (infilling). `score` raises for NaN
predictions and empty input.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError, unknown
from ..ood.calibration import adaptive_ece, brier, ece, nll


def accuracy(predictions: np.ndarray, references: np.ndarray) -> float:
    """Share of the predictions (n,) that equal their reference (n,), in [0, 1].

    >>> accuracy(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0]))
    0.75
    """
    return float(np.mean(predictions == references))


def f1(predictions: np.ndarray, references: np.ndarray, average: str = "binary") -> float:
    """F1 of class indices (n,), in [0, 1]; a class that is never predicted has F1 0.

    Args:
        predictions, references: class indices (n,).
        average: "binary" for the F1 of class 1, "macro" for the mean over the classes.

    >>> round(f1(np.array([1, 1, 0]), np.array([1, 0, 0])), 3)
    0.667
    """
    from sklearn.metrics import f1_score

    return float(f1_score(references, predictions, average=average, zero_division=0))


def matthews(predictions: np.ndarray, references: np.ndarray) -> float:
    """Matthews correlation coefficient of class indices (n,), in [-1, 1]; 0 if only one class is predicted.

    >>> matthews(np.array([0, 1, 0, 1]), np.array([0, 1, 0, 1]))
    1.0
    """
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(references, predictions))


def pearson(predictions: np.ndarray, references: np.ndarray) -> float:
    """Pearson correlation of numbers (n,), in [-1, 1]; 0 if either side is constant.

    >>> round(pearson(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0])), 3)
    0.982
    """
    from scipy.stats import pearsonr

    return _correlation(pearsonr, predictions, references)


def spearman(predictions: np.ndarray, references: np.ndarray) -> float:
    """Spearman rank correlation of numbers (n,), in [-1, 1]; 0 if either side is constant.

    >>> round(spearman(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0])), 3)
    1.0
    """
    from scipy.stats import spearmanr

    return _correlation(spearmanr, predictions, references)


def _correlation(function: Callable, predictions: np.ndarray, references: np.ndarray) -> float:
    if len(references) < 2:
        raise InputError(f"A correlation needs at least 2 values, not {len(references)}.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # for a constant side, whose correlation is 0 here
        return float(np.nan_to_num(function(predictions, references).statistic))


def mse(predictions: np.ndarray, references: np.ndarray) -> float:
    """Mean squared error of numbers (n,) or (n, steps), in the squared unit of the label; a forecast's series is standardised.

    >>> mse(np.array([[1.0, 2.0]]), np.array([[1.0, 4.0]]))
    2.0
    """
    return float(np.mean((predictions - references) ** 2))


def mase(predictions: np.ndarray, references: np.ndarray, naive: float = 1.0) -> float:
    """Mean absolute scaled error of forecasts (n, steps): below 1 they are better than naive forecasts of the training steps.

    Args:
        predictions, references: numbers (n, steps).
        naive: the mean absolute error of the seasonal naive forecast in the training data, in the same unit; with 1 this is
            the plain error.

    >>> mase(np.array([[1.0, 2.0]]), np.array([[1.0, 4.0]]), naive=2.0)
    0.5

    Raises:
        InputError: the naive error is 0.
    """
    if not naive:
        raise InputError(
            "MASE is undefined, as the naive forecast of the training data has no error: use the metric mae."
        )
    return mae(predictions, references) / naive


def rmse(predictions: np.ndarray, references: np.ndarray) -> float:
    """Root mean squared error of numbers (n,) or (n, steps), in the label's unit.

    >>> rmse(np.array([1.0, 2.0]), np.array([1.0, 4.0])).__round__(3)
    1.414
    """
    return float(np.sqrt(np.mean((predictions - references) ** 2)))


def mae(predictions: np.ndarray, references: np.ndarray) -> float:
    """Mean absolute error of numbers (n,) or (n, steps), in the label's unit.

    >>> mae(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    1.0
    """
    return float(np.mean(np.abs(predictions - references)))


def roc_auc(predictions: np.ndarray, references: np.ndarray) -> float:
    """Area under the ROC curve, in [0, 1].

    Args:
        predictions: scores (n,) of class 1; probabilities (n, classes), of which each class is compared with the rest; or
            scores (n, labels) of a multi-label problem.
        references: class indices (n,), or (n, labels) with 0, 1, and NaN for a missing label. The result is the mean
            over the labels, each on its labelled examples, as in MoleculeNet (Wu et al. 2018, arXiv 1703.00564). A label
            of which only one class occurs has no curve and is left out.

    Raises:
        InputError: only one class occurs, for every label.

    >>> roc_auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
    0.75
    """
    from sklearn.metrics import roc_auc_score

    return _mean_over_columns("ROC-AUC", roc_auc_score, predictions, references)


def average_precision(predictions: np.ndarray, references: np.ndarray) -> float:
    """Area under the curve of precision over recall, in [0, 1]; chance level is the share of the positive class.

    Arguments, means and errors are those of `roc_auc`.

    >>> round(average_precision(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])), 3)
    0.833
    """
    from sklearn.metrics import average_precision_score

    return _mean_over_columns("Average precision", average_precision_score, predictions, references)


def _mean_over_columns(name: str, function: Callable, predictions: np.ndarray, references: np.ndarray) -> float:
    """The mean of `function(labels, scores)` over the columns in which both classes occur; see `roc_auc`."""
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
            f"{name} is undefined, as all labels are of one class: use the metric accuracy, or draw more examples."
        )
    return float(np.mean(areas))


def bit_accuracy(predictions: np.ndarray, references: np.ndarray) -> float:
    """Share of the labels that are decided as their reference, over all labels and examples together, in [0, 1].

    Args:
        predictions: 0 or 1 per label (n, labels).
        references: the same, with NaN for a missing label, which is not counted.

    >>> bit_accuracy(np.array([[0, 1], [1, 1]]), np.array([[0.0, 1.0], [np.nan, 0.0]])).__round__(3)
    0.667

    Raises:
        InputError: every label is missing.
    """
    known = ~np.isnan(references.astype(float))
    if not known.any():
        raise InputError("Every label is missing, so there is nothing to score: give at least one.")
    return float(np.mean(predictions[known] == references[known]))


def recovery(predictions: np.ndarray, references: np.ndarray) -> float:
    """Share of the hidden tokens that are predicted correctly, averaged over the sequences, in [0, 1].

    Args:
        predictions: logits (n, tokens, vocabulary).
        references: token ids (n, tokens), negative where no token was hidden.

    >>> recovery(np.array([[[0.1, 0.9], [0.8, 0.2]]]), np.array([[1, 1]]))
    0.5
    """
    hidden = _hidden(references)
    right = (predictions.argmax(-1) == references) & hidden
    rows = hidden.any(1)
    return float(np.mean(right.sum(1)[rows] / hidden.sum(1)[rows]))


def perplexity(predictions: np.ndarray, references: np.ndarray) -> float:
    """Exponential of the mean negative log-likelihood of the hidden tokens; arguments as for `recovery`.

    >>> round(perplexity(np.zeros((1, 2, 4)), np.array([[3, -100]])), 3)
    4.0
    """
    hidden = _hidden(references)
    logits = predictions[hidden]
    log_norm = np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1)
    loss = np.mean(log_norm - logits[np.arange(len(logits)), references[hidden]])
    return float(np.exp(min(loss, 700.0)))  # exp(710) is infinite


def _hidden(references: np.ndarray) -> np.ndarray:
    hidden = references >= 0
    if not hidden.any():
        raise InputError("No token is hidden, so there is nothing to score: hide at least one token.")
    return hidden


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        function: a function of predictions and references that returns a number.
        takes: the kind of predictions: "classes" (n,), "numbers" (n,), "errors" (n,) or (n, steps), "forecasts" (n, steps),
            "scores" (see `roc_auc`), "probabilities" (n, classes), "bits" (see `bit_accuracy`) or "positions" (see `recovery`).
        lower_is_better: whether lower values are better, as for an error. Such a metric is not shown in percent.
        digits: the number of digits that tables show of it after the point, if it is not in percent.
    """

    function: Callable[..., float]
    takes: str
    lower_is_better: bool = False
    digits: int = 2

    def benefit(self, value: float) -> float:
        """The number that model selection maximises: the value, negated if lower values are better.

        >>> METRICS["rmse"].benefit(0.5), METRICS["accuracy"].benefit(0.5)
        (-0.5, 0.5)
        """
        return -value if self.lower_is_better else value


METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy, "classes"),
    "f1": Metric(f1, "classes"),
    "matthews": Metric(matthews, "classes"),
    "pearson": Metric(pearson, "numbers"),
    "spearman": Metric(spearman, "numbers"),
    "mse": Metric(mse, "errors", lower_is_better=True),
    "rmse": Metric(rmse, "errors", lower_is_better=True),
    "mae": Metric(mae, "errors", lower_is_better=True),
    "mase": Metric(mase, "forecasts", lower_is_better=True),
    "roc_auc": Metric(roc_auc, "scores"),
    "average_precision": Metric(average_precision, "scores"),
    "ece": Metric(ece, "probabilities", lower_is_better=True, digits=3),
    "adaptive_ece": Metric(adaptive_ece, "probabilities", lower_is_better=True, digits=3),
    "brier": Metric(brier, "probabilities", lower_is_better=True, digits=3),
    "nll": Metric(nll, "probabilities", lower_is_better=True, digits=3),
    "bit_accuracy": Metric(bit_accuracy, "bits"),
    "recovery": Metric(recovery, "positions"),
    "perplexity": Metric(perplexity, "positions", lower_is_better=True),
}


def check_metric(name: str, takes: Sequence[str], problem_type: str) -> None:
    """Raise `InputError` if a metric does not exist or does not fit a problem.

    Args:
        name: a key of `METRICS`.
        takes: the kinds of predictions that the problem has, see `Metric.takes`.
        problem_type: a key of `hf_reprogram.tasks.problems.PROBLEMS`, for the message.

    >>> check_metric("f1", ["positions"], "infilling")
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The metric 'f1' does not fit the problem 'infilling': choose one of perplexity, recovery.
    """
    if name not in METRICS:
        raise unknown("metric", name, METRICS)
    if METRICS[name].takes not in takes:
        fit = ", ".join(sorted(other for other, metric in METRICS.items() if metric.takes in takes))
        raise InputError(f"The metric {name!r} does not fit the problem {problem_type!r}: choose one of {fit}.")


def score(
    names: Sequence[str], predictions: Any, references: Any, average: str = "binary", naive: float = 1.0
) -> dict[str, float]:
    """Compute several metrics of the same predictions.

    Args:
        names: keys of `METRICS`.
        predictions, references: equally many of each; the metrics say which kind (`Metric.takes`).
        average: how F1 is averaged, "binary" or "macro".
        naive: the error in whose units MASE is.

    Raises:
        InputError: a metric is unknown, shapes differ, the input is empty, or predictions are not finite.

    >>> score(["accuracy", "f1"], [1, 1, 0], [1, 1, 0])
    {'accuracy': 1.0, 'f1': 1.0}
    """
    predictions, references = np.asarray(predictions), np.asarray(references)
    if len(predictions) != len(references):
        raise InputError(
            f"There are {len(predictions)} predictions and {len(references)} references: give one prediction per reference."
        )
    if len(references) == 0:
        raise InputError("There are no predictions to score: give at least one.")
    if not np.isfinite(predictions.astype(float)).all():
        raise InputError("The predictions hold NaN or infinities: lower the learning rate.")
    scores = {}
    for name in names:
        if name not in METRICS:
            raise unknown("metric", name, METRICS)
        if (
            METRICS[name].takes not in ("scores", "probabilities", "positions")
            and predictions.shape != references.shape
        ):
            raise InputError(
                f"Predictions have the shape {predictions.shape} and references {references.shape}: give the same shape."
            )
        extra: dict[str, Any] = {"average": average} if name == "f1" else {"naive": naive} if name == "mase" else {}
        scores[name] = METRICS[name].function(predictions, references, **extra)
    return scores
