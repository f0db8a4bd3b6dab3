"""A data file that was changed at random is read as it stands there, or is refused in one sentence."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_reprogram.progress import quiet_libraries
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions
from hf_reprogram.tasks.read import read_splits
from tests.support.readers import json_rows, of_kinds, parsed, same, texts_of
from tests.support.refusals import refusal

CELLS = [
    *(
        "a film",
        "",
        " a ",
        "0012",
        "NA",
        "null",
        "None",
        "nan",
        "true",
        "FALSE",
        "1e5",
        "12",
        "0.50",
        "-",
        "2020-01-01",
    ),
    *(
        "2020-01-01 10:00:00",
        "é電😀",
        "a,b",
        "a;b",
        "a\tb",
        'say "hi"',
        '"',
        '""',
        "5' 3\" nail",
        "two\nlines",
        "a\r\nb",
    ),
    *("a\rb", "x\u2028y\x85z\x0c", "\ufeff", "#", "'", "[1, 2]", '{"a": 1}', "=1+1", "a" * 300, "\x1a", "\\", "\\N"),
]
NAMES = ["text", "label", "id", "Label", "split", "", "a b", "é", "0", "true", 'na"me', "x\ny"]
LABELS = ["no", "yes", "0", "1", "00", "true", "train"]
VALUES: list[Any] = [
    None,
    True,
    0,
    1,
    -1,
    0.5,
    2**53 + 1,
    2**64,
    1e308,
    2.5,
    "a",
    "2020-01-01",
    "12",
    [],
    ["a"],
    [1],
    {},
    {"a": 1},
]


def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="mutated-"))


def read(path: Path, **options: Any) -> list[dict[str, Any]] | str:
    """The rows of the data at a path, or the sentence that refuses it."""
    found: list[Any] = []
    message = refusal(lambda: found.append(read_splits(TaskOptions(str(path), **options))))
    if message is not None:
        assert "\n" not in message
        assert len(message) < 2000
        return message
    return [row for split in found[0].values() for row in split.to_list()]


# -------------------------------------------------------------------------------------------------------- csv and tsv


@st.composite
def table(draw: st.DrawFn) -> list[list[str]]:
    """A header and rows of texts."""
    width = draw(st.integers(1, 4))
    names = ["text", "label"] if width == 2 and draw(st.booleans()) else draw(st.permutations(NAMES))[:width]
    cell = st.one_of(st.sampled_from(CELLS), st.text(st.characters(exclude_categories=["Cs"]), max_size=6))
    rows = draw(st.lists(st.lists(cell, min_size=width, max_size=width), min_size=0, max_size=6))
    return [[*names], *rows]


@st.composite
def csv_file(draw: st.DrawFn) -> tuple[str, bytes, dict[str, Any], Any]:
    """A name, the bytes and the options of a csv or tsv file, and the table if the bytes were not changed."""
    rows = draw(table())
    name = draw(st.sampled_from(["a.csv", "a.csv", "A.CSV", "a.tsv", "a.csv.gz", "a.tsv.gz"]))
    tabs = ".tsv" in name
    options: dict[str, Any] = {}
    sep = "\t" if tabs else ","
    if draw(st.integers(0, 5)) == 0:
        sep = options["sep"] = draw(st.sampled_from([";", "|", "\t", ",", " "]))
    if draw(st.integers(0, 5)) == 0:
        options["columns"] = draw(st.sampled_from([["text", "label"], ["a"], rows[0]]))
        if len({*options["columns"]}) < len(options["columns"]):
            del options["columns"]
    out = io.StringIO()
    quoting: Any = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    end = draw(st.sampled_from(["\n", "\r\n", "\n", "\r"]))
    csv.writer(out, delimiter=sep, quoting=quoting, lineterminator=end).writerows(rows)
    text = out.getvalue()
    encoding = draw(
        st.sampled_from(["utf-8"] * 5 + ["utf-8-sig", "utf-16", "latin-1", "utf-32", "utf-16-le", "cp1252"])
    )
    if encoding in ("latin-1", "utf-16-le", "cp1252") and draw(st.booleans()):
        options["encoding"] = encoding
    how = draw(st.sampled_from(["no"] * 3 + ["letters"] * 5 + ["bytes"]))
    for _ in range(draw(st.integers(1, 3)) if how == "letters" else 0):
        at = draw(st.integers(0, len(text)))
        new = draw(st.sampled_from(['"', sep, "\n", "\r\n", "\n\n", "\0", "", '"\n', f'{sep}"', "x", " ", "'"]))
        text = text[:at] + new + text[at + draw(st.integers(0, 3)) :]
    data = text.encode(encoding, "replace")
    if name.endswith("gz"):
        data = gzip.compress(data)
    if how == "bytes":
        data = draw(cut(data))
    return name, data, options, data


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes of which some are missing, added or others."""
    at = draw(st.integers(0, len(data)))
    other = bytes([draw(st.integers(0, 255))])
    return draw(
        st.sampled_from(
            [data[:at], data[at:], b"", data + other, data[:at] + other + data[at + 1 :], data * 2, b"\0" * 9]
        )
    )


def check_csv(example: Any) -> None:
    name, data, options, _ = example
    path = folder() / name
    path.write_bytes(data)
    try:
        found = read(path, **options)
    finally:
        shutil.rmtree(path.parent)
    text = texts_of(data, name, options.get("encoding"))
    tabs = ".tsv" in name.lower()
    sep = options.get("sep") or ("\t" if tabs else ",")
    wanted = [
        None if text is None else parsed(text, sep, options.get("columns"), quoting)
        for quoting in ([csv.QUOTE_MINIMAL, csv.QUOTE_NONE] if tabs else [csv.QUOTE_MINIMAL])
    ]
    if isinstance(found, str):
        assert wanted[0] is None or (tabs and '"' in str(text)) or refused_rightly(found, wanted[0]), (found, wanted)
        return
    assert any(rows is not None and key_sorted(rows) == key_sorted(found) for rows in wanted), (found, wanted)


def key_sorted(rows: list[dict[str, Any]]) -> Any:
    """Rows in an order that does not depend on that of splits."""
    return sorted(sorted(row.items()) for row in rows)


def refused_rightly(message: str, rows: list[dict[str, Any]]) -> bool:
    """Whether a sentence refuses a table that Python's own reader reads: without a row, or with one of two separators."""
    reasons = ["separates the fields", "in the column 'split'"] if rows else ["is empty", "Empty CSV", "holds no row"]
    return any(reason in message for reason in reasons)


# --------------------------------------------------------------------------------------------------- jsonl and parquet


@st.composite
def lines_file(draw: st.DrawFn) -> tuple[str, bytes]:
    """A name and the bytes of a file of JSON lines, often of one kind of value per column."""
    keys = draw(st.permutations(NAMES))[: draw(st.integers(1, 3))]
    kinds = [
        *(
            ["a film", "", "0012", "NA", "true", "é電😀\u2028", "two\nlines"],
            ["2020-01-01", "2021-05-06"],
            [1, 2, -3, 0],
        ),
        *([0.5, 1, -2.0], [True, False], [["a"], ["b", "c"], []], [{"a": 1}, {"a": 2}], [1, "1"], VALUES, VALUES),
        *(["2020-01-01 10:00:00", "a"], ["2020-01-01T10:00:00Z"], [2**53 + 1, 2**62], [1, True], [None, "a"]),
    ]
    of = {key: draw(st.sampled_from(kinds)) for key in keys}
    rows: list[Any] = [
        {key: draw(st.sampled_from(values)) for key, values in of.items() if draw(st.integers(0, 9))}
        for _ in range(draw(st.integers(0, 5)))
    ]
    lines = [json.dumps(row, ensure_ascii=draw(st.booleans())) for row in rows]
    name = draw(st.sampled_from(["a.jsonl", "a.ndjson", "a.json", "a.jsonl.gz", "A.JSONL"]))
    if draw(st.integers(0, 3)) == 0 and lines:
        at = draw(st.integers(0, len(lines) - 1))
        new = ["", "[]", "1", "null", "{}", '"a"', "{", lines[at][:-3], lines[at] * 2, lines[at] + ",", '{"text": NaN}']
        lines[at] = draw(
            st.sampled_from([*new, '{"a": 1, "a": 2}', "[" * 10**5, '{"a": ' * 10**4, "\0", '{"text": "\\ud800"}'])
        )
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\n\n"]))
    encoding = draw(st.sampled_from(["utf-8"] * 8 + ["utf-8-sig", "utf-16", "latin-1"]))
    data = (end.join(lines) + draw(st.sampled_from(["", end]))).encode(encoding, "replace")
    if name.endswith("gz"):
        data = gzip.compress(data)
    return name, draw(cut(data)) if draw(st.integers(0, 7)) == 0 else data


def check_lines(example: Any) -> None:
    name, data = example
    path = folder() / name
    path.write_bytes(data)
    try:
        found = read(path)
    finally:
        shutil.rmtree(path.parent)
    wanted = json_rows(data, name)
    if isinstance(found, str):
        reasons = ("surrogate", "stands there twice", "more than 32 deep", "hold no key", "in the column 'split'")
        assert not wanted or any(reason in found for reason in reasons), (found, wanted)
        return
    assert wanted is not None
    for name in {name for row in wanted for name in row}:
        values, there = [row.get(name) for row in wanted], [row[name] for row in found]
        if of_kinds(values) > 1:
            values = [
                value if isinstance(value, str | None) else json.dumps(value, ensure_ascii=False) for value in values
            ]
        assert same(there, values), (there, values)


@st.composite
def parquet_file(draw: st.DrawFn) -> tuple[str, bytes]:
    """A name and the bytes of a parquet file."""
    columns = {
        key: draw(
            st.sampled_from(
                [
                    pa.array(["a", None, "0012"]),
                    pa.array([1, 2, None]),
                    pa.array([0.5, math.nan, 1]),
                    pa.array([b"a", b"", None]),
                    pa.array([["a"], [], None]),
                    pa.array([{"a": 1}, {"a": None}, None]),
                    pa.array([True, False, None]),
                    pa.array([1, 2, 3], pa.timestamp("us")),
                    pa.array([1, 2, 3], pa.date32()),
                    pa.array(["a", "b", "a"]).dictionary_encode(),
                    pa.array(["a", "b", "c"], pa.large_string()),
                    pa.array([1, 2, 3], pa.decimal128(9, 2)),
                    pa.nulls(3),
                ]
            )
        )
        for key in draw(st.permutations(NAMES))[: draw(st.integers(1, 3))]
    }
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, compression=draw(st.sampled_from(["snappy", "none", "gzip", "zstd"])))
    data = out.getvalue()
    name = draw(st.sampled_from(["a.parquet", "a.parquet", "A.PARQUET", "a.csv", "a.jsonl", "a.parquet.gz"]))
    return name, draw(cut(data)) if draw(st.integers(0, 2)) else data


def check_parquet(example: Any) -> None:
    name, data = example
    path = folder() / name
    path.write_bytes(data)
    try:
        found = read(path)
    finally:
        shutil.rmtree(path.parent)
    if isinstance(found, str):
        try:
            pq.read_table(io.BytesIO(data)).to_pylist()
        except Exception:
            return
        assert ".gz" in name or "PARQUET" not in name.upper(), found
        return
    wanted = pq.read_table(io.BytesIO(data)).to_pylist()
    assert same(found, wanted) or repr(found) == repr(wanted), (found, wanted)


# ------------------------------------------------------------------------------------------------------ tasks


@st.composite
def task_file(draw: st.DrawFn) -> tuple[str, list[list[Any]]]:
    """A name, and rows of a text and a label."""
    cell = st.one_of(
        st.sampled_from(CELLS), st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6)
    )
    label = st.sampled_from([*draw(st.permutations(LABELS))[:2], *([""] if draw(st.integers(0, 9)) == 0 else [])])
    rows = draw(st.lists(st.tuples(cell, label).map(list), min_size=2, max_size=30))
    return draw(st.sampled_from(["a.csv", "a.tsv", "a.jsonl", "a.parquet", "a.csv.gz"])), rows


def check_task(example: Any) -> None:
    name, rows = example
    path = folder() / name
    data = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
    if "jsonl" in name:
        path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    elif "parquet" in name:
        pq.write_table(pa.table(data), path)
    else:
        out = io.StringIO()
        csv.writer(out, delimiter="\t" if "tsv" in name else ",").writerows([["text", "label"], *rows])
        content = out.getvalue().encode()
        path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    made: list[Any] = []
    message = refusal(lambda: made.append(load_task(TaskOptions(str(path), text="text"))))
    shutil.rmtree(path.parent)
    if message is not None:
        assert "\n" not in message
        return
    splits = [split for split in (made[0].train, made[0].validation, made[0].test) if split is not None]
    found = sorted((row["text"], made[0].labels[row["label"]]) for split in splits for row in split)
    assert found == sorted(map(tuple, rows))


KINDS = {
    "csv": (csv_file(), check_csv),
    "lines": (lines_file(), check_lines),
    "parquet": (parquet_file(), check_parquet),
    "task": (task_file(), check_task),
}
FEW = settings(max_examples=100, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=2500, suppress_health_check=list(HealthCheck), derandomize=False)


@pytest.fixture(autouse=True)
def _quiet():
    """Neither bars nor notices of thousands of files."""
    quiet_libraries(True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_file_is_read_as_it_stands_or_refused(kind):
    files, check = KINDS[kind]
    FEW(given(files)(check))()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_changed_files_are_read_as_they_stand_or_refused(kind):
    files, check = KINDS[kind]
    MANY(given(files)(check))()
