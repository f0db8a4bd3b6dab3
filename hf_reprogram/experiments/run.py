"""Run a recipe: sweep on validation, train every seed, score test once, write the adapter and `results.json`.

output/
  recipe.json                       the recipe; a folder that holds another one is refused
  config.json, model.safetensors    the adapter of the seed with the best validation score, its processor and card
  results.json                      every seed, mean and deviation, baselines, versions
  learning_curve.png, ...           plots, if matplotlib is there
  ood.md                            accuracy under shift and OOD detection, with `ood:` in the recipe
  runs/seed-0/                      one folder a run: adapter, fit.json, and checkpoints until it is done
"""

from __future__ import annotations

import json
import shutil
import time
import warnings
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..files import write_json, write_text
from ..progress import quiet_libraries
from ..reports.results import one_class_advice, render_ood, run_reports, short_name, summarize, versions
from ..tasks.load import load_task
from ..tasks.problems import IGNORE, Diverged
from ..tasks.shifts import load_shifts
from ..tasks.task import Task
from ..training.callbacks import Schedule
from ..training.encode import encode, labels_of
from ..training.features import add_zero_shot_features
from ..training.fit import fit
from ..training.predict import predict_logits
from .baselines import make_baselines, run_baselines
from .ood import check_alphas, seed_record, summarize_ood
from .recipe import Recipe


def train(recipe: Recipe, *, resume: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Run a recipe and return what `results.json` holds.

    Args:
        recipe: what to run.
        resume: go on with the run in the recipe's output folder; finished parts are kept.
        quiet: no progress bars and no messages.

    Raises:
        InputError: the output folder holds a run and `resume` is not set, or holds the run of another recipe.
    """
    from accelerate import PartialState

    quiet_libraries(quiet)
    process = PartialState(cpu=not torch.accelerator.is_available())  # else two CPU processes do not know of each other
    output = Path(recipe.output or "runs/run")
    with process.main_process_first():
        _claim(output, recipe, resume or not process.is_main_process)
        task = load_task(recipe.task_options)
        shifts = load_shifts(recipe.shift_options, task) if recipe.shift_options else None
    started = time.perf_counter()
    recipe, sweep = _sweep(recipe, task, output, process, resume, quiet)
    runs = []
    for seed in recipe.seeds:
        folder = _run(recipe, task, seed, output, process, resume, quiet)
        runs.append(SeedRun(seed, folder, _score_test(folder, recipe, task, seed, process, quiet)))
    best = max(runs, key=lambda run: task.benefit(run.result["validation"]))
    results = _results(recipe, task, runs, best, sweep)

    def keep() -> None:
        """Write what is known by now, so that nothing which comes later can lose it."""
        if process.is_main_process:
            results["wall_seconds"] = time.perf_counter() - started
            write_json(output / "results.json", results)

    if process.is_main_process:
        _publish(best.folder, output)
    keep()
    make = partial(untrained_model, recipe, task)
    for outcome in run_baselines(recipe, task, shifts, output, best.result["num_prompts"], make, process, quiet):
        results["baselines"] |= outcome.records
        if outcome.failure is not None:
            results.setdefault("failed_baselines", {})[outcome.name] = outcome.failure
            if not quiet:
                warnings.warn(f"The baseline {outcome.name} failed and is left out: {outcome.failure}", stacklevel=2)
        keep()
    if not process.is_main_process:
        return {}
    record = None
    if shifts is not None:
        records = {run.seed: seed_record(run.folder, recipe, task, shifts, run.seed, quiet) for run in runs}
        results["ood"] = summarize_ood([*records.values()], shifts, task)
        keep()
        record = records[best.seed]
    _finish(output, results, record, quiet)
    return results


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


def _results(
    recipe: Recipe, task: Task, runs: list[SeedRun], best: SeedRun, sweep: list[dict[str, Any]]
) -> dict[str, Any]:
    """What `results.json` holds of the method's own runs."""
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
        "trainable": best.result["trainable"],
        "adapter_bytes": best.result["adapter_bytes"],
        "seconds": summarize([{"train": outcome["seconds"]} for outcome in outcomes])["train"],
        "sweep": sweep,
        "baselines": {},
        "versions": versions(),
    }


def _finish(output: Path, results: dict[str, Any], record: dict[str, Any] | None, quiet: bool) -> None:
    """The plots, the tables of shifts and the model card, from what is on disk by now."""
    from ..reports.card import write_card
    from ..reports.ood_plots import plot_ood
    from ..reports.plots import plot_run

    for name in ("ood.md", "ood_roc.png", "ood_scores.png", "ood_alpha.png"):  # of another section ood
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
    mine = json.loads(json.dumps({key: value for key, value in asdict(recipe).items() if key != "output"}))
    mine["source"].pop("token", None)  # a secret is never written down
    path = output / "recipe.json"
    if path.exists() and (output / "runs").exists():
        theirs = json.loads(path.read_text(encoding="utf-8"))
        if not resume:
            raise InputError(
                f"The folder {str(output)!r} holds a run already: go on with --resume, or choose another output."
            )
        # Other baselines and sets may be asked for later: they stand beside a run and do not change it.
        keys = {*mine, *theirs} - {"baselines", "ood"}
        different = sorted(key for key in keys if mine.get(key) != theirs.get(key))
        if different:
            raise InputError(
                f"The folder {str(output)!r} holds the run of another recipe ({', '.join(different)} differ): choose "
                "another output."
            )
    elif not path.exists() and output.is_dir() and any(output.iterdir()):
        raise InputError(f"The folder {str(output)!r} is not empty and holds no run of ours: choose another output.")
    write_json(path, mine)


# ------------------------------------------------------------------------------------------------------ single runs


def _sweep(recipe, task, output, process, resume, quiet) -> tuple[Recipe, list[dict[str, Any]]]:
    """The recipe with the best combination of the sweep's values, and the validation score of each."""
    grid = recipe.grid()
    if len(grid) == 1:
        return recipe.with_values(grid[0]), []
    table, candidates = [], []
    for index, choice in enumerate(grid):
        candidate = recipe.with_values(choice)
        try:
            folder = _run(candidate, task, recipe.seeds[0], output, process, resume, quiet, name=f"sweep-{index}")
        except Diverged:
            table.append({"values": choice, "validation": None})
            continue
        validation = json.loads((folder / "fit.json").read_text(encoding="utf-8"))["validation"]
        table.append({"values": choice, "validation": validation})
        candidates.append((task.benefit(validation), -index, candidate, folder))
    if not candidates:
        raise Diverged("Training diverged with every value of the sweep: try smaller learning rates.")
    _, _, chosen, folder = max(candidates, key=lambda candidate: candidate[:2])
    first = output / "runs" / f"seed-{recipe.seeds[0]}"
    if process.is_main_process and not (first / "fit.json").exists():
        partial = first.with_name(f".{first.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(folder, partial)
        shutil.rmtree(first, ignore_errors=True)  # an unfinished run of another setting
        partial.rename(first)
    process.wait_for_everyone()
    return chosen, table


def _run(recipe, task: Task, seed: int, output: Path, process, resume, quiet, name: str | None = None) -> Path:
    """Train one seed and save its adapter; a finished run is kept as it is. Returns the run's folder."""
    from ..model import adapter_bytes, to_accelerator

    folder = output / "runs" / (name or f"seed-{seed}")
    done = (folder / "fit.json").exists()
    process.wait_for_everyone()
    if done:
        return folder
    splits = task.splits(seed)
    model, processor = untrained_model(recipe, task, seed, splits)
    check_alphas(model.mapping, recipe.shift_options.alphas if recipe.shift_options else [])
    for baseline in make_baselines(recipe).values():
        baseline.check_source(model.source.spec, task)
    if recipe.cache_text is not None:
        model.source.cache_text(int(recipe.cache_text * 2**30))
    to_accelerator(model)
    arguments = recipe.training_arguments
    data = encode(splits, processor, task.options.max_length, task.problem_type)
    add_zero_shot_features(model, processor, data, bf16=bool(arguments.get("bf16")), quiet=quiet)
    result = fit(
        model,
        processor,
        data,
        task,
        arguments,
        folder=folder / "checkpoints",
        seed=seed,
        callbacks=[Schedule()],
        resume=resume,
        quiet=quiet,
    )
    if process.is_main_process:
        model.save_pretrained(folder)
        if processor is not None:
            processor.save_pretrained(folder)
        advice = one_class_advice(result.logits, result.trainer.args.learning_rate, task)
        if advice and not quiet:
            warnings.warn(advice, stacklevel=2)
        write_json(
            folder / "fit.json",
            {
                "seed": seed,
                "validation": result.validation,
                "history": result.history,
                "seconds": result.seconds,
                "warning": advice,
                "trainable": model.num_trainable(),
                "adapter_bytes": adapter_bytes(folder),
                "num_prompts": model.transform.num_prompts,
                "source": {"name": short_name(recipe.source["name"]), **_identity(model.config.source)},
                "method": model.config.method,
                "training": arguments,
            },
        )
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    process.wait_for_everyone()
    return folder


def untrained_model(recipe: Recipe, task: Task, seed: int, splits: Any) -> tuple[Any, Any]:
    """A fresh model of the recipe's method, and its processor; the same seed makes the same one."""
    from transformers import set_seed

    from ..methods.reprogramming import reprogram

    set_seed(seed)
    return reprogram(
        recipe.source["name"],
        method=recipe.method["name"],
        labels=task.labels or None,
        problem_type=task.problem_type,
        source_kind=recipe.source.get("kind"),
        source_kwargs=recipe.source_kwargs,
        init_from=recipe.init_from,
        **task.modality.for_method(splits["train"]),
        **recipe.method_options,
    )


def _identity(reference: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": reference["kind"],
        "revision": reference["revision"],
        "dtype": reference["dtype"],
        "fingerprint": reference["fingerprint"]["sha256"][:12],
    }


def _score_test(folder: Path, recipe: Recipe, task: Task, seed: int, process, quiet: bool) -> dict[str, Any]:
    """Score a finished run on test, once: kept in `test.json`."""
    from ..model import ReprogrammedModel, to_accelerator

    result = json.loads((folder / "fit.json").read_text(encoding="utf-8"))
    path = folder / "test.json"
    if not path.exists() and process.is_main_process:
        model = ReprogrammedModel.from_pretrained(
            folder, source=recipe.source["name"], source_kwargs=recipe.source_kwargs
        )
        to_accelerator(model)
        processor = task.modality.load_processor(folder)
        data = encode({"test": task.test}, processor, task.options.max_length, task.problem_type)["test"]
        bf16 = bool(recipe.training.get("bf16"))
        add_zero_shot_features(model, processor, {"test": data}, bf16=bf16, quiet=quiet)
        logits = predict_logits(model, processor, data, bf16=bf16, quiet=quiet)
        labels = labels_of(data)
        record: dict[str, Any] = {"test": task.score(logits, labels)}
        if task.problem_type in ("single_label_classification", "token_classification"):
            from sklearn.metrics import confusion_matrix

            scored = labels != IGNORE
            predictions = task.decide(logits)[scored]
            counts = confusion_matrix(labels[scored], predictions, labels=range(len(task.labels)))
            record["confusion"] = counts.tolist()
        write_json(path, record)
    process.wait_for_everyone()
    return {**result, **json.loads(path.read_text(encoding="utf-8"))}


def _record(result: dict[str, Any]) -> dict[str, Any]:
    """What `results.json` keeps of one seed."""
    kept = ("validation", "test", "confusion", "history", "seconds", "warning")
    return {key: result[key] for key in kept if result.get(key) is not None}


def _publish(folder: Path, output: Path) -> None:
    """Copy a run's adapter to the top of the output folder, the config last."""
    names = [p.name for p in folder.iterdir() if p.is_file() and p.name not in ("fit.json", "test.json", "ood.json")]
    for name in sorted(names, key=lambda name: name == "config.json"):
        temporary = output / f".{name}.tmp"
        shutil.copyfile(folder / name, temporary)
        temporary.replace(output / name)
