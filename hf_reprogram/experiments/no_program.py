"""The candidates of a search that have no program: what the frozen source gives by itself."""

from __future__ import annotations

import shutil
import warnings
from functools import partial
from typing import Any

import numpy as np

from ..baselines import BASELINES
from ..baselines.base import Setting
from ..errors import InputError
from ..options import from_dict
from ..training.fit import selection
from .auto_space import Candidate
from .job import Job
from .seed_runs import untrained_model

NO_PROGRAM: tuple[tuple[str, dict[str, Any]], ...] = (  # the first of a name that fits is taken
    ("source_labels", {}),
    ("zero_shot", {}),
    ("linear_probe", {"tokens": "source"}),
    ("linear_probe", {"tokens": "target"}),
)


def reason(error: Exception) -> str:
    """Why something failed, on one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def without_program(job: Job, candidate: Candidate) -> dict[str, dict[str, Any]]:
    """The candidates without a program that fit, scored on validation; the test split is not given to them."""
    recipe, task, seed = candidate.recipe(job.recipe), job.task, job.recipe.seeds[0]
    splits = task.splits(seed)
    splits["test"] = splits["validation"]
    found: dict[str, dict[str, Any]] = {}
    for name, options in NO_PROGRAM:
        if name in found:
            continue
        baseline = BASELINES[name](from_dict(BASELINES[name].Options, options, f"option of {name}"))
        setting = Setting(
            recipe,
            task,
            splits,
            seed,
            folder=job.output / "auto" / name,
            quiet=job.quiet,
            num_prompts=candidate.num_prompts,
            make=partial(untrained_model, recipe, task, seed, splits),
        )
        try:
            baseline.check(recipe)
            baseline.check_source(candidate.spec, task)
            outcome = baseline.run(setting)
        except InputError:  # it does not fit
            continue
        except Exception as error:  # of one candidate, which must not end the search
            warnings.warn(f"The {baseline.title} failed and is no candidate: {reason(error)}", stacklevel=2)
            continue
        finally:
            shutil.rmtree(setting.folder, ignore_errors=True)
        labels = outcome.labels["validation"] if outcome.labels else np.asarray(splits["validation"]["label"])
        scores = task.score(outcome.validation, labels)
        found[name] = {
            "title": f"no program: {baseline.title}",
            "state": "baseline",
            "value": selection(task, scores, outcome.validation, labels),
            "validation": scores,
            "options": options,
            "trainable": outcome.trainable,
            "seconds": outcome.seconds,
        }
    return found
