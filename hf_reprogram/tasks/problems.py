"""What there is to predict: from logits to predictions and scores, for every kind of problem.

problem type                  logits             labels
single_label_classification   (n, classes)       (n,) class indices
regression                    (n, 1) or (n,)     (n,) numbers
multi_label_classification    (n, tasks)         (n, tasks) 0, 1, or NaN where a label is missing
token_classification          (n, tokens, ...)   (n, tokens) class indices, `IGNORE` where nothing is scored
infilling                     (n, tokens, ...)   (n, tokens) token ids, `IGNORE` where nothing was hidden
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..losses import IGNORE
from .metrics import METRICS, check_metric, score

__all__ = ["IGNORE", "PROBLEMS", "Diverged", "Problem", "decide", "finite", "score_logits"]


class Diverged(InputError):
    """A run whose numbers are no longer finite."""


@dataclass(frozen=True)
class Problem:
    """A kind of problem.

    Attributes:
        metrics: scored by default; the first selects.
        takes: what its metrics may take (`hf_reprogram.tasks.metrics.Metric.takes`).
        per_token: whether there is a label a token rather than one a sequence.
        stratified: whether splits keep the share of each class.
        config_type: its `problem_type` in a config of transformers, which knows three.
    """

    metrics: tuple[str, ...]
    takes: tuple[str, ...]
    per_token: bool = False
    stratified: bool = False
    config_type: str = "single_label_classification"


PROBLEMS = {
    "single_label_classification": Problem(("accuracy",), ("classes", "scores"), stratified=True),
    "regression": Problem(("pearson", "spearman"), ("numbers",), config_type="regression"),
    "multi_label_classification": Problem(("roc_auc",), ("scores",), config_type="multi_label_classification"),
    "token_classification": Problem(("accuracy",), ("classes",), per_token=True),
    "infilling": Problem(("recovery", "perplexity"), ("classes", "positions"), per_token=True),
}


def finite(logits: Any) -> np.ndarray:
    """Logits as float64; of several outputs the first.

    Raises:
        Diverged: they hold NaN or infinities.
    """
    logits = np.asarray(logits[0] if isinstance(logits, tuple) else logits, dtype=np.float64)
    if not np.isfinite(logits).all():
        raise Diverged("Training diverged, the logits hold NaN or infinities: lower training.learning_rate.")
    return logits


def decide(logits: Any, problem_type: str) -> np.ndarray:
    """Predictions from logits: class indices, numbers, or for several labels 0 and 1; see the module's docstring."""
    logits = finite(logits)
    if problem_type == "regression":
        return logits.reshape(-1)
    if problem_type == "multi_label_classification":
        return (logits > 0).astype(np.int64)
    return logits.argmax(-1)


def score_logits(
    names: Sequence[str], logits: Any, labels: Any, problem_type: str, average: str = "binary"
) -> dict[str, float]:
    """Metrics of logits against labels, both shaped as in the module's docstring.

    Args:
        names: keys of `METRICS` that fit the problem.
        logits, labels: of as many examples.
        problem_type: a key of `PROBLEMS`.
        average: for F1, "binary" or "macro".
    """
    problem, logits, labels = PROBLEMS[problem_type], finite(logits), np.asarray(labels)
    for name in names:
        check_metric(name, problem.takes, problem_type)
    if len(logits) != len(labels):
        raise InputError(f"There are {len(logits)} predictions for {len(labels)} references: give one each.")
    found: dict[str, float] = {}
    for name in names:
        takes = METRICS[name].takes
        if takes == "positions":
            found |= score([name], logits, labels)
        elif problem.per_token:
            scored = labels != IGNORE
            found |= score([name], logits[scored].argmax(-1), labels[scored], average)
        elif takes == "scores":
            found |= score([name], _scores(logits, problem_type), labels)
        else:
            found |= score([name], decide(logits, problem_type), labels, average)
    return found


def _scores(logits: np.ndarray, problem_type: str) -> np.ndarray:
    """What orders the examples: of two classes the log odds, of more the probabilities, of many labels the logits."""
    if problem_type == "multi_label_classification":
        return logits
    if logits.shape[1] == 2:
        return logits[:, 1] - logits[:, 0]
    exponential = np.exp(logits - logits.max(1, keepdims=True))
    return exponential / exponential.sum(1, keepdims=True)
