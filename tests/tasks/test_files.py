"""csv and tsv files: what stands in a file arrives as it stands there, or one sentence says where it cannot be read."""

from __future__ import annotations

import csv
import gzip

import pytest
from datasets import Dataset, Features, Image, Value

from hf_reprogram import InputError
from hf_reprogram.tasks.files import read_csv, with_numbers
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions


@pytest.fixture
def file(tmp_path):
    """A function that writes a file, of bytes, a text or lines of two fields, and returns its path."""

    def write(name: str, content, header: str | None = "text,label"):
        if isinstance(content, list):
            sep = "\t" if ".tsv" in name else ","
            lines = ([header.replace(",", sep)] if header else []) + [sep.join(map(str, row)) for row in content]
            content = "\n".join(lines) + "\n"
        data = content if isinstance(content, bytes) else content.encode()
        path = tmp_path / name
        path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        return path

    return write


def load(path, **options):
    return load_task(TaskOptions(str(path), **{"text": "text", **options}))


def refused(path, **options) -> str:
    with pytest.raises(InputError) as error:
        load(path, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize(
    "texts",
    [
        ["0012", "110", "7", "08"],
        ["", "121", "122", "123"],
        ["12E3", "1e5", "1_000", "0x1F"],
        ["true", "FALSE", "None", "nan"],
        [" a", "a ", "5' 3\" nail", "x\u2028y\x85z\x0c"],
        ["2020-01-01", "1/2", "-", "+1"],
    ],
)
def test_texts_stay_as_they_are_written(name, texts, file):
    assert [*read_csv(file(name, [(text, "x") for text in texts]))["text"]] == texts


def test_labels_stay_as_they_are_written(file):
    rows = [(f"text {i}", ("00", "01")[i % 2], ("true", "false")[i % 2]) for i in range(20)]
    path = file("a.csv", rows, "text,label,flag")
    assert load(path).labels == ["00", "01"]
    task = load(path, label="flag", labels=["true", "false"])
    assert all(row["label"] == int(row["text"].split()[1]) % 2 for row in task.train)


@pytest.mark.parametrize(
    ("make", "options", "classes"),
    [
        (lambda i: (f"t {i}", i % 7 if i < 11000 else i % 7 + 0.5), {"regression": True}, []),
        (lambda i: (str(i) if i < 11000 else f"word {i}", i % 2), {}, ["0", "1"]),
        (lambda i: (f"t {i}", i % 2 if i < 11000 else ("0", "1", "unknown")[i % 3]), {}, ["0", "1", "unknown"]),
    ],
    ids=["fractions", "words", "a name"],
)
def test_a_column_may_change_its_kind_after_many_rows(make, options, classes, file):
    task = load(file("a.csv", [make(i) for i in range(12000)]), **options)
    assert len(task.train) + len(task.test) == 12000
    assert task.labels == classes


def test_empty_lines_are_no_rows(file):
    assert read_csv(file("a.csv", "\n\r\ntext,label\n\na,0\n\nb,1\n"))[:] == {"text": ["a", "b"], "label": ["0", "1"]}


def test_quotes_of_csv_follow_the_rules(file):
    text = 'text,label\n"a, ""b""",0\n"two\nlines",1\n5" nail,0\n'
    notes: list[str] = []
    assert read_csv(file("a.csv", text), notes=notes)["text"][:] == ['a, "b"', "two\nlines", '5" nail']
    assert notes == ["Fields in double quotes join 1 lines of 'a.csv' with the lines above them."]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (['"row said', "b", '"row said', "d"], None),  # no rules: letters
        (['"open', "b", "c", "d"], None),
        (['say "hi"', "b", "c", "d"], None),
        (['"a ""b"""', "b", '"c"', "d"], ['a "b"', "b", "c", "d"]),
        (['"tab\there"', "b", "c", "d"], ["tab\there", "b", "c", "d"]),
        (['"two\nlines"', "b", "c", "d"], ["two\nlines", "b", "c", "d"]),
    ],
)
def test_quotes_of_tsv_are_letters_unless_they_follow_the_rules(texts, expected, file):
    data = read_csv(file("a.tsv", [(text, "x") for text in texts]))
    assert [*data["text"]] == (expected or texts)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", 'text,label\na,0\n"b,1\nc,0\n', "row 1 (line 3) has a double quote that is opened and never closed"),
        ("a.csv", 'text,label\na,0\n"b" c,1\n', "row 1 (line 3) has text after a closing double quote"),
        ("a.tsv", 'text\tlabel\n"a"\t0\n"b\t1\nc\t0\n', "row 1 (line 3) has a double quote that is opened"),
        ("a.tsv", 'text\tlabel\n"a\t0\nb\t1\nc"\t0\n', "double quotes of row 0 (line 2) join it with other lines"),
        ("a.csv", "text,label\na,0\nb,1,2\n", "row 1 (line 3) has 3 fields, and the header has 2"),
        ("a.csv", "text,label\na,0\n\nb\n", "row 1 (line 4) has 1 fields, and the header has 2"),
        ("a.csv", "text,label,text\na,0,b\n", "two columns are called 'text'"),
        ("a.csv", "", "it has no line"),
        ("a.csv", "text;label\na;0\n", "set task.sep: ';'"),
        ("a.tsv", "text,label\na,0\n", "set task.sep: ','"),
        ("a.csv", "good film,1\nbad film,0\n", "name the columns in task.columns if the first line is no header"),
        (
            "a.csv",
            "text,label\ncafé,0\n".encode("latin-1"),
            "the byte 0xe9 in line 2 is not utf-8: name the file's encoding",
        ),
        ("a.csv", "text,label\na,0\n".encode("utf-16-le"), "it holds NUL characters"),
        ("a.csv.gz", None, "Not a gzipped file"),
    ],
)
def test_the_reason_and_its_place_are_named(name, content, reason, file):
    path = file(name, content or "")
    if content is None:
        path.write_bytes(b"no gzip")
    sentence = refused(path)
    assert sentence.startswith(f"The file {str(path)!r} cannot be read: ")
    assert reason in sentence


ROWS = [(f"text {i}", ("no", "yes")[i % 2]) for i in range(20)]


@pytest.mark.parametrize("name", ["A.CSV", "a.csv.gz", "a.TSV.GZ", "a.tsv"])
def test_endings_of_every_case_and_packed_files_are_read(name, file):
    name = name.replace("GZ", "gz")
    assert load(file(name.replace("TSV", "tsv"), ROWS).rename(file(name, ROWS))).labels == ["no", "yes"]


def test_json_lines_may_be_packed_and_called_otherwise(file):
    lines = "".join(f'{{"text": "{text}", "label": "{label}"}}\n' for text, label in ROWS)
    for name in ("a.jsonl.gz", "a.ndjson", "a.JSONL"):
        assert load(file(name, lines)).labels == ["no", "yes"]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-8-sig", "cp1252"])
def test_encodings_are_named_or_marked(encoding, file):
    content = "text,label\n" + "".join(f"café {i},{i % 2}\n" for i in range(20))
    given = {} if encoding in ("utf-16", "utf-8-sig") else {"encoding": encoding}
    task = load(file("a.csv", content.encode(encoding)), **given)
    assert all(text.startswith("café") for text in task.train["text"])


def test_separators_and_columns_are_named(file):
    content = "".join(f"text {i};{i % 2}\n" for i in range(20))
    task = load(file("a.csv", content), sep=";", columns=["text", "label"])
    assert (len(task.train) + len(task.test), task.labels) == (20, ["0", "1"])
    assert "row 0 (line 1) has 2 fields, and task.columns names 1" in refused(
        file("b.csv", content), sep=";", columns=["text"]
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sep": ";;"}, "task.sep is ';;': give one ASCII character"),
        ({"sep": "é"}, "task.sep is 'é': give one ASCII character"),
        ({"sep": '"'}, "task.sep is"),
        ({"columns": ["a", "a"]}, "give the name of every column once"),
        ({"encoding": "latin-l"}, "task.encoding is 'latin-l', which is no encoding"),
        ({"encoding": "base64"}, "task.encoding is 'base64', which is no encoding"),
    ],
)
def test_ways_to_read_that_cannot_be_are_refused(options, sentence, file):
    assert sentence in refused(file("a.csv", ROWS), **options)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("a.txt", "write a csv or tsv file with a column of labels"),
        ("a.fasta", "a column of sequences and one of labels"),
        ("a.FA.gz", "a column of sequences and one of labels"),
        ("a.xlsx", "save the sheet as a csv file"),
        ("a.zip", "unpack it first"),
        ("a.dat", "convert it to one of .csv, .json"),
        ("data", "convert it to one of .csv, .json"),
    ],
)
def test_other_files_are_refused_with_what_to_do(name, remedy, file, tmp_path):
    path = file(name, b"")
    assert remedy in refused(path)
    if name != "data":
        assert remedy in refused(tmp_path)


def test_a_column_split_says_the_split_of_each_row(file):
    rows = [(*row, ("train", "Val", "TEST", "train")[i % 4]) for i, row in enumerate(ROWS)]
    task = load(file("a.csv", rows, "text,label,split"))
    assert [len(data) for data in (task.train, task.validation, task.test)] == [10, 5, 5]
    assert "The column 'split' says which split a row belongs to." in task.notes
    assert "has 'holdout' in the column 'split'" in refused(
        file("b.csv", [*rows, ("a", "no", "holdout")], "text,label,split")
    )
    fold = load(file("c.csv", [(*row, i % 5) for i, row in enumerate(ROWS)], "text,label,split"))
    assert (len(fold.train), fold.validation) == (16, None)


@pytest.mark.parametrize(
    ("values", "kind", "what"),
    [
        ([1, 2], Value("int64"), "int64"),
        ([0.5, 1.0], Value("float64"), "float64"),
        ([True, False], Value("bool"), "bool"),
        ([b"a", b"b"], Value("binary"), "binary"),
        ([["a"], ["b"]], None, "List"),
        ([{"bytes": b"", "path": None}] * 2, Image(), "PIL.Image"),
    ],
)
def test_what_is_no_text_is_refused_in_a_column_of_texts(values, kind, what, tmp_path):
    features = Features({"text": kind, "label": Value("int64")}) if kind else None
    Dataset.from_dict({"text": values * 10, "label": [0, 1] * 10}, features=features).to_parquet(tmp_path / "a.parquet")
    sentence = refused(tmp_path / "a.parquet")
    assert f"holds {what}" in sentence
    assert "which is no text" in sentence


def test_guesses_see_numbers():
    rows = Dataset.from_dict({"a": ["1", "2"], "b": ["0.5", ""], "c": ["01", "2"], "d": [1, 2], "e": ["9" * 30, "1"]})
    assert with_numbers(rows)[:] == {
        "a": [1, 2],
        "b": [0.5, None],
        "c": ["01", "2"],
        "d": [1, 2],
        "e": [float("9" * 30), 1.0],
    }
    assert with_numbers(rows.select_columns("a"))["a"][:] == [1, 2]


def test_a_field_may_be_longer_than_the_reader_of_python_allows(file):
    limit = csv.field_size_limit()
    assert len(read_csv(file("a.csv", [("ACGT" * 50000, 1)]))["text"][0]) == 200000
    assert csv.field_size_limit() == limit
