"""Evaluating a trained adapter, and predicting with it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..errors import InputError, unknown
from ..modalities import modality_taking
from ..progress import quiet_libraries
from ..registry import plugins
from ..tasks.load import load_task
from ..tasks.options import TaskOptions
from ..tasks.task import Task
from ..training.adapter import load_adapter, recorded
from ..training.encode import encode, labels_of
from ..training.infilling import infill
from ..training.predict import predict_logits
from .recipe import apply_overrides, load_recipe, make_recipe, recorded_recipe


def evaluate_adapter(
    adapter: str,
    recipe: str | os.PathLike | None,
    overrides: list[str],
    split: str,
    source: str | None,
    quiet: bool,
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Score an adapter on a task.

    Args:
        adapter: a folder or a Hub id.
        recipe: the file or the name of a recipe whose task is scored; None for the recipe in the adapter's folder.
        overrides: changes of the recipe, such as "task.max_test=500".
        split: "validation" or "test".
        source: the name or folder of the source, if it is not where the adapter recorded it.
        quiet: show no progress bars and no messages.
        trust_remote_code: whether the source's own Python code may run; see `hf_reprogram.trust`.

    Returns:
        `task`, `split`, the number of `examples`, and the metrics.

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
        apply_overrides(values, overrides)
        with plugins(trust_remote_code):
            chosen = make_recipe(values)
    model, processor = load_adapter(
        adapter, source, chosen.source_kwargs if recipe is None else None, trust_remote_code
    )
    options = chosen.task_options
    task = task_of(model, options)
    examples = task.test if split == "test" else task.splits(seed_of(adapter))["validation"]
    data = encode({split: examples}, processor, options.max_length, task.problem_type)[split]
    bf16 = bool(chosen.training.get("bf16"))
    metrics = task.score(predict_logits(model, processor, data, bf16=bf16, quiet=quiet), labels_of(data))
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
    """Predict the label of each line.

    Args:
        adapter: a folder or a Hub id.
        lines: one example per line, in the form that `Modality.parse` of the adapter's modality reads. Empty lines are
            skipped.
        source: the name or folder of the source, if it is not where the adapter recorded it.
        quiet: show no progress bars and no messages.
        trust_remote_code: whether the source's own Python code may run; see `hf_reprogram.trust`.

    Returns:
        One record per line, with the example and the prediction: `label` and `score`, its probability; `value` for a
        regression; `scores`, the probability of each label of a multi-label problem; `tokens` and `labels` for one label per
        token; or `filled`, the completed text, for an adapter that predicts masked tokens.

    Raises:
        InputError: all lines are empty, or the adapter cannot take one of them.
    """
    quiet_libraries(quiet)
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise InputError("Every line is empty: give at least one input.")
    model, processor = load_adapter(adapter, source, trust_remote_code=trust_remote_code)
    modality = modality_taking(model.transform.takes)
    records = modality.parse(lines)
    if modality.letters and processor.mask_token is not None and model.mapping.reads == "decoder":
        masked = [record[modality.column] for record in records]
        filled = infill(model, processor, masked)
        return [{modality.column: text, "filled": whole} for text, whole in zip(masked, filled, strict=True)]
    data = encode({"input": modality.as_split(records)}, processor)["input"]
    logits = predict_logits(model, processor, data, quiet=quiet)
    ids = data["input_ids"] if logits.ndim == 3 else [None] * len(logits)
    rows = zip(records, logits.astype(np.float64), ids, strict=True)
    return [{**record, **_prediction(model, processor, row, tokens)} for record, row, tokens in rows]


def _prediction(model: Any, processor: Any, logits: np.ndarray, ids: list[int] | None) -> dict[str, Any]:
    """The prediction from the logits (labels,) or (tokens, labels) of one example; `ids` are its token ids."""
    if model.config.problem_type == "regression":
        return {"value": float(logits[0])}
    if model.config.problem_type == "multi_label_classification":
        return {"scores": dict(zip(model.label_names, (1 / (1 + np.exp(-logits))).tolist(), strict=True))}
    if ids is not None:
        special = {index for index, token in processor.added_tokens_decoder.items() if token.special}
        kept = [position for position, index in enumerate(ids) if index not in special]
        return {
            "tokens": processor.convert_ids_to_tokens([ids[position] for position in kept]),
            "labels": [model.label_names[int(logits[position].argmax())] for position in kept],
        }
    probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    return {"label": model.label_names[int(logits.argmax())], "score": float(probabilities.max())}
