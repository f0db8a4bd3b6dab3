"""Wasserstein-1 distances between two samples of as many rows, such as the logits of target and source data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..arrays import Floats, matrix, same, whole
from ..errors import InputError

MOST_ROWS = 10_000  # of an exact distance: its costs have 800 MB then
DIRECTIONS = 2**22  # directions times rows at once


def wasserstein(first: Any, second: Any) -> float:
    """The exact Wasserstein-1 distance of two samples, with the Euclidean cost.

    W1 = min over permutations p of 1/n * sum_i ||a_i - b_p(i)||. Between two samples of n rows the best transport is an
    assignment, which is found by `scipy.optimize.linear_sum_assignment`. It is found in a quarter of the time if the mean of
    each row and column is subtracted from the costs before, which lowers the sum of every assignment by the same number.

    Args:
        first, second: rows (n, width) each.

    Returns:
        The distance, in the units of the rows.

    Raises:
        InputError: the shapes differ, there are more than 10,000 rows, or the input is empty or not finite.

    >>> wasserstein([[0.0, 0.0], [3.0, 4.0]], [[3.0, 4.0], [0.0, 1.0]])  # the second row stays, and the first moves by 1
    0.5
    """
    a, b = _pair(first, second)
    if len(a) > MOST_ROWS:
        raise InputError(
            f"There are {len(a):,} rows, and an exact distance takes at most {MOST_ROWS:,}: draw fewer, or use "
            "sliced_wasserstein."
        )
    costs = _costs(a, b)
    costs -= costs.mean(1, keepdims=True)
    costs -= costs.mean(0)
    rows, columns = linear_sum_assignment(costs)
    return float(np.linalg.norm(a[rows] - b[columns], axis=1).mean())


def sliced_wasserstein(first: Any, second: Any, projections: int = 1000, seed: int = 0) -> float:
    """The sliced Wasserstein-1 distance: the mean over random directions of the distance of the projections.

    In one dimension the best transport joins sorted values. The distance is at most the exact one, and takes n log n steps per
    direction where the exact one takes n^3.

    Args:
        first, second: rows (n, width) each.
        projections: the number of directions, which are uniform on the unit sphere.
        seed: of the directions.

    Returns:
        The distance, in the units of the rows.

    Raises:
        InputError: the shapes differ, or the input is empty or not finite.

    >>> sliced_wasserstein([[0.0], [2.0]], [[3.0], [1.0]], projections=2)  # in one dimension it is the exact one
    1.0
    """
    a, b = _pair(first, second)
    random = np.random.default_rng(whole(seed, "seed", 0))
    directions = random.standard_normal((whole(projections, "projections", 1), a.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    size = max(1, DIRECTIONS // len(a))
    total = 0.0
    for start in range(0, projections, size):
        part = directions[start : start + size]
        gaps = np.sort(part @ a.T, axis=1) - np.sort(part @ b.T, axis=1)
        total += float(np.abs(gaps).mean(1).sum())
    return total / projections


def null_distance(sample: Any, distance: Callable[[Any, Any], float] = wasserstein, seed: int = 0) -> float:
    """The distance between two random halves of one sample: what a distance is when there is no difference.

    It falls as the sample grows. So a distance between n rows and n others is compared with the null of 2 n rows.

    Args:
        sample: rows (2 n, width); one of an odd number is left out.
        distance: of two samples.
        seed: of the halves.

    Raises:
        InputError: there are fewer than 2 rows, or as for the distance.

    >>> null_distance([[0.0], [0.0], [1.0], [1.0]]) in (0.0, 1.0)
    True
    """
    rows = matrix(sample, "sample")
    if len(rows) < 2:
        raise InputError("The sample has 1 row, which has no halves: give at least 2.")
    order = np.random.default_rng(whole(seed, "seed", 0)).permutation(len(rows))
    half = len(rows) // 2
    return distance(rows[order[:half]], rows[order[half : 2 * half]])


def _pair(first: Any, second: Any) -> tuple[Floats, Floats]:
    a, b = matrix(first, "rows of the first sample"), matrix(second, "rows of the second sample")
    same(len(a), len(b), "The number of rows of the first sample", "that of the second")
    same(a.shape[1], b.shape[1], "The width of the first sample", "that of the second")
    return a, b


def _costs(a: Floats, b: Floats) -> Floats:
    """The distances (n, n) of all pairs. Rounding of |a|^2 - 2 a b + |b|^2 is smallest around the common mean."""
    center = (a.mean(0) + b.mean(0)) / 2
    a, b = a - center, b - center
    squares = (a * a).sum(1)[:, None] - 2 * (a @ b.T) + (b * b).sum(1)
    costs: Floats = np.sqrt(np.maximum(squares, 0, out=squares), out=squares)
    return costs
