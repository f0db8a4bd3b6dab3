"""Gaps between groups and accuracy under attack: in the results of a run, in its card, and kept on resume."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from datasets import Dataset

from hf_reprogram import InputError, ReprogrammedModel
from hf_reprogram.experiments.evaluate import evaluate_adapter, predict_lines
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
from hf_reprogram.tasks.fairness import by_group
from hf_reprogram.tasks.load import load_task
from hf_reprogram.training.encode import encode
from hf_reprogram.training.predict import predict_logits
from tests.support import runs, tiny_vision

TRAINING = {"learning_rate": 3e-2, "num_train_epochs": 2, "per_device_train_batch_size": 16}


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    """A recipe on a table with groups, whose label goes with the group."""
    folder = tmp_path_factory.mktemp("groups")
    random = np.random.default_rng(0)
    sex = random.integers(0, 2, 200)
    label = (random.random(200) < 0.2 + 0.6 * sex).astype(int)
    columns = {"a": random.normal(size=200) + label, "b": random.normal(size=200) + 2 * sex, "sex": sex}
    Dataset.from_dict({**columns, "label": label}).to_csv(folder / "people.csv", index=False)
    return {
        "source": str(tiny_vision.save_source(folder / "vit", "vit")),
        "method": {"name": "fraud", "mapping": "dense"},
        "task": {"dataset": str(folder / "people.csv"), "features": ["a", "b"], "group": "sex"},
        "training": TRAINING,
        "objectives": [{"fairness": {"criterion": "demographic_parity", "weight": 2.0}}],
        "robustness": {"eps": [0.1, "1/2"], "steps": 3, "examples": 20},
        "seeds": [0, 1],
        "output": str(folder / "adapter"),
    }


@pytest.fixture(scope="module")
def finished(values):
    """A whole run of two seeds."""
    return SimpleNamespace(results=train(make_recipe(values), quiet=True), folder=values["output"])


def test_gaps_are_those_of_the_adapters_own_answers(values, finished):
    results = finished.results
    task = load_task(make_recipe(values).task_options)
    model = ReprogrammedModel.from_pretrained(f"{finished.folder}/runs/seed-1")
    split = task.splits(1)["validation"]
    logits = predict_logits(model, None, encode({"v": split}, None)["v"], quiet=True)
    expected = by_group(logits.argmax(-1), split["label"][:], split["groups"][:], ["0", "1"], classes=2)
    found = results["fairness"]
    assert found["seeds"]["1"]["validation"] == expected
    assert {*found["seeds"]["0"]} == {"validation", "test", "start"}
    each = [found["seeds"][seed]["test"]["demographic_parity"] for seed in "01"]
    assert found["test"]["demographic_parity"]["mean"] == pytest.approx(np.mean(each))
    for seed in "01":
        assert found["seeds"][seed]["test"]["accuracy"] == results["seeds"][seed]["test"]["accuracy"]
        assert found["seeds"][seed]["start"]["test"]["accuracy"] == results["seeds"][seed]["start_test"]["accuracy"]


def test_the_last_epoch_is_the_result_and_says_nothing_else(finished):
    assert finished.results["best_epochs"] == [2.0, 2.0]


def test_no_attack_makes_an_answer_better_and_a_larger_one_does_more_harm(finished):
    found = finished.results["robustness"]
    for record in found["seeds"].values():
        assert record["examples"] == 20
        small, large = record["eps"]["0.1"], record["eps"]["1/2"]
        assert record["clean"] >= small["pgd"] >= large["pgd"]
        assert large["pgd"] < record["clean"]
        assert {*small} == {"noise", "pgd", "start_pgd", "transfer"}
    mean = np.mean([record["eps"]["1/2"]["pgd"] for record in found["seeds"].values()])
    assert found["accuracy"]["1/2 pgd"]["mean"] == pytest.approx(mean)


def test_the_card_tells_both(finished):
    card = Path(finished.folder, "README.md").read_text(encoding="utf-8")
    assert "## Groups\n\n|  | accuracy | demographic parity gap | equalized odds gap | 0 | 1 |" in card
    assert "## Under attack\n\n| eps | untrained start |" in card
    assert "20 test examples" in card
    assert "the last epoch was kept, and settings and the seed of this adapter" in card
    assert "which is no input of the model" in card


def test_what_was_measured_is_kept_unless_it_is_asked_for_otherwise(values, finished, monkeypatch):
    before = {seed: runs_file(finished, seed).read_bytes() for seed in "01"}
    again = train(make_recipe(values), resume=True, quiet=True)
    assert again["fairness"] == finished.results["fairness"]
    changed = {**values, "robustness": {"eps": [0.1], "steps": 1, "examples": 10}}
    found = train(make_recipe(changed), resume=True, quiet=True)["robustness"]
    assert found["seeds"]["0"]["examples"] == 10
    for seed, content in before.items():
        runs_file(finished, seed).write_bytes(content)


def runs_file(finished, seed):
    return Path(finished.folder, "runs", f"seed-{seed}", "properties.json")


def test_an_adapter_predicts_without_groups_and_evaluates_with_them(finished):
    (answer,) = predict_lines(finished.folder, ["0.5,1.0"], None, quiet=True)
    assert answer["label"] in ("0", "1")
    found = evaluate_adapter(finished.folder, None, [], "test", None, quiet=True)
    best = str(finished.results["best_seed"])
    assert found["fairness"] == finished.results["fairness"]["seeds"][best]["test"]
    plain = evaluate_adapter(finished.folder, None, ["task.group=null"], "test", None, quiet=True)
    assert "fairness" not in plain
    assert "sex" not in Path(finished.folder, "config.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("objective", [["reweighting"], [{"adversarial": {"eps": 0.1, "steps": 1}}], []])
def test_other_objectives_run_on_tables_too(objective, values, tmp_path):
    changed = {**values, "objectives": objective, "robustness": None, "seeds": [0], "output": str(tmp_path / "run")}
    results = train(make_recipe(changed), quiet=True)
    assert "robustness" not in results
    assert results["fairness"]["groups"] == ["0", "1"]
    assert not objective or results["best_epochs"] == [2.0]


def test_texts_have_groups_too(source_folder, tmp_path):
    data = runs.write_csv(tmp_path / "films.csv", town=["a", "b", "b", "a", "b"] * 48)
    results = runs.run(
        source_folder("bert"), data, tmp_path / "run", task={"group": "town", "max_train": 64}, objectives=["fairness"],
        baselines=["majority", "linear_probe"], training={"num_train_epochs": 1},
    )  # fmt: skip
    assert {*results["fairness"]["test"]["accuracies"]} == {"a", "b"}
    assert "robustness" not in results


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"robustness": {"epsilon": [1]}}, "epsilon"),
        ({"robustness": {"eps": [0]}}, "robustness.eps is 0: give a number above 0"),
        ({"robustness": [0.1]}, "robustness"),
        ({"robustness": {}, "task": {"dataset": "glue", "name": "rte"}, "method": "warp"}, "takes input_ids"),
        ({"objectives": ["adversarial"], "task": {"dataset": "glue", "name": "rte"}, "method": "warp"}, "input_ids"),
        ({"robustness": {}, "task": {"dataset": "x.csv", "features": "a", "regression": True}}, "not for a regression"),
    ],
)
def test_recipes_are_refused(change, message, values):
    with pytest.raises(InputError, match=message):
        make_recipe({**values, "objectives": [], **change})
