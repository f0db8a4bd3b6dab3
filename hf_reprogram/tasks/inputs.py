"""The modality of a task's examples, and the raw columns that hold them; see `hf_reprogram.modalities`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InputError, unknown
from ..modalities import MODALITIES, every_modality
from ..modalities.base import Modality
from .files import with_numbers
from .labels import known_task

LOOKED_AT = 2000  # rows whose values say what a column holds

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
    if options.horizon is not None:
        return MODALITIES["series"]
    known = known_task(options)
    return MODALITIES[known.modality] if known else None


def input_columns(options: TaskOptions, train: Any, takes: str | None = None) -> tuple[Modality, list[str], str]:
    """The modality of a task, its columns of examples in the raw data, and how they were found if the task does not name them.

    Args:
        options: the task section of a recipe.
        train: the raw training split.
        takes: what a model's `forward` calls its examples, if there is a model; then only such columns are looked for.

    Raises:
        InputError: neither the options nor the catalog name the columns, and not exactly one choice fits.
    """
    modality, known = task_modality(options), known_task(options)
    if modality is not None:
        columns = getattr(options, modality.column) or (known.columns if known else ())
        return modality, modality.pick(columns, train.column_names), ""
    found = _fitting(options, train, takes)
    if found is None:
        keys = [f"task.{each.column} ({each.column_help})" for each in every_modality()]
        raise InputError(
            f"The task does not say which columns of {options.dataset!r} hold the examples: give "
            f"{', '.join(keys[:-1])} or {keys[-1]}. It has {', '.join(map(repr, train.column_names))}."
        )
    modality, columns = found
    shown = ", ".join([*map(repr, columns[:12]), *(["..."] if len(columns) > 12 else [])])
    return modality, columns, f"The task does not name task.{modality.column}: the data allows only {shown}."


def _fitting(options: TaskOptions, train: Any, takes: str | None) -> tuple[Modality, list[str]] | None:
    """The only modality, and its columns, whose examples the data can hold; None if there are several or none."""
    rows = with_numbers(train.select(range(min(LOOKED_AT, len(train)))))
    label = options.label or "label"
    labels = [*([label] if isinstance(label, str) else label), options.scored or "", options.group or ""]
    candidates = {
        modality: names
        for modality in every_modality()
        if takes in (None, modality.takes) and (names := modality.candidates(rows, labels))
    }
    called = [each for each in every_modality() if takes in (None, each.takes) and each.column in rows.column_names]
    if len(called) == 1 and called[0].column in candidates.get(called[0], ()):
        return called[0], [called[0].column]
    if called or len(candidates) != 1:
        return None
    modality, names = next(iter(candidates.items()))
    return (modality, names) if modality.several or len(names) == 1 else None


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
