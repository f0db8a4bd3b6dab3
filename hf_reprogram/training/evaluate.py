"""Scoring and applying an adapter after training."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, unknown
from ..tasks.load import load_task
from .encode import labels_of, tokenize
from .predict import predict_logits
from .recipe import apply_overrides, load_recipe, make_recipe


def load_adapter(
    adapter: str | os.PathLike, source: str | None = None, source_kwargs: dict[str, Any] | None = None
) -> tuple[Any, Any]:
    """An adapter's model, on the accelerator if there is one, and its processor."""
    from transformers import AutoTokenizer

    from ..model import ReprogrammedModel, to_accelerator

    try:
        model = ReprogrammedModel.from_pretrained(adapter, source=source, source_kwargs=source_kwargs)
        return to_accelerator(model), AutoTokenizer.from_pretrained(adapter)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"No adapter at {os.fspath(adapter)!r}: {str(error).splitlines()[0]}") from error


def evaluate_adapter(
    adapter: str, recipe: Path | None, overrides: list[str], split: str, source: str | None, quiet: bool
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
        values = _recorded(adapter, "recipe.json")
        if values is None:
            raise InputError(f"{adapter!r} has no recipe.json: say what to score it on with --recipe.")
        apply_overrides(values, overrides)
        chosen = make_recipe(values)
    options = chosen.task_options
    model, processor = load_adapter(adapter, source, chosen.source_kwargs if recipe is None else None)
    task = load_task(options)
    if task.labels and model.label_names != task.labels:
        raise InputError(
            f"The adapter's labels are {', '.join(model.label_names)}, the task's {', '.join(task.labels)}: give "
            "task.labels in the adapter's order."
        )
    examples = task.test if split == "test" else task.splits(_seed(adapter))["validation"]
    data = tokenize({"train": examples, split: examples}, processor, options.max_length, task.problem_type)[split]
    bf16 = bool(chosen.training.get("bf16"))
    metrics = task.score(predict_logits(model, processor, data, bf16=bf16, quiet=quiet), labels_of(data))
    return {"task": task.title, "split": split, "examples": len(examples), **metrics}


def _recorded(adapter: str, name: str) -> dict[str, Any] | None:
    """A JSON file that a run left beside its adapter, in a folder or on the Hub; None if there is none."""
    from transformers.utils import cached_file

    path = cached_file(adapter, name, _raise_exceptions_for_missing_entries=False)
    return json.loads(Path(path).read_text(encoding="utf-8")) if path else None


def _seed(adapter: str) -> int:
    """The seed whose run an adapter is, which drew its few-shot validation examples."""
    return (_recorded(adapter, "results.json") or {"best_seed": 0})["best_seed"]


def predict_texts(adapter: str, lines: list[str], source: str | None, quiet: bool) -> list[dict[str, Any]]:
    """A record for each line: the text, and what the adapter predicts.

    That is the label with its probability, a number, the probability of each of several labels, or with a label a token
    the tokens and their labels; an adapter that fills masks gives the filled text.
    """
    from datasets import Dataset

    from .run import silence

    if quiet:
        silence()
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise InputError("There is no text to classify.")
    parts = [line.split("\t", 1) for line in lines]
    if len({len(part) for part in parts}) > 1:
        raise InputError("Some lines have a pair and some have none: separate every text from its pair with one tab.")
    model, processor = load_adapter(adapter, source)
    if processor.mask_token is not None and model.mapping.reads == "decoder":
        from ..infilling import infill

        texts = [part[0] for part in parts]
        return [{"text": a, "filled": b} for a, b in zip(texts, infill(model, processor, texts), strict=True)]
    columns = {name: [part[i] for part in parts] for i, name in enumerate(("text", "text_pair")[: len(parts[0])])}
    data = tokenize({"train": Dataset.from_dict(columns)}, processor, None)["train"]
    logits = predict_logits(model, processor, data, quiet=quiet)
    records = []
    for part, row, ids in zip(parts, logits.astype(np.float64), data["input_ids"], strict=True):
        record: dict[str, Any] = dict(zip(("text", "text_pair"), part, strict=False))
        if model.config.problem_type == "regression":
            record["value"] = float(row[0])
        elif model.config.problem_type == "multi_label_classification":
            record["scores"] = dict(zip(model.label_names, (1 / (1 + np.exp(-row))).tolist(), strict=True))
        elif row.ndim == 2:
            special = {index for index, token in processor.added_tokens_decoder.items() if token.special}
            kept = [place for place, index in enumerate(ids) if index not in special]
            record["tokens"] = processor.convert_ids_to_tokens([ids[place] for place in kept])
            record["labels"] = [model.label_names[int(row[place].argmax())] for place in kept]
        else:
            probabilities = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
            record.update(label=model.label_names[int(row.argmax())], score=float(probabilities.max()))
        records.append(record)
    return records
