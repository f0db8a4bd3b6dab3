"""Raw examples of a file or of standard input, which are read while they are predicted: memory does not grow with the file.

A file is a stream of lines, one example each, unless it is one of these and has the columns of the adapter's examples:

.jsonl, .ndjson   an object per line
.csv, .tsv        a header, and a row per example
.parquet          a row per example

The file of a forecast has a row per time step, as that of its training, and is one example.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ..errors import InputError, shown
from ..modalities.base import Modality
from ..tasks.forecast import latest_series
from ..tasks.labels import known_task
from ..tasks.options import TaskOptions
from ..training.adapter import recorded
from .recipe import recorded_recipe

_BLOCK = 1024  # rows of a parquet file that are read at once
_FIELD = 2**31 - 1  # letters of one field at most
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_ANSWERS = ("label", "score", "scores", "value", "values", "tokens", "labels", "filled")  # columns of predictions
_PAIR = "_pair"  # what the column of a second text is called after that of the first


class Lines:
    """Examples on lines of their own, in the form that `Modality.parse` reads. Empty lines are left out.

    Iteration gives pairs of the number of a line, from 1, and its text.

    Args:
        file: a file, or "-" for standard input.
        modality: what kind of examples the lines are.

    Attributes:
        unit: what an example is called in a message.
        columns: the raw columns that hold the examples; a line has none.
        keep: further columns, which records get as they are.
    """

    unit = "Line"
    columns: Sequence[str] = ()
    keep: Sequence[str] = ()

    def __init__(self, file: str, modality: Modality):
        self.file, self.modality = file, modality
        self.first: str | None = None

    @property
    def label(self) -> str:
        """What the file is called in a message."""
        return "standard input" if self.file == "-" else repr(self.file)

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        for number, line in enumerate(_decoded(self.file), 1):
            text = line.removesuffix("\n").removesuffix("\r")
            if text.strip():
                if self.first is None:
                    self.first = text
                yield number, text

    def size(self) -> int | None:
        """The number of lines, counted by reading the file; None if it can be read only once."""
        if not os.path.isfile(self.file):
            return None
        with open(self.file, "rb") as stream:
            return sum(block.count(b"\n") for block in iter(lambda: stream.read(2**20), b"")) + 1

    def kinds(self) -> dict[str, Any]:
        """The Arrow type of each column that is kept and holds numbers; all others are texts in a parquet file."""
        return {}

    def prepare(self, raw: list[Any]) -> tuple[list[dict[str, Any]], Any]:
        """Records of some lines, and the same as a prepared split. All lines must be of the kind of the first.

        Raises:
            InputError: a line is no example, or of another kind than the first.
        """
        first = raw[0] if self.first is None else self.first
        records = self.modality.parse([first, *raw])[len(self.modality.parse([first])) :]
        return records, self.modality.as_split(records)


class Rows(Lines):
    """Examples in columns of a jsonl, csv, tsv or parquet file; see `Lines`.

    Iteration gives pairs of the number of a line, or of a row of a parquet file, and the row as a dictionary of its columns.

    Args:
        file: the file.
        modality: what kind of examples the rows are.
        columns: the raw columns that hold the examples.
        delimiter: what stands between two fields of a csv or tsv file.
        keep: further columns, which records get as they are.
    """

    def __init__(
        self, file: str, modality: Modality, columns: Sequence[str], delimiter: str = ",", keep: Sequence[str] = ()
    ):
        super().__init__(file, modality)
        self.columns, self.delimiter, self.keep = list(columns), delimiter, list(keep)
        self.kind = Path(file).suffix.lower()
        self.unit = "Row" if self.kind == ".parquet" else "Line"

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        if self.kind == ".parquet":
            return self._of_parquet()
        return self._of_csv() if self.kind in _DELIMITERS else self._of_json()

    def size(self) -> int | None:
        """The number of rows or lines; see `Lines.size`."""
        if self.kind == ".parquet":
            with _parquet(self.file) as found:
                return int(found.metadata.num_rows)
        return super().size()

    def kinds(self) -> dict[str, Any]:
        """The Arrow type of each column that is kept; see `Lines.kinds`."""
        if self.kind != ".parquet":
            return super().kinds()
        import pyarrow.types as types

        with _parquet(self.file) as found:
            held = {name: found.schema_arrow.field(name).type for name in self.keep}
        plain = (types.is_integer, types.is_floating, types.is_boolean)
        return {name: kind for name, kind in held.items() if any(fits(kind) for fits in plain)}

    def prepare(self, raw: list[Any]) -> tuple[list[dict[str, Any]], Any]:
        """Records of some rows, and the same as a prepared split, with what the modality makes of raw data for training.

        Raises:
            InputError: a value is none of the modality's.
        """
        import pyarrow as pa
        from datasets import Dataset, Image

        kept = [{name: _plain(row[name]) for name in self.keep} for row in raw]
        try:
            data = Dataset.from_list([{name: row[name] for name in self.columns} for row in raw])
        except (pa.ArrowException, TypeError, OverflowError) as error:
            raise InputError(
                "The values of a column are of several kinds: give all rows values of one kind."
            ) from error
        split = self.modality.prepare(data, list(self.columns), "input", self.file)
        if self.modality.pictures:
            column = self.modality.column
            encoded = split.cast_column(column, Image(decode=False))[column]
            paths = [{column: value["path"] if value else None} for value in encoded]
            return [{**more, **record} for more, record in zip(kept, paths, strict=True)], split
        records = split.to_list()
        whole = [{**more, **record} for more, record in zip(kept, records, strict=True)]
        return whole, self.modality.as_split(records)

    def _of_json(self) -> Iterator[tuple[int, Any]]:
        for number, line in super().__iter__():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                reason = str(error).splitlines()[0].rstrip(".")
                raise self._refused(
                    number, f"is no JSON that can be read ({reason}): write an object per line"
                ) from error
            if not isinstance(row, dict):
                raise self._refused(number, f"is {shown(row, 40)}: write an object per line")
            if missing := next((name for name in self.columns if name not in row), None):
                raise self._refused(number, f"has no key {missing!r}, which holds the examples of this adapter: add it")
            yield number, {name: row.get(name) for name in [*self.columns, *self.keep]}

    def _of_csv(self) -> Iterator[tuple[int, Any]]:
        quotes = self.kind == ".csv"
        header: list[str] = []
        line = 1
        limit = csv.field_size_limit(_FIELD)
        reader = csv.reader(
            _decoded(self.file),
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
            strict=True,
        )
        try:
            for row in reader:
                if row and not header:
                    header = row
                elif row:
                    if len(row) != len(header):
                        raise self._refused(
                            line, f"has {len(row)} fields, and the header has {len(header)}: correct it"
                        )
                    if not quotes and any(len(field) > 1 and field[0] == field[-1] == '"' for field in row):
                        raise self._refused(line, "has a field in double quotes, which may stand for themselves in a tsv "
                                            "file: write a csv file instead")  # fmt: skip
                    yield line, {name: row[header.index(name)] for name in [*self.columns, *self.keep]}
                line = reader.line_num + 1
        except csv.Error as error:
            reason = "a double quote that is opened and never closed" if "unexpected end" in str(error) else str(error)
            raise self._refused(
                line, f"cannot be read ({reason}): write a double quote within a field twice"
            ) from error
        finally:
            csv.field_size_limit(limit)

    def _of_parquet(self) -> Iterator[tuple[int, Any]]:
        import pyarrow as pa

        number = 0
        with _parquet(self.file) as found:
            try:
                for batch in found.iter_batches(_BLOCK, columns=[*self.columns, *self.keep]):
                    for row in batch.to_pylist():
                        number += 1
                        yield number, row
            except (pa.ArrowException, OSError) as error:
                raise self._refused(
                    number + 1, f"cannot be read: {' '.join(str(error).split()).rstrip('.')}"
                ) from error

    def _refused(self, number: int, reason: str) -> InputError:
        return InputError(f"{self.unit} {number} of {self.label} {reason}.")


class Steps(Lines):
    """The series of a file with a row per time step, or a list per row, of which a forecast reads the end; see `Lines`."""

    unit = "Series"

    def __init__(self, file: str, modality: Modality, task: dict[str, Any]):
        super().__init__(file, modality)
        self.task = task

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        return (
            (number, {self.modality.column: one}) for number, one in enumerate(latest_series(self.file, self.task), 1)
        )

    def size(self) -> int | None:
        """None: nobody has counted them."""
        return None

    def prepare(self, raw: list[Any]) -> tuple[list[dict[str, Any]], Any]:
        """See `Lines.prepare`."""
        return raw, self.modality.as_split(raw)


def _plain(value: Any) -> Any:
    """A value that is kept as JSON has it; a date, for example, as a text."""
    return value if isinstance(value, str | int | float | bool | list | dict | None) else str(value)


def open_input(file: str, adapter: str, modality: Modality, keep: Sequence[str] = ()) -> Lines:
    """The examples of a file; see the module.

    Args:
        file: a file, or "-" for standard input.
        adapter: a folder or a Hub id, whose recipe names the columns of the examples.
        modality: that of the adapter.
        keep: further columns, which records get as they are.

    Raises:
        InputError: the file cannot be read, or has not the columns.
    """
    check_there(file)
    kind = Path(file).suffix.lower()
    if taken := {*keep} & {modality.column, f"{modality.column}{_PAIR}", *_ANSWERS}:
        raise InputError(
            f"--keep {min(taken)}: the predictions have a column of this name, so rename that of the file."
        )
    if file == "-" or kind not in (*_DELIMITERS, ".jsonl", ".ndjson", ".parquet"):
        _check_kept(file, keep, ())
        return Lines(file, modality)
    task = _recorded_task(adapter)
    if task.get("horizon") is not None:
        _check_kept(file, keep, ())
        return Steps(file, modality, task)
    delimiter = str(task.get("sep") or ",") if kind == ".csv" else _DELIMITERS.get(kind, ",")
    there = _columns_in(file, kind, delimiter)
    columns = _columns_of(adapter, task, modality, there)
    if twice := next((name for name in columns if there.count(name) > 1), None):
        raise InputError(f"Two columns of the file {file!r} are called {twice!r}: rename one of them.")
    missing = next((name for name in columns if name not in there), None)
    if missing is None:
        _check_kept(file, keep, there)
        return Rows(file, modality, columns, delimiter, keep)
    if kind in _DELIMITERS and not (modality.letters and kind == ".csv") and not {*columns} & {*there}:
        _check_kept(file, keep, ())
        return Lines(file, modality)  # rows of numbers, paths, or texts and their pairs, without a header
    raise InputError(
        f"The file {file!r} has no column {missing!r}, which holds the examples of this adapter (it has "
        f"{', '.join(map(shown, there[:12])) or 'none'}): rename a column, or give the examples as lines of a .txt file."
    )


def _check_kept(file: str, keep: Sequence[str], there: Sequence[str]) -> None:
    """Raise `InputError` unless a file has each of the columns that are to be kept once."""
    for name in keep:
        if there.count(name) != 1:
            held = f"it has {', '.join(map(shown, there[:12]))}" if there else "its lines have no columns"
            raise InputError(f"--keep {name}: the file {file!r} has no such column once ({held}).")


def check_there(file: str) -> None:
    """Raise `InputError` unless there is such a file.

    >>> check_there("nowhere.txt")
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The file 'nowhere.txt' cannot be read: there is no such file.
    """
    if file != "-" and (not os.path.exists(file) or os.path.isdir(file)):
        reason = "it is a folder" if os.path.isdir(file) else "there is no such file"
        raise InputError(f"The file {file!r} cannot be read: {reason}.")


def _recorded_task(adapter: str) -> dict[str, Any]:
    task = (recorded_recipe(adapter) or {}).get("task")
    return task if isinstance(task, dict) else {}


def _columns_of(adapter: str, task: dict[str, Any], modality: Modality, there: Sequence[str]) -> list[str]:
    """The columns of the adapter's examples: those of its recipe, of the catalog, of its run, or the modality's own."""
    if named := modality.named(task.get(modality.column)):
        return named
    known = known_task(TaskOptions(str(task.get("dataset") or "-"), task.get("name")))
    if known is not None:
        return modality.pick(known.columns, there)
    features = ((recorded(adapter, "results.json") or {}).get("task") or {}).get("features")
    if modality.several and features:
        return [str(name) for name in features]
    return [name for name in (modality.column, f"{modality.column}{_PAIR}") if name == modality.column or name in there]


def _columns_in(file: str, kind: str, delimiter: str) -> list[str]:
    """The columns that a file has, from its first row."""
    if kind == ".parquet":
        with _parquet(file) as found:
            return [str(name) for name in found.schema_arrow.names]
    first = next((line for line in _decoded(file) if line.strip()), "")
    if kind not in _DELIMITERS:
        try:
            row = json.loads(first)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise InputError(f"The first line of {file!r} is no JSON object: write an object per line.")
        return list(row)
    quoting: Any = csv.QUOTE_MINIMAL if kind == ".csv" else csv.QUOTE_NONE
    return next(csv.reader(io.StringIO(first, newline=""), delimiter=delimiter, quoting=quoting), [])


def _parquet(file: str) -> Any:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        return ParquetFile(file, buffer_size=2**20)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"The file {file!r} cannot be read: {' '.join(str(error).split()).rstrip('.')}.") from error


def _decoded(file: str) -> Iterator[str]:
    """The lines of a file or of standard input, with their line feeds: split at these alone, without a byte-order mark."""
    label = "Standard input" if file == "-" else f"The file {file!r}"
    number, encoding = 0, "UTF-8"
    try:
        with nullcontext(_standard_input()) if file == "-" else open(file, "rb") as stream:
            if stream.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff"):
                encoding = "UTF-16"
                lines: Iterator[str] = io.TextIOWrapper(stream, encoding, newline="\n")
            else:
                lines = (raw.decode("utf-8" if number else "utf-8-sig") for raw in stream)
            for text in lines:
                number += 1
                yield text
    except UnicodeDecodeError as error:
        raise InputError(f"{label} cannot be read: line {number + 1} is not {encoding}, save it as UTF-8.") from error
    except OSError as error:
        raise InputError(f"{label} cannot be read: {error.strerror or error}.") from error


def _standard_input() -> Any:
    """Standard input as bytes, which can be looked at before they are read."""
    stream: Any = getattr(sys.stdin, "buffer", None)
    if stream is None:
        stream = io.BytesIO(sys.stdin.read().encode())
    return stream if hasattr(stream, "peek") else io.BufferedReader(stream)
