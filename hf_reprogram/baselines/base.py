"""The interface of a baseline."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..tasks.load import Task
from ..training.recipe import Recipe


@dataclass
class Setting:
    """What a baseline is run on.

    Attributes:
        recipe: of the run it stands beside: its source, its budget of epochs, its batch size.
        task: labels and metrics.
        splits: raw `train`, `validation` and `test` for this seed.
        seed: of this run.
        folder: for checkpoints.
        quiet: no progress bars.
        num_prompts: prompt slots of the method, for baselines that have prompts too.
        chosen: what the first seed's run chose on validation; the other seeds take it over, as the method's do.
    """

    recipe: Recipe
    task: Task
    splits: Any
    seed: int
    folder: Path
    quiet: bool
    num_prompts: int
    chosen: dict[str, Any] | None = None

    def training(self, options: dict[str, Any]) -> dict[str, Any]:
        """The method's `TrainingArguments` with the baseline's own on top."""
        from ..methods import METHODS

        return {**METHODS[self.recipe.method["name"]].training, **self.recipe.training, **options}


@dataclass
class Outcome:
    """Predictions (class indices or numbers) for validation and test, trained numbers, and seconds of training."""

    validation: np.ndarray
    test: np.ndarray
    trainable: int
    seconds: float
    chosen: dict[str, Any] | None = None


class Baseline(ABC):
    """A baseline with the options in its `Options` dataclass; whatever it chooses, it chooses on validation."""

    title: ClassVar[str]
    Options: ClassVar[type]

    def __init__(self, options: Any):
        self.options = options

    @abstractmethod
    def run(self, setting: Setting) -> Outcome:
        """Train on `setting.splits["train"]` and predict validation and test."""
