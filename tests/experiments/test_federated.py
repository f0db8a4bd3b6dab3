"""The section `federated` of a recipe: what it refuses, and what a run of it reports."""

from __future__ import annotations

import json

import pytest

from hf_reprogram import InputError, ReprogrammedModel
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
from hf_reprogram.federated import options
from hf_reprogram.reports.results import federated_note, rows

TASK = {"dataset": "glue", "name": "rte"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"federated": 3}, "give a mapping of keys to values"),
        ({"federated": {"client": 3}}, "did you mean 'clients'"),
        ({"federated": {"alpha": 0}}, r"federated\.alpha is 0"),
        ({"federated": {}, "tune": ["norms"]}, "tune is set: leave one of them out"),
        ({"federated": {}, "gradients": "rgf"}, "gradients is set: leave one of them out"),
        ({"federated": {}, "method": "auto"}, "name the method, or leave federated out"),
    ],
)
def test_what_cannot_be_federated_is_refused_at_once(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        make_recipe({"source": "owner/model", "method": "warp", "task": TASK, **changes})


def recipe(world, output, **changes):
    """Two clients with other classes, on images."""
    values = {
        "source": world.vit,
        "method": {"name": "ilm_vp", "image_size": 8, "mapping": "label_map"},
        "task": {**world.task, "max_test": 20},
        "training": {"learning_rate": 0.1, "num_train_epochs": 2, "per_device_train_batch_size": 16},
        "federated": {"clients": 2, "rounds": 2, "alpha": 1.0},
        "output": str(output),
    }
    return make_recipe({**values, **changes})


def test_without_flower_it_is_one_sentence_before_anything_is_trained(world, tmp_path, monkeypatch):
    monkeypatch.setattr(options, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"not installed: pip install 'hf_reprogram\[federated\]'"):
        train(recipe(world, tmp_path / "run"), quiet=True)
    assert not (tmp_path / "run" / "runs" / "seed-0").exists()


def test_a_start_that_needs_all_data_is_refused_before_anything_is_trained(world, tmp_path, monkeypatch):
    monkeypatch.setattr(options, "find_spec", lambda name: "there")
    with pytest.raises(InputError, match="which no client has: take a label map"):
        train(
            recipe(world, tmp_path / "run", method={"name": "ilm_vp", "image_size": 8, "mapping": "dense"}), quiet=True
        )
    assert not (tmp_path / "run" / "runs" / "seed-0").exists()


@pytest.mark.slow
def test_a_run_reports_central_federated_and_local_training(world, tmp_path):
    pytest.importorskip("flwr")
    results = train(recipe(world, tmp_path / "run"), quiet=True)
    found = results["federated"]
    record = found["seeds"]["0"]
    assert sum(record["examples"]) == results["task"]["sizes"]["train"]
    assert [sum(counts) for counts in record["classes"]] == record["examples"]
    assert len(record["alone"]) == 2
    assert len(record["scores"]) == 3  # the start and two rounds
    assert record["start_test"] == results["seeds"]["0"]["start_test"]
    titles = [row[""] for row in rows(results)]
    assert titles[-2:] == ["ILM-VP, federated (2 clients)", "ILM-VP, one client alone (mean of 2)"]
    numbers = 4 * results["trainable"]
    assert numbers < found["bytes_up"] < found["source_bytes"]
    assert "is never sent" in federated_note(results)
    model = ReprogrammedModel.from_pretrained(tmp_path / "run" / "federated", source=world.vit)
    assert model.num_trainable() == results["trainable"]
    again = train(recipe(world, tmp_path / "run"), resume=True, quiet=True)
    assert again["federated"]["seeds"] == json.loads(json.dumps(found["seeds"]))
