"""R2DL from recipes: several labels, a number, a label a letter."""

from __future__ import annotations

import json

import pytest
from datasets import Dataset
from transformers import AutoModelForTokenClassification

from hf_reprogram import ReprogrammedModel
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
from tests.support import words


@pytest.fixture
def run(source_folder, tmp_path):
    """Runs a recipe on synthetic texts with the columns that a function of texts and labels makes."""

    def start(columns, task, family="bert", count=120, quiet=True, **changes):
        texts, labels = words.texts(count)
        Dataset.from_dict({"text": texts, **columns(texts, labels)}).to_parquet(tmp_path / "data.parquet")
        values = {
            "source": source_folder(family),
            "method": {"name": "r2dl", "tokenizer": "characters", "sparsity": 4},
            "task": {"dataset": str(tmp_path / "data.parquet"), "text": ["text"], **task},
            "training": {"num_train_epochs": 2, "per_device_train_batch_size": 16},
            "output": str(tmp_path / "run"),
            **changes,
        }
        return train(make_recipe(values), quiet=quiet), tmp_path / "run"

    return start


@pytest.mark.slow
def test_a_recipe_of_several_labels_with_missing_ones(run):
    def columns(texts, labels):
        film = [int("film" in text) for text in texts]
        return {
            "good": [None if i % 4 == 0 else float(label) for i, label in enumerate(labels)],
            "film": [None if i % 4 == 0 else float(value) for i, value in enumerate(film)],
        }

    results, folder = run(columns, {"label": ["good", "film"]}, baselines=["majority"])
    assert results["task"]["metrics"] == ["roc_auc"]
    assert 0 <= results["test"]["roc_auc"]["mean"] <= 1
    assert results["baselines"]["majority"]["test"]["roc_auc"]["mean"] == 0.5
    model = ReprogrammedModel.from_pretrained(folder)
    assert model.config.problem_type == "multi_label_classification"
    assert (folder / "README.md").is_file()


def test_a_recipe_of_a_regression_selects_the_lowest_error(run):
    results, folder = run(
        lambda texts, _: {"size": [len(text) / 10 for text in texts]},
        {"label": "size", "regression": True, "metrics": ["rmse", "pearson"]},
        training={"num_train_epochs": 3, "per_device_train_batch_size": 16, "learning_rate": 0.1},
        seeds=[0, 1, 2],
        sweep={"training.learning_rate": [1e-6, 3e-2]},
    )
    errors = {seed: record["validation"]["rmse"] for seed, record in results["seeds"].items()}
    for record in results["seeds"].values():
        assert record["validation"]["rmse"] == pytest.approx(
            min(entry["rmse"] for entry in record["history"]), rel=1e-5
        )
    assert errors[str(results["best_seed"])] == min(errors.values())
    assert len(set(errors.values())) == 3
    tried = {entry["values"]["training.learning_rate"]: entry["validation"]["rmse"] for entry in results["sweep"]}
    assert results["training"]["learning_rate"] == min(tried, key=tried.get)
    assert json.loads((folder / "results.json").read_text())["task"]["metrics"] == ["rmse", "pearson"]


@pytest.mark.slow
def test_a_recipe_of_a_label_a_letter(run):
    results, folder = run(
        lambda texts, _: {"label": ["".join("v" if letter in "aeiou" else "c" for letter in text) for text in texts]},
        {"label": "label", "problem": "token_classification"},
        baselines=["majority", {"linear_probe": {"tokens": "target"}}, {"from_scratch": {"tokens": "target"}}],
        training={"num_train_epochs": 8, "per_device_train_batch_size": 8},
    )
    majority = results["baselines"]["majority"]["test"]["accuracy"]["mean"]
    assert results["task"]["labels"] == ["c", "v"]
    assert results["test"]["accuracy"]["mean"] > majority + 0.05  # each letter tells its own label
    (record,) = results["seeds"].values()
    (right_c, wrong_c), (wrong_v, right_v) = record["confusion"]
    share = (right_c + right_v) / (right_c + wrong_c + wrong_v + right_v)
    assert share == pytest.approx(record["test"]["accuracy"])
    model = AutoModelForTokenClassification.from_pretrained(folder)
    assert model.transform.codes.shape[1] == 4
