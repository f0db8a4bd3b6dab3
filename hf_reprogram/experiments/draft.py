"""A first recipe for data that nobody has described, which `hf-reprogram init` writes.

The labels, the problem and the metrics are guessed here, from the names and the values of columns. What the examples are, and
how to train on them, is guessed by the modalities (`Modality.guess` and `Modality.first_recipe`). The recipe says beside each
choice why it was made.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import yaml

from ..errors import InputError
from ..files import write_text
from ..modalities import MODALITIES, every_modality
from ..modalities.base import Modality
from ..modalities.first_recipe import FirstRecipe, Guess
from ..tasks.files import with_numbers
from ..tasks.labels import known_task
from ..tasks.options import TaskOptions, data_address
from ..tasks.problems import usual_metrics
from ..tasks.read import read_splits
from .recipe import make_recipe
from .yaml_text import read_yaml

LOOKED_AT = 2000  # rows of train
MOST_CLASSES = 100
SHOWN = 8  # columns in the comment at the top
_LABELS = ("label", "labels", "target", "class", "category", "y", "outcome", "sentiment", "score", "rating", "kind")
_LABEL_WORDS = ("measured", "label", "target")  # within the name of a column


@dataclass
class Entry:
    """A line of the section `task:`.

    Attributes:
        key, value: of the recipe.
        why: the comment above it; empty for none.
    """

    key: str
    value: Any
    why: str = ""


def write_draft(data: str, output: str | os.PathLike, source: str | None = None) -> list[str]:
    """Write a recipe for `data`; returns what could not be decided, in a sentence each.

    Args:
        data: a csv, tsv, jsonl or parquet file, a folder, a Hub id, or DATASET:CONFIGURATION.
        output: the file to write.
        source: Hub id or folder of the source; by default one that fits the data.

    Raises:
        InputError: the file is there already, or the data cannot be read or hold nothing that an example could be.
    """
    if os.path.lexists(output):
        raise InputError(f"The file {os.fspath(output)!r} is there already: give another with --output, or remove it.")
    text, open_questions = draft(data, source)
    write_text(output, text)
    return open_questions


def draft(data: str, source: str | None = None) -> tuple[str, list[str]]:
    """The text of a recipe for `data`, and what could not be decided; see `write_draft`."""
    address = data_address(data)
    options = TaskOptions(**address)
    splits = read_splits(options)
    task = [Entry(key, value) for key, value in address.items()]
    doubts: list[str] = []
    if (known := known_task(options)) is not None:
        train = splits[known.train_split if known.train_split in splits else next(iter(splits))]
        task[0].why = "The package knows this task: its columns, labels and metrics."
        modality, problem = MODALITIES[known.modality], known.problem
        columns = [name for name in known.columns if name in train.column_names]
    else:
        name = split_of(splits)
        train = splits[name]
        if name != "train":
            task.append(Entry("train_split", name, "There is no split that is called train."))
        guessed, modality, columns = guessed_task(drawn_rows(train), doubts)
        task += guessed
        problem = next(entry.value for entry in guessed if entry.key == "problem")
    recipe = modality.first_recipe(drawn_rows(train), columns, problem)
    text = written(data, train, task, recipe, source, doubts)
    make_recipe(read_yaml(text, "the drafted recipe"))  # what is written can be trained
    return text, doubts


def split_of(splits: Mapping[str, Any]) -> str:
    """The split to train on: `train`, or the first one that is not `test`.

    Raises:
        InputError: there is only a split to test on.
    """
    name = next((name for name in ("train", *splits) if name in splits and name != "test"), None)
    if name is None:
        raise InputError("The data has only a split called 'test', on which nothing is trained: call it 'train'.")
    return name


def drawn_rows(train: Any) -> Any:
    """The rows that guesses are made from, drawn from all, since data may be sorted by their labels."""
    rows = Random(0).sample(range(len(train)), min(LOOKED_AT, len(train)))
    return with_numbers(train.select(sorted(rows)))


def guessed_task(rows: Any, doubts: list[str]) -> tuple[list[Entry], Modality, list[str]]:
    """The lines of a task that the package does not know, the modality of its examples, and their columns."""
    labels = labels_of(rows, doubts)
    problem = problem_of_values(rows, labels.value)
    modality, guess = examples_of(rows, labels.value)
    doubts += guess.doubts
    metrics = metrics_of(rows, labels.value, problem.value)
    examples = Entry(modality.column, _one_or_all(guess.columns), guess.why)
    labels.value = _one_or_all(labels.value)
    return [examples, labels, problem, metrics], modality, guess.columns


def written(
    data: str, train: Any, task: list[Entry], recipe: FirstRecipe, source: str | None, doubts: list[str]
) -> str:
    """The text of the recipe, with its comments."""
    names = train.column_names
    count = f"{len(train):,} rows of {', '.join(map(repr, names[:SHOWN]))}{' and others' if len(names) > SHOWN else ''}"
    lines = [
        f"# A first recipe for {os.path.basename(data.rstrip('/')) or data}: read it before you train.",
        f"# The training split holds {count}.",
        *(f"# Undecided: {doubt}" for doubt in doubts),
        "# The source that you named." if source else "# A small source that fits most data of this kind.",
        f"source: {as_yaml(source or recipe.source)}",
        f"# {recipe.why}",
        f"method: {as_yaml(recipe.method)}",
        "task:",
    ]
    for entry in task:
        lines += [f"  # {entry.why}"] * bool(entry.why) + [f"  {entry.key}: {as_yaml(entry.value)}"]
    lines += [
        "# Steps and learning rates follow from the method and the data. To fix them:",
        "# training: {num_train_epochs: 5, learning_rate: 1e-2}",
        "# More seeds give a mean and a deviation.",
        "seeds: [0, 1, 2]",
        "# What the method has to beat.",
        f"baselines: {as_yaml(recipe.baselines)}",
    ]
    return "\n".join(lines) + "\n"


def as_yaml(value: Any) -> str:
    """A value on one line of YAML, which is read back as the same value, also by readers that follow YAML 1.1.

    >>> as_yaml({"name": "a_method", "size": 3}), as_yaml(["no", "p: q", 0.5])
    ('{name: a_method, size: 3}', '["no", "p: q", 0.5]')
    """
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {as_yaml(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z][\w./-]*", value) and yaml.safe_load(value) == value
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value) if isinstance(value, int | float) else f"[{', '.join(map(as_yaml, value))}]"


def _one_or_all(names: list[str]) -> str | list[str]:
    return names[0] if len(names) == 1 else names


# ------------------------------------------------------------------------------------------------------------- labels


def labels_of(rows: Any, doubts: list[str]) -> Entry:
    """The label columns: those that the data declares or that are called so, or columns of few values.

    Several columns of 0 and 1 are several labels where their names say so, or where there are other columns than of numbers,
    which can be the examples.
    """
    from datasets import ClassLabel

    for name, kind in rows.features.items():
        if isinstance(kind, ClassLabel):
            return Entry("label", [name], "The data declares the names of its classes.")
    lower = {name.lower(): name for name in reversed(rows.column_names)}
    for name in _LABELS:
        if name in lower:
            return Entry("label", [lower[name]], "The label, by the column's name.")
    values = {name: values_of(rows, name) for name in rows.column_names}
    binary = [name for name, found in values.items() if {*found} == {0, 1}]
    hinted = [name for name in rows.column_names if any(word in name.lower() for word in _LABEL_WORDS)]
    named = [name for name in binary if name in hinted]
    if len(named) > 1:
        return Entry(
            "label", named, f"An example can have each of these {len(named)} labels: the columns hold 0 and 1."
        )
    if hinted:
        return Entry("label", [hinted[0]], "The label, by a word in the column's name.")
    numbers = [name for name, found in values.items() if found and all(not isinstance(one, str) for one in found)]
    if len(binary) > 1 and len(numbers) < len(values):
        doubts.append(f"task.label names all {len(binary)} columns of 0 and 1: is each of them a label?")
        return Entry(
            "label", binary, f"An example can have each of these {len(binary)} labels: the columns hold 0 and 1."
        )
    few = [name for name in reversed(values) if 2 <= len({*values[name]}) <= max(2, len(rows) // 10)]
    if not few:
        raise InputError(
            f"No column looks like a label; there are {', '.join(map(repr, rows.column_names))}: write the recipe by "
            "hand, with task.label."
        )
    count = len({*values[few[0]]})
    doubts.append(f"task.label is {few[0]!r} only because the column has {count} values: is that the label?")
    return Entry("label", [few[0]], "No column is called a label; this one has few values.")


def values_of(rows: Any, name: str) -> list[Any]:
    """The values of a column of texts, numbers or truth values, without missing ones; none of another column."""
    from datasets import Value

    if not isinstance(rows.features[name], Value):
        return []
    return [one for one in rows[name][:] if isinstance(one, str | int | float) and one == one]


def problem_of_values(rows: Any, labels: list[str]) -> Entry:
    """The kind of problem that the label columns make."""
    if len(labels) > 1:
        missing = any(len(values_of(rows, name)) < len(rows) for name in labels)
        why = "An example has any number of the labels at once."
        return Entry(
            "problem",
            "multi_label_classification",
            f"{why} Where a field is empty the label is unknown and does not count." if missing else why,
        )
    values = [value for value in rows[labels[0]][:] if value is not None]
    whole = all(not isinstance(value, float) or value.is_integer() for value in values)
    if all(isinstance(value, int | float) for value in values) and (not whole or len({*values}) > MOST_CLASSES):
        return Entry("problem", "regression", f"The label holds numbers such as {values[0]}.")
    classes = len({*values})
    if classes > MOST_CLASSES:
        raise InputError(
            f"The column {labels[0]!r} has {classes} values in {len(rows)} rows, too many for classes: write the "
            "recipe by hand, with task.label and task.problem."
        )
    return Entry("problem", "single_label_classification", f"The label has {classes} values.")


def metrics_of(rows: Any, labels: list[str], problem: str) -> Entry:
    """The metrics that fit, the one to select on first."""
    values = [value for value in rows[labels[0]][:] if value is not None] if len(labels) == 1 else []
    metrics = usual_metrics(problem, values)
    if problem != "single_label_classification":
        return Entry("metrics", metrics, "The usual choice for such a problem.")
    if metrics[0] == "roc_auc":
        share = min(map(values.count, {*values})) / len(values)
        return Entry("metrics", metrics, f"The rarer class has {share:.0%} of the rows, where accuracy says little.")
    return Entry("metrics", metrics, "No class of two is rare, or there are more than two.")


# ----------------------------------------------------------------------------------------------------------- examples


def examples_of(rows: Any, labels: list[str]) -> tuple[Modality, Guess]:
    """The modality that is surest of its examples in these rows, and its guess; the first one of equally sure ones.

    Args:
        rows: raw rows.
        labels: the columns of labels.

    Raises:
        InputError: no modality finds examples.
    """
    asked = list(every_modality())
    guesses = [(modality, guess) for modality in asked if (guess := modality.guess(rows, labels)) is not None]
    if not guesses:
        nouns, keys = [each.noun for each in asked], [f"task.{each.column}" for each in asked]
        raise InputError(
            f"No column looks like {', '.join(nouns[:-1])} or {nouns[-1]}; there are "
            f"{', '.join(map(repr, rows.column_names))}: write the recipe by hand, with {', '.join(keys[:-1])} or {keys[-1]}."
        )
    return max(guesses, key=lambda pair: pair[1].sureness)
