"""Strict construction of dataclasses from plain data (JSON, YAML, keyword arguments)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from math import isfinite
from numbers import Integral
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import InputError, shown, unknown

T = TypeVar("T")

_LARGEST = 2**63 - 1  # that a tensor can hold
_DEEPEST = 20

_WORDS: dict[Any, tuple[str, str]] = {  # one, and several
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    bool: ("true or false", "true or false"),
    NoneType: ("null", "null"),
}


def from_dict(cls: type[T], values: Any, where: str, most: int | None = None) -> T:
    """Return `cls(**values)`; refuse unknown keys, missing keys and values of the wrong type.

    Args:
        cls: a dataclass.
        values: its fields as plain data.
        where: the name of this set of options in an error message, for example "option of warp".
        most: the largest whole number that is allowed, so that no size takes all memory; None for no limit. A field with
            `metadata={"most": number}` has its own.

    Raises:
        InputError: a key is unknown or missing, a value has the wrong type, or a number is not finite or too large.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Size:
    ...     width: int
    ...     height: int = 1
    >>> from_dict(Size, {"width": 3}, "option of size")
    Size(width=3, height=1)
    >>> from_dict(Size, {"width": 3_000_000}, "option of size", most=1024)
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The option of size 'width' is 3000000: give a whole number of at most 1,024.
    """
    known = {field.name: field for field in fields(cls) if field.init}  # type: ignore[arg-type]
    if not isinstance(values, Mapping):
        raise InputError(f"Each {where} stands in a mapping of keys to values, and this is {shown(values)}.")
    for key in values:
        if key not in known:
            raise unknown(where, key, known)
    for key, field in known.items():
        if key not in values and field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"Missing {where}: {key!r} has no default.")
    for key, value in values.items():
        _check_size(value, f"The {where} {key!r}", known[key].metadata.get("most", most))
    hints = get_type_hints(cls)
    try:
        made = cls(**values)
    except InputError:
        raise
    except Exception:  # its own checks met a type that they do not expect
        check_types(values, hints, where)
        raise
    check_types({key: getattr(made, key) for key in values}, hints, where)
    return made


def check_types(values: Mapping[str, Any], hints: Mapping[str, Any], where: str) -> None:
    """Raise `InputError` if a value of plain data is not of its type, or a number in it is not finite.

    Args:
        values: plain data; keys without a type are not looked at.
        hints: the types by key, as from `typing.get_type_hints`.
        where: as for `from_dict`.

    >>> check_types({"width": "3"}, {"width": int}, "option of size")
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The option of size 'width' is '3': give a whole number.
    """
    for key, value in values.items():
        if key not in hints:
            continue
        what = f"The {where} {key!r}"
        _check_size(value, what, None)
        if not _fits(value, hints[key]):
            raise InputError(f"{what} is {shown(value)}: give {_words(hints[key])}.")
        for number in _numbers(value):
            if not isfinite(number):
                raise InputError(f"{what} is {shown(value)}: give finite numbers.")


def _check_size(value: Any, what: str, most: int | None, depth: int = 0) -> None:
    """Raise `InputError` if a whole number in plain data is too large, or if the data is nested too deeply."""
    if isinstance(value, int) and abs(value) > (limit := _LARGEST if most is None else most):
        raise InputError(f"{what} is {shown(value)}: give a whole number of at most {limit:,}.")
    if isinstance(value, Mapping | list | tuple):
        if depth == _DEEPEST:
            raise InputError(f"{what} is nested more than {_DEEPEST} levels deep: give plain values.")
        for item in value.values() if isinstance(value, Mapping) else value:
            _check_size(item, what, most, depth + 1)


def _numbers(value: Any) -> Iterator[float]:
    """The real numbers in plain data."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _numbers(item)


def _fits(value: Any, hint: Any) -> bool:
    """Whether plain data is of a type; types that are no plain data are not looked into."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if kind is Literal:
        return value in inner
    if kind is tuple and inner and inner[-1] is not ...:  # JSON has lists alone
        return isinstance(value, list | tuple) and len(value) == len(inner) and all(map(_fits, value, inner))
    if kind in (list, tuple):
        return isinstance(value, list | tuple) and all(_fits(item, one) for item in value for one in inner[:1])
    if kind is dict and inner and inner[1] in (int, float):  # what else a mapping holds, its reader checks
        return isinstance(value, dict) and all(_fits(item, inner[1]) for item in value.values())
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool)
    return kind is Any or not isinstance(kind, type) or isinstance(value, kind)


def _words(hint: Any, several: bool = False) -> str:
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return " or ".join(_words(one, several) for one in inner)
    if kind is Literal:
        return f"one of {', '.join(map(repr, inner))}"
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


def check_indices(name: str, least: int, end: int, values: Any) -> None:
    """Raise `InputError` unless every number of a tensor that was loaded is at least `least` and less than `end`.

    >>> import torch
    >>> check_indices("support", 0, 5, torch.tensor([[0, 7]]))
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The checkpoint's support holds 7, and it may hold 0 to 4: take another copy.
    """
    if values.numel():
        for value in int(values.min()), int(values.max()):
            if not least <= value < end:
                raise InputError(
                    f"The checkpoint's {name} holds {value}, and it may hold {least} to {end - 1}: take another copy."
                )


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
