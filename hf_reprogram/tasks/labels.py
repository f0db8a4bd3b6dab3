"""The labels of a task: the problem type, the columns that hold them, and their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InputError, unknown
from .catalog import CATALOG, KnownTask, on_hub

if TYPE_CHECKING:
    from .options import TaskOptions


def known_task(options: TaskOptions) -> KnownTask | None:
    """The catalog's entry for a task; None if it has none.

    >>> from hf_reprogram.tasks.options import TaskOptions
    >>> known_task(TaskOptions("glue", "rte")).metrics
    ('accuracy',)
    """
    address, name = on_hub(options.dataset, options.name)
    return CATALOG.get((address, name or ""))


def problem_of(options: TaskOptions) -> str:
    """The problem type of a task before its data is read; see `TaskOptions.problem`.

    >>> from hf_reprogram.tasks.options import TaskOptions
    >>> problem_of(TaskOptions("molecules.csv", text="smiles", label=["toxic", "soluble"]))
    'multi_label_classification'
    """
    known = known_task(options)
    if options.problem is not None:
        return options.problem
    if options.regression is not None:
        return "regression" if options.regression else "single_label_classification"
    columns = options.label or (known.label if known else None)
    if known is not None and columns in (known.label, list(known.label)):
        return known.problem
    several = isinstance(options.label, list) and len(options.label) > 1
    return "multi_label_classification" if several else "single_label_classification"


def label_columns(options: TaskOptions, known: KnownTask | None, train: Any) -> list[str]:
    """The names of the label columns in the raw training split; a multi-label problem has several.

    Raises:
        InputError: the split lacks a column.
    """
    columns = options.label or (known.label if known else "label")
    columns = [columns] if isinstance(columns, str) else list(columns)
    for column in columns:
        if column not in train.column_names:
            raise unknown(f"label column of {options.dataset!r}", column, train.column_names)
    return columns


def label_names(
    options: TaskOptions, known: KnownTask | None, problem: str, columns: list[str], train: Any
) -> list[str]:
    """The class names by class index, or one name per label of a multi-label problem.

    The list is empty for regression and for infilling.

    Args:
        options: the task section of a recipe.
        known: the catalog's entry; None if there is none.
        problem: a key of `hf_reprogram.tasks.problems.PROBLEMS`.
        columns: the label columns.
        train: the raw training split.

    Raises:
        InputError: the names do not match the columns, the labels are fractions, or there are fewer than two classes.
    """
    from datasets import ClassLabel

    column = columns[0]
    if problem in ("regression", "infilling"):
        return []
    if problem == "multi_label_classification":
        if options.labels and len(options.labels) != len(columns):
            raise InputError(
                f"task.labels has {len(options.labels)} names, but there are {len(columns)} label columns: give one name per "
                "column."
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
                f"The column {column!r} holds numbers such as {next(v for v in values if v != int(v))}: to predict numbers, "
                "set task.regression: true."
            )
        if values and all(isinstance(value, int | float) for value in values):
            names = [str(int(value)) for value in values]
        else:
            names = [str(value) for value in values]
    if len(names) < 2:
        raise InputError(
            f"The column {column!r} has fewer than 2 classes ({', '.join(names)}): name another label column, or give "
            "data with at least 2 classes."
        )
    return names
