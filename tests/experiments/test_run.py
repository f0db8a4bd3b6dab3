"""A recipe from start to end: what is written, what it says, and what never touches the test split."""

from __future__ import annotations

import json
import shutil
import statistics
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import pipeline

from hf_reprogram import InputError
from hf_reprogram.experiments.run import train
from hf_reprogram.sources.text_cache import TextCache
from hf_reprogram.tasks.load import load_task
from tests.support import runs


def test_results_are_on_disk_as_they_were_returned(finished):
    assert json.loads((finished.folder / "results.json").read_text()) == finished.results


def test_the_summary_is_the_mean_and_deviation_of_the_seeds(finished):
    assert list(finished.results["seeds"]) == ["0", "1"]
    for split in ("validation", "test"):
        values = [record[split]["accuracy"] for record in finished.results["seeds"].values()]
        summary = finished.results[split]["accuracy"]
        assert summary["mean"] == pytest.approx(statistics.mean(values))
        assert summary["std"] == pytest.approx(statistics.stdev(values))
        assert summary["n"] == 2


def test_results_tell_sizes_settings_and_versions(finished):
    results = finished.results
    assert results["task"]["sizes"] == {"train": 173, "validation": 19, "test": 48}
    assert results["task"]["labels"] == ["bad", "good"]
    assert results["trainable"] == 3 * 32 + 2 * 33
    assert results["adapter_bytes"] == (finished.folder / "model.safetensors").stat().st_size < 2000
    assert results["training"]["learning_rate"] == 3e-2
    assert results["training"]["warmup_steps"] == 0.06  # the method's own, below the recipe's
    assert results["method"]["name"] == "warp"
    assert results["source"]["name"] == "bert"  # a folder by its own name: no path of this machine
    assert {"hf_reprogram", "torch", "transformers", "python"} <= set(results["versions"])
    assert set(results["baselines"]) == {"majority", "linear_probe"}
    for record in results["seeds"].values():
        assert [entry["epoch"] for entry in record["history"]] == [0, 1, 2, 3]
        assert all({"eval_loss", "accuracy"} <= set(entry) for entry in record["history"])
        assert all("loss" in entry for entry in record["history"][1:])
        assert record["seconds"] > 0


def test_the_confusion_matrix_counts_the_test_split(finished):
    for record in finished.results["seeds"].values():
        counts = np.array(record["confusion"])
        assert counts.sum(1).tolist() == [24, 24]
        assert np.trace(counts) / counts.sum() == pytest.approx(record["test"]["accuracy"])


def test_training_beats_the_majority(finished):
    assert finished.results["test"]["accuracy"]["mean"] > 0.6
    assert finished.results["baselines"]["majority"]["test"]["accuracy"]["mean"] == 0.5


@pytest.mark.parametrize("best", [0, 1])
def test_the_best_seed_on_validation_is_published_whatever_test_says(best, finished, tmp_path):
    folder = tmp_path / "films-adapter"
    shutil.copytree(finished.folder, folder)
    for seed in (0, 1):
        for name, split, accuracy in (("fit.json", "validation", seed == best), ("test.json", "test", seed != best)):
            path = folder / "runs" / f"seed-{seed}" / name
            record = json.loads(path.read_text())
            record[split]["accuracy"] = float(accuracy)
            path.write_text(json.dumps(record))
    results = train(runs.replace_output(finished.recipe, folder), resume=True, quiet=True)
    assert results["best_seed"] == best
    assert runs.weights(folder) == runs.weights(folder / "runs" / f"seed-{best}")
    assert runs.weights(folder / "runs" / "seed-0") != runs.weights(folder / "runs" / "seed-1")


def test_the_folder_holds_adapter_card_plots_and_no_pickle(finished):
    names = {path.name for path in finished.folder.iterdir() if path.is_file()}
    assert names == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md", "recipe.json",
        "results.json", "learning_curve.png", "confusion_matrix.png",
    }  # fmt: skip
    for plot in finished.folder.glob("*.png"):
        assert plot.read_bytes().startswith(b"\x89PNG")
    suffixes = {path.suffix for path in finished.folder.rglob("*") if path.is_file()}
    assert suffixes == {".json", ".safetensors", ".md", ".png"}
    assert not list(finished.folder.rglob("checkpoint*"))


def test_the_published_adapter_scores_in_a_pipeline_what_the_results_say(finished):
    task = load_task(finished.recipe.task_options)
    classify = pipeline("text-classification", model=str(finished.folder), device="cpu")
    answers = [entry["label"] for entry in classify(list(task.test["text"]))]
    right = [answer == task.labels[label] for answer, label in zip(answers, task.test["label"], strict=True)]
    assert np.mean(right) == finished.results["seeds"][str(finished.results["best_seed"])]["test"]["accuracy"]


def test_the_test_split_selects_nothing(source_folder, tmp_path):
    found = {}
    for flip in (False, True):
        folder = tmp_path / f"data-{flip}"
        runs.write_csv(folder / "train.csv", 120)
        runs.write_csv(folder / "test.csv", 40, seed=1, flip=flip)
        found[flip] = runs.run(
            source_folder("bert"), folder, tmp_path / f"run-{flip}", seeds=[0, 1], baselines=["linear_probe"],
            sweep={"training.learning_rate": [1e-3, 3e-2]},
        )  # fmt: skip
    assert runs.weights(tmp_path / "run-False") == runs.weights(tmp_path / "run-True")
    right, flipped = found[False], found[True]
    for results in (right, flipped):
        results["learning_rate"] = results["training"]["learning_rate"]
    for key in ("validation", "best_seed", "sweep", "learning_rate"):
        assert right[key] == flipped[key]
    assert right["baselines"]["linear_probe"]["chosen"] == flipped["baselines"]["linear_probe"]["chosen"]
    assert right["test"]["accuracy"]["mean"] == pytest.approx(1 - flipped["test"]["accuracy"]["mean"])


def test_a_sweep_is_decided_on_validation_by_the_first_seed(source_folder, csv_file, tmp_path):
    sweep = {"training.learning_rate": [1e-6, 5e-2], "method.num_prompts": [0, 3]}
    results = runs.run(
        source_folder("bert"), csv_file, tmp_path / "run", seeds=[4, 5], sweep=sweep, training={"num_train_epochs": 2}
    )
    assert len(results["sweep"]) == 4
    best = max(results["sweep"], key=lambda entry: entry["validation"]["accuracy"])["values"]
    assert results["training"]["learning_rate"] == best["training.learning_rate"]
    assert results["method"]["num_prompts"] == best["method.num_prompts"]
    index = [entry["values"] for entry in results["sweep"]].index(best)
    swept = tmp_path / "run" / "runs" / f"sweep-{index}"
    assert runs.weights(tmp_path / "run" / "runs" / "seed-4") == runs.weights(swept)  # not trained twice
    assert results["seeds"]["4"]["validation"] == results["sweep"][index]["validation"]
    config = json.loads((tmp_path / "run" / "runs" / "seed-5" / "config.json").read_text())
    assert config["method"]["num_prompts"] == best["method.num_prompts"]


def test_the_same_seed_gives_the_same_adapter_and_another_seed_another(finished, tmp_path):
    train(replace(finished.recipe, seeds=[1], baselines=[], output=str(tmp_path / "again")), quiet=True)
    assert runs.weights(tmp_path / "again") == runs.weights(finished.folder / "runs" / "seed-1")
    assert runs.weights(tmp_path / "again") != runs.weights(finished.folder / "runs" / "seed-0")


def test_training_that_ends_at_one_class_says_what_to_try(source_folder, tmp_path):
    data = runs.write_csv(tmp_path / "data.csv", 40, sentence=["the film"] * 40)
    with pytest.warns(UserWarning, match="Training ended at one answer: '.*' for every validation example") as caught:
        results = train(runs.recipe(source_folder("bert"), data, tmp_path / "run"))
    advice = next(str(entry.message) for entry in caught if "one answer" in str(entry.message))
    assert "training.learning_rate=0.3" in advice
    assert "hf-reprogram inspect" in advice
    assert results["seeds"]["0"]["warning"] == advice


def test_training_that_learns_does_not_warn(finished, tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Training ended")
        results = train(replace(finished.recipe, seeds=[0], baselines=[], output=str(tmp_path / "again")))
    assert "warning" not in results["seeds"]["0"]


def test_training_that_diverges_is_one_sentence(source_folder, csv_file, tmp_path):
    with pytest.raises(InputError, match="Training diverged") as refused:
        runs.run(
            source_folder("bert"), csv_file, tmp_path / "run", training={"learning_rate": 1e38, "max_grad_norm": 0}
        )
    assert "learning_rate" in str(refused.value)


def test_a_sweep_passes_over_values_that_diverge(source_folder, csv_file, tmp_path):
    sweep = {"training.learning_rate": [1e38, 3e-2]}
    training = {"max_grad_norm": 0, "num_train_epochs": 1}
    results = runs.run(source_folder("bert"), csv_file, tmp_path / "run", sweep=sweep, training=training)
    assert results["sweep"][0]["validation"] is None
    assert results["training"]["learning_rate"] == 3e-2
    assert "| 1e+38 |" in (tmp_path / "run" / "README.md").read_text()


# ------------------------------------------------------------------------------------------------ other kinds of runs


def test_a_regression_is_scored_by_its_error_and_by_correlation(source_folder, tmp_path):
    data = runs.write_csv(tmp_path / "data.csv", 80, score=[5.0 * (i % 2) + i / 100 for i in range(80)])
    results = runs.run(
        source_folder("bert"), data, tmp_path / "run", task={"label": "score", "regression": True},
        baselines=["majority", "linear_probe"],
    )  # fmt: skip
    assert list(results["test"]) == ["rmse", "pearson", "spearman"]
    assert results["task"]["labels"] == []
    assert "confusion" not in results["seeds"]["0"]
    assert results["trainable"] == 3 * 32 + 33
    assert results["baselines"]["majority"]["test"]["pearson"]["mean"] == 0
    assert (tmp_path / "run" / "README.md").exists()


def test_pairs_few_shot_and_two_stages(source_folder, finished, tmp_path):
    texts = [f"{word} plot" for word in ("good", "bad", "fine", "poor")] * 15
    data = runs.write_csv(tmp_path / "data.csv", 60, other=texts)
    results = runs.run(
        source_folder("bert"), data, tmp_path / "run", task={"text": ["sentence", "other"], "few_shot": 6},
        init_from=str(finished.folder), training={"learning_rate": 1e-9, "num_train_epochs": 1},
    )  # fmt: skip
    first, second = (load_file(folder / "model.safetensors") for folder in (finished.folder, tmp_path / "run"))
    for name, weight in first.items():
        torch.testing.assert_close(second[name], weight, rtol=0, atol=1e-6)
    assert results["task"]["pair"]
    assert results["task"]["sizes"]["train"] == results["task"]["sizes"]["validation"] == 12


def test_a_causal_source_with_its_text_cached_gives_the_results_of_one_without(
    source_folder, csv_file, tmp_path, monkeypatch
):
    reads, read_last = [], TextCache.read_last
    monkeypatch.setattr(TextCache, "read_last", lambda *args: reads.append(1) or read_last(*args))
    found = [
        runs.run(source_folder("gpt2"), csv_file, tmp_path / str(cached), cache_text=cached, method={"reads": "last"})
        for cached in (None, 0.01)
    ]
    assert len(reads) > 3 * 11  # every training step of the second run, and its validation
    losses = [[entry["loss"] for entry in results["seeds"]["0"]["history"][1:]] for results in found]
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)
    assert found[1]["validation"]["accuracy"] == pytest.approx(found[0]["validation"]["accuracy"], abs=0.06)


@pytest.mark.parametrize("how", [{"source": {"dtype": "bfloat16"}}, {"training": {"bf16": True}}])
def test_half_precision_runs(how, source_folder, csv_file, tmp_path):
    source = {"name": source_folder("bert"), **how.get("source", {})}
    results = runs.run(source, csv_file, tmp_path / "run", training=how.get("training", {}), baselines=["linear_probe"])
    assert results["source"]["dtype"] == how.get("source", {}).get("dtype", "float32")
    assert results["test"]["accuracy"]["mean"] > 0.4


# -------------------------------------------------------------------------------------------------- output folders


def test_a_folder_with_a_run_is_refused_without_resume(finished):
    with pytest.raises(InputError, match="holds a run already: continue it with --resume"):
        train(finished.recipe, quiet=True)


def test_a_folder_with_the_run_of_another_recipe_is_refused_with_what_differs(finished):
    other = replace(finished.recipe, training={"learning_rate": 1.0}, seeds=[7])
    with pytest.raises(InputError, match=r"the run of another recipe \(seeds, training differ\)"):
        train(other, resume=True, quiet=True)


def test_another_baseline_may_join_a_finished_run(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "films-adapter")
    more = replace(finished.recipe, output=str(tmp_path / "films-adapter"), baselines=["majority"])
    results = train(more, resume=True, quiet=True)
    assert list(results["baselines"]) == ["majority"]
    assert runs.without_clocks(results["seeds"]) == runs.without_clocks(finished.results["seeds"])


def test_a_baseline_with_other_options_is_run_again(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "films-adapter")
    chosen = []
    for strength in (0.1, 0.1, 3.0):
        probe = {"linear_probe": {"strengths": [strength]}}
        more = replace(finished.recipe, output=str(tmp_path / "films-adapter"), baselines=[probe])
        record = tmp_path / "films-adapter" / "baselines" / "linear_probe-0.json"
        before = record.stat().st_mtime_ns
        chosen.append(train(more, resume=True, quiet=True)["baselines"]["linear_probe"]["chosen"][0]["strength"])
        assert (record.stat().st_mtime_ns == before) == (len(chosen) == 2)
    assert chosen == [0.1, 0.1, 3.0]


def test_a_folder_with_something_else_is_refused(source_folder, csv_file, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="is not empty and holds no run"):
        runs.run(source_folder("bert"), csv_file, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_misspelt_source_leaves_no_folder_that_blocks_the_next_try(source_folder, csv_file, tmp_path):
    with pytest.raises(InputError, match="'nobody/nothing'"):
        runs.run("nobody/nothing", csv_file, tmp_path / "run")
    runs.run(source_folder("bert"), csv_file, tmp_path / "run", training={"num_train_epochs": 1})


def test_bad_data_leaves_no_folder_that_blocks_the_next_try(source_folder, csv_file, tmp_path):
    with pytest.raises(InputError, match="did you mean 'sentence'"):
        runs.run(source_folder("bert"), csv_file, tmp_path / "run", task={"text": ["sentense"]})
    results = runs.run(source_folder("bert"), csv_file, tmp_path / "run", training={"num_train_epochs": 1})
    assert results["test"]["accuracy"]["n"] == 1
