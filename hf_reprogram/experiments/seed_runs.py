"""The run of one seed: training, saving the adapter, and scoring it on test once. A sweep runs the first seed several times.

runs/seed-0/     the adapter, `fit.json`, `test.json`, and checkpoints during training
runs/sweep-0/    the same for one combination of the sweep's values
"""

from __future__ import annotations

import json
import shutil
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import BudgetSpent, InputError
from ..files import write_json
from ..modalities.examples import Examples
from ..objectives import make_objectives
from ..objectives.base import TrainingData
from ..registry import plugins
from ..reports.results import one_class_advice, short_name
from ..sources.black_box import BlackBox
from ..sources.sharding import shards
from ..sources.tuning import values_of
from ..tasks.problems import IGNORE, Diverged
from ..tasks.task import Task
from ..tasks.unlabelled import unlabelled_rows
from ..training.callbacks import KeepStart
from ..training.encode import add_groups, encode, labels_of
from ..training.features import add_zero_shot_features
from ..training.fit import fit
from ..training.predict import predict_logits
from ..training.stream import TrainStream
from .baselines import make_baselines
from .cost import flops_of, numbers_of, rows_sent
from .job import Job
from .membership import membership_record
from .ood import check_alphas
from .recipe import Recipe


def sweep(job: Job) -> tuple[Job, list[dict[str, Any]]]:
    """Choose the best combination of the sweep's values on validation, with the first seed.

    Returns:
        The job with the best combination, and one record per combination with its `values` and its `validation` scores, which
        are None if training diverged.
    """
    recipe, task, process = job.recipe, job.task, job.process
    grid = recipe.grid()
    if len(grid) == 1:
        return replace(job, recipe=recipe.with_values(grid[0])), []
    table, candidates = [], []
    for index, choice in enumerate(grid):
        candidate = replace(job, recipe=recipe.with_values(choice))
        try:
            folder = run_trial(job, index)
        except Diverged:
            table.append({"values": choice, "validation": None})
            continue
        validation = json.loads((folder / "fit.json").read_text(encoding="utf-8"))["validation"]
        table.append({"values": choice, "validation": validation})
        candidates.append((task.benefit(validation), -index, candidate, folder))
    if not candidates:
        raise Diverged("Training diverged with every value of the sweep: try smaller learning rates.")
    _, _, chosen, folder = max(candidates, key=lambda candidate: candidate[:2])
    first = job.output / "runs" / f"seed-{recipe.seeds[0]}"
    if process.is_main_process and not (first / "fit.json").exists():
        partial = first.with_name(f".{first.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(folder, partial)
        shutil.rmtree(first, ignore_errors=True)  # an unfinished run of another setting
        partial.rename(first)
    process.wait_for_everyone()
    return chosen, table


def run_trial(job: Job, index: int) -> Path:
    """Train the combination of this number in the sweep, with the first seed, unless that is done; returns its folder."""
    candidate = replace(job, recipe=job.recipe.with_values(job.recipe.grid()[index]))
    return train_seed(candidate, job.recipe.seeds[0], name=f"sweep-{index}")


def train_seed(job: Job, seed: int, name: str | None = None, callbacks: Sequence[Any] = ()) -> Path:
    """Train one seed and save its adapter, unless its run is finished.

    Args:
        job: the job.
        seed: the seed of the drawn examples, of the initialisation and of the order of the examples.
        name: the name of the folder below `runs`; by default that of the seed.
        callbacks: further Trainer callbacks.

    Returns:
        The folder of the run.

    Raises:
        BudgetSpent: the source is paid for, and its budget allows no step.
    """
    from ..devices import to_accelerator
    from ..weights import weights_bytes

    recipe, task, process, quiet = job.recipe, job.task, job.process, job.quiet
    folder = job.output / "runs" / (name or f"seed-{seed}")
    done = (folder / "fit.json").exists()
    process.wait_for_everyone()
    if done:
        return folder
    splits = task.splits(seed)
    model, processor = untrained_model(recipe, task, seed, splits)
    check_alphas(model.mapping, recipe.shift_options.alphas if recipe.shift_options else [])
    for baseline in make_baselines(recipe).values():
        baseline.check_source(model.source.spec, task)
    if isinstance(model.source, BlackBox):
        model.source.reserved = 2 * len(task.test)  # for the adapter and for its start
    if recipe.cache_text is not None:
        model.source.cache_text(int(recipe.cache_text * 2**30))
    to_accelerator(model)
    arguments = recipe.training_arguments
    data = encode(splits, processor, task.options.max_length, task.problem_type)
    add_zero_shot_features(model, processor, data, bf16=bool(arguments.get("bf16")), quiet=quiet)
    if task.stream is not None:
        if isinstance(data["train"], Examples) and data["train"].further:
            raise InputError(
                f"{recipe.method['name']} computes zero-shot features of every training image before training, which a stream "
                "does not allow: leave task.streaming out."
            )
        data["train"] = TrainStream(task, processor, data["train"], seed)
    model.objectives = make_objectives(recipe.objective_list())
    if task.groups and model.objectives:
        add_groups(data["train"], splits["train"])
    further = None if (section := recipe.unlabelled_options) is None else unlabelled_rows(section, task, splits, seed)
    rows = splits["train"].remove_columns("label") if task.stream is None else None
    batch_size = arguments.get("per_device_train_batch_size", 8)
    seen = TrainingData(task, processor, batch_size, seed, further.rows if further else rows)
    for objective in model.objectives:
        objective.prepare(model, seen)
    result = fit(
        model,
        processor,
        data,
        task,
        arguments,
        folder=folder / "checkpoints",
        seed=seed,
        callbacks=[KeepStart(folder / "start"), *callbacks],
        resume=job.resume,
        quiet=quiet,
    )
    if result.stopped and result.trainer.state.global_step <= int(model.estimated.spent):
        raise BudgetSpent(f"The budget ended before the first step of seed {seed}: raise budget.")
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
                "start": {name: result.history[0][name] for name in task.metrics},
                "best_epoch": result.best_epoch,
                "history": result.history,
                "seconds": result.seconds,
                "stopped": result.stopped,
                "last_epoch": not result.trainer.args.load_best_model_at_end,
                "privacy": model.estimated.record() if recipe.private else None,
                "warning": advice,
                "trainable": model.num_trainable(),
                "tune": model.config.tune,
                "tuned": sum(weight.numel() for weight in values_of(model.source).values()),
                "adapter_bytes": weights_bytes(folder),
                "numbers": numbers_of(model),
                "rows_sent": rows_sent(model),
                "joules": result.joules,
                "memory": result.memory,
                "num_prompts": model.transform.num_prompts,
                "source": {"name": short_name(recipe.source["name"]), **_identity(model.config.source)},
                "method": model.config.method,
                "training": arguments,
                "unlabelled": {"rows": len(further.rows), "left_out": further.left_out} if further else None,
            },
        )
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    process.wait_for_everyone()
    return folder


def untrained_model(recipe: Recipe, task: Task, seed: int, splits: Any) -> tuple[Any, Any]:
    """A fresh model of the recipe's method, and its processor. The same seed gives the same model.

    Args:
        recipe: the recipe.
        task: its loaded task.
        seed: the seed of the initialisation.
        splits: the splits for this seed; the tokenizer or the scaling may be fitted to its training split.
    """
    from transformers import set_seed

    from ..methods.reprogramming import reprogram

    set_seed(seed)
    return reprogram(
        recipe.model_source,
        method=recipe.method["name"],
        labels=task.labels or None,
        problem_type=task.problem_type,
        source_kind=recipe.source.get("kind"),
        source_kwargs=recipe.source_kwargs,
        init_from=recipe.init_from,
        tune=recipe.tune,
        gradients=recipe.gradients,
        **({} if recipe.private else task.modality.for_method(splits["train"])),
        **recipe.method_options,
    )


def _identity(reference: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": reference["kind"],
        "revision": reference["revision"],
        "dtype": reference["dtype"],
        "fingerprint": reference["fingerprint"]["sha256"][:12],
    }


def score_test(job: Job, folder: Path) -> dict[str, Any]:
    """Score a finished run on the test split, unless `test.json` has the scores already.

    Returns:
        The content of `fit.json` and `test.json`.
    """
    from ..devices import to_accelerator
    from ..model import ReprogrammedModel

    recipe, task, process, quiet = job.recipe, job.task, job.process, job.quiet

    result = json.loads((folder / "fit.json").read_text(encoding="utf-8"))
    path = folder / "test.json"
    done = path.exists()
    process.wait_for_everyone()
    if not done and (process.is_main_process or shards(recipe.source_kwargs)):
        with plugins(True):  # the recipe names them
            model = ReprogrammedModel.from_pretrained(
                folder, source=recipe.model_source, source_kwargs=recipe.source_kwargs
            )
        to_accelerator(model)
        processor = task.modality.load_processor(folder)
        data = encode({"test": task.test}, processor, task.options.max_length, task.problem_type)["test"]
        bf16 = bool(recipe.training.get("bf16"))
        add_zero_shot_features(model, processor, {"test": data}, bf16=bf16, quiet=quiet)
        started = time.perf_counter()
        logits = predict_logits(model, processor, data, bf16=bf16, quiet=quiet)
        seconds = time.perf_counter() - started
        labels = labels_of(data)
        record: dict[str, Any] = {"test": task.score(logits, labels), "test_seconds": seconds}
        record["start_test"], untrained = record["test"], logits

        def load_start() -> Any:
            return to_accelerator(ReprogrammedModel.from_pretrained(folder / "start", source=model.source))

        if result["best_epoch"]:
            untrained = predict_logits(load_start(), processor, data, bf16=bf16, quiet=quiet)
            record["start_test"] = task.score(untrained, labels)
        if recipe.membership is not None:
            models, answers = [load_start() if result["best_epoch"] else model, model], [untrained, logits]
            record["membership"] = membership_record(job, result["seed"], processor, models, answers)
        if task.problem_type in ("single_label_classification", "token_classification"):
            from sklearn.metrics import confusion_matrix

            scored = labels != IGNORE
            predictions = task.decide(logits)[scored]
            counts = confusion_matrix(labels[scored], predictions, labels=range(len(task.labels)))
            record["confusion"] = counts.tolist()
        if task.problem_type == "forecast":
            from ..tasks.forecast import shown_forecasts

            record["forecasts"] = shown_forecasts(task.test, logits, task.options.season)
        if process.is_main_process:
            write_json(path, record)
            if result["seed"] == recipe.seeds[0]:
                write_json(path, {**record, "flops": flops_of(job, model, load_start, processor)})
    process.wait_for_everyone()
    return {**result, **json.loads(path.read_text(encoding="utf-8"))}
