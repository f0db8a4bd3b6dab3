"""Loading a task: from a `task:` section to the train, validation and test splits with their labels."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..errors import InputError, unknown
from ..modalities import every_modality, modality_of, modality_taking
from .catalog import KnownTask
from .forecast import forecast_task
from .groups import check_groups, find_groups
from .inputs import input_columns
from .labels import known_task, label_classes, label_columns, lists_of, named_labels, problem_of
from .metrics import METRICS, check_metric
from .options import TaskOptions
from .prepare import Columns, prepare
from .problems import PROBLEMS, usual_metrics
from .read import VALIDATION_NAMES, read_splits
from .splits import at_most, carve, scaffold_split, selected
from .stream_files import open_streams
from .streaming import check_streaming, draw_stream, order_note
from .task import Task, strata


def load_task(options: TaskOptions, labels: Sequence[str] | None = None, takes: str | None = None) -> Task:
    r"""Load the data of a task and check it.

    Args:
        options: the task section of a recipe.
        labels: the label names of an adapter, which decide the names and their order; the data may lack some of them.
        takes: what a model's `forward` calls its examples. A task of other examples is refused.

    Raises:
        InputError: the data cannot be found, a column or split is missing, a split is empty, a label is missing or
            outside the label names, or there are fewer than two classes.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "reviews.csv")
    ...     size = path.write_text("text,label\n" + "A good film,good\nA bad film,bad\n" * 20)
    ...     task = load_task(TaskOptions(str(path), text="text"))
    >>> task.labels, task.metrics, len(task.train), len(task.test)
    (['bad', 'good'], ['accuracy'], 32, 8)
    """
    if options.group is not None:
        check_groups(options.group, problem_of(options))
    if problem_of(options) == "forecast":
        return forecast_task(options, labels, takes)
    known = known_task(options)
    if options.streaming:
        check_streaming(options)
    splits = open_streams(options) if options.streaming else read_splits(options)
    train_name = options.train_split or (known.train_split if known else "train")
    if getattr(splits, "unlabelled", "") and problem_of(options) != "infilling":
        raise InputError(splits.unlabelled)
    _split(splits, train_name, options)
    chosen, drawn = _choose(splits, train_name, options, known), None
    if options.streaming:
        drawn = draw_stream(chosen.raw, options, named_labels(options, known), problem_of(options))
        chosen = replace(chosen, raw=drawn.raw)
    columns = _columns(options, known, chosen.raw["train"], labels, takes)
    carve_by = options.split or (known.split if known and not drawn else "seeded")
    _check_modality(columns, carve_by, options)
    if both := {*columns.inputs} & {*columns.labels}:
        raise InputError(f"The column {both.pop()!r} is both an input and a label: remove it from one of them.")
    if options.group is not None:
        columns = replace(columns, groups=find_groups(options, columns.labels, chosen.raw))
    if drawn:
        drawn.stream.columns = columns
    try:
        ready = {split: prepare(data, columns, options, split) for split, data in chosen.raw.items()}
    except InputError:
        if drawn:  # rows of a sample have numbers of their own: the stream tells those of the data
            deque(drawn.stream.prepared(), maxlen=0)
        raise
    notes = [*getattr(splits, "notes", []), *([columns.note] if columns.note else []), *(drawn.notes if drawn else [])]
    if columns.groups is not None:
        notes.append(columns.groups.note(columns.inputs))
    if carve_by == "scaffold" and find_spec("rdkit") is None:
        if options.split == "scaffold":
            raise InputError("task.split: scaffold needs rdkit: pip install 'hf_reprogram[molecules]'.")
        carve_by = "seeded"
        notes.append("rdkit is not installed, so the split is seeded and not by scaffold.")
    if "test" not in ready:
        notes.append(_carve_test(ready, columns.problem, carve_by, options))
    elif chosen.note:
        notes.append(chosen.note)
    if drawn:
        if columns.problem == "single_label_classification" and (
            note := order_note(np.asarray(ready["train"]["label"][:]), drawn.stream.size)
        ):
            notes.append(note)
            warnings.warn(note, stacklevel=2)
    else:
        notes += _draw_notes(ready, columns.classes.names, carve_by, options)
    if options.max_test is not None:
        ready["test"] = at_most(ready["test"], options.max_test, options.split_seed)
    task = Task(
        options=options,
        train=ready["train"],
        test=ready["test"],
        validation=ready.get("validation"),
        problem_type=columns.problem,
        labels=columns.classes.names,
        metrics=list(
            options.metrics or (known.metrics if known else usual_metrics(columns.problem, ready["train"]["label"][:]))
        ),
        test_split=chosen.test_name or "carved from train",
        columns=columns.inputs,
        average=known.average if known else ("binary" if len(columns.classes.names) == 2 else "macro"),
        carve_by=carve_by,
        notes=notes,
        stream=drawn.stream if drawn else None,
        groups=columns.groups.names if columns.groups else [],
    )
    _check_classes(task)
    return task


def _columns(
    options: TaskOptions,
    known: KnownTask | None,
    train: Any,
    expected: Sequence[str] | None = None,
    takes: str | None = None,
) -> Columns:
    """The problem type, the columns of examples and labels, and the names of the classes."""
    modality, inputs, note = input_columns(options, train, takes)
    if takes is not None and modality.takes != takes:
        raise InputError(
            f"The model takes {modality_taking(takes).noun}, and {options.dataset!r} holds {modality.noun}: give a task with "
            "examples of the same kind."
        )
    problem = problem_of(options)
    for name in options.metrics or ():
        check_metric(name, PROBLEMS[problem].takes, problem)
    if not PROBLEMS[problem].stratified and options.few_shot is not None:
        raise InputError(
            f"task.few_shot draws examples per class, and the problem {problem!r} has no classes to draw by: use "
            "task.train_size."
        )
    labels = label_columns(options, known, train)
    classes = label_classes(options, known, problem, labels, train, expected)
    return Columns(modality, inputs, labels, classes, problem, known, lists_of(labels, train), note)


@dataclass(frozen=True)
class _Chosen:
    """The raw splits that are used.

    Attributes:
        raw: the splits by their purpose: "train", and "test" and "validation" if the data has them.
        test_name: the name of the split to test on; None if it is carved from train.
        note: the reason for testing on another split than `test`; empty if there is none.
    """

    raw: dict[str, Any]
    test_name: str | None
    note: str


def _choose(splits: Any, train_name: str, options: TaskOptions, known: KnownTask | None) -> _Chosen:
    """The raw splits for train, validation and test."""
    test_name = options.test_split or (known.test_split if known else ("test" if "test" in splits else None))
    note = ""
    if not options.test_split and test_name == "test" and "test" not in splits and "validation" in splits:
        test_name = "validation"
        note = "The data has no test split: its validation split is the test split here."
    elif known is not None and str(test_name).startswith("validation"):
        note = "The official test labels are hidden: the official validation split is the test split here."
    named = [name for name in (train_name, options.validation_split, test_name) if name]
    if len(set(named)) < len(named):
        raise InputError(
            f"The splits {', '.join(named)} (train, validation, test) must differ, as nothing may be selected on test: leave "
            "task.validation_split out to carve it from train."
        )
    raw = {"train": splits[train_name]}
    if test_name:
        raw["test"] = _split(splits, test_name, options)
    official = known is None or not str(test_name).startswith("validation")
    spare = next((name for name in VALIDATION_NAMES if name in splits and name not in named), None)
    if options.validation_split:
        raw["validation"] = _split(splits, options.validation_split, options)
    elif official and spare:
        raw["validation"] = splits[spare]
    return _Chosen(raw, test_name, note)


def _carve_test(ready: dict[str, Any], problem: str, carve_by: str, options: TaskOptions) -> str:
    """Move a part of `ready["train"]` to `ready["test"]`, and return a note on it."""
    train = ready["train"]
    if carve_by == "scaffold":
        kept, held_out = scaffold_split(
            train[modality_of(train.column_names).column], round(0.2 * len(train)), options.split_seed
        )
        note = "The data has no test split: 20 % of train was carved by Murcko scaffold, so no scaffold is in both."
    else:
        stratified = PROBLEMS[problem].stratified
        kept, held_out = carve(strata(train, stratified), 0.2, 10**9, options.split_seed, stratified)
        note = f"The data has no test split: 20 % of train was carved with seed {options.split_seed}."
    ready["train"], ready["test"] = selected(train, kept), selected(train, held_out)
    return note


def _draw_notes(ready: dict[str, Any], names: list[str], carve_by: str, options: TaskOptions) -> list[str]:
    """Notes on the examples that are drawn from the prepared splits."""
    notes = []
    if "validation" not in ready and options.few_shot is None:
        how = "by scaffold" if carve_by == "scaffold" else f"seed {options.split_seed}"
        notes.append(
            f"Validation was carved from train ({options.validation_share:.0%}, at most {options.validation_max}, {how})."
        )
    if options.train_size is not None:
        notes.append(
            f"{options.train_size} labelled examples for training and as many for validation (at most "
            f"{options.validation_max}), drawn with the seed."
        )
    if options.few_shot is not None:
        notes.append(_few_shot_note(np.asarray(ready["train"]["label"]), options.few_shot, names))
    if options.max_test is not None and len(ready["test"]) > options.max_test:
        notes.append(f"{options.max_test} test examples were drawn.")
    if options.max_train is not None:
        notes.append(f"At most {options.max_train} training examples were used.")
    return notes


def _check_modality(columns: Columns, carve_by: str, options: TaskOptions) -> None:
    """Raise `InputError` if an option is only for texts and the examples are of another modality."""
    modality, inputs, problem = columns.modality, columns.inputs, columns.problem
    noun = modality.noun
    if PROBLEMS[problem].per_token and (not modality.letters or len(inputs) > 1):
        keys = " or ".join(f"task.{each.column}" for each in every_modality() if each.letters)
        raise InputError(f"The problem {problem!r} has one label per letter of a text: name one column in {keys}.")
    if not modality.letters and carve_by == "scaffold":
        raise InputError(
            f"task.split: scaffold splits molecules in text form, and these examples are {noun}: use seeded."
        )
    if not modality.letters and options.max_length is not None:
        raise InputError(f"task.max_length shortens texts, and these examples are {noun}: leave it out.")


def _check_classes(task: Task) -> None:
    """Raise `InputError` if a metric of scores, such as ROC-AUC, meets a split of one class; called before training."""
    needs = [name for name in task.metrics if METRICS[name].takes == "scores"]
    if not needs:
        return
    for split, data in (("validation", task.validation), ("test", task.test)):
        if data is not None:
            labels = np.asarray(data["label"][:], dtype=float).reshape(len(data), -1)
            if all(len(np.unique(column[~np.isnan(column)])) < 2 for column in labels.T):
                raise InputError(
                    f"All labels of the {split} split are of one class, so {needs[0]} is undefined there: use "
                    "task.metrics: [accuracy], or another split."
                )


def _few_shot_note(labels: np.ndarray, shots: int, names: list[str]) -> str:
    small_classes = {names[label]: count // 2 for label, count in enumerate(np.bincount(labels)) if count < 2 * shots}
    fewer = f" ({', '.join(f'{count} of {name}' for name, count in small_classes.items())})" if small_classes else ""
    return f"{shots} examples per class{fewer} for training and as many for validation, drawn with the seed."


def _split(splits: Any, name: str, options: TaskOptions) -> Any:
    if name not in splits:
        raise unknown(f"split of {options.dataset!r}", name, splits)
    if not options.streaming and len(splits[name]) == 0:
        raise InputError(f"The split {name!r} of {options.dataset!r} is empty: give a split with examples.")
    return splits[name]
