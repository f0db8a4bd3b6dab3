"""Gaps between groups of examples, by fairlearn.

    accuracy by group      P(yhat = y | a)
    demographic parity     max over classes c of the difference between groups of P(yhat = c | a)
    equalized odds         the same of P(yhat = c | y = c, a) and of P(yhat = c | y != c, a), the larger of the two

Each number is from 0 to 1, and a gap of 0 is a fair classifier in its sense. With two classes both gaps are those of fairlearn
for class 1. With more classes each is told apart from all others, and the largest gap counts. A group without examples of a
class, or of that class alone, says nothing of the odds there and is left out of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

GAPS = {"demographic_parity": "demographic parity gap", "equalized_odds": "equalized odds gap"}


def gaps(predictions: np.ndarray, labels: np.ndarray, groups: np.ndarray, classes: int) -> dict[str, float]:
    """The gaps between groups; needs fairlearn.

    Args:
        predictions, labels: class indices (n,).
        groups: the numbers (n,) of the groups.
        classes: how many classes there are.

    >>> half = np.array([0, 0, 1, 1])  # the groups
    >>> gaps(np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0]), half, classes=2)
    {'demographic_parity': 1.0, 'equalized_odds': 1.0}
    """
    from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference

    worst = dict.fromkeys(GAPS, 0.0)
    for each in [1] if classes == 2 else range(classes):
        truth, answer = (labels == each).astype(int), (predictions == each).astype(int)
        parity = _of(demographic_parity_difference, truth, answer, groups)
        both = np.isin(groups, np.intersect1d(groups[truth == 1], groups[truth == 0]))
        odds = _of(equalized_odds_difference, truth[both], answer[both], groups[both])
        worst = {name: max(worst[name], float(gap)) for name, gap in zip(GAPS, (parity, odds), strict=True)}
    return worst


def _of(gap: Callable[..., float], truth: np.ndarray, answer: np.ndarray, groups: np.ndarray) -> float:
    """A gap of fairlearn, which is 0 where there is one group or none."""
    return gap(truth, answer, sensitive_features=groups) if len(np.unique(groups)) > 1 else 0.0


def by_group(predictions: Any, labels: Any, groups: Any, names: Sequence[str], classes: int) -> dict[str, Any]:
    """How a classifier does on each group, as plain data.

    Args:
        predictions, labels: class indices (n,).
        groups: the numbers (n,) of the groups.
        names: the names of the groups.
        classes: how many classes there are.

    Returns:
        `accuracy`, the gaps, and `accuracies` and `examples` by the name of the group; groups without examples are left out.

    >>> found = by_group([1, 0, 1], [1, 1, 1], [0, 0, 1], ["female", "male"], classes=2)
    >>> found["accuracies"], found["demographic_parity"]
    ({'female': 0.5, 'male': 1.0}, 0.5)
    """
    predictions, labels, groups = np.asarray(predictions), np.asarray(labels), np.asarray(groups)
    right, there = predictions == labels, np.unique(groups)
    return {
        "accuracy": float(right.mean()),
        **gaps(predictions, labels, groups, classes),
        "accuracies": {names[group]: float(right[groups == group].mean()) for group in there},
        "examples": {names[group]: int((groups == group).sum()) for group in there},
    }
