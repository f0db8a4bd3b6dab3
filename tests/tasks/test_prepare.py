"""Labels of every kind are checked and brought into one form; what cannot be is named by its row and split."""

from __future__ import annotations

import math

import numpy as np
import pytest
from datasets import Dataset

from hf_reprogram import InputError
from hf_reprogram.modalities.text import TEXT
from hf_reprogram.tasks.catalog import KnownTask
from hf_reprogram.tasks.labels import Classes
from hf_reprogram.tasks.options import TaskOptions
from hf_reprogram.tasks.prepare import Columns, prepare
from hf_reprogram.tasks.problems import IGNORE

PER_TOKEN = ["token_classification", "infilling"]


def prepared(problem, data, names=(), columns=("label",), known=None, text=("text",), **options):
    """The train split of these columns, prepared for a problem."""
    asked = TaskOptions(dataset="mine", **options)
    values = columns if problem == "multi_label_classification" else names
    classes = Classes(list(values), {value: place for place, value in enumerate(values)})
    held = Columns(TEXT, list(text), list(columns), classes, problem, known)
    return prepare(Dataset.from_dict(data), held, asked, "train")


def refused(*arguments, **options) -> str:
    with pytest.raises(InputError) as error:
        prepared(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_only_text_pair_and_label_are_kept():
    data = {"one": ["a", None], "other": ["1", "2"], "label": [0, 1], "more": [3, 4]}
    ready = prepared("single_label_classification", data, ["0", "1"], text=["one", "other"])
    assert ready.column_names == ["text", "text_pair", "label"]
    assert ready[:] == {"text": ["a", ""], "text_pair": ["1", "2"], "label": [0, 1]}


@pytest.mark.parametrize(("column", "nearest"), [("txt", "text"), ("lable", "label")])
def test_a_column_that_is_not_there_is_refused_with_the_nearest(column, nearest):
    data = {"text": ["a"], "label": [0]}
    where = {"text": ["txt"]} if column == "txt" else {"columns": ["lable"]}
    sentence = refused("single_label_classification", data, ["no", "yes"], **where)
    assert f"{column!r}: did you mean {nearest!r}" in sentence


# ------------------------------------------------------------------------------------------------ a class, a number


@pytest.mark.parametrize(
    ("names", "labels", "expected"),
    [
        (["no", "yes"], ["yes", "no"], [1, 0]),
        (["1", "2"], [2, 1], [1, 0]),
        (["1", "2"], [2.0, 1.0], [1, 0]),
        (["1", "2"], ["2.0", "01"], [1, 0]),  # as another file of the data may write them
        (["false", "true"], [True, False], [1, 0]),
    ],
)
def test_a_class_is_found_by_the_value_of_its_label(names, labels, expected):
    data = {"text": ["a"] * len(labels), "label": labels}
    ready = prepared("single_label_classification", data, names)
    assert ready["label"][:] == expected
    assert ready.features["label"].dtype == "int64"


@pytest.mark.parametrize("label", [2, -1, 0.5, math.nan, math.inf, None])
def test_a_class_outside_the_names_is_refused_with_its_row(label):
    sentence = refused("single_label_classification", {"text": ["a", "b"], "label": [0.0, label]}, ["0", "1"])
    assert "Row 1 of the train split has the label" in sentence
    assert "which is none of the 2 names 0, 1" in sentence


def test_a_number_is_kept_in_float32():
    ready = prepared("regression", {"text": ["a", "b", "c"], "label": ["1.5", "-2", "1e3"]})
    assert ready["label"][:] == [1.5, -2, 1000]
    assert ready.features["label"].dtype == "float32"


@pytest.mark.parametrize("label", ["", "high", "nan", "inf", None])
def test_what_is_no_finite_number_is_refused_with_its_row(label):
    sentence = refused("regression", {"text": ["a", "b"], "label": ["1", label]})
    assert f"Row 1 of the train split has the label {label!r}: give a finite number" in sentence


# -------------------------------------------------------------------------------------------------- several labels


def test_several_labels_are_a_list_in_the_columns_order_with_nan_where_one_is_missing():
    data = {"text": ["a", "b", "c"], "toxic": [1, None, 0], "binds": [0.0, 1.0, math.nan], "word": ["1", "", "0.0"]}
    ready = prepared("multi_label_classification", data, columns=["binds", "word", "toxic"])
    assert ready.column_names == ["text", "label"]
    expected = [[0, 1, 1], [1, math.nan, math.nan], [math.nan, 0, 0]]
    np.testing.assert_array_equal(np.asarray(ready["label"], dtype=float), expected)
    assert ready.features["label"].feature.dtype == "float32"


def test_flags_are_labels_too():
    data = {"text": ["a", "b"], "one": [True, False], "other": [None, True]}
    ready = prepared("multi_label_classification", data, columns=["one", "other"])
    np.testing.assert_array_equal(np.asarray(ready["label"], dtype=float), [[1, math.nan], [0, 1]])


@pytest.mark.parametrize("label", [2, -1, 0.5, "yes", math.inf])
def test_one_of_several_labels_that_is_not_0_1_or_empty_is_refused_with_its_row(label):
    data = {"text": ["a", "b"], "one": [1, 0], "other": ["1" if isinstance(label, str) else 1.0, label]}
    sentence = refused("multi_label_classification", data, columns=["one", "other"])
    assert "Row 1 of the train split has the label" in sentence
    assert "give 0, 1 or nothing for each of several labels" in sentence


# --------------------------------------------------------------------------------------------------- a label a letter


def test_letters_become_a_class_each():
    data = {"text": ["MKV", "A"], "label": ["HEC", "H"]}
    ready = prepared("token_classification", data, ["H", "E", "C"])
    assert ready["label"][:] == [[0, 1, 2], [0]]


def test_digits_that_are_names_are_names():
    ready = prepared("token_classification", {"text": ["AC", "GT"], "label": ["21", "12"]}, ["1", "2"])
    assert ready["label"][:] == [[1, 0], [0, 1]]


def test_what_the_scored_column_marks_with_0_is_ignored_whatever_its_letter():
    data = {"text": ["MKVA", "GL"], "label": ["HE?C", "EE"], "resolved": ["1101", "01"]}
    ready = prepared("token_classification", data, ["H", "E", "C"], scored="resolved")
    assert ready["label"][:] == [[0, 1, IGNORE, 2], [IGNORE, 1]]
    assert ready.column_names == ["text", "label"]


def test_a_known_task_brings_its_scored_column():
    known = KnownTask(("text",), ("H", "E"), ("accuracy",), problem="token_classification", scored="resolved")
    data = {"text": ["MK"], "label": ["HE"], "resolved": ["01"]}
    assert prepared("token_classification", data, known.labels, known=known)["label"][:] == [[IGNORE, 1]]


@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification", "infilling"])
def test_a_scored_column_is_no_label_of_another_problem(problem):
    data = {"text": ["a"], "label": ["1"], "resolved": ["1"]}
    ready = prepared(problem, data, ["0", "1"], scored="resolved")
    assert ready["label"][:] == ([1] if problem == "single_label_classification" else [[1]])


def test_a_letter_outside_the_names_is_refused_with_its_row():
    sentence = refused("token_classification", {"text": ["MK", "VA"], "label": ["HE", "HX"]}, ["H", "E"])
    assert "Row 1 of the train split has the label 'X', which is none of the 2 names H, E" in sentence


@pytest.mark.parametrize("problem", PER_TOKEN)
@pytest.mark.parametrize("labels", ["111", "1", ""])
def test_another_number_of_labels_than_letters_is_refused_with_its_row(problem, labels):
    sentence = refused(problem, {"text": ["MK", "VA"], "label": ["11", labels]}, ["0", "1"])
    assert (
        f"Row 1 of the train split has {len(labels)} labels for a text of 2 letters: give one label per letter"
        in sentence
    )


@pytest.mark.parametrize("resolved", ["1", "", "111"])
def test_a_scored_column_of_another_length_is_refused_with_its_row(resolved):
    data = {"text": ["MK", "VA"], "label": ["HE", "EH"], "resolved": ["11", resolved]}
    sentence = refused("token_classification", data, ["H", "E"], scored="resolved")
    assert f"Row 1 of the train split has {len(resolved)} labels for a text of 2 letters" in sentence


def test_a_misspelt_scored_column_is_refused_with_the_nearest():
    data = {"text": ["MK"], "label": ["HE"], "resolved": ["11"]}
    assert "'resolve': did you mean 'resolved'" in refused("token_classification", data, ["H", "E"], scored="resolve")


@pytest.mark.parametrize(("marks", "expected"), [(None, [0, 1, 0, 0]), ("2", [0, 0, 1, 0]), ("13", [0, 1, 0, 1])])
def test_marks_say_what_is_hidden(marks, expected):
    assert prepared("infilling", {"text": ["MKVA"], "label": ["0123"]}, marks=marks)["label"][:] == [expected]


def test_a_known_task_brings_its_marks_and_the_recipes_come_first():
    known = KnownTask(("text",), (), ("recovery",), problem="infilling", marks="3")
    data = {"text": ["MKVA"], "label": ["0123"]}
    assert prepared("infilling", data, known=known)["label"][:] == [[0, 0, 0, 1]]
    assert prepared("infilling", data, known=known, marks="2")["label"][:] == [[0, 0, 1, 0]]
