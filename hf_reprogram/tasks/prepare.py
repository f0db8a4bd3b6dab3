"""Preparing a raw split: the columns of its modality and the column `label`, with every label checked.

problem type                  label
single_label_classification   a class index
regression                    a number
multi_label_classification    a list with one entry per label column: 0, 1, or NaN for a missing label
token_classification          a list with one entry per letter of the text: a class index, or `IGNORE` if it is not scored
infilling                     a list with one entry per letter of the text: 1 if it is hidden and predicted, else 0
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, unknown
from ..modalities.base import Modality
from .catalog import KnownTask
from .inputs import prepare_inputs
from .problems import IGNORE, PROBLEMS

if TYPE_CHECKING:
    from .options import TaskOptions


@dataclass(frozen=True)
class Columns:
    """The raw columns of a task, and the meaning of their values.

    Attributes:
        modality: the modality of the examples.
        inputs: the columns that hold the examples.
        labels: the columns that hold the labels.
        names: class names by class index, or one name per label of a multi-label problem; empty for regression and
            infilling.
        problem: a key of `hf_reprogram.tasks.problems.PROBLEMS`.
        known: the catalog's entry; None if the catalog does not have the task.
    """

    modality: Modality
    inputs: list[str]
    labels: list[str]
    names: list[str]
    problem: str
    known: KnownTask | None = None


def prepare(data: Any, columns: Columns, options: TaskOptions, split: str) -> Any:
    """A split with the columns of its modality and the column `label`, and no others.

    Args:
        data: the raw split.
        columns: the columns of the task.
        options: the task section of a recipe.
        split: the name of the split, for error messages.

    Raises:
        InputError: a column is missing, or an example or a label cannot be used; the message names the row.
    """
    modality, names, problem, known = columns.modality, columns.names, columns.problem, columns.known
    if known is not None and known.prepare is not None and not getattr(options, modality.column):
        data = data.map(known.prepare)
    scored = (options.scored or (known.scored if known else None)) if problem == "token_classification" else None
    for column in [*columns.labels, *([scored] if scored else [])]:
        if column not in data.column_names:
            raise unknown(f"column of {options.dataset!r}", column, data.column_names)
    ready = prepare_inputs(data, modality, columns.inputs, split, options)
    values = [_named(data, column, names) for column in columns.labels] + ([data[scored]] if scored else [])
    rows = zip(*values, strict=True)
    if PROBLEMS[problem].per_token:
        marks = (options.marks or (known.marks if known else "1")) if problem == "infilling" else None
        return _with_labels(ready, list(_letters(rows, list(ready[modality.column]), names, marks, split)), problem)
    return _with_labels(ready, [_label(values, names, problem, row, split) for row, values in enumerate(rows)], problem)


def _named(data: Any, column: str, names: list[str]) -> Any:
    """A label column with class indices replaced by names if the data declares names, as class "1" may have index 0."""
    from datasets import ClassLabel

    kind = data.features[column]
    if not isinstance(kind, ClassLabel):
        return data[column]
    by_index = kind.names if {*kind.names} == {*names} else names
    return [by_index[index] if index is not None and 0 <= index < len(by_index) else index for index in data[column]]


def _with_labels(ready: Any, labels: list[Any], problem: str) -> Any:
    from datasets import List, Value

    kind: Any = Value("float32" if problem in ("regression", "multi_label_classification") else "int64")
    several = problem == "multi_label_classification" or PROBLEMS[problem].per_token
    return ready.add_column("label", labels, feature=List(kind) if several else kind)


def _label(values: tuple[Any, ...], names: list[str], problem: str, row: int, split: str) -> Any:
    """The label of one example, from its values in the label columns."""
    if problem == "multi_label_classification":
        return [_present(value, row, split) for value in values]
    return _number(values[0], row, split) if problem == "regression" else _class(values[0], names, row, split)


def _letters(rows: Any, texts: list[str], names: list[str], marks: str | None, split: str) -> Iterator[list[int]]:
    """For each text a list with one label per letter: a class index or, with `marks`, whether the letter is hidden."""
    for row, (line, *rest) in enumerate(rows):
        letters = str(line)
        seen = str(rest[0]) if rest else "1" * len(letters)
        for other in (letters, seen):
            if len(other) != len(texts[row]):
                raise InputError(
                    f"Row {row} of the {split} split has {len(other)} labels for a text of {len(texts[row])} "
                    "letters: give one label per letter."
                )
        if marks is not None:
            yield [int(letter in marks) for letter in letters]
        else:
            yield [
                IGNORE if mark == "0" else _class(letter, names, row, split)
                for letter, mark in zip(letters, seen, strict=True)
            ]


def _number(value: Any, row: int, split: str) -> float:
    try:
        finite = value is not None and np.isfinite(float(value))
    except ValueError:
        finite = False
    if not finite:
        raise InputError(
            f"Row {row} of the {split} split has the label {value!r}: give a finite number, as the problem is a regression."
        )
    return float(value)


def _present(value: Any, row: int, split: str) -> float:
    """0, 1, or NaN for a missing label."""
    if value is None or value == "" or value != value:
        return float("nan")
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if number not in (0.0, 1.0):
        raise InputError(
            f"Row {row} of the {split} split has the label {value!r}: give 0, 1 or nothing for each of several labels."
        )
    return number


def _class(value: Any, names: list[str], row: int, split: str) -> int:
    number = isinstance(value, bool | int | float) and np.isfinite(value) and value == int(value)
    name = str(int(value)) if number else value
    if isinstance(name, str) and name in names:  # names come before indices: values 1 and 2 may be named "1" and "2"
        return names.index(name)
    if number and 0 <= value < len(names):
        return int(value)
    raise InputError(
        f"Row {row} of the {split} split has the label {value!r}, which is none of the {len(names)} names "
        f"{', '.join(names[:8])}: correct task.labels, or name another split if the labels of this one are hidden."
    )
