"""What a task's examples are - texts, images or rows of numbers - and the columns that hold them.

modality   option          prepared columns               what the model's `forward` takes
text       task.text       `text`, `text_pair`            `input_ids`
image      task.image      `image`, encoded               `pixel_values` (3, height, width), from 0 to 1
table      task.features   `features`, a list of floats   `input_features` (columns,)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, unknown
from .labels import known_task

if TYPE_CHECKING:
    from .options import TaskOptions


@dataclass(frozen=True)
class Modality:
    """What examples are.

    Attributes:
        column: of a prepared split; the option that names the raw one is called the same.
        takes: what the model's `forward` calls it; see `hf_reprogram.transforms.base.InputTransform`.
        noun: what to call the examples in a sentence.
    """

    column: str
    takes: str
    noun: str


MODALITIES = {
    "text": Modality("text", "input_ids", "texts"),
    "image": Modality("image", "pixel_values", "images"),
    "table": Modality("features", "input_features", "rows of numbers"),
}


def noun(takes: str) -> str:
    """What to call examples that the model's `forward` takes under this name."""
    return next(modality.noun for modality in MODALITIES.values() if modality.takes == takes)


def modality_of(columns: Sequence[str]) -> str:
    """The modality of a prepared split, by its columns."""
    return next(name for name, modality in MODALITIES.items() if modality.column in columns)


def task_modality(options: TaskOptions) -> str | None:
    """The modality of a task, which is known before its data is; None if nothing says it."""
    known = known_task(options)
    for given in (options, known):
        for name, modality in MODALITIES.items():
            if getattr(given, modality.column, None):
                return name
    return None


def input_columns(options: TaskOptions, train: Any) -> tuple[str, list[str]]:
    """The modality of a task, and its columns in the raw data.

    Raises:
        InputError: neither the options nor the catalog name any.
    """
    modality, known = task_modality(options), known_task(options)
    if modality is None:
        raise InputError(
            f"task.text is missing: which columns of {options.dataset!r} hold the text (or task.image the image, "
            f"task.features the numbers)? It has {', '.join(map(repr, train.column_names))}."
        )
    name = MODALITIES[modality].column
    columns = getattr(options, name) or getattr(known, name)
    if modality == "image":
        names = [columns] if isinstance(columns, str) else columns
        return modality, [next((name for name in names if name in train.column_names), names[0])]
    return modality, list(columns)


def prepare_inputs(data: Any, modality: str, columns: list[str], split: str, options: TaskOptions) -> Any:
    """The prepared columns of a raw split; see the module's docstring.

    Args:
        data: the raw split.
        modality: a key of `MODALITIES`.
        columns: of the raw split.
        split: its name, for error messages.
        options: of the task.
    """
    for column in columns:
        if column not in data.column_names:
            raise unknown(f"column of {options.dataset!r}", column, data.column_names)
    if modality == "image":
        return _images(data, columns[0], options)
    return _table(data, columns, split) if modality == "table" else _texts(data, columns)


def _texts(data: Any, columns: list[str]) -> Any:
    from datasets import Dataset, Features, Value

    ready = {
        name: [str(value) if value is not None else "" for value in data[column]]
        for name, column in zip(("text", "text_pair"), columns, strict=False)
    }
    return Dataset.from_dict(ready, features=Features({name: Value("string") for name in ready}))


def _images(data: Any, column: str, options: TaskOptions) -> Any:
    """One column of encoded images or of paths, which nothing has opened yet."""
    from datasets import Dataset, Image, Value

    kind = data.features[column]
    encoded = isinstance(kind, Image) or (isinstance(kind, dict) and {*kind} == {"bytes", "path"})
    if isinstance(kind, Value) and kind.dtype in ("string", "large_string"):  # a path, from where the data lies
        where = Path(options.dataset)
        folder = where.parent if where.is_file() else where if where.is_dir() else ""
        data = Dataset.from_dict({column: [path and os.path.join(folder, path) for path in data[column]]})
    elif not encoded and not (isinstance(kind, Value) and kind.dtype in ("binary", "large_binary")):
        raise InputError(
            f"The column {column!r} of {options.dataset!r} holds {kind}, which is no image: name a column of encoded images "
            "or of their paths in task.image."
        )
    data = data.select_columns([column])
    return (data if column == "image" else data.rename_column(column, "image")).cast_column("image", Image())


def _table(data: Any, columns: list[str], split: str) -> Any:
    from datasets import Dataset, Features, List, Value
    from pandas.api.types import is_numeric_dtype

    frame = data.select_columns(columns).to_pandas()
    table = np.empty((len(frame), len(columns)), np.float32)
    for place, column in enumerate(columns):
        values = frame[column]
        if not is_numeric_dtype(values):
            row = next((row for row, value in enumerate(values) if not isinstance(value, int | float)), 0)
            raise InputError(
                f"Row {row} of the {split} split has {values[row]!r} in the column {column!r}: a feature is a number in "
                "every row."
            )
        with np.errstate(over="ignore"):
            table[:, place] = values
        wrong = np.flatnonzero(~np.isfinite(table[:, place]))
        if len(wrong):
            raise InputError(
                f"Row {wrong[0]} of the {split} split has {values[wrong[0]]} in the column {column!r}: fill in a finite "
                "number or leave the row out."
            )
    kind = Features({"features": List(Value("float32"), length=len(columns))})
    return Dataset.from_dict({"features": table}, features=kind)
