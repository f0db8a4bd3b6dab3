"""Scoring and applying an adapter after training."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..errors import InputError, unknown
from ..modalities import modality_taking
from ..progress import quiet_libraries
from ..tasks.load import load_task
from ..tasks.options import TaskOptions
from ..tasks.task import Task
from ..training.adapter import load_adapter, recorded
from ..training.encode import encode, labels_of
from ..training.infilling import infill
from ..training.predict import predict_logits
from .recipe import apply_overrides, load_recipe, make_recipe


def evaluate_adapter(
    adapter: str, recipe: str | os.PathLike | None, overrides: list[str], split: str, source: str | None, quiet: bool
) -> dict[str, Any]:
    """Metrics of an adapter on a split of a recipe's task; by default of the recipe in its own folder."""
    if split not in ("validation", "test"):
        raise unknown("split", split, ("validation", "test"))
    quiet_libraries(quiet)
    if recipe is not None:
        chosen = load_recipe(recipe, overrides)
    else:
        values = recorded(adapter, "recipe.json")
        if values is None:
            raise InputError(f"{adapter!r} has no recipe.json: say what to score it on with --recipe.")
        apply_overrides(values, overrides)
        chosen = make_recipe(values)
    model, processor = load_adapter(adapter, source, chosen.source_kwargs if recipe is None else None)
    options = chosen.task_options
    task = task_of(model, options)
    examples = task.test if split == "test" else task.splits(seed_of(adapter))["validation"]
    data = encode({split: examples}, processor, options.max_length, task.problem_type)[split]
    bf16 = bool(chosen.training.get("bf16"))
    metrics = task.score(predict_logits(model, processor, data, bf16=bf16, quiet=quiet), labels_of(data))
    return {"task": task.title, "split": split, "examples": len(examples), **metrics}


def task_of(model: Any, options: TaskOptions) -> Task:
    """A task's data, for an adapter of its own kind and with its labels.

    Raises:
        InputError: the adapter takes something else, or has other labels, or these in another order.
    """
    task = load_task(options)
    if task.modality.takes != model.transform.takes:
        raise InputError(
            f"The adapter takes {modality_taking(model.transform.takes).noun}, and {task.title!r} holds {task.modality.noun}: "
            "name a task of its own kind."
        )
    if task.labels and model.label_names != task.labels:
        raise InputError(
            f"The adapter's labels are {', '.join(model.label_names)}, the task's {', '.join(task.labels)}: give "
            "task.labels in the adapter's order."
        )
    return task


def seed_of(adapter: str) -> int:
    """The seed whose run an adapter is, which drew its few-shot validation examples: of a whole run, or of a seed's folder."""
    for name, key in (("results.json", "best_seed"), ("fit.json", "seed")):
        found = recorded(adapter, name)
        if found is not None:
            return found[key]
    return 0


def predict_lines(adapter: str, lines: list[str], source: str | None, quiet: bool) -> list[dict[str, Any]]:
    """A record for each line: what stands in it, and what the adapter predicts.

    A line holds one example, as `Modality.parse` of the adapter's modality reads it. The prediction is the label with its
    probability, a number, the probability of each of several labels, or with one label per token the tokens and their labels;
    an adapter that fills masks gives the filled text.

    Raises:
        InputError: there is no line, or one that the adapter cannot take.
    """
    quiet_libraries(quiet)
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise InputError("There is nothing to classify: every line is empty.")
    model, processor = load_adapter(adapter, source)
    modality = modality_taking(model.transform.takes)
    given = modality.parse(lines)
    if modality.letters and processor.mask_token is not None and model.mapping.reads == "decoder":
        masked = [record[modality.column] for record in given]
        filled = infill(model, processor, masked)
        return [{modality.column: text, "filled": whole} for text, whole in zip(masked, filled, strict=True)]
    data = encode({"given": modality.as_split(given)}, processor)["given"]
    logits = predict_logits(model, processor, data, quiet=quiet)
    ids = data["input_ids"] if logits.ndim == 3 else [None] * len(logits)
    rows = zip(given, logits.astype(np.float64), ids, strict=True)
    return [{**record, **_prediction(model, processor, row, tokens)} for record, row, tokens in rows]


def _prediction(model: Any, processor: Any, logits: np.ndarray, ids: list[int] | None) -> dict[str, Any]:
    """What the logits (labels,) or (tokens, labels) of one example say; `ids` are its tokens."""
    if model.config.problem_type == "regression":
        return {"value": float(logits[0])}
    if model.config.problem_type == "multi_label_classification":
        return {"scores": dict(zip(model.label_names, (1 / (1 + np.exp(-logits))).tolist(), strict=True))}
    if ids is not None:
        special = {index for index, token in processor.added_tokens_decoder.items() if token.special}
        kept = [place for place, index in enumerate(ids) if index not in special]
        return {
            "tokens": processor.convert_ids_to_tokens([ids[place] for place in kept]),
            "labels": [model.label_names[int(logits[place].argmax())] for place in kept],
        }
    probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    return {"label": model.label_names[int(logits.argmax())], "score": float(probabilities.max())}
