"""Runs with a section `ood:` on tiny sources."""

from __future__ import annotations

import json

from hf_reprogram.experiments.recipe import make_recipe

LABELS = ["above", "below"]
TRAINING = {"learning_rate": 3e-2, "num_train_epochs": 2, "per_device_train_batch_size": 16}


def recipe(world, output, **changes):
    """Elsayed's program on the tiny ViT; keys may be replaced."""
    values = {
        "source": world.vit,
        "method": {"name": "elsayed", "mapping": "dense", "image_size": 16},
        "task": world.task,
        "training": TRAINING,
        "ood": world.ood,
        "output": str(output),
        **changes,
    }
    return make_recipe(values)


def stored(folder) -> dict:
    return json.loads((folder / "results.json").read_text())
