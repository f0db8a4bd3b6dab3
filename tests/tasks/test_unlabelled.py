"""Unlabelled rows: without labels from the first line on, and in no split of the run."""

from __future__ import annotations

import pytest
from datasets import Dataset, Features, Image, Value

from hf_reprogram import InputError
from hf_reprogram.tasks import unlabelled
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions
from hf_reprogram.tasks.unlabelled import UnlabelledOptions, check_unlabelled, unlabelled_rows
from tests.support import tiny_vision
from tests.support.tables import write

NAMES = ("bad", "good")


@pytest.fixture
def task(tmp_path):
    rows = {"sentence": [f"film {i}" for i in range(120)], "kind": [NAMES[i % 2] for i in range(120)]}
    return load_task(
        TaskOptions(str(write(tmp_path / "films.csv", rows)), text="sentence", label="kind", train_size=10)
    )


def test_rows_of_train_are_those_in_no_split_and_have_no_label(task):
    splits = task.splits(3)
    found = unlabelled_rows(UnlabelledOptions(from_train=1000), task, splits, 3)
    assert found.rows.column_names == ["text"]
    taken = {text for split in splits.values() for text in split["text"]}
    assert not taken & {*found.rows["text"]}
    assert len(found.rows) == len(task.train) - 20 == len(task.train) - found.left_out
    few = unlabelled_rows(UnlabelledOptions(from_train=5), task, splits, 3)
    again = unlabelled_rows(UnlabelledOptions(from_train=5), task, splits, 3)
    assert few.rows["text"][:] == again.rows["text"][:]
    assert len(few.rows) == 5


def test_labels_of_other_data_are_gone_before_the_rows_are_prepared(task, tmp_path, monkeypatch):
    seen, prepare_inputs = [], unlabelled.prepare_inputs
    monkeypatch.setattr(
        unlabelled, "prepare_inputs", lambda data, *rest: seen.append(data.column_names) or prepare_inputs(data, *rest)
    )
    splits = task.splits(0)
    more = {"sentence": ["a new film", splits["test"]["text"][0], "another"], "kind": ["no class of the task"] * 3}
    path = write(tmp_path / "more.csv", more)
    found = unlabelled_rows(UnlabelledOptions(dataset=str(path)), task, splits, 0)
    assert seen == [["sentence"]]
    assert sorted(found.rows["text"]) == ["a new film", "another"]
    assert found.left_out == 1


def test_other_columns_are_named_and_data_without_labels_are_read(task, tmp_path):
    path = write(tmp_path / "more.csv", {"note": ["x1", "x2", "x3"], "words": ["p", "q", "r"]})
    found = unlabelled_rows(UnlabelledOptions(dataset=str(path), inputs="words", max=2), task, task.splits(0), 0)
    assert len(found.rows) == 2
    assert {*found.rows["text"]} <= {"p", "q", "r"}


def test_images_are_compared_by_their_bytes(tmp_path):
    images, labels = tiny_vision.images(40)
    columns = {"image": images, "half": [("above", "below")[label] for label in labels]}
    kinds = Features({"image": Image(), "half": Value("string")})
    Dataset.from_dict(columns, features=kinds).to_parquet(tmp_path / "halves.parquet")
    options = TaskOptions(str(tmp_path / "halves.parquet"), image="image", label="half", train_size=6)
    task = load_task(options)
    found = unlabelled_rows(UnlabelledOptions(dataset=str(tmp_path / "halves.parquet")), task, task.splits(0), 0)
    assert found.rows.column_names == ["image"]
    assert len(found.rows) == 40 - 6 - 3 - 8  # train, validation and test
    assert found.left_out == 17


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"sentence": ["film 1"]}, {"split": "tset"}, "Unknown split"),
        ({"words": ["film 1"]}, {"inputs": "word"}, "did you mean 'words'"),
        ({"number": [1.5, 2.5]}, {}, "does not say which columns"),
    ],
)
def test_other_data_are_refused_in_one_sentence(task, tmp_path, columns, options, message):
    path = write(tmp_path / "more.csv", columns)
    with pytest.raises(InputError, match=message):
        unlabelled_rows(UnlabelledOptions(dataset=str(path), **options), task, task.splits(0), 0)


def test_data_of_the_splits_alone_are_refused(task, tmp_path):
    path = write(tmp_path / "more.csv", {"sentence": task.test["text"][:]})
    with pytest.raises(InputError, match="None of the 24 unlabelled rows is left"):
        unlabelled_rows(UnlabelledOptions(dataset=str(path)), task, task.splits(0), 0)


def test_tasks_whose_labels_stand_in_their_inputs_and_streams_are_refused():
    forecast = TaskOptions("load.csv", series="load", horizon=3)
    with pytest.raises(InputError, match="is 'forecast'"):
        check_unlabelled(UnlabelledOptions(from_train=3), forecast)
    with pytest.raises(InputError, match=r"task\.streaming reads one"):
        check_unlabelled(UnlabelledOptions(from_train=3), TaskOptions("films.csv", text="a", streaming=True))
