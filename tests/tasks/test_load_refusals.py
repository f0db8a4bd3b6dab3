"""Data that cannot be used is refused in one sentence that names the value, before anything is trained."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset, Features, Value

from hf_reprogram import InputError
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions


def refused(**options) -> str:
    """The sentence with which a task is refused."""
    with pytest.raises(InputError) as error:
        load_task(TaskOptions(**options)).splits(0)
    sentence = str(error.value)
    assert "\n" not in sentence
    return sentence


@pytest.fixture
def parquet(tmp_path):
    """A function that writes columns as a parquet file and returns its path."""

    def write(label, text=None, **more):
        path = tmp_path / "data.parquet"
        Dataset.from_dict({"text": text or ["a"] * len(label), "label": label, **more}).to_parquet(path)
        return str(path)

    return write


TWENTY = [0, 1] * 10


@pytest.mark.parametrize("label", [[0] * 20, ["only"] * 20])
def test_fewer_than_two_classes(label, parquet):
    assert "fewer than 2 classes" in refused(dataset=parquet(label), text="text")


def test_one_given_label_name(parquet):
    sentence = refused(dataset=parquet(TWENTY), text="text", labels=["yes"])
    assert "task.labels gives yes, and the column 'label' holds 0, 1" in sentence


def test_a_label_outside_the_names(parquet):
    sentence = refused(dataset=parquet([0, 1, 2] * 7), text="text", labels=["no", "yes"])
    assert "task.labels gives no, yes, and the column 'label' holds 0, 1, 2: give each of these one name" in sentence


def test_a_label_name_outside_the_names(parquet):
    sentence = refused(dataset=parquet(["no", "yes", "maybe"] * 7), text="text", labels=["no", "yes"])
    assert "task.labels gives no, yes, and the column 'label' holds maybe, no, yes" in sentence


def test_hidden_labels(tmp_path):
    for split, label in (("train", TWENTY), ("test", [-1] * 4)):
        Dataset.from_dict({"text": ["a"] * len(label), "label": label}).to_csv(tmp_path / f"{split}.csv")
    sentence = refused(dataset=str(tmp_path), text="text")
    assert "Row 0 of the test split has the label '-1'" in sentence
    assert "another split if the labels of this one are hidden" in sentence


def test_a_missing_label(parquet):
    assert "Row 3 of the train split has the label None" in refused(dataset=parquet([0, 1, 0, None, 1]), text="text")


@pytest.mark.parametrize("labels", [None, ["no", "yes"]])
def test_a_label_that_is_not_a_number_nor_a_name(labels, parquet):
    assert "nan" in refused(dataset=parquet([0.0, 1.0, np.nan] * 4), text="text", labels=labels)


def test_fractions_are_no_classes(parquet):
    sentence = refused(dataset=parquet([0.5, 1.0, 2.5] * 5), text="text")
    assert "numbers such as 0.5" in sentence
    assert "task.regression: true" in sentence


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_regression_needs_finite_numbers(value, parquet):
    sentence = refused(dataset=parquet([0.5, 1.5, value]), text="text", regression=True)
    assert "Row 2 of the train split has the label" in sentence


def test_a_regression_needs_numbers(parquet):
    sentence = refused(dataset=parquet(["low", "high"] * 5), text="text", regression=True)
    assert "Row 0 of the train split has the label 'low'" in sentence


def test_misspelt_columns_are_refused_with_the_nearest(parquet):
    path = parquet(TWENTY, sentence=["b"] * 20)
    assert "'sentense': did you mean 'sentence'" in refused(dataset=path, text="sentense")
    assert "'lable': did you mean 'label'" in refused(dataset=path, text="text", label="lable")


def test_a_task_that_does_not_say_where_its_text_is(parquet):
    path = parquet(TWENTY)
    Dataset.from_dict({"one": ["a"] * 20, "two": ["b"] * 20, "label": TWENTY}).to_parquet(path)
    assert "does not say which columns" in refused(dataset=path)
    assert "It has 'one', 'two', 'label'" in refused(dataset=path)


def test_an_empty_split(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_REPROGRAM_DATA", str(tmp_path))
    (tmp_path / "mine").mkdir()
    for split, rows in (("train", TWENTY), ("test", [])):
        features = Features({"text": Value("string"), "label": Value("int64")})
        table = Dataset.from_dict({"text": ["a"] * len(rows), "label": rows}, features=features)
        table.to_parquet(tmp_path / "mine" / f"{split}.parquet")
    assert "The split 'test' of 'me/mine' is empty" in refused(dataset="me/mine", text="text")


def test_an_empty_split_file_is_not_taken_for_a_missing_folder(tmp_path):
    (tmp_path / "train.csv").write_text("text,label\n" + "a,0\nb,1\n" * 10)
    (tmp_path / "test.csv").write_text("text,label\n")
    sentence = refused(dataset=str(tmp_path), text="text")
    assert "test" in sentence
    assert "neither a file or folder" not in sentence


def test_an_empty_file(tmp_path):
    (tmp_path / "data.csv").write_text("text,label\n")
    assert "data.csv" in refused(dataset=str(tmp_path / "data.csv"), text="text")


def test_a_missing_split_is_refused_with_the_nearest(parquet):
    path = parquet(TWENTY)
    assert "'trian': did you mean 'train'" in refused(dataset=path, text="text", train_split="trian")
    assert "split" in refused(dataset=path, text="text", test_split="test")


def test_selecting_on_the_test_split_is_refused(tmp_path):
    for split in ("train", "validation", "test"):
        Dataset.from_dict({"text": ["a"] * 20, "label": TWENTY}).to_csv(tmp_path / f"{split}.csv")
    assert "train, test, test" in refused(dataset=str(tmp_path), text="text", validation_split="test")
    sentence = refused(dataset=str(tmp_path), text="text", validation_split="validation", test_split="validation")
    assert "(train, validation, test) must differ, as nothing may be selected on test" in sentence


def test_training_on_the_test_split_is_refused(parquet):
    assert "must differ" in refused(dataset=parquet(TWENTY), text="text", test_split="train")


def test_selecting_on_the_official_validation_split_of_a_known_task_is_refused(tmp_path, monkeypatch):
    """It is the test split there: the official test labels are hidden."""
    monkeypatch.setenv("HF_REPROGRAM_DATA", str(tmp_path))
    (tmp_path / "glue" / "sst2").mkdir(parents=True)
    for split in ("train", "validation"):
        table = Dataset.from_dict({"sentence": ["a"] * 20, "label": TWENTY})
        table.to_parquet(tmp_path / "glue" / "sst2" / f"{split}.parquet")
    assert "must differ" in refused(dataset="nyu-mll/glue", name="sst2", validation_split="validation")


def test_few_shot_of_a_regression(parquet):
    sentence = refused(dataset=parquet(np.linspace(0, 1, 30).tolist()), text="text", regression=True, few_shot=4)
    assert "the problem 'regression' has no classes to draw by: use task.train_size" in sentence


def test_an_unknown_data_set_without_a_network():
    sentence = refused(dataset="nobody/nothing", text="text")
    assert "'nobody/nothing' is neither a file or folder here nor a data set of the Hub that can be fetched" in sentence


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "data.xlsx").write_bytes(b"x")
    assert "data.xlsx' has an ending that is not read here: save the sheet as a csv file" in refused(
        dataset=str(tmp_path / "data.xlsx"), text="text"
    )


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_damaged_file(suffix, tmp_path):
    (tmp_path / f"data{suffix}").write_bytes(b"PAR1\xff\x00\x01")
    sentence = refused(dataset=str(tmp_path / f"data{suffix}"), text="text")
    assert f"data{suffix}" in sentence
    assert "neither a file or folder" not in sentence


def test_a_damaged_file_of_the_mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_REPROGRAM_DATA", str(tmp_path))
    (tmp_path / "glue" / "rte").mkdir(parents=True)
    (tmp_path / "glue" / "rte" / "train.parquet").write_bytes(b"PAR1")
    assert "glue" in refused(dataset="nyu-mll/glue", name="rte")


@pytest.mark.parametrize(("metric", "regression"), [("pearson", False), ("accuracy", True)])
def test_a_metric_of_the_other_kind_of_label(metric, regression, parquet):
    sentence = refused(dataset=parquet(TWENTY), text="text", metrics=[metric], regression=regression)
    problem = "regression" if regression else "single_label_classification"
    others = "mae, mse, pearson, rmse" if regression else "accuracy, adaptive_ece, average_precision"
    assert f"The metric {metric!r} does not fit the problem {problem!r}: choose one of {others}" in sentence


def test_a_mirror_without_the_files(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_REPROGRAM_DATA", str(tmp_path))
    (tmp_path / "glue" / "rte").mkdir(parents=True)
    assert "no parquet file" in refused(dataset="nyu-mll/glue", name="rte")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "has no dataset"),
        ({"dataset": "x", "text": ["a", "b", "c"]}, "names 3 columns"),
        ({"dataset": "x", "text": []}, "names 0 columns"),
        ({"dataset": "x", "few_shot": 0}, "few_shot is 0"),
        ({"dataset": "x", "validation_share": 1.5}, "validation_share is 1.5"),
        ({"dataset": "x", "metrics": ["acuracy"]}, "'acuracy': did you mean 'accuracy'"),
        ({"dataset": "x", "labels": [True, False]}, "labels holds True"),
        ({"dataset": "x", "few_shot": 2.5}, "few_shot is 2.5"),
        ({"dataset": "x", "max_train": 0}, "max_train is 0"),
        ({"dataset": "x", "max_test": 0}, "max_test is 0"),
        ({"dataset": "x", "max_length": 0}, "max_length is 0"),
        ({"dataset": "x", "validation_max": 0}, "validation_max is 0"),
        ({"dataset": "x", "train_size": 0}, "train_size is 0"),
        ({"dataset": "x", "train_size": 2.5}, "train_size is 2.5"),
        ({"dataset": "x", "train_size": 8, "few_shot": 2}, "task.few_shot and task.train_size both set"),
        ({"dataset": "x", "problem": "regresion"}, "'regresion': did you mean 'regression'"),
        ({"dataset": "x", "split": "scafold"}, "'scafold': did you mean 'scaffold'"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_read(options, sentence):
    assert sentence in refused(**options)


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("test.csv", b"text,label\na,1\na,b,1\n", "row 1 (line 3) has 3 fields, and the header has 2"),
        ("test.csv", b"text,label\n\xff\xfe,1\n", "the byte 0xff in line 2 is not utf-8: name"),
        ("test.csv", b"", "it has no line"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_cause(tmp_path, name, content, cause):
    (tmp_path / "train.csv").write_text("text,label\na,1\nb,0\n")
    (tmp_path / name).write_bytes(content)
    for dataset in (tmp_path, tmp_path / name):
        with pytest.raises(InputError) as refused:
            load_task(TaskOptions(dataset=str(dataset), text="text"))
        message = str(refused.value)
        assert message.startswith(f"The file {str(tmp_path / name)!r} cannot be read: ")
        assert cause in message
        assert "generating the dataset" not in message


def test_a_broken_line_of_json_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": 1}\n{"text": oops\n')
    with pytest.raises(InputError, match=r"The file '.*a.jsonl' .*: line 2 is no JSON at column 10: Expecting value"):
        load_task(TaskOptions(dataset=str(tmp_path / "a.jsonl"), text="text"))


def test_files_with_other_columns_are_told_apart(tmp_path):
    (tmp_path / "train-1.csv").write_text("text,label\na,1\n")
    (tmp_path / "train-2.csv").write_text("text,class\na,1\n")
    with pytest.raises(InputError, match=r"have different columns: .* label \(string\), and .* class \(string\)"):
        load_task(TaskOptions(dataset=str(tmp_path), text="text"))
