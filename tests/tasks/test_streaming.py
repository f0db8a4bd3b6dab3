"""A streamed task trains on every row that is not held out, and a bad row is told before training."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from hf_reprogram import InputError
from hf_reprogram.tasks import streaming
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions
from hf_reprogram.training.stream import TrainStream
from tests.support.tables import columns, write


def streamed(path, **options):
    return load_task(TaskOptions(**{"dataset": str(path), "text": "sentence", "streaming": True, **options}))


def numbered(count=60):
    """Texts that differ, so that each tells its row."""
    data = columns(count)
    data["sentence"] = [f"{text} {row}" for row, text in enumerate(data["sentence"])]
    return data


def trained_on(task):
    return [text for part in task.stream.prepared() for text in part["text"]]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("label", ["label", "kind"])
def test_each_row_of_a_file_is_trained_on_validated_on_or_tested_on(ending, label, tmp_path):
    data = numbered()
    task = streamed(write(tmp_path / f"data{ending}", data), label=label)
    assert task.labels == (["0", "1"] if label == "label" else ["bad", "good"])
    parts = [trained_on(task), list(task.validation["text"]), list(task.test["text"])]
    assert sorted(text for part in parts for text in part) == sorted(data["sentence"])
    assert [*map(len, parts)] == [42, 6, 12] == [*task.sizes.values()]
    assert {*task.train["text"]} <= {*parts[0]}
    labels = dict(zip(data["sentence"], data["label"], strict=True))
    for part in task.stream.prepared():
        assert part["label"] == [labels[text] for text in part["text"]]


def test_files_may_be_packed_and_a_split_may_have_several(tmp_path):
    plain = write(tmp_path / "plain.csv", numbered())
    packed = tmp_path / "rows.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert trained_on(streamed(packed, label="kind")) == trained_on(streamed(plain, label="kind"))
    folder = tmp_path / "folder"
    folder.mkdir()
    for part, start in enumerate((0, 20)):
        write(folder / f"train-{part}.jsonl", {name: values[start : start + 20] for name, values in numbered().items()})
    write(folder / "test.jsonl", {name: values[40:] for name, values in numbered().items()})
    task = streamed(folder)
    assert {*trained_on(task), *task.validation["text"]} == {*numbered()["sentence"][:40]}
    assert [*task.test["text"]] == numbered()["sentence"][40:]


def test_quoted_fields_hold_separators_line_breaks_and_words_that_look_like_nothing(tmp_path):
    rows = [f'"a, {row}\n""b""",{("NA", "no")[row % 2]}\n' for row in range(20)]
    (tmp_path / "data.csv").write_text("sentence,label\n" + "".join(rows))
    task = streamed(tmp_path / "data.csv")
    assert task.labels == ["NA", "no"]
    assert all(text.endswith('\n"b"') for text in trained_on(task))


def test_a_rare_class_is_never_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "SAMPLE", 20)
    data = numbered(2000)
    data["kind"][1234] = "rare"
    task = streamed(write(tmp_path / "data.csv", data), label="kind")
    assert task.labels == ["bad", "good", "rare"]
    assert len(task.train) == 23  # and the first row of each class
    assert data["sentence"][1234] in {*task.train["text"]} <= {*trained_on(task)}


def test_the_draw_is_a_seeded_one_from_all_rows(tmp_path):
    path = write(tmp_path / "data.csv", numbered(1000))
    drawn = [{*streamed(path, label="kind", split_seed=seed).validation["text"]} for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert len(drawn[0] & drawn[2]) < 30
    places = [numbered(1000)["sentence"].index(text) for text in drawn[0]]
    assert 400 < np.mean(places) < 600  # 7 deviations about the middle


def test_large_rows_are_drawn_in_smaller_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "BYTES", 2000)
    task = streamed(write(tmp_path / "data.csv", numbered(400)), label="kind")
    sizes = [len(task.train), len(task.validation), len(task.test)]
    assert all(10 < size < 60 for size in sizes)
    assert task.sizes["train"] == 400 - sizes[1] - sizes[2]


def test_sorted_rows_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "BUFFER", 100)
    data = numbered(400)
    order = np.argsort(data["label"], kind="stable")
    path = write(tmp_path / "data.csv", {name: [values[row] for row in order] for name, values in data.items()})
    with pytest.warns(UserWarning, match="sorted by label"):
        assert any("sorted by label" in note for note in streamed(path, label="kind").notes)


def with_value(row, **values):
    data = numbered()
    for name, value in values.items():
        data[name][row] = value
    return data


REFUSED = {
    "few_shot": (numbered(), {"few_shot": 4}, r"task\.few_shot draws from all of them"),
    "train_size": (numbered(), {"train_size": 4}, r"task\.train_size draws"),
    "scaffold": (numbered(), {"split": "scaffold"}, "scaffold draws"),
    "too few": (numbered(6), {}, "has 6 rows: leave task.streaming out"),
    "no label": (with_value(50, kind=None), {"label": "kind"}, "has the label None"),
    "a label outside the names": (
        with_value(50, kind="ugly"), {"label": "kind", "labels": ["bad", "good"]}, "holds bad, good, ugly",
    ),
    "no number": (with_value(50, kind="many"), {"label": "kind", "regression": True}, "give a finite number"),
    "a column of splits": ({**numbered(), "split": ["train", "test"] * 30}, {}, "a file per split"),
    "another column": (numbered(), {"label": "king"}, "did you mean 'kind'"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_streamed_is_refused_before_training(case, tmp_path):
    data, options, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        streamed(write(tmp_path / "data.jsonl", data), **options)


BROKEN = {
    "fields": ("data.csv", "sentence,label\n" + "a film,0\nb film,1\n" * 20 + "one,two,three\n", "Expected 2 columns, got 3"),
    "json": ("data.jsonl", '{"sentence": "a", "label": 0}\n' * 20 + "{broken\n", "line 21 is no JSON"),
    "kinds": ("data.jsonl", '{"sentence": "a", "label": 0}\n' * 1000 + '{"sentence": 7, "label": 0}\n', "lines 1001 to 1001"),
    "bytes": ("data.csv", b"sentence,label\n" + b"a film,0\n" * 20 + b"caf\xe9,1\n", "UTF8.*task.encoding, such as latin-1"),
    "bytes of json": ("data.jsonl", b'{"sentence": "a", "label": 0}\n' * 20 + b'{"sentence": "caf\xe9"}', "such as latin-1"),
    "empty": ("data.jsonl", "", "holds no row"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_told(case, tmp_path):
    name, content, message = BROKEN[case]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        streamed(path)


def test_a_named_encoding_is_read(tmp_path):
    (tmp_path / "data.csv").write_bytes("sentence,label\ncafé,0\nthé,1\n".encode("latin-1") * 1 + b"a,0\n" * 10)
    assert {"café", "thé"} <= {*trained_on(streamed(tmp_path / "data.csv", encoding="latin-1"))}


def test_data_that_is_in_memory_or_holds_pictures_alone_is_not_streamed(tmp_path):
    with pytest.raises(InputError, match="in memory already"):
        load_task(TaskOptions("squares", streaming=True))
    (tmp_path / "a.png").touch()
    with pytest.raises(InputError, match="has none: leave it out"):
        streamed(tmp_path)


@pytest.mark.parametrize("sample", [10, 10_000])
def test_a_number_that_is_none_is_told_with_its_rows(sample, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "SAMPLE", sample)
    data = {"a": ["1"] * 3000, "b": ["2"] * 3000, "label": ["x", "y"] * 1500}
    data["a"][2500] = "many"
    path = write(tmp_path / "data.csv", data)
    options = TaskOptions(str(path), features=["a", "b"], streaming=True, validation_max=10, max_test=10)
    with pytest.raises(InputError, match=r"In the rows from 2000 of .*Row 500 of the train split has 'many'"):
        list(TrainStream(load_task(options), None, None, seed=0))
