"""Two processes give what one gives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file

from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
from tests.support import runs, tiny_vision

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("HF_REPROGRAM_KILLS", "3"))
# The same examples in every step: drawn at random, since grouping by length depends on the batch of one process.
COMMON = {
    "learning_rate": 3e-2, "num_train_epochs": 2, "train_sampling_strategy": "random", 
}  # fmt: skip


def launch(recipe: Path, *arguments: str, config: str = "ddp", processes: int = 2) -> subprocess.Popen:
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]
    command += [str(ROOT / "recipes" / "accelerate" / f"{config}.yml"), "--main_process_port", "0"]
    command += ["--num_processes", str(processes)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command += ["-m", "hf_reprogram", "train", str(recipe), *arguments]
    return subprocess.Popen(command, env=environment)


def in_processes(recipe: Path, *arguments: str, config: str = "ddp", processes: int = 2) -> None:
    assert launch(recipe, *arguments, config=config, processes=processes).wait(timeout=600) == 0


@pytest.mark.parametrize(
    ("config", "processes"),
    [
        pytest.param("fsdp2", 2, marks=pytest.mark.slow),
        ("ddp", 2),
        pytest.param("ddp", 4, marks=pytest.mark.slow),
        pytest.param("fsdp2", 4, marks=pytest.mark.slow),
    ],
)
def test_several_processes_give_what_one_gives_at_the_same_global_batch(
    config, processes, source_folder, csv_file, tmp_path
):
    values = {
        "source": source_folder("bert"),
        "method": {"name": "warp", "num_prompts": 3},
        "task": {"dataset": str(csv_file), "text": ["sentence"], "label": "kind", "max_train": 160},
        "training": {**COMMON, "per_device_train_batch_size": 16 // processes},
        "baselines": ["majority", "linear_probe", {"from_scratch": {"learning_rate": 1e-3}}],
        "seeds": [0, 1],
        "output": str(tmp_path / "two"),
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    in_processes(tmp_path / "recipe.yaml", "--quiet", config=config, processes=processes)
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
    in_processes(tmp_path / "recipe.yaml", "--quiet")
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
def test_two_processes_teach_one_adversary_as_one_does(source_folder, tmp_path):
    """Its gradient is averaged; gradient accumulation changes nothing either."""
    data = runs.write_csv(tmp_path / "films.csv", town=["a", "b", "b", "a", "b"] * 48)
    values = {
        "source": source_folder("bert"),
        "method": {"name": "warp", "num_prompts": 3},
        "task": {"dataset": str(data), "text": ["sentence"], "label": "kind", "group": "town", "max_train": 64},
        "training": {**COMMON, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2},
        "objectives": [{"fairness": {"weight": 2.0}}],
        "output": str(tmp_path / "two"),
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    in_processes(tmp_path / "recipe.yaml", "--quiet")
    values["training"] = {**COMMON, "per_device_train_batch_size": 16}
    one = train(make_recipe({**values, "output": str(tmp_path / "one")}), quiet=True)
    two = json.loads((tmp_path / "two" / "results.json").read_text())
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, weight in ours.items():
        assert (weight.float() - theirs[name].float()).abs().max() < 1e-4, name
    assert two["fairness"]["test"] == one["fairness"]["test"]


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
    in_processes(tmp_path / "recipe.yaml", "--quiet")
    values["training"]["per_device_train_batch_size"] = 16
    one = train(make_recipe({**values, "output": str(tmp_path / "one")}), quiet=True)
    two = json.loads((tmp_path / "two" / "results.json").read_text())
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert torch.equal(ours["mapping.sets"], theirs["mapping.sets"])
    assert (ours["mapping.sets"] >= 0).all()
    assert (ours["transform.program.weight"] - theirs["transform.program.weight"]).abs().max() < 1e-3
    assert two["baselines"]["source_labels"]["test"] == one["baselines"]["source_labels"]["test"]


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["fixmatch", "pseudo_labels"])
def test_two_processes_learn_from_the_same_unlabelled_rows(objective, source_folder, csv_file, tmp_path):
    """Each takes its share of the rows and views that one process would draw for the same global batch."""

    def values(name, batch_size):
        return {
            "source": source_folder("bert"),
            "method": {"name": "warp", "num_prompts": 3, "reads": "mask"},
            "task": {"dataset": str(csv_file), "text": ["sentence"], "label": "kind", "train_size": 48},
            "unlabelled": {"from_train": 60},
            "objectives": [{objective: {"ratio": 2, **({"threshold": 0.5} if objective == "fixmatch" else {})}}],
            "training": {**COMMON, "per_device_train_batch_size": batch_size},
            "output": str(tmp_path / name),
        }

    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values("two", 8)))
    in_processes(tmp_path / "recipe.yaml", "--quiet")
    one = train(make_recipe(values("one", 16)), quiet=True)
    two = json.loads((tmp_path / "two" / "results.json").read_text())
    ours, theirs = (load_file(tmp_path / name / "runs" / "seed-0" / "model.safetensors") for name in ("one", "two"))
    for name, weight in ours.items():
        assert (weight.float() - theirs[name].float()).abs().max() < 1e-4, name
    assert two["validation"] == one["validation"]
    losses = [[entry["loss"] for entry in results["seeds"]["0"]["history"][1:]] for results in (one, two)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("config", ["ddp", "fsdp2"])
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(config, source_folder, csv_file, tmp_path):
    """One process is killed at a random moment, the other ends by itself, and both go on; `KILLS` times."""
    every = {f"{what}_{key}": value for what in ("save", "eval") for key, value in
             (("strategy", "steps"), ("steps", 5))}  # fmt: skip
    values = {
        "source": source_folder("bert"),
        "method": {"name": "warp", "num_prompts": 3},
        "task": {"dataset": str(csv_file), "text": ["sentence"], "label": "kind"},
        "training": {"learning_rate": 3e-2, "num_train_epochs": 4, "per_device_train_batch_size": 8, **every},
        "seeds": [0, 1],
    }
    for name in ("whole", "cut"):
        recipe = {**values, "output": str(tmp_path / name)}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    started = time.monotonic()
    in_processes(tmp_path / "whole.yaml", "--quiet", config=config)
    whole, random, left = time.monotonic() - started, Random(0), KILLS
    while True:
        process = launch(tmp_path / "cut.yaml", "--quiet", "--resume", config=config)
        moment = time.monotonic() + random.uniform(0.2, 1.1) * whole
        while process.poll() is None and (time.monotonic() < moment or not left):
            time.sleep(0.05)
        if process.poll() is not None:
            assert process.returncode == 0
            for folder in ("", "runs/seed-0", "runs/seed-1"):
                assert runs.weights(tmp_path / "cut" / folder) == runs.weights(tmp_path / "whole" / folder)
            if not left:
                return
            shutil.rmtree(tmp_path / "cut")
            continue
        ranks = [
            each for each in psutil.Process(process.pid).children(recursive=True) if "hf_reprogram" in each.cmdline()
        ]
        random.choice(ranks or [process]).kill()
        assert process.wait(timeout=300) != 0
        left -= 1
