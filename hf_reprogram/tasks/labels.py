"""What the labels of a task are: the kind of problem, the columns that hold them, and their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InputError, unknown
from .catalog import CATALOG, KnownTask, on_hub

if TYPE_CHECKING:
    from .options import TaskOptions


def known_task(options: TaskOptions) -> KnownTask | None:
    """The catalog's entry for a task, if there is one."""
    address, name = on_hub(options.dataset, options.name)
    return CATALOG.get((address, name or ""))


def problem_of(options: TaskOptions) -> str:
    """The kind of problem, which is known before the data is; see `TaskOptions.problem`."""
    known = known_task(options)
    if options.problem is not None:
        return options.problem
    if options.regression is not None:
        return "regression" if options.regression else "single_label_classification"
    asked = options.label or (known.label if known else None)
    if known is not None and asked in (known.label, list(known.label)):
        return known.problem
    several = isinstance(options.label, list) and len(options.label) > 1
    return "multi_label_classification" if several else "single_label_classification"


def label_columns(options: TaskOptions, known: KnownTask | None, train: Any) -> list[str]:
    """The label columns, of which several make a multi-label problem."""
    columns = options.label or (known.label if known else "label")
    columns = [columns] if isinstance(columns, str) else list(columns)
    for column in columns:
        if column not in train.column_names:
            raise unknown(f"label column of {options.dataset!r}", column, train.column_names)
    return columns


def label_names(
    options: TaskOptions, known: KnownTask | None, problem: str, columns: list[str], train: Any
) -> list[str]:
    """Names by class index, or of the several labels; none for a number and for infilling."""
    from datasets import ClassLabel

    column = columns[0]
    if problem in ("regression", "infilling"):
        return []
    if problem == "multi_label_classification":
        if options.labels and len(options.labels) != len(columns):
            raise InputError(
                f"task.labels holds {len(options.labels)} names for {len(columns)} label columns: give one each."
            )
        return [str(name) for name in options.labels or columns]
    if options.labels:
        names = [str(name) for name in options.labels]
    elif known and known.labels:
        names = list(known.labels)
    elif problem == "token_classification":
        names = sorted({letter for text in train[column] for letter in text})
    elif isinstance(train.features[column], ClassLabel):
        names = list(train.features[column].names)
    else:
        values = sorted(
            {value for value in train[column] if value is not None and value == value},
            key=lambda v: (str(type(v)), v),
        )
        if any(isinstance(value, float) and not float(value).is_integer() for value in values):
            raise InputError(
                f"The column {column!r} holds numbers such as {next(v for v in values if v != int(v))}: set "
                "task.regression: true to predict them."
            )
        if values and all(isinstance(value, int | float) for value in values):
            names = [str(int(value)) for value in values]
        else:
            names = [str(value) for value in values]
    if len(names) < 2:
        raise InputError(
            f"The column {column!r} has fewer than 2 classes ({', '.join(names)}): there is nothing to tell apart."
        )
    return names
