"""Names of labels, from any of the forms in which people keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from .errors import InputError

MOST_LABELS = 1_000_000  # more is a mistake, for which no memory is taken


def numbered_labels(count: int) -> list[str]:
    """The names of labels of which only the number is known, as transformers has them.

    >>> numbered_labels(2)
    ['LABEL_0', 'LABEL_1']
    """
    return [f"LABEL_{index}" for index in range(count)]


def label_list(labels: Any, called: str = "labels") -> list[str]:
    """The names of labels by their index.

    Args:
        labels: the number of labels; a list, tuple, array, `Series` or `Index` of names; a dictionary from index to
            name (the `id2label` of a config) or from name to index (`label2id`); or a `datasets.ClassLabel`. A name is a text
            or a number.
        called: the name of the argument in an error message.

    Raises:
        InputError: the labels have another form, an index is missing, or a name is empty, missing or there twice.

    >>> label_list(2), label_list({"no": 0, "yes": 1}), label_list({1: "yes", 0: "no"})
    (['LABEL_0', 'LABEL_1'], ['no', 'yes'], ['no', 'yes'])
    """
    if _whole(labels):
        if not 1 <= labels <= MOST_LABELS:
            raise InputError(f"{called} is {labels}: give a number of labels from 1 to {MOST_LABELS:,}.")
        return numbered_labels(int(labels))
    if hasattr(labels, "int2str"):  # a ClassLabel
        labels = labels.names
    if isinstance(labels, Mapping):
        names = _by_index(labels, called)
    else:
        if hasattr(labels, "tolist"):
            labels = labels.tolist()
        if not isinstance(labels, Sequence) or isinstance(labels, str | bytes):
            raise InputError(f"{called} is {labels!r:.100}: give a list of names, or their number.")
        names = list(labels)
    written = [_name(name, called) for name in names]
    if len({*written}) < len(written):
        twice = next(name for name in written if written.count(name) > 1)
        raise InputError(f"{called} holds the name {twice!r} twice: give every label a name of its own.")
    return written


def _by_index(labels: Mapping[Any, Any], called: str) -> list[Any]:
    """The names of an `id2label` or a `label2id`, in the order of their indices."""
    if all(_whole(key) for key in labels):
        pairs = [(int(key), name) for key, name in labels.items()]
    elif all(_whole(index) for index in labels.values()):
        pairs = [(int(index), name) for name, index in labels.items()]
    elif all(isinstance(key, str) and key.isdecimal() for key in labels):  # as JSON keeps an id2label
        pairs = [(int(key), name) for key, name in labels.items()]
    else:
        raise InputError(
            f"{called} is {labels!r:.100}: give a name per index (id2label) or an index per name (label2id)."
        )
    if sorted(index for index, _ in pairs) != list(range(len(pairs))):
        indices = ", ".join(str(index) for index, _ in pairs[:12])
        raise InputError(f"{called} has the indices {indices}: give each of 0 to {len(pairs) - 1} once.")
    return [name for _, name in sorted(pairs, key=lambda pair: pair[0])]


def _whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _name(value: Any, called: str) -> str:
    if isinstance(value, str) and value:
        return str(value)
    if isinstance(value, Real) and not isinstance(value, bool) and value == value:
        return f"{float(value):.0f}" if float(value).is_integer() else str(value)
    remedy = "put it in quotes" if isinstance(value, bool) else "give texts, or numbers"
    raise InputError(f"{called} holds {value!r:.100}, which is no name: {remedy}.")
