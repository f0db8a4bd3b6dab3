"""Run a recipe: sweep on validation, train every seed, score the test split once, write the adapter and `results.json`.

output/
  recipe.json                       the recipe; a folder with another recipe is refused
  auto.json, auto.db, auto/         of a recipe with `method: auto`: the search, its study, and the adapters in training
  leaderboard.md                    the candidates of that search
  config.json, model.safetensors    the adapter of the seed with the best validation score, with its processor and card
  results.json                      every seed, mean and deviation, baselines, versions
  learning_curve.png, ...           plots, if matplotlib is installed
  federated/                        the adapter of federated training, if the recipe has a section `federated:`
  ood.md                            accuracy under shift and OOD detection, if the recipe has a section `ood:`
  runs/defaults.json                what the recipe left open, and what was chosen for it
  runs/seed-0/                      one folder per seed: the adapter, fit.json, and checkpoints during training
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..errors import BudgetSpent, InputError
from ..files import write_json, write_text
from ..methods import METHODS
from ..privacy import together
from ..progress import quiet_libraries
from ..reports.results import gain, render_ood, run_reports, short_name, summarize, versions
from ..sources.sharding import shards
from ..tasks.load import load_task
from ..tasks.shifts import load_shifts
from ..tasks.task import Task
from ..transforms import TRANSFORMS
from .auto import check_optuna, search
from .baselines import make_baselines, run_baselines
from .choices import decide
from .cost import cost_section
from .federated import check_run, check_shared, run_federated
from .job import Job, SeedRun
from .membership import check_problem
from .ood import seed_record, summarize_ood
from .output_folder import claim, merge_runs, publish
from .properties import properties
from .recipe import Recipe
from .seed_runs import run_trial, score_test, sweep, train_seed, untrained_model
from .training_arguments import warn_of_emulated_bf16


def train(
    recipe: Recipe,
    *,
    resume: bool = False,
    quiet: bool = False,
    only_seed: int | None = None,
    only_trial: int | None = None,
    merge: Sequence[str] = (),
) -> dict[str, Any]:
    """Run a recipe, or one part of it.

    Args:
        recipe: the recipe.
        resume: continue the run in the recipe's output folder; finished parts are kept.
        quiet: show no progress bars and no messages.
        only_seed: train and score this one of the recipe's seeds, and stop. Baselines and `results.json` are for the run that
            merges.
        only_trial: train the combination of this number in the recipe's sweep, from 0, and stop.
        merge: output folders of other runs of the recipe, whose finished seeds and trials are taken over.

    Returns:
        The content of `results.json`; an empty dict for a part, and in all processes but the main one.

    Raises:
        InputError: the output folder holds a run and `resume` is not set, or it holds the run of another recipe; or the recipe
            has no such seed or trial.
    """
    from accelerate import PartialState

    quiet_libraries(quiet)
    warn_of_emulated_bf16(recipe.training)
    process = PartialState(
        cpu=not torch.accelerator.is_available()
    )  # otherwise two CPU processes do not see each other
    output = Path(recipe.output or "runs/run")
    _check_part(recipe, only_seed, only_trial)
    if recipe.endpoint is not None:
        recipe.endpoint.check_key()
    if recipe.searches:
        check_optuna(process)
        if recipe.task_options.streaming:
            raise InputError(
                "method: auto trains often, and task.streaming is for rows that take long: search with task.max_train: 5000 "
                "first, then stream with the method that it found."
            )
    with process.main_process_first():
        claim(output, recipe, resume or not process.is_main_process)
        if process.is_main_process:
            merge_runs(output, recipe, merge)
        takes = None if recipe.searches else TRANSFORMS[METHODS[recipe.method["name"]].info.transform].takes
        task = load_task(recipe.task_options, takes=takes)
        part = (
            only_seed is not None or only_trial is not None
        )  # the run that merges reports what is out of distribution
        shifts = load_shifts(recipe.shift_options, task) if recipe.shift_options and not part else None
    if recipe.endpoint is not None:
        recipe.endpoint.check(task, make_baselines(recipe).values())
    started = time.perf_counter()
    job, found = Job(recipe, task, output, process, resume, quiet), None
    check_run(job)
    check_problem(job)
    if recipe.searches:
        job, decided, found = search(job)
    else:
        job, decided = decide(job)
        check_shared(job)
    if only_trial is not None:
        run_trial(job, only_trial)
        return {}
    job, tried = sweep(job)
    recipe = job.recipe
    runs, not_run = _run_seeds(job, recipe.seeds if only_seed is None else [only_seed])
    if only_seed is not None:
        return {}
    best = max(runs, key=lambda run: task.benefit(run.result["validation"]))
    results = {**_results(recipe, task, runs, best, tried), "defaults": decided, **({"auto": found} if found else {})}
    if not_run:
        results["not_run"] = not_run
    if recipe.private:
        results["privacy"] = together([run.result["privacy"] for run in runs])

    def keep() -> None:
        """Write the results so far, so that no later failure can lose them."""
        if process.is_main_process:
            results["wall_seconds"] = time.perf_counter() - started
            if recipe.endpoint is not None:
                results["usage"] = recipe.endpoint.usage()
            write_json(output / "results.json", results)

    if process.is_main_process:
        publish(best.folder, output)
    keep()
    if federated := run_federated(job, runs):
        results["federated"] = federated
        keep()
    make = partial(untrained_model, recipe, task)
    for outcome in run_baselines(job, shifts, best.result["num_prompts"], make):
        results["baselines"] |= outcome.records
        if outcome.failure is not None:
            results.setdefault("failed_baselines", {})[outcome.name] = outcome.failure
            if not quiet:
                warnings.warn(f"The baseline {outcome.name} failed and is left out: {outcome.failure}", stacklevel=2)
        keep()
    results |= properties(job, runs)
    keep()
    record, records = None, {}
    if shifts is not None and (process.is_main_process or shards(recipe.source_kwargs)):
        try:
            records = {
                run.seed: seed_record(run.folder, recipe, task, shifts, run.seed, process, quiet) for run in runs
            }
        except BudgetSpent as error:
            results.setdefault("not_run", {})["ood"] = str(error)
    if not process.is_main_process:
        return {}
    if shifts is not None and records:
        results["ood"] = summarize_ood([*records.values()], shifts, task)
        keep()
        record = records[best.seed]
    keep()
    _finish(output, results, record, quiet)
    return results


def _run_seeds(job: Job, seeds: Sequence[int]) -> tuple[list[SeedRun], dict[str, str]]:
    """The finished runs of the seeds, and the reason by seed for those that the budget of a source that is paid for left out.

    Raises:
        BudgetSpent: it left out all of them.
    """
    runs: list[SeedRun] = []
    for place, seed in enumerate(seeds):
        try:
            folder = train_seed(job, seed)
            runs.append(SeedRun(seed, folder, score_test(job, folder)))
        except BudgetSpent as error:
            if not runs:
                raise
            return runs, {str(left): str(error) for left in seeds[place:]}
    return runs, {}


def _check_part(recipe: Recipe, seed: int | None, trial: int | None) -> None:
    """Raise `InputError` unless the recipe has this seed and this trial."""
    if seed is None and trial is None:
        return
    if recipe.searches:
        raise InputError(
            "method: auto has no parts of a known number: let several runs search with one storage instead."
        )
    if seed is not None and trial is not None:
        raise InputError("A part is one seed or one trial: give only_seed or only_trial, not both.")
    if seed is not None and seed not in recipe.seeds:
        raise InputError(f"The recipe has no seed {seed}: choose one of {', '.join(map(str, recipe.seeds))}.")
    trials = len(recipe.grid())
    if trial is not None and not 0 <= trial < trials:
        raise InputError(
            f"The recipe's sweep has {trials} trials, and {trial} is none: give a number from 0 to {trials - 1}."
        )
    if trial is not None and trials == 1:
        raise InputError("The recipe has no sweep, so it has no trials: leave only_trial out.")


def _results(
    recipe: Recipe, task: Task, runs: list[SeedRun], best: SeedRun, tried: list[dict[str, Any]]
) -> dict[str, Any]:
    """The content of `results.json` without baselines, from the runs of all seeds."""
    outcomes = [run.result for run in runs]
    return {
        "task": {
            "title": task.title,
            "dataset": short_name(task.options.dataset),
            "name": task.options.name,
            "labels": task.labels,
            "problem": task.problem_type,
            "metrics": task.metrics,
            "on_hub": not Path(task.options.dataset).exists(),
            "test_split": task.test_split,
            "modality": task.modality.name,
            "pair": "text_pair" in task.test.column_names,
            "features": task.feature_names,
            "sizes": task.sizes,
            "notes": task.notes,
        },
        "source": best.result["source"],
        "method": best.result["method"],
        "training": best.result["training"],
        "seeds": {str(run.seed): _record(run.result) for run in runs},
        "best_seed": best.seed,
        "validation": summarize([outcome["validation"] for outcome in outcomes]),
        "test": summarize([outcome["test"] for outcome in outcomes]),
        "start": {
            "validation": summarize([outcome["start"] for outcome in outcomes]),
            "test": summarize([outcome["start_test"] for outcome in outcomes]),
        },
        "gain": gain([outcome["test"] for outcome in outcomes], [outcome["start_test"] for outcome in outcomes]),
        "best_epochs": [outcome["best_epoch"] for outcome in outcomes],
        "last_epoch": best.result.get("last_epoch", False),
        "trainable": best.result["trainable"],
        "tune": best.result.get("tune", []),
        "tuned": best.result.get("tuned", 0),
        "adapter_bytes": best.result["adapter_bytes"],
        "seconds": summarize([{"train": outcome["seconds"]} for outcome in outcomes])["train"],
        "cost": cost_section(outcomes, best.result["adapter_bytes"], len(task.test)),
        "sweep": tried,
        "baselines": {},
        "versions": versions(),
    }


def _record(result: dict[str, Any]) -> dict[str, Any]:
    """The entry of one seed in `results.json`."""
    kept = (
        "validation",
        "test",
        "start",
        "start_test",
        "best_epoch",
        "confusion",
        "forecasts",
        "history",
        "seconds",
        "test_seconds",
        "memory",
        "joules",
        "warning",
        "stopped",
        "privacy",
        "membership",
    )
    return {key: result[key] for key in kept if result.get(key) not in (None, False)}


def _finish(output: Path, results: dict[str, Any], record: dict[str, Any] | None, quiet: bool) -> None:
    """Write the plots, the OOD tables and the model card."""
    from ..reports.card import write_card
    from ..reports.ood_plots import plot_ood
    from ..reports.plots import plot_run

    for name in ("ood.md", "ood_roc.png", "ood_scores.png", "ood_alpha.png"):  # of an earlier section ood
        (output / name).unlink(missing_ok=True)
    if record is not None:
        tables = render_ood(run_reports(results), results["ood"]["report"])
        write_text(output / "ood.md", f"# {results['task']['title']} in and out of distribution\n\n{tables}")
    try:
        plot_run(results, output)
        if record is not None:
            plot_ood(record, output, results["ood"].get("alphas"))
    except ImportError:
        if not quiet:
            warnings.warn("matplotlib is not installed, so no plots: pip install 'hf_reprogram[plots]'.", stacklevel=2)
    write_card(results, output)
