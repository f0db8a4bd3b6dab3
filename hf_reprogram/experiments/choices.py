"""Defaults by data: what a recipe leaves open is decided when it meets its task, on training and validation data alone.

The number of steps follows from the number of examples. Options that decide where the source is read or how large an image is
on the canvas are chosen by the score of the *untrained* program on validation: each alternative is built, its omega starts as
it would for training, and the best one is trained. Few examples decide, so an omega with more weights must be better beyond
chance: by more than the standard error of the paired differences of the validation losses. With fewer than 16 examples for
validation, folds of training and validation together decide (`hf_reprogram.experiments.folds`). An alternative costs a pass
over at most `MOST_TRAIN` examples. An option of the recipe always wins, and `preset: paper` leaves nothing open. On an
endpoint, which is paid for each example, the method's own options are taken.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from itertools import product
from math import ceil
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from ..config import ReprogramConfig
from ..errors import InputError
from ..files import write_json
from ..gradients import plain_step
from ..methods import METHODS
from ..progress import progress
from ..schedule import begin_epoch
from ..sources.loading import load_source
from ..training.encode import collator, encode, labels_of
from ..training.features import add_zero_shot_features
from ..training.fit import example_losses, selection
from ..training.predict import predict_logits
from .folds import FEW, folded_logits
from .job import Job
from .memory import Memory
from .recipe import Recipe
from .seed_runs import untrained_model

MOST_TRAIN, MOST_VALIDATION = 500, 500  # examples that an alternative is scored with
LEAST_STEPS, MOST_STEPS, LEAST_EPOCHS = 200, 600, 3  # updates of theta and omega


def decide(job: Job, deadline: float | None = None, memory: Memory | None = None) -> tuple[Job, dict[str, Any]]:
    """Choose what the recipe leaves open.

    Args:
        job: the job; its first seed draws the examples.
        deadline: the time of `time.monotonic` after which no further alternative is tried; None for no limit.
        memory: outputs of the source that are known; by default none.

    Returns:
        The job with a recipe that leaves nothing open, and a record: `options` and `training` hold the choices, and `tried` the
        alternatives with the validation scores of their starts.
    """
    path, recipe = job.output / "runs" / "defaults.json", job.recipe
    if recipe.method_options.get("preset") == "paper":
        return job, {"options": {}, "training": {}, "tried": []}
    if path.exists():  # of the run that is resumed
        record = json.loads(path.read_text(encoding="utf-8"))
    else:
        options, tried = _options(job, deadline, memory or Memory())
        record = {
            "options": options,
            "training": _steps(recipe, job.task.sizes["train"]),
            "tried": tried,
        }
        job.process.wait_for_everyone()
        if job.process.is_main_process:
            write_json(path, record)
    job.process.wait_for_everyone()
    values = {
        f"{section}.{key}": value for section in ("options", "training") for key, value in record[section].items()
    }
    changed = {key.replace("options.", "method.", 1): value for key, value in values.items()}
    return replace(job, recipe=recipe.with_values(changed, keep_sweep=True)), record


def _steps(recipe: Recipe, examples: int) -> dict[str, Any]:
    """The batch size and the epochs that the recipe does not give, for so many training examples.

    A batch is halved until an epoch has 20 steps, down to 8 examples. There are as many epochs as the method has, but at least
    `LEAST_STEPS` steps, and at most `MOST_STEPS`, if these are `LEAST_EPOCHS` epochs.
    """
    given, arguments = recipe.training, recipe.training_arguments
    if "max_steps" in arguments and "max_steps" not in given:  # the method's own
        return {}
    swept = {key.partition(".")[2] for key in recipe.sweep}
    open_keys = {"num_train_epochs", "per_device_train_batch_size"} - {*given, *swept}
    if "max_steps" in given or "max_steps" in swept:
        open_keys.discard("num_train_epochs")
    if plain_step(recipe.estimator) or recipe.private:  # a batch is as large as the method says
        open_keys.discard("per_device_train_batch_size")
    if not open_keys:
        return {}
    batch = arguments["per_device_train_batch_size"]
    while "per_device_train_batch_size" in open_keys and batch > 8 and examples / batch < 20:
        batch //= 2
    steps = ceil(examples / (batch * arguments.get("gradient_accumulation_steps", 1)))
    most = max(LEAST_EPOCHS, ceil(MOST_STEPS / steps))
    epochs = max(ceil(LEAST_STEPS / steps), min(ceil(arguments["num_train_epochs"]), most))
    chosen = {"num_train_epochs": epochs, "per_device_train_batch_size": batch}
    return {key: value for key, value in chosen.items() if key in open_keys}


def alternatives_of(job: Job) -> list[dict[str, Any]]:
    """The options that a recipe leaves open, one dict per alternative, the first one first among equals.

    A recipe that leaves nothing open has one alternative, without options or, in a second stage, with those of the first.
    """
    recipe, task = job.recipe, job.task
    method = METHODS[recipe.method["name"]]
    given = {*recipe.method_options, *(key.partition(".")[2] for key in recipe.sweep if key.startswith("method."))}
    if recipe.cache_text is not None:  # the cache serves the last token alone
        given.add("reads")
    options = method.read_options(recipe.method_options, f"option of {recipe.method['name']}")
    spec = load_source(recipe.model_source, recipe.source.get("kind"), **recipe.source_kwargs)[0].spec
    groups = method(options).alternatives(spec, task.problem_type)
    groups = [group for group in groups if not given & {key for choice in group for key in choice}]
    if recipe.init_from is not None:  # a second stage goes on with the options of the first
        first = ReprogramConfig.from_pretrained(recipe.init_from).method or {}
        keys = {key for group in groups for choice in group for key in choice}
        return [{key: first[key] for key in keys & {*first}}]
    return [{key: value for part in parts for key, value in part.items()} for parts in product(*groups)]


def _options(job: Job, deadline: float | None, memory: Memory) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The alternative that is best on validation, and the scores of all of them."""
    alternatives = alternatives_of(job)
    paid = (
        job.recipe.endpoint is not None or job.recipe.private
    )  # for each: in money, or with what starts tell of the data
    if len(alternatives) == 1 or paid:
        return alternatives[0], []
    scores: list[Score] = []
    fitting: list[dict[str, Any]] = []
    refusal: InputError | None = None
    splits = job.task.splits(job.recipe.seeds[0])
    for alternative in progress(alternatives, "Defaults", len(alternatives), job.quiet):
        if deadline is not None and scores and time.monotonic() > deadline:
            break
        try:
            scores.append(start_score(job, splits, alternative, memory))
        except InputError as error:  # such as more copies of a long series than a clip has room for
            refusal = error
            continue
        fitting.append(alternative)
    if refusal is not None and not scores:
        raise refusal
    tried = [
        {"options": alternative, "validation": score.validation}
        for alternative, score in zip(fitting, scores, strict=True)
    ]
    return fitting[best_of(scores)], tried


@dataclass
class Score:
    """The score of an untrained program.

    Attributes:
        value: the number that selects (`hf_reprogram.training.fit.selection`).
        validation: the metrics.
        losses: the loss of each validation example or label (m,).
        weights: the number of weights of omega.
    """

    value: float
    validation: dict[str, float]
    losses: np.ndarray
    weights: int


def best_of(scores: list[Score]) -> int:
    """The number of the best score, where more weights of omega must win by more than chance.

    >>> few, many = (Score(value, {}, np.array(loss), size) for value, loss, size in ((0.8, [1, 2], 1), (0.9, [0, 2], 9)))
    >>> best_of([few, many])  # better by 0.5 with a standard error of 0.5
    0
    """
    order = sorted(range(len(scores)), key=lambda index: -scores[index].value)
    best = order[0]
    for rival in order[1:]:
        if scores[rival].weights < scores[best].weights:
            gains = scores[rival].losses - scores[best].losses
            gains = gains[~np.isnan(gains)]
            if len(gains) < 2 or gains.mean() <= gains.std(ddof=1) / len(gains) ** 0.5:
                best = rival
    return best


def start_score(job: Job, splits: Any, options: dict[str, Any], memory: Memory, few: int = FEW) -> Score:
    """The score of an untrained program on validation, or by folds where validation has few examples.

    Args:
        job: the job; its first seed decides the initialisation.
        splits: the splits of that seed.
        options: options of the method that override those of the recipe.
        memory: outputs of the source that are known.
        few: validation examples, below which folds decide.
    """
    from ..devices import to_accelerator

    task, seed = job.task, job.recipe.seeds[0]
    changed = job.recipe.with_values({f"method.{name}": value for name, value in options.items()})
    drawn = {name: _few(splits[name], most) for name, most in (("train", MOST_TRAIN), ("validation", MOST_VALIDATION))}
    model, processor = untrained_model(changed, task, seed, splits)
    to_accelerator(model)
    memory.attach(model.source)
    bf16 = bool(changed.training_arguments.get("bf16"))
    data = encode(drawn, processor, task.options.max_length, task.problem_type)
    add_zero_shot_features(model, processor, data, bf16=bf16, quiet=True)
    loaders = [DataLoader(data[name], 64, collate_fn=collator(processor, task.per_token)) for name in drawn]
    half = torch.bfloat16 if bf16 else None
    if len(drawn["validation"]) < few and not task.per_token:
        logits, labels = folded_logits(model.eval(), task, loaders, half)
    else:
        begin_epoch(model, 0, loaders[0], half=half, validation=loaders[1], soften=False)
        logits = predict_logits(model.eval(), processor, data["validation"], bf16=bf16, quiet=True)
        labels = labels_of(data["validation"])
    validation = task.score(logits, labels)
    each = example_losses(task, logits, labels).reshape(-1)
    weights = sum(parameter.numel() for parameter in model.mapping.parameters() if parameter.requires_grad)
    return Score(selection(task, validation, logits, labels), validation, each, weights)


def _few(split: Any, most: int) -> Any:
    """At most so many examples of a split, drawn at random."""
    if len(split) <= most:
        return split
    rows = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[:most]
    return split.select(sorted(rows.tolist()))
