"""The option `task.group`: what is read, what is refused, and the gaps between groups."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference

from hf_reprogram import InputError
from hf_reprogram.tasks.fairness import by_group, gaps
from hf_reprogram.tasks.groups import Groups
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions

COLUMNS = {
    "age": list(range(40)),
    "sex": [0, 1, 1, 1] * 10,
    "town": ["a", "b"] * 20,
    "label": ["no", "yes", "no", "yes", "yes"] * 8,
}


def load(columns=COLUMNS, **options):
    return load_task(TaskOptions(Dataset.from_dict(columns), **{"group": "sex", "features": "age", **options}))


def test_groups_stand_beside_the_features_and_are_none_of_them():
    task = load()
    assert task.groups == ["0", "1"]
    for split in (*task.splits(0).values(), task.test):
        assert split.column_names == ["features", "groups", "label"]
        assert split["groups"][:] == [int(row[0] % 4 > 0) for row in split["features"]]
    assert "Groups by the column 'sex' (0, 1), which is no input of the model." in task.notes
    numbers = {name: values for name, values in COLUMNS.items() if name != "town"}
    assert load(numbers, features=None).columns == ["age"]  # found without being named
    both = load(features=["age", "sex"])
    assert any("which is an input of the model too" in note for note in both.notes)
    assert load(group="town").groups == ["a", "b"]


def test_declared_names_are_those_of_the_groups():
    features = Features({"age": Value("float32"), "sex": ClassLabel(names=["f", "m"]), "label": Value("int64")})
    data = Dataset.from_dict({"age": [1.0] * 20, "sex": [1, 0] * 10, "label": [0, 1, 1, 0] * 5}, features=features)
    assert Groups("sex", ["f", "m"]).of(data, "train")[:2] == [1, 0]


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({}, {"group": "gender"}, "group column of .*'gender'"),
        ({}, {"group": "label"}, "'label' is both the group and the label"),
        ({}, {"group": "age"}, "'age' of .* has 40 values, and gaps are measured between 2 to 20 groups"),
        ({"sex": [1] * 40}, {}, "'sex' of .* has 1 values"),
        (
            {"sex": [0, 1, None, 1] * 10},
            {"features": "age"},
            "Row 2 of the train split has no group in the column 'sex'",
        ),
        ({"sex": [[0], [1]] * 20}, {}, "names no groups"),
        ({"label": [0.5, 1.5] * 20}, {"regression": True}, "not of a regression: leave task.group out"),
    ],
)
def test_groups_that_cannot_be_used_are_refused(columns, options, message):
    with pytest.raises(InputError, match=message) as error:
        load({**COLUMNS, **columns}, **options)
    assert "\n" not in str(error.value)


def test_without_fairlearn_the_command_that_installs_it_is_told(monkeypatch):
    monkeypatch.setattr("hf_reprogram.tasks.groups.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'hf_reprogram\[fairness\]'"):
        load()


def test_gaps_of_a_case_by_hand():
    """Group 0: 3 of 4 are called positive, and 2 of 2 of the positives. Group 1: 1 of 4, and 1 of 2; no negative."""
    predictions, labels = np.array([1, 1, 1, 0, 1, 0, 0, 0]), np.array([1, 1, 0, 0, 1, 1, 0, 0])
    found = by_group(predictions, labels, [0] * 4 + [1] * 4, ["f", "m"], classes=2)
    assert found == {
        "accuracy": 0.75,
        "demographic_parity": 0.5,  # 3/4 - 1/4
        "equalized_odds": 0.5,  # true positives 1 - 1/2, false positives 1/2 - 0
        "accuracies": {"f": 0.75, "m": 0.75},
        "examples": {"f": 4, "m": 4},
    }


def test_gaps_are_those_of_fairlearn_and_of_the_worst_class():
    random = np.random.default_rng(0)
    predictions, labels, groups = (random.integers(0, 3, 300) for _ in range(3))
    for name, of in (
        ("demographic_parity", demographic_parity_difference),
        ("equalized_odds", equalized_odds_difference),
    ):
        each = [of(labels == c, predictions == c, sensitive_features=groups) for c in range(3)]
        assert gaps(predictions, labels, groups, classes=3)[name] == pytest.approx(max(each))
        two = of(labels > 0, predictions > 0, sensitive_features=groups)
        assert gaps((predictions > 0) * 1, (labels > 0) * 1, groups, classes=2)[name] == pytest.approx(two)


def test_a_group_of_one_class_alone_says_nothing_of_the_odds():
    predictions, labels = np.array([1, 0, 1, 0, 1]), np.array([1, 0, 1, 0, 0])
    assert gaps(predictions, labels, np.array([0, 0, 1, 1, 2]), classes=2)["equalized_odds"] == 0
    assert gaps(predictions[:1], labels[:1], np.array([0]), classes=2)["equalized_odds"] == 0
