"""Of what modality a task's examples are, and which raw columns hold them; see `hf_reprogram.modalities`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InputError, unknown
from ..modalities import MODALITIES, every_modality
from ..modalities.base import Modality
from .labels import known_task

if TYPE_CHECKING:
    from .options import TaskOptions


def task_modality(options: TaskOptions) -> Modality | None:
    """The modality of a task, which is known before its data is; None if neither the options nor the catalog say it."""
    for modality in every_modality():
        if getattr(options, modality.column, None):
            return modality
    known = known_task(options)
    return MODALITIES[known.modality] if known else None


def input_columns(options: TaskOptions, train: Any) -> tuple[Modality, list[str]]:
    """The modality of a task, and its columns in the raw data.

    Raises:
        InputError: neither the options nor the catalog name any.
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

    Raises:
        InputError: a column is missing, or a value is none of the modality's.
    """
    for column in columns:
        if column not in data.column_names:
            raise unknown(f"column of {options.dataset!r}", column, data.column_names)
    return modality.prepare(data, columns, split, options.dataset)
