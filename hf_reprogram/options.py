"""Strict construction of dataclasses from plain data (JSON, YAML, keyword arguments)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from .errors import InputError, unknown

T = TypeVar("T")


def from_dict(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """`cls(**values)`, refusing keys that `cls` does not have and keys it misses.

    Args:
        cls: a dataclass.
        values: its fields as plain data.
        where: how to call this set of options in an error message, for example "option of warp".
    """
    known = {field.name: field for field in fields(cls) if field.init}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise unknown(where, key, known)
    for key, field in known.items():
        if key not in values and field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"Missing {where}: {key!r} has no default.")
    return cls(**values)
