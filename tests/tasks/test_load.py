"""From files, folders and a local mirror to three splits with text, pair and label."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from hf_reprogram import InputError
from hf_reprogram.modalities.text import Text
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions
from tests.support import words
from tests.support.tables import columns, write


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
    assert task.metrics == ["rmse", "pearson", "spearman"]
    assert task.train.features["label"].dtype == "float32"


# ----------------------------------------------------------------------------------------------- the local mirror


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


def test_so_many_examples_are_drawn_with_the_seed_and_as_many_for_validation(csv):
    task = load_task(TaskOptions(dataset=csv, text=["sentence"], train_size=8, validation_share=0.3))
    one, again, other = task.splits(0), task.splits(0), task.splits(1)
    for splits in (one, other):
        assert sorted(splits["train"]["label"]) == sorted(splits["validation"]["label"]) == [0] * 4 + [1] * 4
    assert one["train"][:] == again["train"][:]
    assert one["train"]["text"] != other["train"]["text"]
    assert one["validation"]["text"] != other["validation"]["text"]
    assert one["test"]["text"] == other["test"]["text"]
    assert any("8 labelled examples for training and as many for validation" in note for note in task.notes)


@pytest.mark.parametrize(("limits", "expected"), [({"validation_max": 5}, 5), ({"validation_share": 0.05}, 4)])
def test_validation_of_a_draw_is_no_larger_than_its_limit_and_than_what_was_carved(limits, expected, csv):
    splits = load_task(TaskOptions(dataset=csv, text=["sentence"], train_size=20, **limits)).splits(0)
    assert (len(splits["train"]), len(splits["validation"])) == (20, expected)


def test_a_draw_is_from_the_declared_splits_where_there_are_such(tmp_path):
    for split, count in (("train", 60), ("validation", 30), ("test", 10)):
        write(tmp_path / f"{split}.csv", {**columns(count), "sentence": [f"{split} {i}" for i in range(count)]})
    splits = load_task(TaskOptions(dataset=str(tmp_path), text="sentence", train_size=12)).splits(3)
    assert {name: len(split) for name, split in splits.items()} == {"train": 12, "validation": 12, "test": 10}
    assert all(text.startswith(name) for name, split in splits.items() for text in split["text"])


def test_more_than_there_is_cannot_be_drawn(csv):
    task = load_task(TaskOptions(dataset=csv, text=["sentence"], train_size=73))
    with pytest.raises(InputError, match="There are 72 examples, too few to draw 73"):
        task.splits(0)


# ----------------------------------------------------------------------------------------------- kinds of problems


LETTERS = {"text": ["ACDC", "CA"] * 10, "label": ["0110", "01"] * 10}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "single_label_classification"),
        ({"label": ["one"]}, "single_label_classification"),
        ({"label": ["one", "other"]}, "multi_label_classification"),
        ({"label": "one", "problem": "multi_label_classification"}, "multi_label_classification"),
        ({"regression": True}, "regression"),
        ({"regression": False}, "single_label_classification"),
        ({"problem": "regression"}, "regression"),
    ],
)
def test_what_is_not_said_of_the_problem_is_inferred(options, expected, tmp_path):
    data = {"text": ["a", "b"] * 10, "label": [0, 1] * 10, "one": [0, 1] * 10, "other": [1, 0] * 10}
    task = load_task(TaskOptions(dataset=str(write(tmp_path / "data.csv", data)), text="text", **options))
    assert task.problem_type == expected
    assert task.regression == (expected == "regression")
    assert not task.per_token


def test_several_label_columns_are_a_multi_label_task(tmp_path):
    data = {"text": ["a", "b", "c", "d"] * 10, "toxic": [0, 1, None, 1] * 10, "binds": [1, 0, 1, 0] * 10}
    path = str(write(tmp_path / "data.csv", data))
    task = load_task(TaskOptions(dataset=path, text="text", label=["toxic", "binds"]))
    assert (task.labels, task.metrics) == (["toxic", "binds"], ["roc_auc"])
    toxic = dict(zip(data["text"], data["toxic"], strict=True))
    for text, label in zip(task.train["text"], task.train["label"], strict=True):
        np.testing.assert_array_equal(label, np.array([toxic[text], text in "ac"], dtype=float))
    labels = np.asarray(task.test["label"])
    assert task.score(np.nan_to_num(labels), labels) == {"roc_auc": 1.0}
    assert task.decide([[-0.1, 0.3]]).tolist() == [[0, 1]]
    splits = task.splits(0)
    assert (len(splits["train"]), len(splits["validation"]), len(splits["test"])) == (29, 3, 8)


def test_several_labels_may_be_named_otherwise_but_each_needs_one(tmp_path):
    data = {"text": ["a", "b"] * 10, "x1": [0, 1] * 10, "x2": [1, 0] * 10}
    path = str(write(tmp_path / "data.csv", data))
    task = load_task(TaskOptions(dataset=path, text="text", label=["x1", "x2"], labels=["toxic", "binds"]))
    assert task.labels == ["toxic", "binds"]
    swapped = load_task(TaskOptions(dataset=path, text="text", label=["x1", "x2"], labels=["x2", "x1"]))
    assert (swapped.labels, swapped.train[0]["label"]) == (["x2", "x1"], [*reversed(task.train[0]["label"])])
    with pytest.raises(InputError, match=r"task\.labels gives a, b, c, and the label columns are x1, x2"):
        load_task(TaskOptions(dataset=path, text="text", label=["x1", "x2"], labels=["a", "b", "c"]))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_label_a_letter_is_read_from_any_file_even_if_it_looks_like_a_number(suffix, tmp_path):
    path = str(write(tmp_path / f"data{suffix}", LETTERS))
    task = load_task(TaskOptions(dataset=path, text="text", problem="token_classification"))
    assert task.per_token
    assert (task.labels, task.metrics) == (["0", "1"], ["accuracy"])
    assert {(text, *label) for text, label in zip(task.train["text"], task.train["label"], strict=True)} == {
        ("ACDC", 0, 1, 1, 0), ("CA", 0, 1),
    }  # fmt: skip


def test_marks_make_an_infilling_task_without_labels(tmp_path):
    path = str(write(tmp_path / "data.csv", LETTERS))
    task = load_task(TaskOptions(dataset=path, text="text", problem="infilling", marks="0"))
    assert (task.labels, task.metrics) == ([], ["recovery", "perplexity"])
    assert [1, 0, 0, 1] in task.train["label"][:]


@pytest.mark.parametrize("problem", ["token_classification", "infilling", "multi_label_classification", "regression"])
def test_so_many_examples_are_drawn_of_every_problem(problem, tmp_path):
    data = dict(LETTERS)
    if problem in ("multi_label_classification", "regression"):
        data["label"] = [0, 1] * 10
    path = str(write(tmp_path / "data.csv", data))
    splits = load_task(TaskOptions(dataset=path, text="text", problem=problem, train_size=6)).splits(0)
    assert {name: len(split) for name, split in splits.items()} == {"train": 6, "validation": 2, "test": 4}


@pytest.mark.parametrize("problem", ["token_classification", "infilling"])
def test_one_label_per_letter_is_of_one_text(problem, tmp_path):
    path = str(write(tmp_path / "data.csv", {**LETTERS, "other": LETTERS["text"]}))
    with pytest.raises(InputError, match=r"has one label per letter of a text: name one column in task\.text"):
        load_task(TaskOptions(dataset=path, text=["text", "other"], problem=problem))


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification", "token_classification", "infilling"])
def test_shots_a_class_need_a_class_an_example(problem, tmp_path):
    path = str(write(tmp_path / "data.csv", LETTERS))
    with pytest.raises(InputError, match=r"few_shot draws examples per class.*use task\.train_size"):
        load_task(TaskOptions(dataset=path, text="text", problem=problem, few_shot=2))


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("several", [False, True])
def test_roc_auc_on_a_split_of_one_class_is_refused_before_anything_is_trained(split, several, tmp_path):
    for name in ("train", "validation", "test"):
        label = [1] * 10 if name == split else [0, 1] * 5
        missing = [None] * 10 if name == split else label
        write(tmp_path / f"{name}.csv", {"text": ["a"] * 10, "label": label, "other": missing})
    options = {"label": ["label", "other"]} if several else {"metrics": ["accuracy", "roc_auc"]}
    with pytest.raises(InputError, match=f"All labels of the {split} split are of one class, so roc_auc is undefined"):
        load_task(TaskOptions(dataset=str(tmp_path), text="text", **options))


def test_roc_auc_is_scored_where_one_label_of_several_has_both_classes(tmp_path):
    for name in ("train", "test"):
        write(tmp_path / f"{name}.csv", {"text": ["a"] * 10, "label": [0, 1] * 5, "other": [1] * 10})
    task = load_task(TaskOptions(dataset=str(tmp_path), text="text", label=["label", "other"]))
    labels = np.asarray(task.test["label"])
    assert task.score(1 - labels, labels) == {"roc_auc": 0.0}


def test_selection_takes_the_lowest_error_and_the_highest_share(tmp_path):
    data = {"text": ["a"] * 20, "label": np.linspace(0, 1, 20).tolist()}
    path = str(write(tmp_path / "data.csv", data))
    for metrics, better in ((["rmse", "pearson"], 0), (["pearson", "rmse"], 1)):
        task = load_task(TaskOptions(dataset=path, text="text", regression=True, metrics=metrics))
        found = [task.benefit({"rmse": 0.1, "pearson": 0.2}), task.benefit({"rmse": 0.5, "pearson": 0.9})]
        assert found.index(max(found)) == better


def test_a_modality_may_read_a_folder_itself(tmp_path, monkeypatch):
    rows = Dataset.from_dict({"text": ["good", "bad"] * 10, "label": ["yes", "no"] * 10})
    monkeypatch.setattr(Text, "read_folder", lambda self, folder, named: DatasetDict(train=rows), raising=True)
    task = load_task(TaskOptions(dataset=str(tmp_path), text="text"))
    assert sorted(task.labels) == ["no", "yes"]
    assert len(task.train) + len(task.test) == 20


@pytest.mark.parametrize(
    ("data", "takes", "column", "names"),
    [
        ({"review": ["good", "bad"] * 10}, None, "text", ["review"]),
        ({"text": ["good", "bad"] * 10, "stars": [1, 2] * 10, "title": ["a", "b"] * 10}, None, "text", ["text"]),
        ({"review": ["good", "bad"] * 10, "stars": [1, 2] * 10}, "input_ids", "text", ["review"]),
        ({"id": [*range(20)], "a": [0.5, 1.5] * 10, "b": [1, 2] * 10}, None, "features", ["a", "b"]),
        ({"name": ["a", "b"] * 10, "a": [0.5, 1.5] * 10}, "table_values", "features", ["a"]),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_columns_that_alone_fit_need_no_name(data, takes, column, names, suffix, tmp_path):
    path = write(tmp_path / f"data{suffix}", {**data, "label": ["yes", "no"] * 10})
    task = load_task(TaskOptions(str(path)), takes=takes)
    assert (task.modality.column, task.columns) == (column, names)
    assert any(f"the data allows only {', '.join(map(repr, names))}" in note for note in task.notes)


@pytest.mark.parametrize(
    "data",
    [{"one": ["a"] * 20, "two": ["b"] * 20}, {"review": ["a"] * 20, "stars": [1, 2] * 10}, {"other": [{"a": 1}] * 20}],
)
def test_columns_are_not_guessed_where_several_fit(data, tmp_path):
    path = write(tmp_path / "data.parquet", {**data, "label": ["yes", "no"] * 10})
    with pytest.raises(InputError, match="does not say which columns"):
        load_task(TaskOptions(str(path)))


def test_a_task_of_other_examples_than_a_model_takes_is_refused(csv):
    with pytest.raises(
        InputError, match=r"The model takes images, and .* holds texts: give a task with examples of the same kind"
    ):
        load_task(TaskOptions(csv, text="sentence"), takes="pixel_values")
