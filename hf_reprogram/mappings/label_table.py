"""The source labels that stand for each class, by their names: as rows, as plain data and as lines for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from ..errors import InputError
from ..sources.probe import Probe


def table(
    weights: Tensor, source_labels: Sequence[str], target_labels: Sequence[str], most: int = 10
) -> list[tuple[str, str, float]]:
    """The source labels that count for each class, as rows (class, source label, weight), heaviest first.

    Args:
        weights: (classes, K_S).
        source_labels: names of the source's labels; empty if it has none, which leaves their numbers.
        target_labels: names of the classes.
        most: rows a class.

    Raises:
        InputError: there are other numbers of names.
    """
    names = list(source_labels) or [str(label) for label in range(weights.shape[1])]
    if weights.shape != (len(target_labels), len(names)):
        raise InputError(
            f"The map takes {weights.shape[1]} source labels to {weights.shape[0]} classes, but {len(names)} and "
            f"{len(target_labels)} names are given: name each of them."
        )
    rows = []
    for target, row in zip(target_labels, weights.detach().cpu(), strict=True):
        heaviest = row.abs().argsort(descending=True, stable=True)[:most].tolist()
        rows += [(target, names[label], float(row[label])) for label in heaviest if row[label] != 0]
    return rows


def describe_map(weights: Callable[[], Tensor], how: str, probe: Probe) -> dict[str, Any]:
    """The source labels that stand for each class.

    Args:
        weights: gives (classes, source labels), or raises `InputError` where the map is still to be fitted.
        how: the sets or the weights are found.
        probe: names the labels and the classes.

    Returns:
        `label_mapping`: how. `label_map`: {class: {"number": how many source labels count for it, "labels": [(name, weight),
        ...]}}, with the `probe.top` heaviest ones, the heaviest first; where the source does not name its labels the names are
        their numbers. None if the map is still to be fitted.
    """
    try:
        matrix = weights()
    except InputError:  # there is nothing to map with yet
        return {"label_mapping": how, "label_map": None}
    rows: dict[str, list[tuple[str, float]]] = {name: [] for name in probe.labels}
    for name, label, weight in table(matrix, probe.source.spec.labels, probe.labels, most=matrix.shape[1]):
        rows[name].append((label, round(weight, 3)))
    told = {name: {"number": len(labels), "labels": labels[: probe.top]} for name, labels in rows.items()}
    return {"label_mapping": how, "label_map": told}


def map_lines(found: dict[str, Any]) -> list[str]:
    """What `describe_map` found, a line per class.

    >>> map_lines({"label_mapping": "identity", "label_map": {"cat": {"number": 3, "labels": [("tench", 0.333)]}}})
    ['source labels of each class, with their weights (identity):', '  cat          0.33 tench; 2 more']
    """
    if found["label_map"] is None:
        return [f"label map ({found['label_mapping']}): still to be fitted, which training does"]
    width = min(24, max(12, *map(len, found["label_map"])))
    lines = [f"source labels of each class, with their weights ({found['label_mapping']}):"]
    for name, entry in found["label_map"].items():
        labels = "; ".join(f"{weight:.2f} {label}" for label, weight in entry["labels"])
        more = entry["number"] - len(entry["labels"])
        lines.append(f"  {name:<{width}} {labels}{f'; {more} more' if more else ''}")
    return lines
