"""Kinds of target data: one file per modality, and one line here.

A modality says everything that the rest of the package needs to know of one kind of data: how raw columns are prepared and
encoded, what a model's `forward` calls them, and how an example is read, shown and named; see
`hf_reprogram.modalities.base.Modality`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..errors import InputError
from ..registry import Registry
from .base import Modality

MODALITIES: Registry[Modality] = Registry(
    "modality",
    "modalities",
    {
        "text": "hf_reprogram.modalities.text:TEXT",
        "image": "hf_reprogram.modalities.image:IMAGE",
        "table": "hf_reprogram.modalities.table:TABLE",
        "audio": "hf_reprogram.modalities.audio:AUDIO",
        "series": "hf_reprogram.modalities.series:SERIES",
    },
    whole=True,
)


def every_modality() -> Iterator[Modality]:
    """All registered modalities, in the order of their registration."""
    return (MODALITIES[name] for name in MODALITIES)


def modality_of(columns: Iterable[str]) -> Modality:
    """The modality of a prepared split, from the names of its columns.

    >>> modality_of(["text", "label"]).name
    'text'

    Raises:
        InputError: no modality has one of these columns.
    """
    names = set(columns)
    for modality in every_modality():
        if modality.column in names:
            return modality
    known = ", ".join(repr(modality.column) for modality in every_modality())
    raise InputError(f"A prepared split has one of the columns {known}, and this one has {', '.join(sorted(names))}.")


def modality_taking(takes: str) -> Modality:
    """The modality whose examples a model's `forward` takes under this name.

    >>> modality_taking("pixel_values").noun
    'images'

    Raises:
        InputError: no modality is taken under this name.
    """
    for modality in every_modality():
        if modality.takes == takes:
            return modality
    raise InputError(f"No modality is given to a model as {takes!r}: register one that is.")
