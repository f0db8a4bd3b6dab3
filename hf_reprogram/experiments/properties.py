"""What is measured of a finished run beside the task's metrics: gaps between groups, and accuracy under attack.

runs/seed-0/properties.json    the record of one adapter and of its untrained start; kept on resume

A task with `group` has the gaps of validation and test, and a recipe with a section `robustness:` the accuracy under attack of
some test examples. Nothing is trained or chosen by them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..files import write_json
from ..registry import plugins
from ..reports.results import summarize
from ..sources.sharding import shards
from ..tasks.fairness import GAPS, by_group
from ..tasks.splits import at_most
from ..tasks.task import Task
from ..training.attack import RobustnessOptions, noisy, pgd, region_of_task
from ..training.encode import batches, encode, labels_of
from ..training.features import add_zero_shot_features
from ..training.predict import predict_logits
from .job import Job, SeedRun
from .recipe_checks import read_robustness


def properties(job: Job, runs: Sequence[SeedRun]) -> dict[str, Any]:
    """The entries `fairness` and `robustness` of `results.json`, each if it was asked for.

    Args:
        job: the job.
        runs: the finished runs of all seeds.
    """
    robustness, task = read_robustness(job.recipe.robustness), job.task
    asked = {
        **({"groups": task.groups} if task.groups else {}),
        **({"robustness": asdict(robustness)} if robustness else {}),
    }
    if not asked or not (job.process.is_main_process or shards(job.recipe.source_kwargs)):
        return {}
    records = {str(run.seed): _of_seed(job, run, asked, robustness) for run in runs}
    found: dict[str, Any] = {}
    if task.groups:
        each = {seed: record["fairness"] for seed, record in records.items()}
        found["fairness"] = {"groups": task.groups, "seeds": each, **summarize_groups([*each.values()])}
    if robustness:
        each = {seed: record["robustness"] for seed, record in records.items()}
        scores = summarize([_flat(record) for record in each.values()])
        found["robustness"] = {**asdict(robustness), "seeds": each, "accuracy": scores}
    return found


def _of_seed(job: Job, run: SeedRun, asked: dict[str, Any], robustness: RobustnessOptions | None) -> dict[str, Any]:
    """The record of one seed. It is computed once and read afterwards, unless what is asked for has changed."""
    from ..devices import to_accelerator
    from ..model import ReprogrammedModel

    path, recipe, task = run.folder / "properties.json", job.recipe, job.task
    if path.exists() and (record := json.loads(path.read_text(encoding="utf-8")))["asked"] == asked:
        return record
    with plugins(True):  # the recipe names them
        model = ReprogrammedModel.from_pretrained(
            run.folder, source=recipe.model_source, source_kwargs=recipe.source_kwargs
        )
    to_accelerator(model)
    start: Any = model
    if run.result["best_epoch"]:
        start = to_accelerator(ReprogrammedModel.from_pretrained(run.folder / "start", source=model.source))
    processor = task.modality.load_processor(run.folder)
    bf16 = bool(recipe.training.get("bf16"))
    record = {"asked": asked}
    if task.groups:
        record["fairness"] = groups_record(model, start, processor, task, run.seed, bf16, job.quiet)
    if robustness:
        record["robustness"] = attack_record(model, start, processor, task, robustness, run.seed, bf16, job.quiet)
    if job.process.is_main_process:
        write_json(path, record)
    return record


# ------------------------------------------------------------------------------------------------------------- groups


def groups_record(
    model: Any, start: Any, processor: Any, task: Task, seed: int, bf16: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Scores by group on validation and test, of an adapter, and under `start` of its untrained start."""
    splits = {"validation": task.splits(seed)["validation"], "test": task.test}
    scores: list[dict[str, Any]] = []
    for each in (model,) if start is model else (model, start):
        scores.append({})
        for name, split in splits.items():
            data = encode({name: split}, processor, task.options.max_length, task.problem_type)[name]
            add_zero_shot_features(each, processor, {name: data}, bf16=bf16, quiet=quiet)
            logits = predict_logits(each, processor, data, bf16=bf16, quiet=quiet)
            scores[-1][name] = scores_by_group(task, logits, labels_of(data), split)
    return {**scores[0], "start": scores[-1]}


def scores_by_group(task: Task, logits: Any, labels: Any, split: Any) -> dict[str, Any]:
    """See `hf_reprogram.tasks.fairness.by_group`; `split` is prepared and has the groups."""
    return by_group(task.decide(logits), labels, split["groups"][:], task.groups, len(task.labels))


def summarize_groups(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means and deviations over seeds: of the splits, and of those of the start."""

    def of(places: list[dict[str, Any]]) -> dict[str, Any]:
        names = set.intersection(*({*place["accuracies"]} for place in places))
        return {
            **summarize([{key: place[key] for key in ("accuracy", *GAPS)} for place in places]),
            "accuracies": summarize(
                [{name: value for name, value in place["accuracies"].items() if name in names} for place in places]
            ),
        }

    return {
        **{name: of([record[name] for record in records]) for name in ("validation", "test")},
        "start": {name: of([record["start"][name] for record in records]) for name in ("validation", "test")},
    }


# ------------------------------------------------------------------------------------------------------------- attacks


def attack_record(
    model: Any,
    start: Any,
    processor: Any,
    task: Task,
    options: RobustnessOptions,
    seed: int,
    bf16: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """The accuracy of an adapter and of its untrained start on test examples, and under attack.

    Args:
        model, start: both in eval mode; `start` is the same object if training has changed nothing.
        processor: of the adapter.
        task: the task.
        options: of the attack.
        seed: of the random starts of attacks, and of the training split.
        bf16: whether to autocast to bfloat16, as in training.
        quiet: show no progress bar.

    Returns:
        `examples`; `clean`, the accuracy without an attack, and `start_clean` that of the start; and by radius in `eps`:
        `noise`, under random changes; `pgd`, under attack; `start_pgd`, of the start under attacks on itself; and `transfer`,
        under the attacks on the start. Where `transfer` is clearly below `pgd`, the adapter's gradients hide weaknesses.

    Raises:
        InputError: the source gives no gradients.
    """
    if not model.source.differentiable:
        raise InputError("The section robustness follows gradients, and this source gives none: leave it out.")
    takes, radii = model.transform.takes, options.radii()
    region = region_of_task(task, processor, takes, seed)
    split = at_most(task.test, options.examples, task.options.split_seed)
    data = encode({"test": split}, processor, task.options.max_length, task.problem_type)["test"]
    every, device, twins = labels_of(data), model.source.device, start is model
    right: dict[str, list[np.ndarray]] = {}

    def logits_of(each: Any) -> Any:
        def logits(inputs: torch.Tensor) -> torch.Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                found: torch.Tensor = each(**{takes: inputs}).logits
            return found

        return logits

    own, first = logits_of(model), logits_of(start)

    def count(name: str, logits: Any, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        with torch.no_grad():
            right.setdefault(name, []).append((logits(inputs).argmax(-1) == labels).cpu().numpy())

    for number, (rows, batch) in enumerate(batches(data, processor, 64, device, "Attacking", quiet)):
        inputs, labels = batch[takes], torch.as_tensor(every[rows], device=device)
        count("clean", own, inputs, labels)
        count("start_clean", first, inputs, labels)
        for name, eps in radii.items():
            random = torch.Generator().manual_seed(1_000_003 * seed + number)
            count(f"{name} noise", own, noisy(inputs, region, eps, random), labels)
            attacked = pgd(own, inputs, labels, region, eps, options.steps, random)
            count(f"{name} pgd", own, attacked, labels)
            other = attacked if twins else pgd(first, inputs, labels, region, eps, options.steps, random)
            count(f"{name} start_pgd", first, other, labels)
            count(f"{name} transfer", own, other, labels)
    share = {name: float(np.concatenate(found).mean()) for name, found in right.items()}
    by_radius = {
        name: {kind: share[f"{name} {kind}"] for kind in ("noise", "pgd", "start_pgd", "transfer")} for name in radii
    }
    return {"examples": len(every), "clean": share["clean"], "start_clean": share["start_clean"], "eps": by_radius}


def _flat(record: dict[str, Any]) -> dict[str, float]:
    """The accuracies of a record by one name each, such as "8/255 pgd"."""
    under = {f"{eps} {kind}": value for eps, found in record["eps"].items() for kind, value in found.items()}
    return {"clean": record["clean"], "start_clean": record["start_clean"], **under}
