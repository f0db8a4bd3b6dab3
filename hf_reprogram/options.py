"""Strict construction of dataclasses from plain data (JSON, YAML, keyword arguments)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from numbers import Integral
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import InputError, unknown

T = TypeVar("T")

_WORDS: dict[Any, tuple[str, str]] = {  # one, and several
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    bool: ("true or false", "true or false"),
    NoneType: ("null", "null"),
}


def from_dict(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Return `cls(**values)`; refuse unknown keys, missing keys and values of the wrong type.

    Args:
        cls: a dataclass.
        values: its fields as plain data.
        where: the name of this set of options in an error message, for example "option of warp".

    Raises:
        InputError: a key is unknown or missing, or a value has the wrong type.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Size:
    ...     width: int
    ...     height: int = 1
    >>> from_dict(Size, {"width": 3}, "option of size")
    Size(width=3, height=1)
    """
    known = {field.name: field for field in fields(cls) if field.init}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise unknown(where, key, known)
    for key, field in known.items():
        if key not in values and field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"Missing {where}: {key!r} has no default.")
    hints = get_type_hints(cls)
    try:
        made = cls(**values)
    except (TypeError, AttributeError):  # its own checks met a type that they do not expect
        _check_types(values, hints, where)
        raise
    _check_types({key: getattr(made, key) for key in values}, hints, where)
    return made


def _check_types(values: Mapping[str, Any], hints: dict[str, Any], where: str) -> None:
    for key, value in values.items():
        if not _fits(value, hints[key]):
            raise InputError(f"The {where} {key!r} is {value!r}: give {_words(hints[key])}.")


def _fits(value: Any, hint: Any) -> bool:
    """Whether plain data is of a type; types that are no plain data are not looked into."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if kind is tuple:
        return isinstance(value, list | tuple)  # JSON has lists alone
    if kind is list:
        return isinstance(value, list | tuple) and all(_fits(item, one) for item in value for one in inner)
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool)
    return kind is Any or not isinstance(kind, type) or isinstance(value, kind)


def _words(hint: Any, several: bool = False) -> str:
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return " or ".join(_words(one, several) for one in inner)
    if kind in (list, tuple):
        what = f" of {_words(inner[0], several=True)}" if inner else ""
        return f"lists{what}" if several else f"a list{what}"
    return _WORDS.get(kind, ("a mapping of keys to values", "mappings"))[several]


def check_whole(least: int = 1, of: str = "", most: int | None = None, /, **values: Any) -> None:
    """Raise `InputError` if a value is not a whole number from `least` to `most`.

    Args:
        least: the smallest number that is allowed.
        of: the unit for the message, such as " of pixels".
        most: the largest number that is allowed; None for no limit.
        values: the numbers by the name of the option. NumPy's integers are whole numbers too, booleans are not.

    >>> check_whole(layers=5, channels=0)
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: channels is 0: give a whole number, 1 or more.
    """
    for name, value in values.items():
        if not _is_whole(value, least) or (most is not None and value > most):
            limits = f", {least} or more" if most is None else f" from {least} to {most}"
            raise InputError(f"{name} is {value!r}: give a whole number{of}{limits}.")


def check_whole_list(least: int = 1, /, **lists: Any) -> None:
    """Raise `InputError` if a value is not a list of at least one whole number, each `least` or more.

    >>> check_whole_list(k=[1, 2, 0])
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: k is [1, 2, 0]: give a list of whole numbers, each 1 or more.
    """
    for name, values in lists.items():
        if not isinstance(values, list) or not values or not all(_is_whole(value, least) for value in values):
            raise InputError(f"{name} is {values!r}: give a list of whole numbers, each {least} or more.")


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least
