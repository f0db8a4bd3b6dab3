"""Shows the source labels of each class by name: as rows, as plain data and as lines for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from ..errors import InputError
from ..sources.probe import Probe


def table(
    weights: Tensor, source_labels: Sequence[str], target_labels: Sequence[str], most: int = 10
) -> list[tuple[str, str, float]]:
    """The source labels of each class, as rows (class, source label, weight) with the largest weights first.

    Args:
        weights: (classes, K_S).
        source_labels: the names of the source's labels; if empty, indices take their place.
        target_labels: the names of the classes.
        most: the largest number of rows per class.

    Raises:
        InputError: the number of names is not that of the weights' rows or columns.

    >>> table(torch.tensor([[0.0, 0.25, 0.75], [1.0, 0.0, 0.0]]), ["tench", "shark", "hen"], ["bird", "fish"])
    [('bird', 'hen', 0.75), ('bird', 'shark', 0.25), ('fish', 'tench', 1.0)]
    """
    names = list(source_labels) or [str(label) for label in range(weights.shape[1])]
    if weights.shape != (len(target_labels), len(names)):
        raise InputError(
            f"The map takes {weights.shape[1]} source labels to {weights.shape[0]} classes, but there are {len(names)} and "
            f"{len(target_labels)} names: give one name for each."
        )
    rows = []
    for target, row in zip(target_labels, weights.detach().cpu(), strict=True):
        heaviest = row.abs().argsort(descending=True, stable=True)[:most].tolist()
        rows += [(target, names[label], float(row[label])) for label in heaviest if row[label] != 0]
    return rows


def describe_map(weights: Callable[[], Tensor], how: str, probe: Probe) -> dict[str, Any]:
    """Describe the source labels of each class as plain data.

    Args:
        weights: a function that returns the weights (classes, source labels), or raises `InputError` before the map is fitted.
        how: the name of the label mapping (`hf_reprogram.mappings.label_map_options.SetOptions`).
        probe: has the names of the source labels and of the classes.

    Returns:
        `label_mapping` is `how`. `label_map` is None before the map is fitted, else {class: {"number": the number of source
        labels with a weight, "labels": [(name, weight), ...]}} with the `probe.top` largest weights, the largest first. The
        names are indices if the source does not name its labels.

    >>> probe = Probe(image_source, None, ["bird", "fish"], logits=None, reference={}, top=1)
    >>> describe_map(lambda: torch.eye(2, 12), "identity", probe)["label_map"]["fish"]
    {'number': 1, 'labels': [('thing 1', 1.0)]}
    """
    try:
        matrix = weights()
    except InputError:  # the map is still to be fitted
        return {"label_mapping": how, "label_map": None}
    rows: dict[str, list[tuple[str, float]]] = {name: [] for name in probe.labels}
    for name, label, weight in table(matrix, probe.source.spec.labels, probe.labels, most=matrix.shape[1]):
        rows[name].append((label, round(weight, 3)))
    largest = {name: {"number": len(labels), "labels": labels[: probe.top]} for name, labels in rows.items()}
    return {"label_mapping": how, "label_map": largest}


def map_lines(description: dict[str, Any]) -> list[str]:
    """The result of `describe_map` as lines, one line per class.

    >>> map_lines({"label_mapping": "identity", "label_map": {"cat": {"number": 3, "labels": [("tench", 0.333)]}}})
    ['source labels of each class, with their weights (identity):', '  cat          0.33 tench; 2 more']
    """
    if description["label_map"] is None:
        return [f"label map ({description['label_mapping']}): still to be fitted, which training does"]
    width = min(24, max(12, *map(len, description["label_map"])))
    lines = [f"source labels of each class, with their weights ({description['label_mapping']}):"]
    for name, entry in description["label_map"].items():
        labels = "; ".join(f"{weight:.2f} {label}" for label, weight in entry["labels"])
        more = entry["number"] - len(entry["labels"])
        lines.append(f"  {name:<{width}} {labels}{f'; {more} more' if more else ''}")
    return lines
