"""Scoring and applying an adapter after training."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, unknown
from ..tasks.inputs import MODALITIES, noun
from ..tasks.load import Task, load_task
from ..tasks.options import TaskOptions
from ..training.encode import encode, labels_of, load_processor
from ..training.predict import predict_logits
from .recipe import apply_overrides, load_recipe, make_recipe


def load_adapter(
    adapter: str | os.PathLike, source: str | None = None, source_kwargs: dict[str, Any] | None = None
) -> tuple[Any, Any]:
    """An adapter's model, on the accelerator if there is one, and its processor."""
    from ..model import ReprogrammedModel, to_accelerator

    try:
        model = ReprogrammedModel.from_pretrained(adapter, source=source, source_kwargs=source_kwargs)
        return to_accelerator(model), load_processor(adapter, model.transform.takes)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"No adapter at {os.fspath(adapter)!r}: {str(error).splitlines()[0]}") from error


def evaluate_adapter(
    adapter: str, recipe: str | os.PathLike | None, overrides: list[str], split: str, source: str | None, quiet: bool
) -> dict[str, Any]:
    """Metrics of an adapter on a split of a recipe's task; by default of the recipe in its own folder."""
    from .run import silence

    if split not in ("validation", "test"):
        raise unknown("split", split, ("validation", "test"))
    if quiet:
        silence()
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
    if MODALITIES[task.modality].takes != model.transform.takes:
        raise InputError(
            f"The adapter takes {noun(model.transform.takes)}, and {task.title!r} holds {MODALITIES[task.modality].noun}: "
            "name a task of its own kind."
        )
    if task.labels and model.label_names != task.labels:
        raise InputError(
            f"The adapter's labels are {', '.join(model.label_names)}, the task's {', '.join(task.labels)}: give "
            "task.labels in the adapter's order."
        )
    return task


def recorded(adapter: str, name: str) -> dict[str, Any] | None:
    """A JSON file that a run left beside its adapter, in a folder or on the Hub; None if there is none."""
    from transformers.utils import cached_file

    path = cached_file(adapter, name, _raise_exceptions_for_missing_entries=False)
    return json.loads(Path(path).read_text(encoding="utf-8")) if path else None


def seed_of(adapter: str) -> int:
    """The seed whose run an adapter is, which drew its few-shot validation examples: of a whole run, or of a seed's folder."""
    for name, key in (("results.json", "best_seed"), ("fit.json", "seed")):
        found = recorded(adapter, name)
        if found is not None:
            return found[key]
    return 0


def predict_lines(adapter: str, lines: list[str], source: str | None, quiet: bool) -> list[dict[str, Any]]:
    """A record for each line: what stands in it, and what the adapter predicts.

    A line is a text, or a text, a tab and its pair; the path of an image; or as many numbers as the adapter has features,
    separated by commas. The prediction is the label with its probability, a number, the probability of each of several
    labels, or with a label a token the tokens and their labels; an adapter that fills masks gives the filled text.

    Raises:
        InputError: there is no line, or one that the adapter cannot take.
    """
    from datasets import Dataset, Image

    from .run import silence

    if quiet:
        silence()
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise InputError("There is nothing to classify: every line is empty.")
    model, processor = load_adapter(adapter, source)
    given = _READ[model.transform.takes](lines)
    if model.transform.takes == "input_ids" and processor.mask_token is not None and model.mapping.reads == "decoder":
        from ..training.infilling import infill

        filled = infill(model, processor, [record["text"] for record in given])
        return [{"text": record["text"], "filled": text} for record, text in zip(given, filled, strict=True)]
    split = Dataset.from_list(given)
    if "image" in split.column_names:
        split = split.cast_column("image", Image())
    data = encode({"given": split}, processor)["given"]
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


def _texts(lines: list[str]) -> list[dict[str, Any]]:
    parts = [line.split("\t", 1) for line in lines]
    if len({len(part) for part in parts}) > 1:
        raise InputError("Some lines have a pair and some have none: separate every text from its pair with one tab.")
    return [dict(zip(("text", "text_pair"), part, strict=False)) for part in parts]


def _paths(lines: list[str]) -> list[dict[str, Any]]:
    paths = [path for line in lines for path in line.split("\t")]
    for path in paths:
        if not os.path.isfile(path):
            raise InputError(f"There is no image file {path!r}: this adapter takes the paths of images.")
    return [{"image": path} for path in paths]


def _rows(lines: list[str]) -> list[dict[str, Any]]:
    rows = []
    for line in lines:
        try:
            rows.append([float(number) for number in line.split(",")])
        except ValueError as error:
            raise InputError(f"{line!r} is no row of numbers separated by commas, which this adapter takes.") from error
        if len(rows[-1]) != len(rows[0]):
            raise InputError(
                f"There are rows of {len(rows[0])} and of {len(rows[-1])} numbers: give every row as many."
            )
    return [{"features": row} for row in rows]


_READ = {"input_ids": _texts, "pixel_values": _paths, "input_features": _rows}
