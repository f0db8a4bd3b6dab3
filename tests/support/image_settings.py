"""Settings of baselines on tiny image sources and the two classes of `tests.support.tiny_vision.images`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Image, Value

from hf_reprogram.baselines import BASELINES
from hf_reprogram.baselines.base import Baseline, Outcome, Setting
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.seed_runs import untrained_model
from hf_reprogram.options import from_dict
from hf_reprogram.tasks.load import load_task
from tests.support import tiny_vision

CLASSES = ("above", "below")


def make_setting(source: Any, folder: Path, chosen: dict | None = None, seed: int = 0, **changes: Any) -> Setting:
    """The setting of one seed: 36 images to train on, 12 to validate, 12 to test; `changes` replace keys of the recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = tiny_vision.images(60)
    columns = {"image": images, "half": [CLASSES[label] for label in labels]}
    features = Features({"image": Image(), "half": Value("string")})
    Dataset.from_dict(columns, features=features).to_parquet(folder / "halves.parquet")
    recipe = make_recipe(
        {
            "source": str(source),
            "method": "elsayed",
            "task": {
                "dataset": str(folder / "halves.parquet"),
                "image": "image",
                "label": "half",
                "validation_share": 0.25,
            },
            "training": {"num_train_epochs": 1, "per_device_train_batch_size": 12},
            "output": str(folder / "run"),
            **changes,
        }
    )
    task = load_task(recipe.task_options)
    splits = task.splits(seed)
    untrained = partial(untrained_model, recipe, task, seed, splits)
    return Setting(recipe, task, splits, seed, folder / "scratch", True, 0, untrained, chosen)


def make_baseline(name: str, **options: Any) -> Baseline:
    """A baseline by its name."""
    kind = BASELINES[name]
    return kind(from_dict(kind.Options, options, f"option of {name}"))


def run(name: str, setting: Setting, **options: Any) -> Outcome:
    """What a baseline makes of a setting."""
    return make_baseline(name, **options).run(setting)
