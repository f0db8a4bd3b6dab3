"""Clients around one tiny image source, and the same training with all data in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import set_seed

from hf_reprogram import reprogram
from hf_reprogram.federated.client import Client
from hf_reprogram.tasks.splits import selected
from hf_reprogram.training.encode import encode
from tests.support import tiny_vision

LABELS = ["above", "below"]
SGD = {"learning_rate": 0.5, "optim": "sgd", "lr_scheduler_type": "linear", "per_device_train_batch_size": 64}


def program(method: str = "ilm_vp", **options: Any) -> tuple[Any, Any]:
    """A program at its start around a tiny ViT; the same arguments make the same."""
    set_seed(0)
    return reprogram(tiny_vision.make_source("vit"), method, LABELS, image_size=8, **options)


def rows(count: int = 12, seed: int = 0) -> Dataset:
    """Prepared images with two classes."""
    pictures, labels = tiny_vision.images(count, seed)
    return Dataset.from_dict({"image": pictures, "label": labels})


def clients(
    model: Any, processor: Any, parts: Sequence[Any], rounds: int = 2, local_epochs: int = 1, **changes: Any
) -> list[Client]:
    """A client for the rows of each part of `rows`."""
    whole, arguments = rows(), {**SGD, **changes}
    return [
        Client(
            model,
            encode({"train": selected(whole, np.array(part))}, processor)["train"],
            processor,
            arguments,
            rounds,
            local_epochs,
        )
        for part in parts
    ]


def constant(model: Any) -> float:
    """A score in which no round is better than the start."""
    return 0.0


def counting() -> Any:
    """A score in which every round is better than the one before."""
    scores = iter(range(1000))
    return lambda model: float(next(scores))
