"""Two processes give what one gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
from tests.support import runs, tiny_vision

ROOT = Path(__file__).parents[2]
# The same examples in every step: drawn at random, since grouping by length depends on the batch of one process.
COMMON = {
    "learning_rate": 3e-2, "num_train_epochs": 2, "train_sampling_strategy": "random", 
}  # fmt: skip


def in_two_processes(recipe: Path, *arguments: str, config: str = "ddp") -> None:
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]
    command += [str(ROOT / "recipes" / "accelerate" / f"{config}.yml"), "--main_process_port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command += ["-m", "hf_reprogram", "train", str(recipe), *arguments]
    subprocess.run(command, check=True, env=environment, timeout=300)


@pytest.mark.parametrize("config", ["fsdp2", pytest.param("ddp", marks=pytest.mark.slow)])
def test_two_processes_give_what_one_gives_at_the_same_global_batch(config, source_folder, csv_file, tmp_path):
    values = {
        "source": source_folder("bert"),
        "method": {"name": "warp", "num_prompts": 3},
        "task": {"dataset": str(csv_file), "text": ["sentence"], "label": "kind", "max_train": 160},
        "training": {**COMMON, "per_device_train_batch_size": 8},
        "baselines": ["majority", "linear_probe", {"from_scratch": {"learning_rate": 1e-3}}],
        "seeds": [0, 1],
        "output": str(tmp_path / "two"),
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    in_two_processes(tmp_path / "recipe.yaml", "--quiet", config=config)
    one = runs.run(
        source_folder("bert"), csv_file, tmp_path / "one", task={"max_train": 160}, seeds=[0, 1],
        baselines=["majority", "linear_probe"], training={**COMMON, "per_device_train_batch_size": 16},
    )  # fmt: skip
    two = json.loads((tmp_path / "two" / "results.json").read_text())
    for seed in ("seed-0", "seed-1"):
        ours, theirs = (load_file(tmp_path / n / "runs" / seed / "model.safetensors") for n in ("one", "two"))
        for name, weight in ours.items():
            assert (weight.float() - theirs[name].float()).abs().max() < 1e-4, name
    for key in ("validation", "test", "trainable", "adapter_bytes", "best_seed"):
        assert two[key] == pytest.approx(one[key]) if isinstance(one[key], float) else two[key] == one[key]
    for name in ("majority", "linear_probe"):
        assert runs.without_clocks(two["baselines"][name]) == runs.without_clocks(one["baselines"][name])
    assert two["baselines"]["from_scratch"]["trainable"] > 1000
    losses = [[entry["loss"] for entry in results["seeds"]["0"]["history"][1:]] for results in (one, two)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)


R2DL = {"name": "r2dl", "tokenizer": "characters", "sparsity": 4}


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        pytest.param({**R2DL, "alternating": True}, id="alternating"),
        pytest.param({**R2DL, "warmup_epochs": 1}, id="warm-up"),
    ],
)
def test_two_processes_sparsify_as_one_does(method, source_folder, csv_file, tmp_path):
    """The same atoms at the end of every epoch, and no parameter that one of them waits for."""

    def values(name, batch_size):
        return {
            "source": source_folder("bert"),
            "method": method,
            "task": {"dataset": str(csv_file), "text": ["sentence"], "label": "kind", "max_train": 64},
            "training": {**COMMON, "learning_rate": 1e-2, "per_device_train_batch_size": batch_size},
            "output": str(tmp_path / name),
        }

    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values("two", 8)))
    in_two_processes(tmp_path / "recipe.yaml", "--quiet")
    one = train(make_recipe(values("one", 16)), quiet=True)
    two = json.loads((tmp_path / "two" / "results.json").read_text())
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert set(ours) == set(theirs)
    assert {"transform.codes", "transform.support", "mapping.linear.weight", "mapping.linear.bias"} <= set(ours)
    assert torch.equal(ours["transform.support"], theirs["transform.support"])
    for name, weight in ours.items():
        assert (weight.float() - theirs[name].float()).abs().max() < 1e-3, name
    losses = [[entry["loss"] for entry in results["seeds"]["0"]["history"][1:]] for results in (one, two)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)
    assert two["validation"] == one["validation"]


@pytest.mark.slow
def test_two_processes_fit_the_same_label_map_and_give_what_one_gives(tmp_path):
    values = {
        "source": str(tiny_vision.save_source(tmp_path / "vit", "vit")),
        "method": {"name": "ilm_vp", "image_size": 16, "mapping": "label_map"},
        "task": {"dataset": "digits", "few_shot": 8, "max_test": 50},
        "training": {"learning_rate": 5e-2, "num_train_epochs": 2, "per_device_train_batch_size": 8},
        "baselines": ["majority", {"source_labels": {"labels_per_class": [1]}}],
        "output": str(tmp_path / "two"),
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    in_two_processes(tmp_path / "recipe.yaml", "--quiet")
    values["training"]["per_device_train_batch_size"] = 16
    one = train(make_recipe({**values, "output": str(tmp_path / "one")}), quiet=True)
    two = json.loads((tmp_path / "two" / "results.json").read_text())
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert torch.equal(ours["mapping.sets"], theirs["mapping.sets"])
    assert (ours["mapping.sets"] >= 0).all()
    assert (ours["transform.program.weight"] - theirs["transform.program.weight"]).abs().max() < 1e-3
    assert two["baselines"]["source_labels"]["test"] == one["baselines"]["source_labels"]["test"]
