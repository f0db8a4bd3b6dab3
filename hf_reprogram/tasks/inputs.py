"""The modality of a task's examples, and the raw columns that hold them; see `hf_reprogram.modalities`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InputError, unknown
from ..modalities import MODALITIES, every_modality
from ..modalities.base import Modality
from .labels import known_task

if TYPE_CHECKING:
    from .options import TaskOptions


def task_modality(options: TaskOptions) -> Modality | None:
    """The modality of a task before its data is read; None if neither the options nor the catalog name it.

    >>> from hf_reprogram.tasks.options import TaskOptions
    >>> task_modality(TaskOptions("photos", image="picture")).name
    'image'
    """
    for modality in every_modality():
        if getattr(options, modality.column, None):
            return modality
    known = known_task(options)
    return MODALITIES[known.modality] if known else None


def input_columns(options: TaskOptions, train: Any) -> tuple[Modality, list[str]]:
    """The modality of a task, and the names of the columns that hold its examples in the raw data.

    Args:
        options: the task section of a recipe.
        train: the raw training split.

    Raises:
        InputError: neither the options nor the catalog name a column.
    """
    modality, known = task_modality(options), known_task(options)
    if modality is None:
        keys = [f"task.{each.column} ({each.column_help})" for each in every_modality()]
        raise InputError(
            f"The task does not say which columns of {options.dataset!r} hold the examples: give "
            f"{', '.join(keys[:-1])} or {keys[-1]}. It has {', '.join(map(repr, train.column_names))}."
        )
    columns = getattr(options, modality.column) or (known.columns if known else ())
    return modality, modality.pick(columns, train.column_names)


def prepare_inputs(data: Any, modality: Modality, columns: list[str], split: str, options: TaskOptions) -> Any:
    """The prepared columns of a raw split; see `Modality.prepare`.

    Args:
        data: the raw split.
        modality: the modality of the examples.
        columns: the raw columns that hold the examples.
        split: the name of the split, for error messages.
        options: the task section of a recipe.

    Raises:
        InputError: a column is missing, or a value does not fit the modality.
    """
    for column in columns:
        if column not in data.column_names:
            raise unknown(f"column of {options.dataset!r}", column, data.column_names)
    return modality.prepare(data, columns, split, options.dataset)
