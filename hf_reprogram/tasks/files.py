"""Reads csv and tsv files: every value stays the text that the file holds, and no row is lost or joined without a word.

Numbers are made where they are needed: for labels in `hf_reprogram.tasks.labels`, for rows in `hf_reprogram.modalities.table`.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..modalities.folders import stamp

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

FORMATS = {  # by the ending in lower case, with or without .gz
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
}
_REMEDIES = {
    ".txt": "it holds texts without labels: write a csv or tsv file with a column of labels (`hf-reprogram predict --file` "
    "reads "
    "texts alone, one per line)",
    **dict.fromkeys(
        (".fa", ".fasta", ".faa", ".fna", ".fastq", ".fq"),
        "it holds sequences without a column of labels: write a csv file with a column of sequences and one of labels",
    ),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as a csv file"),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".bz2", ".xz", ".zst", ".7z"), "unpack it first"),
}
_MARKS = {b"\xff\xfe\x00\x00": "utf-32", b"\x00\x00\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_HEAD = 2**20  # letters that hold the header
_BLOCK = 2**23  # bytes that are parsed at once; one block for a whole file takes far longer
_FIELD = 2**31 - 1  # letters of one field at most
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d*)?([eE][+-]?\d+)?")


def ending(path: Path) -> str:
    """The ending of a file in lower case, without `.gz`.

    >>> ending(Path("Reviews.CSV.gz"))
    '.csv'
    """
    endings = [one.lower() for one in path.suffixes]
    return endings[-2] if endings[-1:] == [".gz"] and len(endings) > 1 else (endings or [""])[-1]


def format_of(path: Path) -> str:
    """The format of a file, a value of `FORMATS`.

    Raises:
        InputError: the ending is none of a known format; the message says how to convert the file.
    """
    kind = FORMATS.get(ending(path))
    if kind is None or (kind == "parquet" and path.suffix.lower() == ".gz"):
        remedy = _REMEDIES.get(ending(path), f"convert it to one of {', '.join(sorted(FORMATS))}")
        raise InputError(f"The file {str(path)!r} has an ending that is not read here: {remedy}.")
    return kind


def read_csv(
    path: Path,
    sep: str | None = None,
    encoding: str | None = None,
    columns: Sequence[str] | None = None,
    notes: list[str] | None = None,
) -> Dataset:
    r"""The rows of a csv or tsv file, with a column of texts per column of the file.

    A quoted field of a csv file may hold separators and line breaks, and a quote in it is written twice (RFC 4180). A tsv file
    may be written so too; where its quotes do not follow these rules they are letters like others.

    Args:
        path: the file; it may be packed with gzip.
        sep: the character between two fields; by default a tab in a tsv file, else a comma.
        encoding: by default UTF-8, or UTF-16 or UTF-32 if the file begins with their mark.
        columns: the names of the columns of a file without a header.
        notes: a list to which a sentence is added if fields in quotes hold line breaks.

    Raises:
        InputError: the file cannot be read. The message names the line, and the reason.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "codes.csv")
    ...     size = path.write_text("code,label\n0012,true\n12E3,\n")
    ...     read_csv(path)[:]
    {'code': ['0012', '12E3'], 'label': ['true', '']}
    """
    from datasets import Dataset
    from pyarrow import ArrowInvalid

    text = decoded(path, encoding)
    tabs = ending(path) == ".tsv"
    delimiter = sep or ("\t" if tabs else ",")
    header = 0 if columns else 1
    quotes = _tsv_quotes(text, delimiter, path, header) if tabs else '"' in text
    joined = _check_quotes(text, delimiter, path, header) if quotes else 0
    if joined and notes is not None:
        notes.append(f"Fields in double quotes join {joined} lines of {path.name!r} with the lines above them.")
    names = list(columns) if columns else _header(text, delimiter, path, quotes)
    try:
        table = _parsed(text, delimiter, names, header, quotes)
    except ArrowInvalid as error:
        _explain(text, delimiter, path, names, header, quotes)
        raise unreadable(path, " ".join(str(error).split()).rstrip(".")) from error
    return Dataset(table, fingerprint=stamp([path, delimiter, encoding, *names]))


def _options(columns: int, delimiter: str, header: int, quotes: bool, block: int, encoding: str = "utf-8") -> Any:
    """How Arrow reads and parses a file, and that every value stays a text."""
    import pyarrow as pa
    from pyarrow import csv as arrow

    places = [str(place) for place in range(columns)]
    return (
        arrow.ReadOptions(column_names=places, skip_rows_after_names=header, block_size=block, encoding=encoding),
        arrow.ParseOptions(delimiter=delimiter, quote_char='"' if quotes else False, newlines_in_values=quotes),
        arrow.ConvertOptions(column_types=dict.fromkeys(places, pa.string()), strings_can_be_null=False),
    )


def _parsed(text: str, delimiter: str, names: list[str], header: int, quotes: bool) -> pa.Table:
    """The rows as a table of texts; Arrow reads many times faster than Python does."""
    import pyarrow as pa
    from pyarrow import csv as arrow

    data = text.lstrip("\r\n").encode()

    def read(block: int) -> pa.Table:
        return arrow.read_csv(pa.BufferReader(data), *_options(len(names), delimiter, header, quotes, block))

    try:
        table = read(_BLOCK)
    except pa.ArrowInvalid:
        if len(data) < _BLOCK:
            raise
        table = read(len(data) + 1)  # a row may be longer than a block
    return table.rename_columns(names)


def csv_tables(
    path: Path, sep: str | None = None, encoding: str | None = None, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    r"""The rows of a csv or tsv file in tables of texts, one after the other, so that a file of any size can be read.

    As `read_csv`, but a row may have `_BLOCK` bytes at most, and the first megabyte of a tsv file decides whether its double
    quotes are letters.

    Args:
        path, sep, encoding, columns: as in `read_csv`.

    Raises:
        InputError: the file cannot be read. The message names the row, and the reason.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "codes.csv")
    ...     size = path.write_text("code,label\n0012,true\n12E3,\n")
    ...     [table.to_pydict() for table in csv_tables(path)]
    [{'code': ['0012', '12E3'], 'label': ['true', '']}]
    """
    import pyarrow as pa
    from pyarrow import csv as arrow

    head = _head(path, encoding)
    tabs = ending(path) == ".tsv"
    delimiter = sep or ("\t" if tabs else ",")
    header = 0 if columns else 1
    quotes = not tabs or _tsv_quotes(head, delimiter, path, header)
    names = list(columns) if columns else _header(head, delimiter, path, quotes)
    packed = "gzip" if path.suffix.lower() == ".gz" else None
    options = _options(len(names), delimiter, header, quotes, _BLOCK, encoding or "utf-8")
    try:
        with pa.input_stream(str(path), compression=packed) as stream:
            for batch in arrow.open_csv(stream, *options):
                yield pa.table(batch.columns, names)
    except (pa.ArrowException, OSError, UnicodeError, LookupError) as error:
        raise unstreamed(path, error) from error


def _head(path: Path, encoding: str | None) -> str:
    """The whole lines of the first megabyte of a file."""
    try:
        with opened(path, encoding, errors="replace", newline="") as file:
            head: str = file.read(_HEAD)
    except (OSError, EOFError, LookupError) as error:
        raise unstreamed(path, error) from error
    return head if len(head) < _HEAD else head[: head.rfind("\n") + 1]


def opened(path: Path, encoding: str | None, **options: Any) -> Any:
    """A file, which may be packed with gzip, as a stream of text."""
    unpack: Any = gzip.open if path.suffix.lower() == ".gz" else open
    return unpack(path, "rt", encoding=encoding or "utf-8-sig", **options)


def unstreamed(path: Path, error: Exception) -> InputError:
    """The error for a file that cannot be read to its end."""
    reason = " ".join(str(getattr(error, "strerror", None) or error).split()).rstrip(".")
    if isinstance(error, UnicodeError) or "UTF8" in reason:
        reason += ": name the file's encoding in task.encoding, such as latin-1 or cp1252"
    return unreadable(path, reason)


def _check_quotes(text: str, delimiter: str, path: Path, header: int) -> int:
    """Refuse a double quote that is not closed where its field ends; returns how many line breaks stand in quotes."""
    # A pattern that begins with the quote itself is found quickly; what stands before it is looked at second.
    edge = rf"[^{re.escape(delimiter)}\r\n]"
    joined = 0
    for field in re.finditer(rf'"(?<!{edge}")((?:[^"]+|"")*+"(?!{edge}))?', text):
        if field[1] is None:
            _rows(text, delimiter, path, header)
            raise unreadable(path, "its double quotes are not closed where the fields end")
        joined += field[1].count("\n")
    return joined


def _explain(text: str, delimiter: str, path: Path, names: list[str], header: int, quotes: bool) -> None:
    """Raise the reason why the rows make no table, with the line."""
    rows = _rows(text, delimiter, path, header, quotes)[header:]
    if not rows:
        raise unreadable(path, "it holds no row")
    wrong = next((place for place, (row, _) in enumerate(rows) if len(row) != len(names)), None)
    if wrong is not None:
        row, line = rows[wrong]
        there = "the header has" if header else "task.columns names"
        remedy = f"put fields that hold {delimiter!r} or line breaks into double quotes, or correct the line"
        raise unreadable(path, f"row {wrong} (line {line}) has {len(row)} fields, and {there} {len(names)}: {remedy}")


def unreadable(path: Path, reason: str) -> InputError:
    """The error for a file that cannot be read."""
    return InputError(f"The file {str(path)!r} cannot be read: {reason}.")


def decoded(path: Path, encoding: str | None) -> str:
    """The text of a file, without a byte-order mark."""
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix.lower() == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, getattr(error, "strerror", None) or str(error)) from error
    marked = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    chosen = encoding or marked or "utf-8"
    try:
        text = data.decode("utf-8-sig" if chosen.lower().replace("_", "-") in ("utf-8", "utf8") else chosen)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise unreadable(
            path,
            f"the byte 0x{data[error.start]:02x} in line {line} is not {chosen}: name the file's encoding in task.encoding, "
            "such "
            "as latin-1 or cp1252",
        ) from error
    except LookupError as error:
        raise InputError(
            f"task.encoding is {chosen!r}, which is no encoding of texts: give one such as latin-1."
        ) from error
    if "\0" in text:
        raise unreadable(path, "it holds NUL characters: name the file's encoding in task.encoding, such as utf-16-le")
    return text.removeprefix("\ufeff")


def _rows(text: str, delimiter: str, path: Path, header: int, quotes: bool = True) -> list[tuple[list[str], int]]:
    """The rows that are not empty, the header first, each with the number of the line where it begins."""
    rows: list[tuple[list[str], int]] = []
    limit = csv.field_size_limit(_FIELD)
    quoting: Any = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    line = 1
    try:
        for row in reader:
            if row:
                rows.append((row, line))
            line = reader.line_num + 1
    except csv.Error as error:
        open_quote = "unexpected end" in str(error)
        what = "a double quote that is opened and never closed" if open_quote else "text after a closing double quote"
        raise unreadable(
            path,
            f"row {len(rows) - header} (line {line}) has {what}: write a double quote within a field twice, and put the "
            "field into "
            "double quotes",
        ) from error
    finally:
        csv.field_size_limit(limit)
    return rows


def _tsv_quotes(text: str, delimiter: str, path: Path, header: int) -> bool:
    """Whether double quotes in a tsv file enclose fields; else they are letters like others."""
    if not re.search(rf'"(?<![^{re.escape(delimiter)}\r\n]")', text):
        return False
    plain = _rows(text, delimiter, path, header, quotes=False)
    even = len({len(row) for row, _ in plain}) == 1
    try:
        quoted = _rows(text, delimiter, path, header)
    except InputError:
        closed = any(len(field) > 1 and field[0] == field[-1] == '"' for row, _ in plain for field in row)
        if even and not closed:
            return False
        raise
    joined = (place for place, (row, _) in enumerate(quoted) if any("\n" in field or "\r" in field for field in row))
    if even and (place := next(joined, None)) is not None:
        raise unreadable(
            path,
            f"the double quotes of row {place - header} (line {quoted[place][1]}) join it with other lines, and without them "
            "each line is a row: write every double quote that is a letter twice, and put its field into double quotes",
        )
    return True


def _header(text: str, delimiter: str, path: Path, quotes: bool) -> list[str]:
    """The names of the columns; a column without a name is called by its place."""
    quoting: Any = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    reader = csv.reader(io.StringIO(text[:_HEAD], newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    first = next((row for row in reader if row), None)
    if first is None:
        raise unreadable(path, "it has no line")
    names = [name or f"Unnamed: {place}" for place, name in enumerate(first)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise unreadable(path, f"two columns are called {twice!r}: rename one of them")
    return names


def check_columns(data: Any, wanted: Sequence[str], path: Path, sep: str | None) -> None:
    """Refuse a file whose separator or header is another one than it was read with.

    Args:
        data: the rows that were read.
        wanted: the columns that the task names.
        path, sep: the file, and the separator that the task names.
    """
    import difflib

    names = data.column_names
    other = next((mark for mark in (";", "\t", "|", ",") if mark in names[0]), None) if len(names) == 1 else None
    if other is not None and not {*wanted} & {*names}:
        raise unreadable(
            path, f"its only column is called {names[0]!r}: if {other!r} separates the fields, set task.sep: {other!r}"
        )
    if wanted and not any(difflib.get_close_matches(name, names, 1, 0.5) for name in wanted):
        raise unreadable(
            path,
            f"its first line gives the columns {', '.join(map(repr, names[:12]))}, and none of them is "
            f"{' or '.join(map(repr, wanted))}: "
            "name the columns in task.columns if the first line is no header",
        )


def with_numbers(rows: Any) -> Any:
    """Rows with numbers in place of texts that write numbers, and None in place of empty texts, for guesses about columns.

    >>> from datasets import Dataset
    >>> with_numbers(Dataset.from_dict({"a": ["1", "", "2.5"], "b": ["01", "2", ""]}))[:]
    {'a': [1.0, None, 2.5], 'b': ['01', '2', None]}
    """
    from datasets import Value

    order = rows.column_names
    for name, kind in rows.features.items():
        if not isinstance(kind, Value) or kind.dtype not in ("string", "large_string"):
            continue
        texts = [text or None for text in rows[name]]
        held = [text for text in texts if text is not None]
        values: list[Any] = texts
        if held and all(_NUMBER.fullmatch(text) for text in held):
            whole = all(text.isdecimal() and len(text) < 19 for text in held)
            kind = Value("int64" if whole else "float64")
            values = [text and (int(text) if whole else float(text)) for text in texts]
        rows = rows.add_column(f"{name} as numbers", values, feature=kind).remove_columns(name)
        rows = rows.rename_column(f"{name} as numbers", name)
    return rows.select_columns(order)
