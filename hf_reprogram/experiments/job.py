"""What the runs of one recipe share, and what a finished run is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..tasks.task import Task
from .recipe import Recipe


@dataclass(frozen=True)
class Job:
    """What all runs of a recipe share.

    Attributes:
        recipe: what to run.
        task: its data.
        output: the folder of all runs.
        process: accelerate's state.
        resume: whether a run that was cut short goes on from its last checkpoint.
        quiet: no progress bars and no warnings.
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
        seed: of the run.
        folder: with its adapter.
        result: what `fit.json` and `test.json` hold.
    """

    seed: int
    folder: Path
    result: dict[str, Any]
