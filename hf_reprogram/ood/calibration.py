"""How good predictions are: calibration error, accuracy, and accuracy under shift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import InputError
from .inputs import Array, array, finite, matrix, same, whole

_ROUNDING = 0.02  # by how much probabilities may miss a sum of 1, in bfloat16


def ece(probabilities: Any, labels: Any, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599), in [0, 1].

    ECE = sum over bins B of |B| / n * |accuracy(B) - mean confidence(B)|, where the confidence of a sample is its largest
    probability and bins are of equal width and closed on the right: ((i - 1) / bins, i / bins].

    Args:
        probabilities: (n, classes), rows that sum to 1.
        labels: (n,) class indices.
        bins: number of bins.

    Raises:
        InputError: shapes do not fit, a row is no distribution, a label is no class, something is empty or not finite.

    >>> ece([[0.75, 0.25], [0.25, 0.75]], [0, 1])
    0.25
    """
    rows, classes = matrix(probabilities, "probabilities"), _classes(labels, "labels")
    same(len(classes), len(rows), "The number of labels", "that of rows of probabilities")
    if rows.min() < 0 or np.abs(rows.sum(1) - 1).max() > _ROUNDING:
        raise InputError("The probabilities are negative or their rows do not sum to 1: apply a softmax to the logits.")
    if classes.min() < 0 or classes.max() >= rows.shape[1]:
        wrong = classes.min() if classes.min() < 0 else classes.max()
        raise InputError(f"There is a label {wrong}: give class indices from 0 to {rows.shape[1] - 1}.")
    confidence, right = rows.max(1), rows.argmax(1) == classes
    edges = np.linspace(0, 1, whole(bins, "bins", 1) + 1)
    place = np.searchsorted(edges[1:-1], confidence)
    gaps = np.bincount(place, weights=right) - np.bincount(place, weights=confidence)
    return float(np.abs(gaps).sum() / len(rows))


def accuracy(predictions: Any, labels: Any) -> float:
    """Share of predicted class indices (n,) that equal the label (n,), in [0, 1].

    Raises:
        InputError: lengths differ, or either is empty or no class indices.

    >>> accuracy([0, 1, 1, 0], [0, 1, 0, 0])
    0.75
    """
    predicted, classes = _classes(predictions, "predictions"), _classes(labels, "labels")
    same(len(predicted), len(classes), "The number of predictions", "that of labels")
    return float(np.mean(predicted == classes))


def accuracy_under_shift(
    reference: tuple[Any, Any], shifts: Mapping[str, tuple[Any, Any]]
) -> dict[str, dict[str, float]]:
    """A table of plain accuracy on ID and shifted data, and how far it drops.

    Args:
        reference: predictions (n,) and labels (n,) on ID data.
        shifts: predictions and labels of each shifted data set, by its name.

    Returns:
        Rows `id`, each shift, and `mean` (over shifts, each of equal weight), with columns `accuracy`, `drop` (accuracy on ID
        minus that) and `samples`.

    Raises:
        InputError: as for `accuracy`; there are no shifts or one has a reserved name.

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


def _classes(values: Any, what: str) -> Array:
    classes = finite(array(values, what, 1), what)
    if (classes != np.floor(classes)).any() if classes.dtype.kind == "f" else False:
        raise InputError(f"The {what} are no class indices but numbers between them: take the argmax of the logits.")
    return classes.astype(np.int64)
