"""Data of the source's own task: examples that it takes as they are, with its own labels where names agree."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError, unknown
from .inputs import input_columns, prepare_inputs
from .labels import known_task
from .options import TaskOptions
from .read import VALIDATION_NAMES, read_splits
from .splits import at_most


def source_data(
    options: TaskOptions, takes: str, names: Sequence[str], most: int, seed: int = 0
) -> tuple[Any, np.ndarray]:
    """Examples of the source's own task, in random order, and the source's label of each.

    The split is the task's `test_split`, or test, else validation, else the only one.

    Args:
        options: the address of the data, and the columns where they cannot be found out.
        takes: what the source calls its examples (`SourceSpec.takes`).
        names: the source's labels in their order; may be empty.
        most: the largest number of examples.
        seed: of the draw.

    Returns:
        The prepared examples, and indices (n,) into `names`, with -1 for an example whose label has no name among them.

    Raises:
        InputError: data, columns or split cannot be found, or they hold examples that the source does not take.
    """
    splits, known = read_splits(options), known_task(options)
    name = options.test_split or (known.test_split if known else None)
    name = name or next((each for each in ("test", *VALIDATION_NAMES) if each in splits), next(iter(splits)))
    if name not in splits:
        raise unknown(f"split of {options.dataset!r}", name, splits)
    raw = splits[name]
    modality, columns, _ = input_columns(options, raw, takes)
    if modality.takes != takes:
        raise InputError(
            f"{options.dataset!r} holds {modality.noun}, and the source does not take these as they are: name data of its own "
            "task."
        )
    drawn = at_most(raw, min(most, len(raw)), seed)
    drawn = drawn.select(np.random.default_rng(seed).permutation(len(drawn)))
    column = options.label or (str(known.label) if known else "label")
    labels = _labels(drawn, column, names) if isinstance(column, str) else np.full(len(drawn), -1)
    return prepare_inputs(drawn, modality, columns, name, options), labels


def _labels(data: Any, column: str, names: Sequence[str]) -> np.ndarray:
    """The place of each row's label among the source's names; -1 where there is none, or several of one name."""
    from datasets import ClassLabel

    if column not in data.column_names or not names:
        return np.full(len(data), -1)
    kind, values = data.features[column], data[column][:]
    if isinstance(kind, ClassLabel):
        values = [kind.names[value] if value is not None and value >= 0 else "" for value in values]
    short = [shortened(name) for name in names]
    place = {name: index for index, name in enumerate(short) if short.count(name) == 1}
    return np.array([place.get(shortened(str(value)), -1) for value in values])


def shortened(name: str) -> str:
    """The name of a label without synonyms after a comma and without what stands in brackets.

    >>> shortened("tench, Tinca tinca"), shortened("Tench (n01440764)")
    ('tench', 'tench')
    """
    return re.sub(r"\s*\(.*?\)", "", name).split(",")[0].strip().lower()
