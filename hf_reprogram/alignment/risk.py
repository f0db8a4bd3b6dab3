"""The risk of a classifier, and its bound by a distance of logits (Yang et al. 2021, arXiv 2106.09296, Theorem 1)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax

from ..arrays import class_indices, matrix, number, same, whole


def mean_risk(logits: Any, labels: Any) -> float:
    """The mean over examples of ||softmax(z) - onehot(y)||_2, from 0 to sqrt(2).

    Args:
        logits: z (n, classes).
        labels: class indices y (n,).

    Raises:
        InputError: shapes do not match, a label is not a class index, or the input is empty or not finite.

    >>> round(mean_risk([[0.0, 0.0]], [0]), 4)  # (-1/2, 1/2)
    0.7071
    """
    rows = matrix(logits, "logits")
    classes = class_indices(labels, "labels", rows.shape[1])
    same(len(classes), len(rows), "The number of labels", "that of rows of logits")
    gaps = softmax(rows, axis=1)
    gaps[np.arange(len(rows)), classes] -= 1
    return float(np.linalg.norm(gaps, axis=1).mean())


def risk_bound(source_risk: float, distance: float, labels: int) -> float:
    """The bound of Theorem 1 on the risk of reprogrammed target data: source_risk + 2 sqrt(K) W1.

    A risk is never above sqrt(2), and the bound of real samples is in the hundreds: logits of even the source's own data are
    far apart. So it holds for every program. Compare distances minus their nulls instead.

    Args:
        source_risk: `mean_risk` of the source on data of its own task.
        distance: W1 between the source's logits of reprogrammed target data and those of its own.
        labels: K, the number of the source's labels.

    Raises:
        InputError: a number is negative, or labels is not a whole number.

    >>> risk_bound(0.09, 25.0, labels=36)
    300.09
    """
    risk, w1 = number(source_risk, "source_risk", 0), number(distance, "distance", 0)
    return float(risk + 2 * whole(labels, "labels", 1) ** 0.5 * w1)
