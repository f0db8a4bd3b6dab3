"""A search: what is tried first, what is kept, what is never looked at, and what is refused."""

from __future__ import annotations

import builtins
import json
import shutil
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hf_reprogram import InputError, ReprogrammedModel
from hf_reprogram.experiments.auto_space import candidates, read_budget
from hf_reprogram.experiments.job import Job
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
from hf_reprogram.methods.warp import Warp
from hf_reprogram.reports.leaderboard import verdict
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.task import Task
from hf_reprogram.training.predict import predict_logits
from tests.support import runs

EPOCH = {"num_train_epochs": 1, "per_device_train_batch_size": 16}


def recipe(source: str, data: Any, output: Any, **changes: Any) -> Any:
    """A search of two methods in few short trials."""
    return make_recipe(
        {
            "source": source,
            "method": {"name": "auto", "methods": ["warp", "r2dl"]},
            "budget": 3,
            "task": {"dataset": str(data), "text": ["sentence"], "label": "kind"},
            "training": EPOCH,
            "output": str(output),
            **changes,
        }
    )


def trials(results: dict[str, Any]) -> list[dict[str, Any]]:
    return runs.without_clocks(results["auto"]["trials"])


@pytest.fixture(scope="module")
def searched(source_folder, csv_file, tmp_path_factory):
    """A finished search of two defaults and one sampled trial, with two seeds. Not to be changed."""
    folder = tmp_path_factory.mktemp("searched") / "run"
    made = recipe(source_folder("bert"), csv_file, folder, seeds=[0, 1])
    return SimpleNamespace(folder=folder, recipe=made, results=train(made, quiet=True))


def test_every_default_comes_first_and_the_probe_is_always_there(searched):
    found = searched.results["auto"]
    assert [entry["method"] for entry in found["trials"][:2]] == found["methods"]
    assert all("defaults" in entry["title"] and not entry["training"] for entry in found["trials"][:2])
    assert len(found["trials"]) == 3
    assert "linear_probe" in found["baselines"]
    board = (searched.folder / "leaderboard.md").read_text()
    assert "no program: linear probe" in board
    assert "(kept)" in board


def test_the_best_trial_is_the_run_of_the_first_seed(searched):
    found = searched.results["auto"]
    best = max((entry for entry in found["trials"] if entry["state"] == "complete"), key=lambda entry: entry["value"])
    assert found["chosen"] == best["number"]
    assert searched.results["method"]["name"] == best["method"]
    assert searched.results["seeds"]["0"]["validation"] == best["validation"]
    assert set(searched.results["seeds"]) == {"0", "1"}
    assert not (searched.folder / "auto").exists()  # no other trial stays on the disk


def test_the_adapter_scores_what_the_results_say(searched):
    task = load_task(searched.recipe.task_options)
    model = ReprogrammedModel.from_pretrained(searched.folder)
    processor = task.modality.load_processor(searched.folder)
    data = task.modality.encode({"test": task.test}, processor, None, task.problem_type)["test"]
    right = predict_logits(model, processor, data, quiet=True).argmax(-1) == np.asarray(task.test["label"])
    best = searched.results["seeds"][str(searched.results["best_seed"])]
    assert right.mean() == pytest.approx(best["test"]["accuracy"])


def test_resuming_repeats_no_trial_and_a_larger_budget_goes_on(searched, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(searched.folder, folder)
    made = runs.replace_output(searched.recipe, folder)
    same = train(made, resume=True, quiet=True)
    assert same["auto"]["trials"] == searched.results["auto"]["trials"]  # with their clocks
    more = train(make_recipe({**json.loads((folder / "recipe.json").read_text()), "budget": 4, "output": str(folder)}),
                 resume=True, quiet=True)  # fmt: skip
    assert more["auto"]["trials"][:3] == searched.results["auto"]["trials"]
    assert len(more["auto"]["trials"]) == 4
    best = more["auto"]["trials"][more["auto"]["chosen"]]
    assert more["seeds"]["0"]["validation"] == best["validation"]


@pytest.mark.slow
def test_two_processes_share_a_study_and_find_what_one_does(searched, source_folder, csv_file, tmp_path):
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    first = recipe(source_folder("bert"), csv_file, tmp_path / "first", budget=2, storage=storage)
    train(first, quiet=True)
    second = train(recipe(source_folder("bert"), csv_file, tmp_path / "second", storage=storage), quiet=True)
    assert trials(second) == trials(searched.results)  # two of them are of the first process
    assert "storage" not in json.loads((tmp_path / "second" / "recipe.json").read_text())


def test_a_trial_that_fails_ends_nothing_and_test_is_not_looked_at(source_folder, csv_file, tmp_path, monkeypatch):
    test = np.asarray(load_task(recipe("x", csv_file, tmp_path).task_options).test["label"])
    seen, score = [], Task.score

    def spy(self, logits, labels):
        seen.append(np.array_equal(labels, test))
        return score(self, logits, labels)

    def broken(*_):
        raise RuntimeError("no memory\nfor this")

    monkeypatch.setattr(Task, "score", spy)
    monkeypatch.setattr(Warp, "alternatives", lambda *_: [])
    monkeypatch.setattr("hf_reprogram.mappings.verbalizer.Verbalizer.forward", broken)
    results = train(recipe(source_folder("bert"), csv_file, tmp_path / "run", budget=2), quiet=True)
    failed = [entry for entry in results["auto"]["trials"] if entry["state"] == "failed"]
    assert [(entry["method"], entry["reason"]) for entry in failed] == [("warp", "no memory")]
    assert "no memory" in (tmp_path / "run" / "leaderboard.md").read_text()
    assert results["method"]["name"] == "r2dl"
    assert any(seen)
    assert not any(seen[:-2])  # only of the winner and its start


def test_a_time_budget_ends_with_an_adapter(source_folder, csv_file, tmp_path):
    long = {"training": {"per_device_train_batch_size": 4, "num_train_epochs": 500}}
    made = recipe(source_folder("bert"), csv_file, tmp_path / "run", budget="2s", method={"name": "auto", "methods": ["warp"]},
                  **long)  # fmt: skip
    results = train(made, quiet=True)
    assert results["auto"]["trials"][0]["epochs"] < 500
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_methods_that_fit_are_found_by_modality_problem_and_source(source_folder, csv_file, tmp_path):
    made = recipe(source_folder("bert"), csv_file, tmp_path, method="auto")
    found, unfit = candidates(Job(made, load_task(made.task_options), tmp_path, None, quiet=True))
    assert {"warp", "r2dl"} <= {candidate.name for candidate in found}
    assert unfit["blm"] == "it takes images"
    assert unfit["bbt"] == "it has no learning rate to search"
    assert "problem" in unfit["reprogbert"]
    assert "image classifier" in unfit["cross_modal"]
    texts = next(candidate for candidate in found if candidate.name == "r2dl")
    assert texts.fixed == {"tokenizer": "words"}
    assert {"mapping+reads", "sparsity"} == set(texts.groups)


@pytest.mark.parametrize("budget", ["soon", "10 m", "0m", 0, -3, 2.5, True, [1], {"trials": "many"}, {"time": 3}, "m"])
def test_a_bad_budget_is_one_sentence(budget):
    with pytest.raises(InputError, match=r"^budget is .*: give a time such as 90s, 10m or 1h, or a number of trials"):
        recipe("x", "films.csv", "run", budget=budget)


def test_budgets_are_times_or_trials():
    assert [read_budget(value).seconds for value in ("90s", "10m", "1.5h")] == [90, 600, 5400]
    assert read_budget(7) == read_budget({"trials": 7})
    assert read_budget(None).trials == 20


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sweep": {"training.learning_rate": [1e-3, 1e-2]}}, "has no sweep"),
        ({"method": "warp"}, "budget is for method: auto"),
        ({"method": "warp", "budget": None, "storage": "sqlite:///a.db"}, "storage is for method: auto"),
        ({"storage": "a.db"}, "give a database's URL"),
        ({"method": {"name": "auto", "methods": []}}, "give a list of names"),
        ({"method": {"name": "auto", "methods": ["wrap"]}}, "warp"),
        ({"method": {"name": "auto", "methods": ["blm"]}}, "takes images"),
        ({"method": {"name": "auto", "num_prompts": 3}}, "methods"),
    ],
)
def test_what_a_search_cannot_do_is_refused_before_anything_is_loaded(changes, words):
    with pytest.raises(InputError, match=words):
        recipe("x", "films.csv", "run", **changes)


def test_without_optuna_the_command_to_install_it_is_named(csv_file, tmp_path, monkeypatch):
    load = builtins.__import__

    def without(name, *arguments, **options):
        if name == "optuna":
            raise ImportError(name)
        return load(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"^method: auto needs optuna: pip install 'hf_reprogram\[auto\]'.$"):
        train(recipe("x", csv_file, tmp_path / "run"), quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_source_that_no_method_fits_is_refused_with_the_reasons(source_folder, csv_file, tmp_path):
    made = recipe(source_folder("bert"), csv_file, tmp_path / "run", method={"name": "auto", "methods": ["reprogbert"]})
    with pytest.raises(InputError, match=r"No method fits this source and this task: .*problem"):
        train(made, quiet=True)


def test_the_verdict_says_when_no_program_is_better_than_none():
    trial = {"number": 4, "title": "WARP", "validation": {"accuracy": 0.7, "rmse": 0.7}}
    probe = {"title": "no program: linear probe", "validation": {"accuracy": 0.8, "rmse": 0.8}}
    found = {"trials": [trial], "chosen": 4, "baselines": {"linear_probe": probe}}
    assert verdict(found, "accuracy").startswith("No program is better than the linear probe (80.0 accuracy)")
    assert verdict(found, "rmse") == "The best adapter is WARP (0.70 rmse)."
