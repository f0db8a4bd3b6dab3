"""Confidence intervals of the metrics by a percentile bootstrap over samples, which sorts the scores only once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..arrays import Array, number, whole
from .metrics import METRICS, Counts, count, every, rate

_BLOCK = 2**20  # numbers drawn at a time


def bootstrap_intervals(
    id_scores: Any,
    ood_scores: Any,
    tpr: float = 0.95,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap confidence intervals of `detection_metrics` (Efron 1979), stratified by side.

    ID and OOD samples are drawn with replacement, as many of each as there are, and the metrics are computed for every draw.
    The interval is between the quantiles (1 - confidence) / 2 and (1 + confidence) / 2. The scores are sorted once for all
    draws, so that a draw takes linear time (about 0.05 s for 1,000 draws of 2,000 scores, a minute for 1,000 draws of a
    million).

    Args:
        id_scores, ood_scores, tpr: as for `detection_metrics`.
        confidence: the share of draws inside the interval, above 0 and up to 1.
        resamples: the number of draws, at least 1.
        seed: the seed of the draws; the same seed gives the same intervals.

    Returns:
        The lower and the upper end per metric.

    Raises:
        InputError: as for `detection_metrics`, or an option is out of range.

    >>> bootstrap_intervals([0.1, 0.2, 0.3], [0.7, 0.8], resamples=20)["auroc"]
    (1.0, 1.0)
    """
    tpr, confidence = rate(tpr), number(confidence, "confidence", 0, 1, open_low=True)
    counts = count(id_scores, ood_scores)
    draws = [
        every(counts.resampled(*totals), tpr)
        for totals in _draws(counts, whole(resamples, "resamples", 1), whole(seed, "seed", 0))
    ]
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    quantiles = {name: np.quantile(np.concatenate([draw[name] for draw in draws]), ends) for name in METRICS}
    return {name: (float(low), float(high)) for name, (low, high) in quantiles.items()}


def _draws(counts: Counts, resamples: int, seed: int) -> Iterator[tuple[Array, Array]]:
    """Arguments of `Counts.resampled`, for as many draws at a time as fit into a block."""
    of_id, of_ood = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2))
    block = max(1, _BLOCK // (counts.num_id + counts.num_ood))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        yield _totals(of_id, rows, counts.num_id), _totals(of_ood, rows, counts.num_ood)


def _totals(random: np.random.Generator, rows: int, size: int) -> Array:
    """Numbers (rows, size + 1): in each of `rows` draws, how often one of the first 0, 1, ..., `size` samples is drawn."""
    drawn = random.integers(size, size=(rows, size)) + size * np.arange(rows)[:, None]
    totals = np.zeros((rows, size + 1), dtype=np.int64)
    np.cumsum(np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size), axis=1, out=totals[:, 1:])
    return totals
