"""JSON files: every value keeps its kind, and what cannot be read is named with its line."""

from __future__ import annotations

import pytest

from hf_reprogram import InputError
from hf_reprogram.tasks.json_lines import read_json_lines
from hf_reprogram.tasks.options import TaskOptions
from hf_reprogram.tasks.read import read_splits


@pytest.fixture
def file(tmp_path):
    """A function that writes a text and returns its path."""

    def write(text: str, name: str = "a.jsonl"):
        path = tmp_path / name
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        return path

    return write


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ('"2020-01-01" "2020-01-01T10:00:00Z"', ["2020-01-01", "2020-01-01T10:00:00Z"]),  # no points in time
        ('1 "1" null', ["1", "1", None]),
        ("true 1", ["true", "1"]),
        ("9007199254740993 0.5", ["9007199254740993", "0.5"]),  # more digits than a float has
        ("18446744073709551616", ["18446744073709551616"]),
        ("1 0.5 NaN", [1.0, 0.5, pytest.approx(float("nan"), nan_ok=True)]),
        ('[1] ["a"]', ["[1]", '["a"]']),
        ('{"a":1} {"b":"x"}', [{"a": 1, "b": None}, {"a": None, "b": "x"}]),
    ],
)
def test_values_keep_their_kind_or_are_texts(values, found, file):
    notes: list[str] = []
    rows = read_json_lines([file("".join(f'{{"a": {value}}}\n' for value in values.split()))], notes=notes)
    assert rows["a"][:] == found
    mixed = all(isinstance(value, str | None) for value in found) and "2020" not in values
    assert notes == ["Read as texts, since no other kind of value holds all that is there: the columns 'a'."] * mixed


@pytest.mark.parametrize(
    "text", ['{"a": 1}\n\n{"a": 2}', '[{"a": 1},\n {"a": 2}]', '{"a": 1}\r\n{"a": 2}\r\n', '\ufeff{"a":1}\n{"a":2}']
)
def test_rows_are_lines_or_a_list(text, file):
    assert read_json_lines([file(text)])[:] == {"a": [1, 2]}


def test_a_key_may_be_missing_and_an_object_may_take_several_lines(file):
    assert read_json_lines([file('{"a": 1}\n{"b": "x"}\n')])[:] == {"a": [1, None], "b": [None, "x"]}
    assert read_json_lines([file('{\n"a":\n1\n}\n')])[:] == {"a": [1]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it holds no row"),
        ("[]", "it holds no row"),
        ("{}\n{}\n", "its rows hold no key"),
        ('{"a": 1}\n{"a": 1, "a": 2}\n', "line 2: the key 'a' stands there twice"),
        ('{"a": 1}\n\n[1]\n', r"line 3 is \[1\]: write an object"),
        ('{"a": 1}\n{"a": \n', "line 2 is no JSON at column 7: Expecting value"),
        ('{"a": 1}{"a": 2}\n', "line 1 is no JSON at column 9: Extra data"),
        ('{"a": "\\ud800"}\n', "half of a surrogate pair"),
        ('{"a": ' + "9" * 5000 + "}", "Exceeds the limit"),
        *((text, "more than 32 deep") for text in ("[" * 10**5, '{"a":' * 10**4, "[" * 900 + "]" * 900)),
        *(
            ('{"a": ' + "[" * 40 + "]" * 40 + "}\n", "line 1 holds lists or objects within each other")
            for _ in range(1)
        ),
    ],
    ids=lambda value: value[:20],
)
def test_what_cannot_be_read_is_one_sentence(text, reason, file):
    with pytest.raises(InputError, match=reason) as refused:
        read_json_lines([file(text)])
    assert "\n" not in str(refused.value)


def test_files_of_a_split_have_the_same_columns_and_may_differ_in_numbers(file, tmp_path):
    file('{"a": 1}\n', "train-1.jsonl"), file('{"a": 0.5}\n', "train-2.jsonl")
    assert read_splits(TaskOptions(str(tmp_path)))["train"]["a"][:] == [1.0, 0.5]
    file('{"b": 0.5}\n', "train-2.jsonl")
    with pytest.raises(InputError, match="have different columns"):
        read_splits(TaskOptions(str(tmp_path)))


def test_the_encoding_of_a_json_file_may_be_named(tmp_path):
    (tmp_path / "a.jsonl").write_bytes('{"a": "é"}\n'.encode("latin-1"))
    assert read_splits(TaskOptions(str(tmp_path / "a.jsonl"), encoding="latin-1"))["train"]["a"][:] == ["é"]
    with pytest.raises(InputError, match=r"task\.encoding"):
        read_splits(TaskOptions(str(tmp_path / "a.jsonl")))
