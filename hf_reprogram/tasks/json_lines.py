"""Reads JSON files: an object per line and row, or one list of objects; texts stay texts, also those that look like dates."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, shown
from ..modalities.folders import stamp
from .files import decoded, opened, unreadable, unstreamed

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

_DEEPEST = 32  # lists and objects within each other; Arrow ends the process somewhere above a thousand


def read_json_lines(paths: Sequence[Path], encoding: str | None = None, notes: list[str] | None = None) -> Dataset:
    r"""The rows of JSON files, one file after the other, with a column per key.

    A key that a row lacks is None there. Numbers, truth values, texts, lists and objects keep their kind. Where the values of a
    column have no kind in common, such as 1 and "one", or no number of 64 bits holds them, all are texts as they are written.

    Args:
        paths: the files; they may be packed with gzip.
        encoding: by default UTF-8, or UTF-16 or UTF-32 if a file begins with their mark.
        notes: a list to which a sentence is added for every column of several kinds.

    Raises:
        InputError: a file cannot be read, or has other columns than the first. The message names the line, and the reason.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "days.jsonl")
    ...     size = path.write_text('{"day": "2020-01-01", "of": 1}\n{"day": "0012", "of": "one"}\n')
    ...     read_json_lines([path])[:]
    {'day': ['2020-01-01', '0012'], 'of': ['1', 'one']}
    """
    import pyarrow as pa
    from datasets import Dataset

    rows: list[dict[str, Any]] = []
    names: dict[str, None] = {}
    for path in paths:
        found = _rows(decoded(path, encoding), path)
        held = dict.fromkeys(name for row in found for name in row)
        if rows and {*held} != {*names}:
            raise InputError(
                f"The files of a split have different columns: {str(paths[0])!r} has {', '.join(names)}, and {str(path)!r} "
                f"has {', '.join(held)}: give all of them the same."
            )
        names = names or held
        rows += found
    if not names:
        raise unreadable(paths[0], "its rows hold no key")
    columns: dict[str, Any] = {}
    mixed = []
    try:
        for name in names:
            values = [row.get(name) for row in rows]
            columns[name] = _column(values)
            if columns[name] is None:
                columns[name] = pa.array([_as_text(value) for value in values], pa.string())
                mixed.append(name)
        table = pa.table(columns)
    except UnicodeEncodeError as error:
        raise unreadable(paths[0], "a text in it holds half of a surrogate pair, which is no character") from error
    if mixed and notes is not None:
        listed = ", ".join(map(shown, mixed[:5]))
        notes.append(f"Read as texts, since no other kind of value holds all that is there: the columns {listed}.")
    return Dataset(table, fingerprint=stamp([*paths, encoding]))


def json_tables(path: Path, encoding: str | None = None, rows: int = 1000) -> Iterator[pa.Table]:
    r"""The rows of a file with a JSON object per line in tables, one after the other, so that a file of any size can be read.

    The first table decides the columns and their kinds.

    Args:
        path: the file; it may be packed with gzip.
        encoding: by default UTF-8.
        rows: of a table, at most.

    Raises:
        InputError: the file cannot be read, or a later row has a value of another kind. The message names the line.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "days.jsonl")
    ...     size = path.write_text('{"day": "2020-01-01"}\n{"day": "2020-01-02"}\n')
    ...     [table.to_pydict() for table in json_tables(path, rows=1)]
    [{'day': ['2020-01-01']}, {'day': ['2020-01-02']}]
    """
    import pyarrow as pa

    schema: pa.Schema | None = None
    try:
        with opened(path, encoding) as file:
            lines = ((number, line) for number, line in enumerate(file, 1) if line.strip())
            while block := list(islice(lines, rows)):
                found = [_value(line, path, number) for number, line in block]
                for (number, _), row in zip(block, found, strict=True):
                    if not isinstance(row, dict):
                        raise unreadable(
                            path,
                            f"line {number} is {shown(row, 40)}: task.streaming reads an object per line, as "
                            '{"text": "a film", "label": "good"}',
                        )
                try:
                    names = dict.fromkeys(name for row in found for name in row) if schema is None else schema.names
                    table = pa.table({name: [row.get(name) for row in found] for name in names}, schema)
                except (pa.ArrowException, OverflowError) as error:
                    raise unreadable(
                        path,
                        f"a value in the lines {block[0][0]} to {block[-1][0]} is of another kind than in the lines before "
                        f"({' '.join(str(error).split()).rstrip('.')})",
                    ) from error
                schema = table.schema
                yield table
    except (OSError, EOFError, UnicodeError, LookupError) as error:
        raise unstreamed(path, error) from error


def _column(values: list[Any]) -> pa.Array | None:
    """The values of a column; None if they are of several kinds."""
    import pyarrow as pa

    try:
        column = pa.array(values)
    except (pa.ArrowException, OverflowError):
        return None
    if pa.types.is_floating(column.type) and any(isinstance(value, bool) for value in values):
        return None
    return column


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _rows(text: str, path: Path) -> list[dict[str, Any]]:
    """The objects of a text: of one list, or one after the other on lines of their own."""
    if text.lstrip().startswith("["):
        rows = _value(text, path)
        places = [f"row {place}" for place in range(len(rows))]
    else:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        places = [f"line {number}" for number, _ in lines]
        try:
            rows = [_value(line, path, number) for number, line in lines]
        except InputError:
            try:
                rows = [_value(text, path)]  # one object on several lines
            except InputError:
                rows = []
            if not rows:
                raise
    if not rows:
        raise unreadable(path, "it holds no row")
    for place, row in zip(places, rows, strict=False):
        if not isinstance(row, dict):
            raise unreadable(
                path, f'{place} is {shown(row, 40)}: write an object, as {{"text": "a film", "label": "good"}}'
            )
    return rows


def _value(text: str, path: Path, line: int = 0) -> Any:
    """What a text says; `line` is its number if it is a line."""
    try:
        value = json.loads(text, object_pairs_hook=_object)
        if text.count("[") + text.count("{") > _DEEPEST and _depth(value) > _DEEPEST:
            raise RecursionError
    except RecursionError as error:
        where = f"line {line}" if line else "it"
        raise unreadable(
            path, f"{where} holds lists or objects within each other, more than {_DEEPEST} deep"
        ) from error
    except json.JSONDecodeError as error:
        raise unreadable(
            path, f"line {line or error.lineno} is no JSON at column {error.colno}: {error.msg}"
        ) from error
    except ValueError as error:
        raise unreadable(path, f"line {line}: {error}" if line else str(error)) from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return made


def _depth(value: Any) -> int:
    """How many lists and objects lie within each other at most."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, list | dict)]:
        depth += 1
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return depth
