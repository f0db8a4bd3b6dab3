"""A first recipe for data that nobody has described: which column is what, and which method, source and metric fit.

Every choice is a guess from names and values; the recipe says beside each why it was made. `hf-reprogram init` writes it.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import write_text
from ..modalities import MODALITIES
from ..tasks.labels import known_task
from ..tasks.options import TaskOptions
from ..tasks.problems import PROBLEMS
from ..tasks.read import read_splits
from .recipe import make_recipe, read_yaml

LOOKED_AT = 2000  # rows of train
MOST_CLASSES = 100
TEXT_SOURCE = "sentence-transformers/all-MiniLM-L6-v2"
IMAGE_SOURCE = "{name: facebook/dinov2-small-imagenet1k-1-layer, image_size: 112}"
_LABELS = ("label", "labels", "target", "class", "category", "y", "outcome", "sentiment", "score", "rating", "kind")
_NUMBERS = ("id", "idx", "index", "row", "unnamed: 0", "")  # of rows; they say nothing of an example
_PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("question", "answer"),
    ("question1", "question2"),
    ("text", "text_pair"),
)
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_SMILES = re.compile(r"[A-Za-z0-9@+\-\[\]()=#$/\\%.:*]+")
_ALPHABETS = (  # letters, tokenizer, what they are; the first that holds all of them
    (re.compile(r"[ACGTN]+", re.I), "tokenizer: kmers, k: 3", "DNA"),
    (re.compile(r"[ACDEFGHIKLMNPQRSTVWYXBZUO]+"), "tokenizer: residues", "protein or peptide"),
    (_SMILES, "tokenizer: smiles", "SMILES"),
)


@dataclass
class Guess:
    """A line of the recipe.

    Attributes:
        value: as YAML.
        why: the comment above it.
    """

    value: str
    why: str


def write_draft(data: str, output: str | os.PathLike, source: str | None = None) -> list[str]:
    """Write a recipe for `data`; returns what could not be decided, in a sentence each.

    Args:
        data: a csv, tsv, jsonl or parquet file, a folder, a Hub id, or DATASET:CONFIGURATION.
        output: the file to write.
        source: Hub id or folder of the source; by default one that fits the data.

    Raises:
        InputError: the file is there already, or the data cannot be read or hold nothing that an example could be.
    """
    if Path(output).exists():
        raise InputError(f"The file {os.fspath(output)!r} is there already: give another with --output, or remove it.")
    text, open_questions = draft(data, source)
    write_text(output, text)
    return open_questions


def draft(data: str, source: str | None = None) -> tuple[str, list[str]]:
    """The text of a recipe for `data`, and what could not be decided; see `write_draft`."""
    address: dict[str, Any] = {"dataset": data}
    if not Path(data).exists() and ":" in data:
        address["dataset"], _, address["name"] = data.rpartition(":")
    options = TaskOptions(**address)
    splits = read_splits(options)
    train = splits["train"] if "train" in splits else splits[next(iter(splits))]
    task = [Guess(f"{key}: {quoted(value)}", "") for key, value in address.items()]
    doubts: list[str] = []
    known = known_task(options)
    if known is not None:
        kind, problem = MODALITIES[known.modality].column, known.problem
        task[0].why = "The package knows this task: its columns, labels and metrics."
        options, metrics = TaskOptions(**address), list(known.metrics)
        first = known.columns[0]
        rows = train.select(range(min(LOOKED_AT, len(train))))
    else:
        rows = train.select(range(min(LOOKED_AT, len(train))))
        label = label_of(rows, doubts)
        labels = [label.value]
        problem, why = problem_of_values(rows, label.value)
        kind, columns, reason = inputs_of(rows, labels, doubts)
        first = columns[0]
        named = columns[0] if kind == "image" else columns
        task.append(Guess(f"{kind}: {quoted(named)}", reason))
        task.append(Guess(f"label: {quoted(label.value)}", label.why))
        task.append(Guess(f"problem: {problem}", why))
        metrics, reason = metrics_of(rows, label.value, problem)
        task.append(Guess(f"metrics: {quoted(metrics)}", reason))
    method, method_why, baselines = method_of(kind, problem, rows, first)
    chosen = quoted(source) if source else IMAGE_SOURCE if kind != "text" else TEXT_SOURCE
    count = f"{len(train):,} rows of {', '.join(map(repr, train.column_names[:8]))}"
    lines = [f"# A first recipe for {os.path.basename(data.rstrip('/')) or data}: read it before you train."]
    lines += [f"# The training split holds {count}{' and others' if len(train.column_names) > 8 else ''}."]
    lines += [f"# Undecided: {doubt}" for doubt in doubts]
    lines += ["# A small source that fits most data of this kind." if not source else "# The source that you named."]
    lines += [f"source: {chosen}", f"# {method_why}", f"method: {method}", "task:"]
    for guess in task:
        lines += [f"  # {guess.why}"] * bool(guess.why) + [f"  {guess.value}"]
    lines += [
        "training:",
        f"  num_train_epochs: {10 if len(train) < 2000 else 5}",
        f"  per_device_train_batch_size: {16 if kind == 'text' else 4}",
        "# More seeds give a mean and a deviation.",
        "seeds: [0, 1, 2]",
        "# The value with the best validation score is taken.",
        "sweep:",
        f"  training.learning_rate: {'[6e-2, 2e-1]' if 'r2dl' in method else '[3e-3, 1e-2]'}",
        "# What the method has to beat.",
        f"baselines: [{', '.join(baselines)}]",
    ]
    text = "\n".join(lines) + "\n"
    make_recipe(read_yaml(text, "the drafted recipe"))  # what is written can be trained
    return text, doubts


def quoted(value: Any) -> str:
    """A text or list as YAML that is read back as the same value."""
    return json.dumps(value, ensure_ascii=False)


def label_of(rows: Any, doubts: list[str]) -> Guess:
    """The label column, by its declared kind, its name, or how few values it has."""
    from datasets import ClassLabel

    for name, kind in rows.features.items():
        if isinstance(kind, ClassLabel):
            return Guess(name, "The data declares the names of its classes.")
    lower = {name.lower(): name for name in reversed(rows.column_names)}
    for name in _LABELS:
        if name in lower:
            return Guess(lower[name], "The label, by the column's name.")
    for name in lower:
        if "measured" in name or "label" in name or "target" in name:
            return Guess(lower[name], "The label, by a word in the column's name.")
    few = [name for name in reversed(rows.column_names) if 2 <= distinct(rows, name) <= max(2, len(rows) // 10)]
    if not few:
        raise InputError(
            f"No column looks like a label; there are {', '.join(map(repr, rows.column_names))}: write the recipe by "
            "hand, with task.label."
        )
    doubts.append(
        f"task.label is {few[0]!r} only because the column has {distinct(rows, few[0])} values: is that the label?"
    )
    return Guess(few[0], "No column is called a label; this one has few values.")


def distinct(rows: Any, name: str) -> int:
    """How many values a column of plain values has; 0 for others."""
    values = rows[name][:]
    return len({*values}) if all(isinstance(value, str | int | float | None) for value in values) else 0


def problem_of_values(rows: Any, label: str) -> tuple[str, str]:
    """The kind of problem that the values of a label column make, and why."""
    values = [value for value in rows[label][:] if value is not None]
    whole = all(not isinstance(value, float) or value.is_integer() for value in values)
    if all(isinstance(value, int | float) for value in values) and (not whole or len({*values}) > MOST_CLASSES):
        return "regression", f"The label holds numbers such as {values[0]}."
    classes = len({*values})
    if classes > MOST_CLASSES:
        raise InputError(
            f"The column {label!r} has {classes} values in {len(rows)} rows, too many for classes: name another one."
        )
    return "single_label_classification", f"The label has {classes} values."


def inputs_of(rows: Any, labels: list[str], doubts: list[str]) -> tuple[str, list[str], str]:
    """The key of the task that names the examples, their columns, and why."""
    from datasets import Image

    others = [name for name in rows.column_names if name not in labels]
    values = {
        name: [value for value in rows[name][:200] if value is not None]
        for name in others
        if not isinstance(rows.features[name], Image)
    }
    for name in others:
        if name not in values:
            return "image", [name], "The column holds images."
        if all(isinstance(value, dict) and {*value} == {"bytes", "path"} for value in values[name]) and values[name]:
            return "image", [name], "The column holds encoded images."
        if values[name] and all(isinstance(value, str) and value.lower().endswith(_IMAGES) for value in values[name]):
            return "image", [name], "The column holds the paths of images."
    lower = {name.lower(): name for name in others}
    for pair in _PAIRS:
        if all(name in lower for name in pair):
            return "text", [lower[name] for name in pair], "Two columns that are called like the parts of a pair."
    numbers = [
        name
        for name in others
        if name.lower() not in _NUMBERS
        and values[name]
        and all(isinstance(value, int | float) and value == value for value in rows[name][:])
    ]
    texts = [name for name in others if values[name] and all(isinstance(value, str) for value in values[name])]
    texts = sorted(texts, key=lambda name: -sum(map(len, values[name])) / len(values[name]))
    varied = [name for name in texts if len({*values[name]}) > len(values[name]) / 2]
    if varied and (len(numbers) < 4 or sum(map(len, values[varied[0]])) > 20 * len(values[varied[0]])):
        if len(varied) > 1 and varied[1].lower() not in (*_NUMBERS, "name", "title"):
            doubts.append(
                f"task.text is {varied[0]!r}, the longest text, and {varied[1]!r} is left out: is it half of a pair?"
            )
        return "text", [varied[0]], "The longest column of texts that differ from row to row."
    if numbers:
        if texts:
            doubts.append(
                f"the columns {', '.join(map(repr, texts))} hold words and are left out: code them as numbers?"
            )
        return "features", numbers, "Every column of numbers but the label and row numbers."
    raise InputError(
        f"No column looks like a text, an image or a number; there are {', '.join(map(repr, rows.column_names))}: write the "
        "recipe by hand, with task.text, task.image or task.features."
    )


def metrics_of(rows: Any, label: str, problem: str) -> tuple[list[str], str]:
    """The metrics that fit, the one to select on first, and why."""
    values = [value for value in rows[label][:] if value is not None]
    share = min((values.count(value) for value in {*values}), default=0) / max(len(values), 1)
    if problem == "single_label_classification" and len({*values}) == 2 and share < 0.2:
        return [
            "average_precision",
            "roc_auc",
        ], f"The rarer class has {share:.0%} of the rows, where accuracy says little."
    if problem == "single_label_classification":
        return ["accuracy"], "No class of two is rare, or there are more than two."
    return list(PROBLEMS[problem].metrics), "The usual ones for numbers."


def method_of(kind: str, problem: str, rows: Any, column: str | None) -> tuple[str, str, list[str]]:
    """The method with its options, why, and the baselines."""
    classes = problem == "single_label_classification"
    if kind == "image" and classes:
        why = "A program around the image and an iterative label map."
        return "{name: ilm_vp, image_size: 84}", why, ["majority", "linear_probe"]
    if kind == "image":
        return "{name: kloberdanz}", "A program on the image and a dense layer, which also gives numbers.", ["majority"]
    if kind == "features":
        mapping = "label_mapping: frequency" if classes else "mapping: dense"
        beside = ["majority", "raw_linear"] if classes else ["majority"]
        return f"{{name: fraud, {mapping}}}", "The numbers are drawn on a canvas with a program around them.", beside
    values = [str(value).strip() for value in rows[column][:200] if value] if column in rows.column_names else []
    for pattern, tokenizer, what in _ALPHABETS:
        if values and all(pattern.fullmatch(value) for value in values) and _no_words(what, values):
            beside = ["majority", "linear_probe: {tokens: target, reads: features}"]
            why = f"The texts look like {what}: each token is a sparse mixture of the source's."
            return f"{{name: r2dl, {tokenizer}, sparsity: 16}}", why, beside
    if PROBLEMS[problem].per_token:
        return (
            "{name: r2dl, tokenizer: characters, sparsity: 16}",
            "A label per letter, so a token per letter.",
            ["majority"],
        )
    why = "The texts are words, which the source knows: prompts around them."
    return "{name: warp, num_prompts: 8, reads: features}", why, ["majority", "linear_probe"]


def _no_words(what: str, values: list[str]) -> bool:
    """Whether texts whose letters fit are no plain words: SMILES have bonds, rings and branches, the others are long."""
    if what == "SMILES":
        return sum(bool(re.search(r"[=#()\[\]\d]", value)) for value in values) > len(values) / 2
    return sum(map(len, values)) > 8 * len(values)
