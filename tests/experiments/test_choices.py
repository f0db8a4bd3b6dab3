"""Defaults by data: what a recipe leaves open is decided on training and validation data; an option that is given wins."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from hf_reprogram.experiments.choices import Score, _steps, best_of, decide
from hf_reprogram.experiments.job import Job
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.tasks.load import load_task


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    """Sequences of 12 letters whose fifth letter decides the label, which a mean over tokens hardly shows."""
    letters = np.random.default_rng(0).choice(list("ACGT"), (300, 12))
    path = tmp_path_factory.mktemp("sequences") / "sequences.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("sequence", "kind"))
        writer.writerows(("".join(row), "yes" if row[4] in "AC" else "no") for row in letters)
    return path


def job(source, data, folder, **changes):
    values = {
        "source": source,
        "method": {"name": "r2dl", "tokenizer": "characters", **changes.pop("method", {})},
        "task": {"dataset": str(data), "text": ["sequence"], "label": "kind"},
        "output": str(folder),
        **changes,
    }
    recipe = make_recipe(values)
    return Job(recipe, load_task(recipe.task_options), folder, _One(), False, True)


class _One:
    """The only process."""

    is_main_process = True

    def wait_for_everyone(self):
        """There is no other."""


def test_a_label_at_a_fixed_position_is_read_by_weights_of_positions(source_folder, sequences, tmp_path):
    decided, record = decide(job(source_folder("gpt2"), sequences, tmp_path))
    assert record["options"] == {"mapping": "positions"}
    assert decided.recipe.method["mapping"] == "positions"
    tried = {next(iter(entry["options"].values())): entry["validation"]["accuracy"] for entry in record["tried"]}
    assert set(tried) == {"features", "last", "positions"}
    assert tried["positions"] == 1 > tried["features"]


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"method": {"reads": "features"}}, {}),
        ({"method": {"mapping": "dense"}}, {}),
        ({"method": {"preset": "paper"}}, {}),
        ({"sweep": {"method.mapping": ["dense", "positions"]}}, {}),
    ],
)
def test_an_option_that_is_given_wins(source_folder, sequences, tmp_path, changes, options):
    _, record = decide(job(source_folder("bert"), sequences, tmp_path, **changes))
    assert record["options"] == options
    assert record["tried"] == []


@pytest.mark.parametrize(
    ("examples", "training", "chosen"),
    [
        (40, {}, {"per_device_train_batch_size": 8, "num_train_epochs": 40}),  # 200 updates
        (200, {}, {"per_device_train_batch_size": 8, "num_train_epochs": 24}),  # 600 updates
        (100_000, {}, {"per_device_train_batch_size": 16, "num_train_epochs": 3}),
        (40, {"per_device_train_batch_size": 40}, {"num_train_epochs": 200}),
        (40, {"num_train_epochs": 2, "per_device_train_batch_size": 8}, {}),
        (40, {"max_steps": 7}, {"per_device_train_batch_size": 8}),
    ],
)
def test_batches_and_epochs_follow_the_number_of_examples(examples, training, chosen):
    values = {"source": "x", "method": "r2dl", "task": {"dataset": "x.csv"}, "training": training}
    assert _steps(make_recipe(values), examples) == chosen


def test_a_method_with_steps_of_its_own_keeps_them_and_its_batch():
    values = {"source": "owner/model", "method": "bbt", "task": {"dataset": "data.csv", "text": ["sentence"]}}
    assert _steps(make_recipe(values), 40) == {}
    for given in {"num_train_epochs": 5}, {"max_steps": 5}:
        assert _steps(make_recipe({**values, "training": given}), 40) == {}


@pytest.mark.parametrize(
    ("gains", "weights", "best"),
    [
        ([0.5, 0.4, 0.6], (1, 9), 1),  # every example gains
        ([0.5, -0.4, 0.1], (1, 9), 0),  # chance: the smaller omega
        ([0.5, -0.4, 0.1], (9, 9), 1),  # as large: the better score
        ([0.5, -0.4, 0.1], (9, 1), 1),
        ([0.5, np.nan, 0.4], (1, 9), 1),  # a label is missing
        ([0.5], (1, 9), 0),  # one example says nothing
        ([0.0, 0.0], (1, 9), 0),
    ],
)
def test_more_weights_of_omega_must_win_by_more_than_chance(gains, weights, best):
    first = Score(0.8, {}, np.ones(len(gains)), weights[0])
    second = Score(0.9, {}, 1 - np.array(gains), weights[1])
    assert best_of([first, second]) == best
    assert best_of([second, first]) == 1 - best
