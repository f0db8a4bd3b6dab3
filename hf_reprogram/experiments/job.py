"""The job of running a recipe, and the result of one of its seeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..tasks.task import Task
from .recipe import Recipe


@dataclass(frozen=True)
class Job:
    """Everything that all seeds of a recipe share.

    Attributes:
        recipe: the recipe.
        task: its loaded task.
        output: the output folder.
        process: accelerate's `PartialState`.
        resume: whether an interrupted run continues from its last checkpoint.
        quiet: show no progress bars and no warnings.
    """

    recipe: Recipe
    task: Task
    output: Path
    process: Any
    resume: bool = False
    quiet: bool = False


@dataclass(frozen=True)
class SeedRun:
    """A finished run of one seed.

    Attributes:
        seed: the seed.
        folder: the folder of its adapter.
        result: the content of `fit.json` and `test.json`.
    """

    seed: int
    folder: Path
    result: dict[str, Any]
