"""Recipes with a section `ood:`: what is predicted, reported and kept."""

from __future__ import annotations

import json
import shutil

import pytest
from transformers import Trainer

from hf_reprogram import InputError
from hf_reprogram.experiments import ood
from hf_reprogram.experiments.evaluate import load_adapter
from hf_reprogram.experiments.run import train
from hf_reprogram.ood.report import average, ood_report
from hf_reprogram.reports.results import run_reports
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.shifts import load_shifts
from hf_reprogram.training.encode import encode
from hf_reprogram.training.predict import predict_logits
from tests.support import runs
from tests.support.ood_runs import TRAINING, recipe, stored


@pytest.fixture
def made(monkeypatch):
    """A list that grows by one with every record that is made of an adapter."""
    calls, real = [], ood.adapter_record
    monkeypatch.setattr(ood, "adapter_record", lambda *args, **kwargs: calls.append(1) or real(*args, **kwargs))
    return calls


def test_a_seeds_record_is_the_report_on_its_adapters_logits(whole_run):
    task = load_task(whole_run.recipe.task_options)
    splits = load_shifts(whole_run.recipe.shift_options, task).splits
    model, processor = load_adapter(str(whole_run.folder / "runs" / "seed-1"))
    logits = {
        name: predict_logits(model, processor, encode({name: split}, processor)[name], quiet=True)
        for name, split in {"test": task.test, **splits}.items()
    }
    assert {name: len(found) for name, found in logits.items()} == {
        "test": 24, "covariate/large": 20, "semantic/noise": 15,
        **{f"corruptions/{kind}/{level}": 10 for kind in ("contrast", "gaussian_noise") for level in (1, 5)},
    }  # fmt: skip

    def labelled(name):
        return logits[name], splits[name]["label"]

    expected = ood_report(
        logits["test"],
        task.test["label"],
        {"large": labelled("covariate/large")},
        {
            kind: {level: labelled(f"corruptions/{kind}/{level}") for level in (1, 5)}
            for kind in ("contrast", "gaussian_noise")
        },
        {"noise": logits["semantic/noise"]},
    )
    record = json.loads((whole_run.folder / "runs" / "seed-1" / "ood.json").read_text())
    assert record["report"] == json.loads(json.dumps(expected))
    assert record["report"]["id"] == whole_run.results["seeds"]["1"]["test"]["accuracy"]


def test_results_hold_the_mean_over_seeds_of_the_method_and_of_baselines(whole_run):
    results = whole_run.results
    assert stored(whole_run.folder) == results
    records = [json.loads((whole_run.folder / "runs" / f"seed-{seed}" / "ood.json").read_text()) for seed in (0, 1)]
    assert results["ood"]["report"] == average([record["report"] for record in records])
    assert results["ood"]["report"]["id"]["mean"] == results["test"]["accuracy"]["mean"]
    assert set(results["ood"]) == {"report", "sets"}
    baselines = results["baselines"]
    assert "ood" not in baselines["majority"]  # it says the same of every image
    assert baselines["raw_linear"]["ood"]["id"]["mean"] == baselines["raw_linear"]["test"]["accuracy"]["mean"]
    assert baselines["raw_linear"]["ood"]["images"] == results["ood"]["report"]["images"]
    assert list(run_reports(results)) == [baselines["raw_linear"]["title"], "Elsayed et al."]


def test_tables_and_plots_stand_beside_the_adapter_and_no_paths_in_what_is_shared(whole_run, world):
    names = {path.name for path in whole_run.folder.iterdir() if path.is_file()}
    assert {"ood.md", "ood_roc.png", "ood_scores.png"} <= names
    assert not {"ood.json", "ood_alpha.png"} & names
    table = (whole_run.folder / "ood.md").read_text()
    assert "|  | ID | large | corruptions | FPR95 | AUROC | AUPR | aggregate |" in table
    assert "| Elsayed et al. |" in table
    assert whole_run.results["ood"]["sets"]["semantic"] == {"noise": {"dataset": "noise", "name": None}}
    for name in ("ood.md", "README.md", "results.json"):
        assert str(world.folder) not in (whole_run.folder / name).read_text()


def test_a_finished_report_is_not_made_again(whole_run, copied, made):
    (copied / "results.json").unlink()
    again = train(runs.replace_output(whole_run.recipe, copied), resume=True, quiet=True)
    assert made == []
    assert runs.without_clocks(again) == runs.without_clocks(whole_run.results)


def test_what_is_asked_later_is_reported_without_training(whole_run, world, copied, made, monkeypatch):
    """Other sets belong to a run as other baselines do; those that are kept have to be run again for them."""
    monkeypatch.setattr(Trainer, "train", None)
    later = {**world.ood, "score": "energy", "tpr": 0.8, "corruptions": None}
    changed = recipe(world, copied, seeds=[0, 1], baselines=["majority", "raw_linear"], ood=later)
    results = train(changed, resume=True, quiet=True)
    assert made == [1, 1]
    for report in (results["ood"]["report"], results["baselines"]["raw_linear"]["ood"]):
        assert (report["score"], report["tpr"], report["corruptions"]) == ("energy", 0.8, {})
    assert results["test"] == whole_run.results["test"]
    (copied / "ood_alpha.png").touch()  # of a section that had alphas
    train(changed, resume=True, quiet=True)
    assert not (copied / "ood_alpha.png").exists()
    assert (copied / "ood_roc.png").exists()
    assert made == [1, 1]


def test_results_are_whole_if_the_report_fails(world, tmp_path, monkeypatch):
    made = recipe(world, tmp_path / "run", baselines=["raw_linear"], training={**TRAINING, "num_train_epochs": 1})

    def fails(*args, **kwargs):
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(ood, "adapter_record", fails)
        with pytest.raises(OSError, match="no space"):
            train(made, quiet=True)
    whole = stored(tmp_path / "run")
    assert "ood" not in whole
    assert whole["test"]["accuracy"]["n"] == 1
    assert "ood" in whole["baselines"]["raw_linear"]
    resumed = train(made, resume=True, quiet=True)
    assert {key: value for key, value in resumed.items() if key not in ("ood", "wall_seconds")} == {
        key: value for key, value in whole.items() if key != "wall_seconds"
    }
    assert resumed["ood"]["report"]["id"]["n"] == 1


def test_sets_are_looked_at_before_anything_is_trained(world, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(world.folder / "noise", broken)
    (broken / "3.png").write_bytes((broken / "3.png").read_bytes()[:60])
    asked = {"semantic": {"noise": {"dataset": str(broken)}}}
    with pytest.raises(InputError, match=r"Row \d+ of the semantic/noise split \(.*3\.png\) is no image"):
        train(recipe(world, tmp_path / "run", ood=asked), quiet=True)
    assert not list((tmp_path / "run").rglob("fit.json"))


def test_a_recipe_of_texts_or_with_an_unknown_key_is_refused(world, csv_file, tmp_path):
    with pytest.raises(InputError, match="'semantics': did you mean 'semantic'"):
        recipe(world, tmp_path, ood={"semantics": {}})
    with pytest.raises(InputError, match=r"The recipe's ood is \['dtd'\]: give a mapping"):
        recipe(world, tmp_path, ood=["dtd"])
    task = {"dataset": str(csv_file), "text": "sentence", "label": "kind"}
    with pytest.raises(InputError, match="ood is for images with one class each, and this is a task of texts"):
        recipe(world, tmp_path, method="warp", task=task)
