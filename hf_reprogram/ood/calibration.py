"""The quality of predictions: calibration error, accuracy, and accuracy under shift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..arrays import Array, class_indices, matrix, same, whole
from ..errors import InputError

_ROUNDING = 0.02  # the largest deviation of a sum of probabilities from 1, for bfloat16


def ece(probabilities: Any, labels: Any, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599), in [0, 1].

    ECE = sum over bins B of |B| / n * |accuracy(B) - mean confidence(B)|, where the confidence of a sample is its largest
    probability. The bins have equal width and are closed on the right: ((i - 1) / bins, i / bins].

    Args:
        probabilities: probabilities (n, classes), whose rows sum to 1.
        labels: class indices (n,).
        bins: the number of bins.

    Raises:
        InputError: shapes do not match, a row is not a distribution, a label is not a class index, or the input is empty or
            not finite.

    >>> ece([[0.75, 0.25], [0.25, 0.75]], [0, 1])
    0.25
    """
    confidence, right = _confidence(probabilities, labels)
    edges = np.linspace(0, 1, whole(bins, "bins", 1) + 1)
    place = np.searchsorted(edges[1:-1], confidence)
    gaps = np.bincount(place, weights=right) - np.bincount(place, weights=confidence)
    return float(np.abs(gaps).sum() / len(right))


def adaptive_ece(probabilities: Any, labels: Any, bins: int = 15) -> float:
    """The calibration error with bins of as many samples each (Nguyen and O'Connor 2015, arXiv 1508.05154), in [0, 1].

    Confidences of a good classifier crowd near 1, where bins of equal width see no difference. Here samples are sorted by their
    confidence and divided evenly; ties are divided in the order of the samples.

    Args:
        probabilities: probabilities (n, classes), whose rows sum to 1.
        labels: class indices (n,).
        bins: the number of bins; with fewer samples, that of the samples.

    Raises:
        InputError: as for `ece`.

    >>> round(adaptive_ece([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]], [0, 0, 1, 1], bins=2), 2)  # .1 and .6
    0.35
    """
    confidence, right = _confidence(probabilities, labels)
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, min(whole(bins, "bins", 1), len(order)))
    return float(sum(abs((right[part] - confidence[part]).sum()) for part in parts) / len(order))


def brier(probabilities: Any, labels: Any) -> float:
    """The Brier score: the mean over samples of sum_c (p_c - [y = c])^2, from 0 to 2 (Brier 1950).

    Args:
        probabilities: probabilities (n, classes), whose rows sum to 1.
        labels: class indices (n,).

    Raises:
        InputError: as for `ece`.

    >>> brier([[0.5, 0.5], [1.0, 0.0]], [0, 0])
    0.25
    """
    rows, classes = _distributions(probabilities, labels)
    gaps = rows.copy()
    gaps[np.arange(len(rows)), classes] -= 1
    return float((gaps**2).sum(1).mean())


def nll(probabilities: Any, labels: Any) -> float:
    """The negative log-likelihood: the mean over samples of -log p_y, in nats; infinite if a label has probability 0.

    Args:
        probabilities: probabilities (n, classes), whose rows sum to 1.
        labels: class indices (n,).

    Raises:
        InputError: as for `ece`.

    >>> round(nll([[0.5, 0.5], [1.0, 0.0]], [0, 0]), 4)
    0.3466
    """
    rows, classes = _distributions(probabilities, labels)
    with np.errstate(divide="ignore"):
        return float(0.0 - np.log(rows[np.arange(len(rows)), classes]).mean())


def reliability(probabilities: Any, labels: Any, bins: int = 15) -> dict[str, list[float]]:
    """The bins of a calibration curve, of equal width as for `ece`; empty ones are left out.

    Args:
        probabilities: probabilities (n, classes), whose rows sum to 1.
        labels: class indices (n,).
        bins: the number of bins.

    Returns:
        `confidence`, the mean of each bin; `accuracy`, the share that is right; and `share`, that of the samples.

    Raises:
        InputError: as for `ece`.

    >>> reliability([[0.75, 0.25], [0.25, 0.75]], [0, 1], bins=2)
    {'confidence': [0.75], 'accuracy': [1.0], 'share': [1.0]}
    """
    confidence, right = _confidence(probabilities, labels)
    count = whole(bins, "bins", 1)
    place = np.searchsorted(np.linspace(0, 1, count + 1)[1:-1], confidence)
    sizes = np.bincount(place, minlength=count)
    some = sizes > 0
    means = [np.bincount(place, weights=values, minlength=count)[some] / sizes[some] for values in (confidence, right)]
    return {
        "confidence": means[0].tolist(),
        "accuracy": means[1].tolist(),
        "share": (sizes[some] / len(right)).tolist(),
    }


def _distributions(probabilities: Any, labels: Any) -> tuple[Array, Array]:
    """The rows of probabilities (n, classes), which are distributions, and class indices (n,)."""
    rows = matrix(probabilities, "probabilities")
    classes = class_indices(labels, "labels", rows.shape[1])
    same(len(classes), len(rows), "The number of labels", "that of rows of probabilities")
    if rows.min() < 0 or np.abs(rows.sum(1) - 1).max() > _ROUNDING:
        raise InputError("The probabilities are negative or their rows do not sum to 1: apply a softmax to the logits.")
    return rows, classes


def _confidence(probabilities: Any, labels: Any) -> tuple[Array, Array]:
    """The largest probability of each sample (n,), and whether its class is right (n,)."""
    rows, classes = _distributions(probabilities, labels)
    return rows.max(1), rows.argmax(1) == classes


def accuracy(predictions: Any, labels: Any) -> float:
    """The share of predicted class indices (n,) that equal the label (n,), in [0, 1].

    Raises:
        InputError: the lengths differ, or the predictions or labels are empty or not class indices.

    >>> accuracy([0, 1, 1, 0], [0, 1, 0, 0])
    0.75
    """
    predicted, classes = class_indices(predictions, "predictions"), class_indices(labels, "labels")
    same(len(predicted), len(classes), "The number of predictions", "that of labels")
    return float(np.mean(predicted == classes))


def accuracy_under_shift(
    reference: tuple[Any, Any], shifts: Mapping[str, tuple[Any, Any]]
) -> dict[str, dict[str, float]]:
    """A table of the accuracy on ID data and on shifted data, and of its drop.

    Args:
        reference: predictions (n,) and labels (n,) on ID data.
        shifts: predictions and labels of each shifted data set, by name.

    Returns:
        The rows `id`, one per shift, and `mean` (over shifts, with equal weights). Each row has the columns `accuracy`, `drop`
        (the accuracy on ID data minus that of the row) and `samples`.

    Raises:
        InputError: as for `accuracy`; or there are no shifts, or a shift has a reserved name.

    >>> table = accuracy_under_shift(([0, 1], [0, 1]), {"sketches": ([0, 1], [0, 0])})
    >>> table["sketches"]
    {'accuracy': 0.5, 'samples': 2, 'drop': 0.5}
    """
    reserved = sorted({"id", "mean"} & set(shifts))
    if reserved or not shifts:
        problem = f"is named {reserved[0]!r}" if reserved else "is missing"
        raise InputError(f'A shifted data set {problem}: give at least one, named other than "id" and "mean".')
    table = {"id": {"accuracy": accuracy(*reference), "samples": len(reference[1])}}
    for name, (predictions, labels) in shifts.items():
        table[name] = {"accuracy": accuracy(predictions, labels), "samples": len(labels)}
    table["mean"] = {
        "accuracy": float(np.mean([table[name]["accuracy"] for name in shifts])),
        "samples": sum(table[name]["samples"] for name in shifts),
    }
    return {name: {**row, "drop": table["id"]["accuracy"] - row["accuracy"]} for name, row in table.items()}
