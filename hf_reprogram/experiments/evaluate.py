"""Evaluating a trained adapter, and predicting with it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from ..errors import InputError, unknown
from ..options import from_dict
from ..progress import quiet_libraries
from ..registry import plugins
from ..tasks.load import load_task
from ..tasks.options import TaskOptions
from ..tasks.task import Task
from ..training.adaptation import RATE, check_adaptation, predict_adapted
from ..training.adapter import load_adapter, recorded
from ..training.encode import encode, labels_of
from ..training.predict import predict_logits
from .named_source import named_source
from .predictions import Bar, Predictor
from .properties import scores_by_group
from .recipe import apply_overrides, load_recipe, make_recipe, recorded_recipe


def evaluate_adapter(
    adapter: str,
    recipe: str | os.PathLike | None,
    overrides: list[str],
    split: str,
    source: str | None,
    quiet: bool,
    trust_remote_code: bool = False,
    adapt: int | None = None,
    adapt_rate: float = RATE,
) -> dict[str, Any]:
    """Score an adapter on a task.

    Args:
        adapter: a folder or a Hub id.
        recipe: the file or the name of a recipe whose task is scored; None for the recipe in the adapter's folder.
        overrides: changes of the recipe, such as "task.max_test=500".
        split: "validation" or "test".
        source: the name or folder of the source, if it is not where the adapter recorded it; or a recipe with its endpoint.
        quiet: show no progress bars and no messages.
        trust_remote_code: whether the source's own Python code may run; see `hf_reprogram.trust`.
        adapt: the steps of test-time adaptation of each batch; None for none.
        adapt_rate: the learning rate of these steps; see `hf_reprogram.training.adaptation`.

    Returns:
        `task`, `split`, the number of `examples`, the metrics, and for a task with groups `fairness`
        (`hf_reprogram.tasks.fairness`); with `adapt` also `adapted`, the metrics after it.

    Raises:
        InputError: there is no such adapter, recipe or split, or the task does not fit the adapter.
    """
    if split not in ("validation", "test"):
        raise unknown("split", split, ("validation", "test"))
    quiet_libraries(quiet)
    if recipe is not None:
        chosen = load_recipe(recipe, overrides)
    else:
        values = recorded_recipe(adapter)
        if values is None:
            raise InputError(f"{adapter!r} has no recipe.json: name the task to score with --recipe.")
        values.pop("objectives", None)  # nothing is trained, so data without groups may be scored too
        apply_overrides(values, overrides)
        with plugins(trust_remote_code):
            chosen = make_recipe(values)
    model, processor = load_adapter(
        adapter, named_source(source), chosen.source_kwargs if recipe is None else None, trust_remote_code
    )
    options = chosen.task_options
    task = task_of(model, options)
    examples = task.test if split == "test" else task.splits(seed_of(adapter))["validation"]
    data = encode({split: examples}, processor, options.max_length, task.problem_type)[split]
    bf16 = bool(chosen.training.get("bf16"))
    if adapt is not None:
        check_adaptation(model, adapt, adapt_rate)
    logits = predict_logits(model, processor, data, bf16=bf16, quiet=quiet)
    metrics: dict[str, Any] = task.score(logits, labels_of(data))
    if task.groups:
        metrics["fairness"] = scores_by_group(task, logits, labels_of(data), examples)
    if adapt is not None:
        adapted = predict_adapted(model, processor, data, steps=adapt, rate=adapt_rate, quiet=quiet)
        metrics["adapted"] = task.score(adapted, labels_of(data))
    return {"task": task.title, "split": split, "examples": len(examples), **metrics}


def task_of(model: Any, options: TaskOptions) -> Task:
    """Load a task, and check that it fits an adapter.

    Args:
        model: the adapter's `ReprogrammedModel`.
        options: the task section of a recipe.

    Returns:
        The task with the adapter's label names in the adapter's order. The data may lack some of these labels.

    Raises:
        InputError: the adapter takes another modality, or the data have a label that the adapter has not.
    """
    return load_task(options, model.label_names, model.transform.takes)


def same_splits(options: TaskOptions, trained: dict[str, Any]) -> bool:
    """Whether a task has the training and validation examples of the one that an adapter was trained on.

    Args:
        options: of the task.
        trained: the section `task` of the adapter's recipe.
    """
    free: Any = {"max_test": None, "max_length": None, "metrics": None}  # these do not change what is trained on
    return replace(options, **free) == replace(from_dict(TaskOptions, trained, "key of task"), **free)


def seed_of(adapter: str) -> int:
    """The seed of the run that trained an adapter, which also drew its few-shot validation examples; 0 if it is unknown.

    Args:
        adapter: the output folder of a run, the folder of one of its seeds, or a Hub id.
    """
    for name, key in (("results.json", "best_seed"), ("fit.json", "seed")):
        record = recorded(adapter, name)
        if record is not None:
            return record[key]
    return 0


def predict_lines(
    adapter: str, lines: list[str], source: str | None, quiet: bool, trust_remote_code: bool = False
) -> list[dict[str, Any]]:
    """Predict the label of each line of a list; `hf_reprogram.experiments.predictions` has files of any size.

    Args:
        adapter: a folder or a Hub id.
        lines: one example per line, in the form that `Modality.parse` of the adapter's modality reads. Empty lines are
            skipped.
        source: the name or folder of the source, if it is not where the adapter recorded it; or a recipe with its endpoint.
        quiet: show no progress bars and no messages.
        trust_remote_code: whether the source's own Python code may run; see `hf_reprogram.trust`.

    Returns:
        One record per line, with the example and the prediction: `label` and `score`, its probability; `value` for a
        regression; `values` for a forecast; `scores`, the probability of each label of a multi-label problem; `tokens` and
        `labels` for one label per token; or `filled`, the completed text, for an adapter that predicts masked tokens.

    Raises:
        InputError: all lines are empty, or the adapter cannot take one of them.
    """
    quiet_libraries(quiet)
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise InputError("Every line is empty: give at least one input.")
    predictor = Predictor(adapter, source, trust_remote_code)
    with Bar(len(lines), quiet) as bar:
        return predictor.predict(predictor.modality.parse(lines), done=bar.at)
