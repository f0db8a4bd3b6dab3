"""Preparing a raw split: the columns of its modality and the column `label`, with every label checked.

problem type                  label
single_label_classification   a class index
regression                    a number
multi_label_classification    a list with one entry per label column: 0, 1, or NaN for a missing label
token_classification          a list with one entry per letter of the text: a class index, or `IGNORE` if it is not scored
infilling                     a list with one entry per letter of the text: 1 if it is hidden and predicted, else 0
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, unknown
from ..modalities.base import Modality
from .catalog import KnownTask
from .groups import Groups
from .inputs import prepare_inputs
from .labels import Classes
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
        classes: the classes, or the labels of a multi-label problem; none for regression and infilling.
        problem: a key of `hf_reprogram.tasks.problems.PROBLEMS`.
        known: the catalog's entry; None if the catalog does not have the task.
        lists: "names" if the label column holds lists with the names of an example's labels, "marks" if it holds lists with 0
            or 1 for each label; empty for other columns.
        note: how the columns of the inputs were found, if the task does not name them.
        groups: the groups of the examples; None for a task without groups.
    """

    modality: Modality
    inputs: list[str]
    labels: list[str]
    classes: Classes
    problem: str
    known: KnownTask | None = None
    lists: str = ""
    note: str = ""
    groups: Groups | None = None


def prepare(data: Any, columns: Columns, options: TaskOptions, split: str) -> Any:
    """A split with the columns of its modality, the column `label` and, for a task with groups, `groups`; and no others.

    Args:
        data: the raw split.
        columns: the columns of the task.
        options: the task section of a recipe.
        split: the name of the split, for error messages.

    Raises:
        InputError: a column is missing, or an example or a label cannot be used; the message names the row.
    """
    modality, classes, problem, known = columns.modality, columns.classes, columns.problem, columns.known
    if known is not None and known.prepare is not None and not getattr(options, modality.column):
        data = data.map(known.prepare)
    scored = (options.scored or (known.scored if known else None)) if problem == "token_classification" else None
    for column in [*columns.labels, *([scored] if scored else [])]:
        if column not in data.column_names:
            raise unknown(f"column of {options.dataset!r}", column, data.column_names)
    ready = prepare_inputs(data, modality, columns.inputs, split, options)
    if columns.groups is not None:
        ready = _with_numbers(ready, "groups", columns.groups.of(data, split), "int64")
    values = [_raw(data, column) for column in columns.labels] + ([data[scored]] if scored else [])
    rows = zip(*values, strict=True)
    if PROBLEMS[problem].per_token:
        marks = (options.marks or (known.marks if known else "1")) if problem == "infilling" else None
        return _with_labels(ready, list(_letters(rows, ready[modality.column][:], classes, marks, split)), problem)
    label = {"multi_label_classification": _several, "regression": _number}.get(problem, _class)
    made = [label(values, columns, row, split) for row, values in enumerate(rows)]
    return _with_labels(ready, made, problem)


def _raw(data: Any, column: str) -> Any:
    """A label column with class indices replaced by names if the data declares names."""
    from datasets import ClassLabel

    kind = data.features[column]
    if isinstance(kind, ClassLabel):
        return [_called(kind.names, place) for place in data[column][:]]
    if isinstance(getattr(kind, "feature", None), ClassLabel):
        names = kind.feature.names
        return [None if row is None else [_called(names, place) for place in row] for row in data[column][:]]
    return data[column][:]


def _called(names: list[str], place: Any) -> Any:
    return names[place] if place is not None and 0 <= place < len(names) else place


def _with_labels(ready: Any, labels: list[Any], problem: str) -> Any:
    """A prepared split with its labels."""
    kind = "float32" if problem in ("regression", "multi_label_classification") else "int64"
    return _with_numbers(
        ready, "label", labels, kind, problem == "multi_label_classification" or PROBLEMS[problem].per_token
    )


def _with_numbers(ready: Any, name: str, values: list[Any], dtype: str, several: bool = False) -> Any:
    """A split with a column of numbers. `Dataset.add_column` would hash them value by value, which takes far longer."""
    import pyarrow as pa
    from datasets import Dataset, DatasetInfo, Features, List, Value, concatenate_datasets

    features = Features({name: List(Value(dtype)) if several else Value(dtype)})
    table = pa.table({name: pa.array(values, features.arrow_schema.field(name).type)}).cast(features.arrow_schema)
    digest = hashlib.blake2b(digest_size=8)
    for buffer in filter(None, table[name].chunk(0).buffers() if values else ()):
        digest.update(buffer)
    column = Dataset(table, info=DatasetInfo(features=features), fingerprint=digest.hexdigest())
    return concatenate_datasets([ready, column], axis=1)


def _letters(rows: Any, texts: list[str], classes: Classes, marks: str | None, split: str) -> Iterator[list[int]]:
    """For each text a list with one label per letter: a class index or, with `marks`, whether the letter is hidden."""
    places: dict[str, int] = {}
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
            scored = {letter for letter, mark in zip(letters, seen, strict=True) if mark != "0"}
            places |= {letter: _place(letter, classes, row, split) for letter in scored - {*places}}
            yield [IGNORE if mark == "0" else places[letter] for letter, mark in zip(letters, seen, strict=True)]


def _number(values: tuple[Any, ...], columns: Columns, row: int, split: str) -> float:
    (value,) = values
    try:
        finite = value is not None and np.isfinite(float(value))
    except (TypeError, ValueError):
        finite = False
    if not finite:
        raise InputError(
            f"Row {row} of the {split} split has the label {value!r}: give a finite number, as the problem is a regression."
        )
    return float(value)


def _several(values: tuple[Any, ...], columns: Columns, row: int, split: str) -> list[float]:
    """0, 1 or NaN for each label: of a value per label column, or of one list."""
    classes, held = columns.classes, values[0]
    size = len(classes.names)
    if len(columns.labels) > 1 or not columns.lists:
        pairs = [*zip(columns.labels, values, strict=True)]
    elif held is None:
        return [float("nan")] * size
    elif columns.lists == "names":
        marks = [0.0] * size
        for name in held:
            marks[_place(name, classes, row, split)] = 1.0
        return marks
    elif len(held) != size:
        raise InputError(
            f"Row {row} of the {split} split has a list of {len(held)} labels, and there are {size}: give 0 or 1 for each."
        )
    else:
        pairs = [(str(place), value) for place, value in enumerate(held)]
    marks = [float("nan")] * size
    for key, value in pairs:
        marks[classes.places[key]] = _present(value, row, split)
    return marks


def _present(value: Any, row: int, split: str) -> float:
    """0, 1, or NaN for a missing label."""
    if value is None or value == "" or value != value:
        return float("nan")
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if number not in (0.0, 1.0):
        raise InputError(
            f"Row {row} of the {split} split has the label {value!r}: give 0, 1 or nothing for each of several labels."
        )
    return number


def _class(values: tuple[Any, ...], columns: Columns, row: int, split: str) -> int:
    return _place(values[0], columns.classes, row, split)


def _place(value: Any, classes: Classes, row: int, split: str) -> int:
    place, names = classes.place(value), classes.names
    if place is None:
        raise InputError(
            f"Row {row} of the {split} split has the label {value!r}, which is none of the {len(names)} names "
            f"{', '.join(names[:8])}: correct task.labels, or name another split if the labels of this one are hidden."
        )
    return place
