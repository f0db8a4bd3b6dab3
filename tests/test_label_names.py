"""Names of labels in the forms in which people keep them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel

from hf_reprogram import InputError
from hf_reprogram.label_names import label_list


@pytest.mark.parametrize(
    "labels",
    [
        ["cat", "dog"],
        ("cat", "dog"),
        np.array(["cat", "dog"]),
        pd.Series(["cat", "dog"]),
        pd.Index(["cat", "dog"]),
        pd.Series(["cat", "dog", "cat"]).unique(),
        ClassLabel(names=["cat", "dog"]),
        {0: "cat", 1: "dog"},
        {1: "dog", 0: "cat"},
        {"0": "cat", "1": "dog"},
        {"dog": 1, "cat": 0},
        {"cat": np.int64(0), "dog": np.int64(1)},
    ],
    ids=lambda labels: type(labels).__name__,
)
def test_names_are_taken_from_every_usual_form(labels):
    assert label_list(labels) == ["cat", "dog"]


def test_numbers_are_names_and_a_number_of_labels_names_them():
    assert label_list([1, 2.0, np.int64(3), 0.5]) == ["1", "2", "3", "0.5"]
    assert label_list(2) == label_list(np.int64(2)) == ["LABEL_0", "LABEL_1"]


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ("cat", "labels is 'cat': give a list of names, or their number"),
        (b"cat", "give a list of names"),
        ({"cat", "dog"}, "give a list of names"),
        (2.0, "labels is 2.0: give a list of names"),
        (True, "labels is True: give a list of names"),
        (0, "labels is 0: give a number of labels from 1 to 1,000,000"),
        (10**12, "give a number of labels from 1 to 1,000,000"),
        ([["a"], ["b"]], r"labels holds \['a'\], which is no name"),
        (["a", None], "labels holds None, which is no name"),
        (["a", float("nan")], "labels holds nan, which is no name"),
        (["a", ""], "labels holds '', which is no name"),
        (["a", True], "labels holds True, which is no name: put it in quotes"),
        (["a", "b", "a"], "labels holds the name 'a' twice"),
        ({1: "a", 2: "b"}, "labels has the indices 1, 2: give each of 0 to 1 once"),
        ({"a": 0, "b": 0}, "labels has the indices 0, 0"),
        ({"a": "b"}, r"give a name per index \(id2label\) or an index per name \(label2id\)"),
    ],
)
def test_other_forms_are_refused(labels, sentence):
    with pytest.raises(InputError, match=sentence):
        label_list(labels)
