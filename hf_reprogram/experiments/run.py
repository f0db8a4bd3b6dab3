"""Run a recipe: sweep on validation, train every seed, score the test split once, write the adapter and `results.json`.

output/
  recipe.json                       the recipe; a folder with another recipe is refused
  auto.json, auto.db, auto/         of a recipe with `method: auto`: the search, its study, and the adapters in training
  leaderboard.md                    the candidates of that search
  config.json, model.safetensors    the adapter of the seed with the best validation score, with its processor and card
  results.json                      every seed, mean and deviation, baselines, versions
  learning_curve.png, ...           plots, if matplotlib is installed
  ood.md                            accuracy under shift and OOD detection, if the recipe has a section `ood:`
  runs/defaults.json                what the recipe left open, and what was chosen for it
  runs/seed-0/                      one folder per seed: the adapter, fit.json, and checkpoints during training
"""

from __future__ import annotations

import json
import shutil
import time
import warnings
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..files import write_json, write_text
from ..methods import METHODS
from ..progress import quiet_libraries
from ..reports.results import gain, render_ood, run_reports, short_name, summarize, versions
from ..sources.sharding import shards
from ..tasks.load import load_task
from ..tasks.shifts import load_shifts
from ..tasks.task import Task
from ..transforms import TRANSFORMS
from .auto import check_optuna, search
from .baselines import run_baselines
from .choices import decide
from .job import Job, SeedRun
from .ood import seed_record, summarize_ood
from .recipe import Recipe, whole_path, with_whole_paths
from .seed_runs import score_test, sweep, train_seed, untrained_model
from .training_arguments import warn_of_emulated_bf16


def train(recipe: Recipe, *, resume: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Run a recipe.

    Args:
        recipe: the recipe.
        resume: continue the run in the recipe's output folder; finished parts are kept.
        quiet: show no progress bars and no messages.

    Returns:
        The content of `results.json`; an empty dict in all processes but the main one.

    Raises:
        InputError: the output folder holds a run and `resume` is not set, or it holds the run of another recipe.
    """
    from accelerate import PartialState

    quiet_libraries(quiet)
    warn_of_emulated_bf16(recipe.training)
    process = PartialState(
        cpu=not torch.accelerator.is_available()
    )  # otherwise two CPU processes do not see each other
    output = Path(recipe.output or "runs/run")
    if recipe.searches:
        check_optuna(process)
    with process.main_process_first():
        _claim(output, recipe, resume or not process.is_main_process)
        takes = None if recipe.searches else TRANSFORMS[METHODS[recipe.method["name"]].info.transform].takes
        task = load_task(recipe.task_options, takes=takes)
        shifts = load_shifts(recipe.shift_options, task) if recipe.shift_options else None
    started = time.perf_counter()
    job, found = Job(recipe, task, output, process, resume, quiet), None
    if recipe.searches:
        job, decided, found = search(job)
    else:
        job, decided = decide(job)
    job, tried = sweep(job)
    recipe = job.recipe
    runs = []
    for seed in recipe.seeds:
        folder = train_seed(job, seed)
        runs.append(SeedRun(seed, folder, score_test(job, folder)))
    best = max(runs, key=lambda run: task.benefit(run.result["validation"]))
    results = {**_results(recipe, task, runs, best, tried), "defaults": decided, **({"auto": found} if found else {})}

    def keep() -> None:
        """Write the results so far, so that no later failure can lose them."""
        if process.is_main_process:
            results["wall_seconds"] = time.perf_counter() - started
            write_json(output / "results.json", results)

    if process.is_main_process:
        _publish(best.folder, output)
    keep()
    make = partial(untrained_model, recipe, task)
    for outcome in run_baselines(job, shifts, best.result["num_prompts"], make):
        results["baselines"] |= outcome.records
        if outcome.failure is not None:
            results.setdefault("failed_baselines", {})[outcome.name] = outcome.failure
            if not quiet:
                warnings.warn(f"The baseline {outcome.name} failed and is left out: {outcome.failure}", stacklevel=2)
        keep()
    record, records = None, {}
    if shifts is not None and (process.is_main_process or shards(recipe.source_kwargs)):
        records = {run.seed: seed_record(run.folder, recipe, task, shifts, run.seed, process, quiet) for run in runs}
    if not process.is_main_process:
        return {}
    if shifts is not None:
        results["ood"] = summarize_ood([*records.values()], shifts, task)
        keep()
        record = records[best.seed]
    _finish(output, results, record, quiet)
    return results


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
            "sizes": {name: len(split) for name, split in task.splits(recipe.seeds[0]).items()},
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
        "trainable": best.result["trainable"],
        "adapter_bytes": best.result["adapter_bytes"],
        "seconds": summarize([{"train": outcome["seconds"]} for outcome in outcomes])["train"],
        "sweep": tried,
        "baselines": {},
        "versions": versions(),
    }


def _record(result: dict[str, Any]) -> dict[str, Any]:
    """The entry of one seed in `results.json`."""
    kept = ("validation", "test", "start", "start_test", "best_epoch", "confusion", "history", "seconds", "warning")
    return {key: result[key] for key in kept if result.get(key) is not None}


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


def _claim(output: Path, recipe: Recipe, resume: bool) -> None:
    """Write the recipe into its output folder, or check that it is the one there."""
    current = with_whole_paths(json.loads(json.dumps({k: v for k, v in asdict(recipe).items() if k != "output"})))
    current["source"]["name"] = whole_path(current["source"]["name"])
    current["source"].pop("token", None)  # a secret is never saved
    current.pop("storage")  # nor a password in a URL
    path = output / "recipe.json"
    if path.exists() and ((output / "runs").exists() or (output / "auto.json").exists()):
        saved = json.loads(path.read_text(encoding="utf-8"))
        if not resume:
            raise InputError(
                f"The folder {str(output)!r} holds a run already: continue it with --resume, or choose another output."
            )
        # Baselines and OOD sets may change later, as they do not affect the method's own runs; a search may go on.
        keys = {*current, *saved} - {"baselines", "ood", "budget"}
        different = sorted(key for key in keys if current.get(key) != saved.get(key))
        if different:
            raise InputError(
                f"The folder {str(output)!r} holds the run of another recipe ({', '.join(different)} differ): choose "
                "another output."
            )
    elif not path.exists() and output.is_dir() and any(output.iterdir()):
        raise InputError(f"The folder {str(output)!r} is not empty and holds no run: choose another output.")
    write_json(path, current)


def _publish(folder: Path, output: Path) -> None:
    """Copy the adapter of a run to the top of the output folder, its config last."""
    names = [p.name for p in folder.iterdir() if p.is_file() and p.name not in ("fit.json", "test.json", "ood.json")]
    for name in sorted(names, key=lambda name: name == "config.json"):
        temporary = output / f".{name}.tmp"
        shutil.copyfile(folder / name, temporary)
        temporary.replace(output / name)
