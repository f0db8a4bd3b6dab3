"""From raw columns to those of `hf_reprogram.tasks.inputs` and `label`, with every label checked.

problem type                  label
single_label_classification   a class index
regression                    a number
multi_label_classification    a list of 0, 1 or NaN, one a label column
token_classification          a list, one a letter of the text: a class index, or `IGNORE` where nothing is scored
infilling                     a list, one a letter of the text: 1 where it is hidden and guessed, else 0
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
    """What the raw columns of a task hold.

    Attributes:
        modality: of the examples.
        inputs: the columns that hold the examples.
        labels: the columns that hold the labels.
        names: of the classes, by index, or of the several labels; empty for a number and for infilling.
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
    """The columns of a split's inputs and `label`, and no others.

    Args:
        data: the raw split.
        columns: what its columns hold.
        options: of the task.
        split: its name, for error messages.

    Raises:
        InputError: a column is missing, or a value is no example or no label of this task.
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
    """A column's labels; positions that the data declares names for are turned into names, as "1" may be at place 0."""
    from datasets import ClassLabel

    kind = data.features[column]
    if not isinstance(kind, ClassLabel):
        return data[column]
    called = kind.names if {*kind.names} == {*names} else names
    return [called[place] if place is not None and 0 <= place < len(called) else place for place in data[column]]


def _with_labels(ready: Any, labels: list[Any], problem: str) -> Any:
    from datasets import List, Value

    kind: Any = Value("float32" if problem in ("regression", "multi_label_classification") else "int64")
    several = problem == "multi_label_classification" or PROBLEMS[problem].per_token
    return ready.add_column("label", labels, feature=List(kind) if several else kind)


def _label(values: tuple[Any, ...], names: list[str], problem: str, row: int, split: str) -> Any:
    """The label of an example."""
    if problem == "multi_label_classification":
        return [_present(value, row, split) for value in values]
    return _number(values[0], row, split) if problem == "regression" else _class(values[0], names, row, split)


def _letters(rows: Any, texts: list[str], names: list[str], marks: str | None, split: str) -> Iterator[list[int]]:
    """A list for each text, with a label a letter: a class, or with `marks` whether the letter is hidden."""
    for row, (line, *rest) in enumerate(rows):
        letters = str(line)
        seen = str(rest[0]) if rest else "1" * len(letters)
        for other in (letters, seen):
            if len(other) != len(texts[row]):
                raise InputError(
                    f"Row {row} of the {split} split has {len(other)} labels for a text of {len(texts[row])} "
                    "letters: it needs one a letter."
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
        raise InputError(f"Row {row} of the {split} split has the label {value!r}: a regression needs a finite number.")
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
            f"Row {row} of the {split} split has the label {value!r}: one of several labels is 0, 1 or empty."
        )
    return number


def _class(value: Any, names: list[str], row: int, split: str) -> int:
    number = isinstance(value, bool | int | float) and np.isfinite(value) and value == int(value)
    name = str(int(value)) if number else value
    if isinstance(name, str) and name in names:  # a name comes before a position: labels 1 and 2 named "1" and "2"
        return names.index(name)
    if number and 0 <= value < len(names):
        return int(value)
    raise InputError(
        f"Row {row} of the {split} split has the label {value!r}, outside the {len(names)} names "
        f"{', '.join(names[:8])}: correct task.labels, or name another split if this one's labels are hidden."
    )
