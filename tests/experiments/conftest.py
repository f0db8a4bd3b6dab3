"""Fixtures of runs with a section `ood:`; a whole one is trained once a session."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, Value
from PIL import Image as Pillow

from hf_reprogram import reprogram
from hf_reprogram.experiments.run import train
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.shifts import load_shifts
from tests.support import tiny_dual, tiny_vision
from tests.support.ood_runs import LABELS, recipe


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """A tiny ViT and a tiny dual encoder, the file of a task, and sections of two other sets, in folders of PNG files."""
    folder = tmp_path_factory.mktemp("world")
    images, labels = tiny_vision.images(120)
    columns = {"image": images, "label": [LABELS[label] for label in labels]}
    features = Features({"image": Image(), "label": Value("string")})
    Dataset.from_dict(columns, features=features).to_parquet(folder / "halves.parquet")
    for row, (image, label) in enumerate(zip(*tiny_vision.images(20, seed=5, side=12), strict=True)):
        (folder / "large" / LABELS[label]).mkdir(parents=True, exist_ok=True)
        image.save(folder / "large" / LABELS[label] / f"{row}.png")
    random = np.random.default_rng(1)
    (folder / "noise").mkdir()
    for row in range(15):
        noise = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        Pillow.fromarray(noise).save(folder / "noise" / f"{row}.png")
    return SimpleNamespace(
        vit=str(tiny_vision.save_source(folder / "vit", "vit")),
        clip=str(tiny_dual.save_source(folder / "clip", "clip")),
        folder=folder,
        task={"dataset": str(folder / "halves.parquet"), "image": "image"},
        ood={
            "covariate": {"large": {"dataset": str(folder / "large")}},
            "corruptions": {"kinds": ["contrast", "gaussian_noise"], "levels": [1, 5], "images": 10},
            "semantic": {"noise": {"dataset": str(folder / "noise")}},
        },
    )


@pytest.fixture(scope="session")
def whole_run(world, tmp_path_factory):
    """A whole run of two seeds with two baselines, of which one does not look at images."""
    folder = tmp_path_factory.mktemp("finished") / "adapter"
    made = recipe(world, folder, seeds=[0, 1], baselines=["majority", "raw_linear"])
    return SimpleNamespace(folder=folder, recipe=made, results=train(made, quiet=True))


@pytest.fixture
def copied(whole_run, tmp_path):
    """A copy of the finished run, which may be changed."""
    shutil.copytree(whole_run.folder, tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.fixture
def dual(world, monkeypatch, tmp_path):
    """A Reprogrammer on the tiny dual encoder, with programs drawn at random, its processor, its task and its sets."""
    monkeypatch.setenv("HF_REPROGRAM_CACHE", str(tmp_path / "cache"))
    asked = {**world.ood, "alphas": [0.75, 0, 1], "corruptions": None}
    made = recipe(world, tmp_path / "run", source=world.clip, method={"name": "reprogrammer", "alpha": 0.25}, ood=asked)
    model, processor = reprogram(world.clip, method="reprogrammer", labels=LABELS, alpha=0.25)
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.normal_(std=0.5)
    task = load_task(made.task_options)
    shifts = load_shifts(made.shift_options, task)
    return SimpleNamespace(model=model.eval(), processor=processor, task=task, shifts=shifts, recipe=made)
