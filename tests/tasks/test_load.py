"""From files, folders and a local mirror to three splits with text, pair and label."""

from __future__ import annotations

import json

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from hf_reprogram.tasks.load import TaskOptions, load_task
from tests import words


def columns(count: int = 40, seed: int = 0) -> dict[str, list]:
    texts, labels = words.texts(count, seed)
    return {"sentence": texts, "kind": [("bad", "good")[label] for label in labels], "label": labels}


def write(path, data: dict[str, list]):
    """Write columns as the format that the file's suffix names."""
    table = Dataset.from_dict(data)
    if path.suffix in (".csv", ".tsv"):
        table.to_csv(path, sep="\t" if path.suffix == ".tsv" else ",", index=False)
    elif path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
@pytest.mark.parametrize("label", ["label", "kind"])
def test_a_file_of_any_format_is_read(suffix, label, tmp_path):
    data = columns()
    path = write(tmp_path / f"data{suffix}", data)
    task = load_task(TaskOptions(dataset=str(path), text=["sentence"], label=label))
    assert task.labels == (["0", "1"] if label == "label" else ["bad", "good"])
    assert task.metrics == ["accuracy"]
    everything = {*zip(task.train["text"], task.train["label"], strict=True)}
    everything |= {*zip(task.test["text"], task.test["label"], strict=True)}
    assert everything == {*zip(data["sentence"], data["label"], strict=True)}
    assert len(task.test) == 8
    assert "20 % of train was carved with seed 0" in task.notes[0]


def test_a_folder_of_split_files_is_read(tmp_path):
    for split, count in (("train", 30), ("validation", 10), ("test", 12)):
        write(tmp_path / f"{split}.csv", columns(count))
    task = load_task(TaskOptions(dataset=str(tmp_path), text="sentence"))
    splits = task.splits(0)
    assert {name: len(split) for name, split in splits.items()} == {"train": 30, "validation": 10, "test": 12}
    assert task.notes == []


def test_pairs_have_two_columns(tmp_path):
    data = columns(10)
    data["other"] = data["sentence"][::-1]
    path = write(tmp_path / "pairs.csv", data)
    task = load_task(TaskOptions(dataset=str(path), text=["sentence", "other"]))
    assert task.train.column_names == ["text", "text_pair", "label"]


def test_labels_declared_by_the_data_are_taken(tmp_path):
    names = ["negative", "positive"]
    features = Features({"sentence": Value("string"), "label": ClassLabel(names=names)})
    data = columns(20)
    table = Dataset.from_dict({"sentence": data["sentence"], "label": data["label"]}, features=features)
    table.to_parquet(tmp_path / "data.parquet")
    assert load_task(TaskOptions(dataset=str(tmp_path / "data.parquet"), text=["sentence"])).labels == names


def test_labels_that_are_numbers_are_named_by_them_whatever_they_start_at(tmp_path):
    data = {"sentence": columns(30)["sentence"], "label": [1 + i % 2 for i in range(30)]}
    path = write(tmp_path / "data.csv", data)
    for labels in (None, ["1", "2"], [1, 2]):
        task = load_task(TaskOptions(dataset=str(path), text=["sentence"], labels=labels))
        assert task.labels == ["1", "2"]
        assert {*zip(task.train["text"], task.train["label"], strict=True)} <= {
            *zip(data["sentence"], (label - 1 for label in data["label"]), strict=True)
        }


@pytest.mark.parametrize("folder", [False, True])
def test_words_that_look_like_missing_values_are_words(folder, tmp_path):
    texts = ["null", "None", "NA", "nan", "good", ""] * 4
    path = write(tmp_path / "train.csv", {"sentence": texts, "label": [0, 1] * 12})
    task = load_task(TaskOptions(dataset=str(tmp_path if folder else path), text=["sentence"]))
    assert {*task.train["text"], *task.test["text"]} == {*texts}


def test_given_label_names_fix_the_order(tmp_path):
    path = write(tmp_path / "data.csv", columns(20))
    task = load_task(TaskOptions(dataset=str(path), text=["sentence"], label="kind", labels=["good", "bad"]))
    assert task.labels == ["good", "bad"]
    assert all((label == 0) == any(f" {w} " in f" {text} " for w in words.GOOD) for text, label in
               zip(task.train["text"], task.train["label"], strict=True))  # fmt: skip


def test_numbers_to_predict_are_a_regression(tmp_path):
    data = {"sentence": columns(30)["sentence"], "label": np.linspace(0, 5, 30).tolist()}
    path = write(tmp_path / "data.csv", data)
    task = load_task(TaskOptions(dataset=str(path), text=["sentence"], regression=True))
    assert task.regression
    assert task.problem_type == "regression"
    assert task.metrics == ["pearson", "spearman"]
    assert task.train.features["label"].dtype == "float32"


# ----------------------------------------------------------------------------------------------- the local mirror


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder in the Hub's shape, taken for the Hub; returns a function that writes one split."""
    monkeypatch.setenv("HF_REPROGRAM_DATA", str(tmp_path))

    def add(folder: str, split: str, data: dict[str, list]):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        write(tmp_path / folder / f"{split}.parquet", data)

    return add


def pairs(count: int, labels: int, hidden: bool = False) -> dict[str, list]:
    texts, _ = words.texts(count)
    label = [-1] * count if hidden else [i % labels for i in range(count)]
    return {"sentence1": texts, "sentence2": texts[::-1], "label": label}


@pytest.mark.parametrize("dataset", ["nyu-mll/glue", "glue"])
def test_a_known_task_takes_the_official_validation_as_test_and_carves_train(dataset, mirror):
    mirror("glue/rte", "train", pairs(60, 2))
    mirror("glue/rte", "validation", pairs(14, 2))
    mirror("glue/rte", "test", pairs(9, 2, hidden=True))
    task = load_task(TaskOptions(dataset=dataset, name="rte"))
    assert task.labels == ["entailment", "not_entailment"]
    assert task.title == "rte"
    splits = task.splits(0)
    assert {name: len(split) for name, split in splits.items()} == {"train": 54, "validation": 6, "test": 14}
    assert splits["test"]["text"] == pairs(14, 2)["sentence1"]
    assert any("the official validation split is the test split" in note for note in task.notes)


def test_mnli_is_tested_on_matched_genres_and_split_files_may_be_sharded(mirror):
    data = {"premise": ["a"] * 9, "hypothesis": ["b"] * 9, "label": [0, 1, 2] * 3}
    for split in ("train-00000-of-00002", "train-00001-of-00002", "validation_matched"):
        mirror("glue/mnli", split, data)
    mirror("glue/mnli", "validation_mismatched", {name: column[:3] for name, column in data.items()})
    task = load_task(TaskOptions(dataset="glue", name="mnli"))
    assert task.labels == ["entailment", "neutral", "contradiction"]
    assert (len(task.train), len(task.test)) == (18, 9)


def test_stsb_is_a_regression(mirror):
    data = {**pairs(20, 2), "label": np.linspace(0, 5, 20).tolist()}
    for split in ("train", "validation"):
        mirror("glue/stsb", split, data)
    task = load_task(TaskOptions(dataset="glue", name="stsb"))
    assert task.regression
    assert task.metrics == ["pearson", "spearman"]


def test_copa_becomes_pairs(mirror):
    data = {
        "premise": ["The man fell."] * 4, "choice1": ["He slipped."] * 4, "choice2": ["He sang."] * 4,
        "question": ["cause", "effect"] * 2, "label": [0, 1, 0, 1],
    }  # fmt: skip
    for split in ("train", "validation"):
        mirror("super_glue/copa", split, data)
    task = load_task(TaskOptions(dataset="super_glue", name="copa"))
    assert task.train[0]["text"] == "The man fell. What was the cause of this?"
    assert task.train[1]["text"] == "The man fell. What happened as a result?"
    assert task.train[0]["text_pair"] == "first: He slipped. second: He sang."


def test_cb_averages_f1_over_its_classes(mirror):
    data = {"premise": ["a"] * 9, "hypothesis": ["b"] * 9, "label": [0, 1, 2] * 3}
    for split in ("train", "validation"):
        mirror("super_glue/cb", split, data)
    task = load_task(TaskOptions(dataset="aps/super_glue", name="cb"))
    assert (task.average, task.metrics) == ("macro", ["accuracy", "f1"])


# ------------------------------------------------------------------------------------------------------- sizes


@pytest.fixture
def csv(tmp_path):
    return str(write(tmp_path / "data.csv", columns(100)))


def test_a_few_shot_draw_depends_on_the_seed_and_the_test_split_does_not(csv):
    task = load_task(TaskOptions(dataset=csv, text=["sentence"], few_shot=4))
    one, other = task.splits(0), task.splits(1)
    for splits in (one, other):
        assert sorted(splits["train"]["label"]) == sorted(splits["validation"]["label"]) == [0] * 4 + [1] * 4
    assert one["train"]["text"] != other["train"]["text"]
    assert one["test"]["text"] == other["test"]["text"]


def test_carving_does_not_depend_on_the_runs_seed(csv):
    task = load_task(TaskOptions(dataset=csv, text=["sentence"]))
    assert task.splits(0)["validation"]["text"] == task.splits(7)["validation"]["text"]
    other = load_task(TaskOptions(dataset=csv, text=["sentence"], split_seed=1))
    assert other.splits(0)["validation"]["text"] != task.splits(0)["validation"]["text"]


def test_at_most_so_many_examples_are_used(csv):
    task = load_task(TaskOptions(dataset=csv, text=["sentence"], max_train=30, max_test=10))
    splits = task.splits(0)
    assert (len(splits["train"]), len(splits["test"])) == (30, 10)
    assert not {*splits["train"]["text"]} - {*task.train["text"]}


def test_validation_is_carved_at_most_to_its_limit(csv):
    task = load_task(TaskOptions(dataset=csv, text=["sentence"], validation_share=0.5, validation_max=9))
    splits = task.splits(0)
    assert (len(splits["train"]), len(splits["validation"])) == (71, 9)
