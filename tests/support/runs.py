"""Recipes on tiny sources and data, and what is compared of two runs."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf_reprogram.experiments.recipe import Recipe, make_recipe
from hf_reprogram.experiments.run import train
from tests.support import words


def write_csv(path: Path, count: int = 240, seed: int = 0, flip: bool = False, **columns: list[Any]) -> Path:
    """Synthetic sentences with a label by name, which a frozen tiny source's features can tell apart to some degree."""
    texts, labels = words.texts(count, seed)
    data = {"sentence": texts, "kind": [("bad", "good")[label ^ flip] for label in labels], **columns}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(data)
        writer.writerows(zip(*data.values(), strict=True))
    return path


def recipe(source: str, data: Path | str, output: Path | str, **changes: Any) -> Recipe:
    """A short run of WARP with 3 prompts; `changes` replace keys, and mappings are merged into the ones here."""
    values: dict[str, Any] = {
        "source": source,
        "method": {"name": "warp", "num_prompts": 3},
        "task": {"dataset": str(data), "text": ["sentence"], "label": "kind"},
        "training": {"learning_rate": 3e-2, "num_train_epochs": 3, "per_device_train_batch_size": 16},
        "output": str(output),
    }
    for key, value in changes.items():
        values[key] = {**values[key], **value} if isinstance(values.get(key), dict) else value
    return make_recipe(values)


def run(*arguments: Any, resume: bool = False, **changes: Any) -> dict[str, Any]:
    """Train the recipe of these arguments, quietly."""
    return train(recipe(*arguments, **changes), resume=resume, quiet=True)


def weights(folder: Path | str) -> bytes:
    """An adapter's weights file."""
    return Path(folder, "model.safetensors").read_bytes()


def without_clocks(value: Any) -> Any:
    """Results without wall-clock times, and without the memory and the energy of the process."""
    if isinstance(value, dict):
        kept = {key: entry for key, entry in value.items() if not key.endswith(("seconds", "memory", "joules"))}
        return {key: without_clocks(entry) for key, entry in kept.items()}
    return [without_clocks(entry) for entry in value] if isinstance(value, list) else value


def replace_output(recipe: Recipe, output: Path) -> Recipe:
    """The same recipe for another folder."""
    return replace(recipe, output=str(output))
