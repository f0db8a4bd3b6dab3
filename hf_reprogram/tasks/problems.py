"""The problem types: how logits become predictions and scores.

problem type                  logits                    labels
single_label_classification   (n, classes)              (n,) class indices
regression                    (n, 1) or (n,)            (n,) numbers
forecast                      (n, steps)                (n, steps) numbers
multi_label_classification    (n, labels)               (n, labels) with 0, 1, or NaN for a missing label
token_classification          (n, tokens, classes)      (n, tokens) class indices, `IGNORE` for tokens that are not scored
infilling                     (n, tokens, vocabulary)   (n, tokens) token ids, `IGNORE` for tokens that were not hidden
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..losses import IGNORE
from .metrics import METRICS, check_metric, score

__all__ = ["IGNORE", "PROBLEMS", "Diverged", "Problem", "decide", "finite", "score_logits", "usual_metrics"]


class Diverged(InputError):
    """The error of a training run whose numbers are no longer finite."""


@dataclass(frozen=True)
class Problem:
    """A problem type.

    Attributes:
        metrics: the default metrics; models are selected on the first one.
        takes: the kinds of predictions that its metrics may take (`hf_reprogram.tasks.metrics.Metric.takes`).
        per_token: whether there is one label per token rather than one per sequence.
        stratified: whether splits keep the share of each class.
        config_type: the `problem_type` that a config of transformers stores; transformers knows only three.

    >>> PROBLEMS["regression"].metrics
    ('rmse', 'pearson', 'spearman')
    """

    metrics: tuple[str, ...]
    takes: tuple[str, ...]
    per_token: bool = False
    stratified: bool = False
    config_type: str = "single_label_classification"


PROBLEMS = {
    "single_label_classification": Problem(("accuracy",), ("classes", "scores", "probabilities"), stratified=True),
    "regression": Problem(("rmse", "pearson", "spearman"), ("numbers", "errors"), config_type="regression"),
    "forecast": Problem(("mse", "mae", "mase"), ("errors", "forecasts"), config_type="regression"),
    "multi_label_classification": Problem(("roc_auc",), ("scores", "bits"), config_type="multi_label_classification"),
    "token_classification": Problem(("accuracy",), ("classes",), per_token=True),
    "infilling": Problem(("recovery", "perplexity"), ("classes", "positions"), per_token=True),
}


RARE, FEWEST = 0.2, 10  # of two classes, the rarer one is rare below this share; with fewer examples it has no curve


def usual_metrics(problem_type: str, labels: Sequence[Any]) -> list[str]:
    """The metrics of a task that names none; models are selected on the first one.

    With two classes of which one is rare, accuracy says little, so the first metric is the area under the ROC curve.

    Args:
        problem_type: a key of `PROBLEMS`.
        labels: the classes of the training data; read for a single-label classification alone.

    >>> usual_metrics("single_label_classification", [0] * 90 + [1] * 10)
    ['roc_auc', 'average_precision', 'accuracy']
    """
    usual = list(PROBLEMS[problem_type].metrics)
    if problem_type != "single_label_classification":
        return usual
    counts = Counter(labels).values()
    rare = len(counts) == 2 and FEWEST <= min(counts) < RARE * sum(counts)
    return ["roc_auc", "average_precision", *usual] if rare else usual


def finite(logits: Any) -> np.ndarray:
    """Logits as float64. If the model returned a tuple, its first entry counts.

    Raises:
        Diverged: the logits hold NaN or infinities.

    >>> finite([[1, 2]])
    array([[1., 2.]])
    """
    logits = np.asarray(logits[0] if isinstance(logits, tuple) else logits, dtype=np.float64)
    if not np.isfinite(logits).all():
        raise Diverged("Training diverged, as the logits hold NaN or infinities: lower training.learning_rate.")
    return logits


def decide(logits: Any, problem_type: str) -> np.ndarray:
    """Predictions for logits: class indices, numbers, or 0 and 1 per label of a multi-label problem.

    Args:
        logits: shaped as in the module's docstring.
        problem_type: a key of `PROBLEMS`.

    >>> decide([[0.2, 0.9], [1.5, -1.0]], "single_label_classification").tolist()
    [1, 0]
    >>> decide([[0.2, 0.9], [1.5, -1.0]], "multi_label_classification").tolist()
    [[1, 1], [1, 0]]
    """
    logits = finite(logits)
    if problem_type == "regression":
        return logits.reshape(-1)
    if problem_type == "forecast":
        return logits
    if problem_type == "multi_label_classification":
        return (logits > 0).astype(np.int64)
    return logits.argmax(-1)


def score_logits(
    names: Sequence[str],
    logits: Any,
    labels: Any,
    problem_type: str,
    average: str = "binary",
    naive: float = 1.0,
) -> dict[str, float]:
    """Compute metrics of logits and labels.

    Args:
        names: keys of `METRICS` that fit the problem.
        logits, labels: equally many of each, shaped as in the module's docstring.
        problem_type: a key of `PROBLEMS`.
        average: how F1 is averaged, "binary" or "macro".
        naive: the error in whose units MASE is.

    Raises:
        InputError: a metric does not fit the problem, or the numbers of logits and labels differ.
        Diverged: the logits hold NaN or infinities.

    >>> score_logits(["accuracy", "roc_auc"], [[2.0, 0.0], [0.0, 1.0]], [0, 1], "single_label_classification")
    {'accuracy': 1.0, 'roc_auc': 1.0}
    """
    problem, logits, labels = PROBLEMS[problem_type], finite(logits), np.asarray(labels)
    for name in names:
        check_metric(name, problem.takes, problem_type)
    if len(logits) != len(labels):
        raise InputError(
            f"There are {len(logits)} predictions and {len(labels)} references: give one prediction per reference."
        )
    scores: dict[str, float] = {}
    for name in names:
        takes = METRICS[name].takes
        if takes == "positions":
            scores |= score([name], logits, labels)
        elif problem.per_token:
            scored = labels != IGNORE
            scores |= score([name], logits[scored].argmax(-1), labels[scored], average)
        elif takes == "scores":
            scores |= score([name], _scores(logits, problem_type), labels)
        elif takes == "probabilities":
            scores |= score([name], np.maximum(_softmax(logits), np.finfo(float).tiny), labels)  # so that NLL is finite
        else:
            scores |= score([name], decide(logits, problem_type), labels, average, naive)
    return scores


def _scores(logits: np.ndarray, problem_type: str) -> np.ndarray:
    """Scores that order the examples: the log odds of two classes, the probabilities of more, the logits of labels."""
    if problem_type == "multi_label_classification":
        return logits
    if logits.shape[1] == 2:
        return logits[:, 1] - logits[:, 0]
    return _softmax(logits)


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponential = np.exp(logits - logits.max(1, keepdims=True))
    shares: np.ndarray = exponential / exponential.sum(1, keepdims=True)
    return shares
