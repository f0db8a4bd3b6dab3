"""Run every baseline on every seed, saving each result at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..baselines import BASELINES
from ..baselines.base import Baseline, Outcome, Setting
from ..files import write_json
from ..ood.report import average
from ..options import from_dict
from ..reports.results import summarize
from ..tasks.shifts import Shifts
from ..tasks.task import Task
from ..tasks.unlabelled import unlabelled_rows
from .cost import NUMBER_BYTES
from .job import Job
from .ood import options_as_json, report_of
from .recipe import Recipe


def make_baselines(recipe: Recipe) -> dict[str, Baseline]:
    """The baselines of a recipe, with their options, by name.

    >>> from hf_reprogram.experiments.recipe import make_recipe
    >>> recipe = {"source": "owner/model", "method": "warp", "task": {"dataset": "glue", "name": "rte"}}
    >>> list(make_baselines(make_recipe({**recipe, "baselines": ["majority", "counts"]})))
    ['majority', 'counts']
    """
    return {
        name: BASELINES[name](from_dict(BASELINES[name].Options, options, f"option of {name}"))
        for name, options in recipe.baseline_list()
    }


@dataclass(frozen=True)
class BaselineOutcome:
    """The outcome of one baseline.

    Attributes:
        name: its name in the registry.
        records: its entry of `results.json`, by name; empty if it failed.
        failure: the reason of its failure in one sentence; None if it did not fail.
    """

    name: str
    records: dict[str, Any]
    failure: str | None = None


def run_baselines(
    job: Job, shifts: Shifts | None, num_prompts: int, make: Callable[[int, Any], tuple[Any, Any]]
) -> Iterator[BaselineOutcome]:
    """Run every baseline on every seed, one after the other; one that fails costs neither the run nor the others.

    Args:
        job: what to run.
        shifts: more sets to predict; their reports are under `ood`.
        num_prompts: prompt slots of the method.
        make: from a seed and its splits to a fresh model of the method and its processor.
    """
    recipe, task = job.recipe, job.task
    kept: dict[tuple[str, ...], np.ndarray] = {}

    def setting(name: str, seed: int, chosen: dict[str, Any] | None) -> Setting:
        splits = task.splits(seed)
        section = recipe.unlabelled_options if BASELINES[name].needs_unlabelled else None
        return Setting(
            recipe,
            task,
            splits,
            seed,
            folder=job.output / "baselines" / f"{name}-{seed}",
            quiet=job.quiet,
            num_prompts=num_prompts,
            make=partial(make, seed, splits),
            chosen=chosen,
            extra=shifts.splits if shifts else {},
            kept=kept,
            unlabelled=unlabelled_rows(section, task, splits, seed).rows if section else None,
        )

    for name, baseline in make_baselines(recipe).items():
        records: list[dict[str, Any]] = []
        try:
            for seed in recipe.seeds:
                chosen = records[0]["chosen"] if records else None
                path = job.output / "baselines" / f"{name}-{seed}.json"
                records.append(_seed_record(path, baseline, partial(setting, name, seed, chosen), shifts, job.process))
        except Exception as error:  # an error of one baseline must not lose the other results
            yield BaselineOutcome(name, {}, (str(error).strip() or type(error).__name__).splitlines()[0])
            continue
        yield BaselineOutcome(name, {name: _summary(baseline, records, shifts)})


def _seed_record(
    path: Path, baseline: Baseline, make_setting: Callable[[], Setting], shifts: Shifts | None, process: Any
) -> dict[str, Any]:
    """The record of a baseline on one seed, read from the file at `path` or else computed and saved there."""
    options = json.loads(json.dumps(asdict(baseline.options)))
    done = _done(path, shifts, options)
    process.wait_for_everyone()
    if not done:
        setting = make_setting()
        outcome = baseline.run(setting)
        if process.is_main_process:
            shutil.rmtree(setting.folder, ignore_errors=True)
            write_json(path, {"options": options, **_record(outcome, setting.task, setting.splits, shifts)})
        process.wait_for_everyone()
    return json.loads(path.read_text(encoding="utf-8"))


def _summary(baseline: Baseline, records: list[dict[str, Any]], shifts: Shifts | None) -> dict[str, Any]:
    """A baseline's entry of `results.json`, from its records of all seeds."""
    summary = {
        "title": baseline.title,
        "validation": summarize([record["validation"] for record in records]),
        "test": summarize([record["test"] for record in records]),
        "trainable": records[0]["trainable"],
        "seconds": summarize([{"train": record["seconds"]} for record in records])["train"],
        "cost": {"shipped_bytes": NUMBER_BYTES * records[0]["trainable"]},
        "chosen": [record["chosen"] for record in records],
    }
    if shifts and all(record["ood"]["report"] for record in records):
        summary["ood"] = average([record["ood"]["report"] for record in records])
    return summary


def _done(path: Path, shifts: Shifts | None, options: dict[str, Any]) -> bool:
    """Whether a file holds a record with these options and, if there are `shifts`, with a report on these sets."""
    if not path.exists():
        return False
    record = json.loads(path.read_text(encoding="utf-8"))
    if record.get("options") != options:
        return False
    return shifts is None or record.get("ood", {}).get("asked") == options_as_json(shifts, alphas=False)


def _record(outcome: Outcome, task: Task, splits: Any, shifts: Shifts | None) -> dict[str, Any]:
    """The record of a baseline's outcome on one seed."""
    record: dict[str, Any] = {"trainable": outcome.trainable, "seconds": outcome.seconds, "chosen": outcome.chosen}
    for split, logits in (("validation", outcome.validation), ("test", outcome.test)):
        labels = outcome.labels[split] if outcome.labels else np.asarray(splits[split]["label"])
        record[split] = task.score(logits, labels)
    if shifts:
        labels = np.asarray(splits["test"]["label"])
        report = report_of(shifts, outcome.test, labels, outcome.extra) if outcome.extra else None
        record["ood"] = {"asked": options_as_json(shifts, alphas=False), "report": report}
    return record
