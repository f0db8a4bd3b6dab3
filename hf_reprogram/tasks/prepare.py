"""From raw columns to `text`, `text_pair` and `label`, with every label checked.

problem type                  label
single_label_classification   a class index
regression                    a number
multi_label_classification    a list of 0, 1 or NaN, one a label column
token_classification          a list, one a letter of the text: a class index, or `IGNORE` where nothing is scored
infilling                     a list, one a letter of the text: 1 where it is hidden and guessed, else 0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, unknown
from .catalog import KnownTask
from .problems import IGNORE

if TYPE_CHECKING:
    from .load import TaskOptions


def prepare(
    data: Any,
    text: list[str],
    columns: list[str],
    names: list[str],
    problem: str,
    known: KnownTask | None,
    options: TaskOptions,
    split: str,
) -> Any:
    """The columns `text`, `text_pair` and `label` of a split, and no others.

    Args:
        data: the raw split.
        text: one or two columns.
        columns: the label columns.
        names: of the classes or labels.
        problem: a key of `hf_reprogram.tasks.problems.PROBLEMS`.
        known: the catalog's entry, if there is one.
        options: of the task.
        split: its name, for error messages.
    """
    from datasets import Dataset, Features, List, Value

    if known is not None and known.prepare is not None and not options.text:
        data = data.map(known.prepare)
    scored = (options.scored or (known.scored if known else None)) if problem == "token_classification" else None
    for column in [*text, *columns, *([scored] if scored else [])]:
        if column not in data.column_names:
            raise unknown(f"column of {options.dataset!r}", column, data.column_names)
    ready: dict[str, list[Any]] = {
        name: [str(value) if value is not None else "" for value in data[column]]
        for name, column in zip(("text", "text_pair"), text, strict=False)
    }
    rows = zip(*(data[column] for column in [*columns, *([scored] if scored else [])]), strict=True)
    marks = options.marks or (known.marks if known else "1")
    kind: Any = Value("int64")
    if problem == "regression":
        ready["label"], kind = [_number(value, row, split) for row, (value, *_) in enumerate(rows)], Value("float32")
    elif problem == "multi_label_classification":
        ready["label"] = [[_present(value, row, split) for value in values] for row, values in enumerate(rows)]
        kind = List(Value("float32"))
    elif problem == "single_label_classification":
        ready["label"] = [_class(value, names, row, split) for row, (value, *_) in enumerate(rows)]
    else:
        kind = List(Value("int64"))
        ready["label"] = []
        for row, (line, *rest) in enumerate(rows):
            letters = str(line)
            seen = str(rest[0]) if rest else "1" * len(letters)
            for other in (letters, seen):
                if len(other) != len(ready["text"][row]):
                    raise InputError(
                        f"Row {row} of the {split} split has {len(other)} labels for a text of {len(ready['text'][row])} "
                        "letters: it needs one a letter."
                    )
            if problem == "infilling":
                ready["label"].append([int(letter in marks) for letter in letters])
            else:
                ready["label"].append(
                    [
                        IGNORE if mark == "0" else _class(letter, names, row, split)
                        for letter, mark in zip(letters, seen, strict=True)
                    ]
                )
    features = {name: Value("string") for name in ready if name != "label"}
    return Dataset.from_dict(ready, features=Features({**features, "label": kind}))


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
