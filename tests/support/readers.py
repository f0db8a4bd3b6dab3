"""Data files as Python's own readers find them, to compare with what the package reads."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from typing import Any

import pyarrow as pa


def same(found: Any, value: Any) -> bool:
    """Whether two values are equal, of the kinds that JSON has; a number may be of another kind."""
    if isinstance(found, dict) and isinstance(value, dict):
        return all(same(found.get(key), value.get(key)) for key in {*found, *value})
    if isinstance(found, list) and isinstance(value, list):
        return len(found) == len(value) and all(map(same, found, value))
    if isinstance(found, bool) or isinstance(value, bool):
        return found is value
    if isinstance(found, float) and isinstance(value, float) and math.isnan(found):
        return math.isnan(value)
    return (type(found) is type(value) and found == value) or (
        {type(found), type(value)} == {int, float} and found == value
    )


def texts_of(data: bytes, name: str, encoding: str | None) -> str | None:
    """The text of a file; None if it has none. The encoding is that which its first bytes or the task name."""
    try:
        data = gzip.decompress(data) if name.endswith("gz") else data
    except Exception:
        return None
    for mark, marked in (
        (b"\xff\xfe\0\0", "utf-32"),
        (b"\0\0\xfe\xff", "utf-32"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if data.startswith(mark):
            encoding = encoding or marked
    try:
        text = data.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text.removeprefix("\ufeff")


def parsed(text: str, sep: str, columns: list[str] | None, quoting: Any) -> list[dict[str, Any]] | None:
    """The rows of a text as Python's own reader finds them; None if they make no table."""
    try:
        rows = [
            row for row in csv.reader(io.StringIO(text, newline=""), delimiter=sep, quoting=quoting, strict=True) if row
        ]
    except csv.Error:
        return None
    names = columns or [name or f"Unnamed: {place}" for place, name in enumerate(rows.pop(0) if rows else ())]
    if not names or len({*names}) < len(names) or any(len(row) != len(names) for row in rows):
        return None
    return [dict(zip(names, row, strict=True)) for row in rows]


def json_rows(data: bytes, name: str) -> list[Any] | None:
    """The rows of JSON lines, or of one JSON list, as Python's own reader finds them; None if there are none."""
    text = texts_of(data, name, None)
    if text is None:
        return None
    try:
        whole = json.loads(text)
        rows = whole if isinstance(whole, list) else [whole]
    except (ValueError, RecursionError):
        try:
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
        except (ValueError, RecursionError):
            return None
    return rows if rows and all(isinstance(row, dict) for row in rows) else None


def of_kinds(values: list[Any]) -> int:
    """How many kinds of values there are, if one more than 1 for numbers that do not fit."""
    kinds = {float if type(value) is int else type(value) for value in values if value is not None}
    try:
        pa.array(values)
    except (pa.ArrowException, OverflowError):
        return 2
    return len(kinds)
