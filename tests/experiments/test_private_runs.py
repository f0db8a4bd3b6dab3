"""Recipes with `gradients: dp_sgd` and `membership`: what is written, and what is refused before anything is loaded."""

from __future__ import annotations

import json

import pytest

from hf_reprogram import InputError, ReprogrammedModel
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
from hf_reprogram.privacy import epsilon
from tests.support import runs

DP_SGD = {"gradients": {"dp_sgd": {"epsilon": 8.0, "delta": 1e-3}}, "membership": 30}


@pytest.mark.slow
def test_a_private_run_says_what_it_costs_and_resumes(source_folder, csv_file, tmp_path, monkeypatch):
    whole = runs.recipe(source_folder("bert"), csv_file, tmp_path / "whole", seeds=[0, 1], **DP_SGD)
    never = "hf_reprogram.modalities.text.Text.for_method"
    monkeypatch.setattr(never, lambda *args: pytest.fail("training texts were given to the method"))
    results = train(whole, quiet=True)
    assert results["method"]["start"] == "none"
    spent = results["seeds"]["1"]["privacy"]
    assert (spent["examples"], spent["batch_size"], spent["steps"]) == (173, 16, 3 * 11)
    assert 7.9 < spent["epsilon"] <= 8.0
    both = epsilon(spent["noise_multiplier"], spent["sampling_rate"], 2 * spent["steps"], 1e-3)
    assert results["privacy"]["epsilon_of_all"] == pytest.approx(both)
    for record in results["seeds"].values():
        assert record["membership"]["examples"] == 30
        assert all(0 <= record["membership"][key] <= 1 for key in ("start", "trained", "calibrated"))
    card = (tmp_path / "whole" / "README.md").read_text()
    assert (
        f"(epsilon {spent['epsilon']:.2f}, delta 0.001)-private for one training example, and epsilon {both:.2f}"
        in card
    )
    assert "The losses tell training from test examples with a ROC-AUC of" in card
    loaded = ReprogrammedModel.from_pretrained(tmp_path / "whole", source=source_folder("bert"))
    assert loaded.config.gradients["dp_sgd"]["epsilon"] == 8.0

    first = train(runs.replace_output(whole, tmp_path / "parts"), quiet=True, only_seed=1)
    assert first == {}
    again = train(runs.replace_output(whole, tmp_path / "parts"), quiet=True, resume=True)
    assert runs.weights(tmp_path / "parts") == runs.weights(tmp_path / "whole")
    assert again["privacy"] == results["privacy"]


def test_membership_of_a_run_without_privacy(source_folder, csv_file, tmp_path):
    results = runs.run(source_folder("bert"), csv_file, tmp_path, membership=500, training={"num_train_epochs": 1})
    found = results["seeds"]["0"]["membership"]
    assert found["examples"] == 48  # of the test split, which is smaller
    assert "privacy" not in results
    assert "membership" in json.loads((tmp_path / "runs" / "seed-0" / "test.json").read_text())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": {"start": "probe"}}, "start 'probe' fits omega to it: set start to none"),
        ({"sweep": {"training.learning_rate": [1e-2, 1e-3]}}, "each value of sweep is a training of its own"),
        ({"tune": ["norms"]}, "tune trains the source: leave tune out"),
        ({"task": {"streaming": True}}, "drawn from all training examples: leave task.streaming out"),
        (
            {"training": {"gradient_accumulation_steps": 2}},
            "a step is one batch: leave training.gradient_accumulation_steps",
        ),
        ({"training": {"train_sampling_strategy": "group_by_length"}}, "leave training.train_sampling_strategy out"),
        ({"training": {"fp16": True}}, "fp16 scales losses and leaves steps out"),
        ({"federated": {"clients": 2}}, "exact gradients on a frozen source, and gradients is set"),
        ({"membership": 0}, "membership is 0: give a whole number, 1 or more."),
    ],
)
def test_what_would_leak_or_not_be_accounted_for_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        runs.recipe("somewhere/source", "films.csv", "out", **{**DP_SGD, **changes})


def test_tables_are_refused_since_their_scale_is_that_of_the_training_rows():
    table = {"dataset": "rows.csv", "features": ["a"], "label": "kind"}
    with pytest.raises(InputError, match="is scaled by its training rows: use reprogram"):
        make_recipe({"source": "somewhere/source", "method": "fraud", "task": table, **DP_SGD})


def test_membership_needs_rows_at_hand():
    with pytest.raises(InputError, match=r"and task\.streaming is set: leave it out"):
        runs.recipe("somewhere/source", "films.csv", "out", membership=5, task={"streaming": True})
