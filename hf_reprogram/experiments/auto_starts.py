"""The starts of a search: what every method gives before any training, with the defaults that fit the data."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Any, NamedTuple

from ..progress import progress
from .auto_space import Candidate
from .choices import decide, start_score
from .job import Job
from .memory import Memory
from .no_program import reason
from .recipe import Recipe


class Start(NamedTuple):
    """The defaults of a method by the data at hand.

    Attributes:
        recipe: with everything decided.
        record: what was decided; see `hf_reprogram.experiments.choices`.
        value: the benefit of the untrained start on validation.
        failure: why it cannot be trained; None if it can.
    """

    recipe: Recipe
    record: dict[str, Any]
    value: float
    failure: str | None = None


def score_starts(job: Job, candidates: Sequence[Candidate], seconds: float | None) -> dict[str, Start]:
    """The start of each candidate, the best first.

    Args:
        job: the job of the search.
        candidates: the methods.
        seconds: the time for choosing their options; None for no limit. Every method scores one choice at least.
    """
    found: dict[str, Start] = {}
    memory, begun = Memory(), time.monotonic()
    for place, candidate in enumerate(progress(candidates, "Starts", len(candidates), job.quiet), 1):
        recipe = candidate.recipe(job.recipe)
        until = None if seconds is None else begun + seconds * place / len(candidates)
        try:
            recipe, record = decided(job, recipe, f"default-{candidate.name}", until, memory)
            scores = [tried["validation"] for tried in record["tried"]]
            if not scores:
                splits = job.task.splits(recipe.seeds[0])
                scores = [start_score(replace(job, recipe=recipe), splits, {}, memory).validation]
            found[candidate.name] = Start(recipe, record, max(map(job.task.benefit, scores)))
        except Exception as error:  # of one candidate, which must not end the search
            found[candidate.name] = Start(recipe, {}, -inf, reason(error))
    return dict(sorted(found.items(), key=lambda item: -item[1].value))


def decided(
    job: Job, recipe: Recipe, name: str, until: float | None = None, memory: Memory | None = None
) -> tuple[Recipe, dict[str, Any]]:
    """A recipe that leaves nothing open, and what was decided; see `hf_reprogram.experiments.choices.decide`.

    Args:
        job: the job of the search.
        recipe: the recipe of a candidate.
        name: of a folder that is removed again.
        until: the time of `time.monotonic` after which no further alternative is tried; None for no limit.
        memory: outputs of the source that are known.
    """
    output = job.output / "auto" / name
    try:
        changed, record = decide(replace(job, recipe=recipe, output=output, quiet=True), until, memory)
    finally:
        shutil.rmtree(output, ignore_errors=True)
    return changed.recipe, record
