"""From a `task:` section to train, validation and test splits of texts, images or rows of numbers, and their labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, unknown
from ..modalities import modality_of
from ..modalities.base import Modality
from .inputs import input_columns
from .labels import known_task, label_columns, label_names, problem_of
from .metrics import METRICS, check_metric
from .options import TaskOptions
from .prepare import prepare
from .problems import PROBLEMS, decide, score_logits
from .read import VALIDATION_NAMES, read_splits
from .splits import at_most, carve, draw, few_shot, scaffold_split

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


@dataclass
class Task:
    """A loaded task: every split has the columns of its modality (`hf_reprogram.tasks.inputs`) and `label`.

    Attributes:
        options: what was asked for.
        train, test: all the training data (before carving and few-shot sampling) and the test data.
        validation: the declared validation split, or None if it is to be carved.
        problem_type: a key of `hf_reprogram.tasks.problems.PROBLEMS`.
        labels: names by class index, or of the several labels; empty for a regression and for infilling.
        metrics: the first one selects.
        average: of F1.
        test_split: which split the test data are.
        columns: of the raw data, which hold the examples.
        carve_by: how validation is carved, as in `TaskOptions.split`.
        notes: what was done to the data, in words, for the model card.
    """

    options: TaskOptions
    train: Dataset
    test: Dataset
    validation: Dataset | None
    problem_type: str
    labels: list[str]
    metrics: list[str]
    average: str
    test_split: str
    columns: list[str] = field(default_factory=list)
    carve_by: str = "seeded"
    notes: list[str] = field(default_factory=list)

    @property
    def modality(self) -> Modality:
        """What the examples are."""
        return modality_of(self.train.column_names)

    @property
    def feature_names(self) -> list[str]:
        """Of a table, what each number of a row is."""
        return self.modality.feature_names(self.columns)

    @property
    def regression(self) -> bool:
        """Whether a number is predicted."""
        return self.problem_type == "regression"

    @property
    def per_token(self) -> bool:
        """Whether there is a label a token rather than one a sequence."""
        return PROBLEMS[self.problem_type].per_token

    def decide(self, logits: Any) -> np.ndarray:
        """Predictions from a model's logits; see `hf_reprogram.tasks.problems.decide`."""
        return decide(logits, self.problem_type)

    def score(self, logits: Any, labels: Any) -> dict[str, float]:
        """The task's metrics of a model's logits; see `hf_reprogram.tasks.problems.score_logits`."""
        return score_logits(self.metrics, logits, labels, self.problem_type, self.average)

    def benefit(self, scores: dict[str, float]) -> float:
        """What selection takes the maximum of: the first metric, negated if a lower value is better."""
        return METRICS[self.metrics[0]].benefit(scores[self.metrics[0]])

    @property
    def title(self) -> str:
        """What to call the task in a table."""
        return self.options.name or Path(self.options.dataset).stem

    def splits(self, seed: int) -> DatasetDict:
        """Train, validation and test for one seed; only a few-shot draw depends on the seed."""
        from datasets import DatasetDict

        options, pool = self.options, self.train
        stratified = PROBLEMS[self.problem_type].stratified
        labels = np.asarray(pool["label"]) if stratified else np.zeros(len(pool))
        if options.few_shot is not None:
            chosen, held_out = few_shot(labels, options.few_shot, seed, self.labels)
            train, validation = pool.select(chosen), pool.select(held_out)
        elif self.validation is not None:
            train, validation = pool, self.validation
        elif self.carve_by == "scaffold":
            size = min(options.validation_max, max(1, round(options.validation_share * len(pool))))
            kept, held_out = scaffold_split(pool["text"], size, options.split_seed)
            train, validation = pool.select(kept), pool.select(held_out)
        else:
            kept, held_out = carve(
                labels, options.validation_share, options.validation_max, options.split_seed, stratified
            )
            train, validation = pool.select(kept), pool.select(held_out)
        if options.train_size is not None:
            most = min(options.train_size, options.validation_max)
            train = train.select(draw(_strata(train, stratified), options.train_size, seed))
            validation = validation.select(draw(_strata(validation, stratified), min(most, len(validation)), seed))
        if options.max_train is not None and options.few_shot is None and len(train) > options.max_train:
            train = at_most(train, options.max_train, options.split_seed)
        return DatasetDict(train=train, validation=validation, test=self.test)


def _strata(data: Any, stratified: bool) -> np.ndarray:
    return np.asarray(data["label"]) if stratified else np.zeros(len(data))


def load_task(options: TaskOptions) -> Task:
    """Load the data of a task and check it.

    Raises:
        InputError: the data cannot be found, a column or split is missing, a split is empty, a label is missing or
            outside the label names, or there are fewer than two classes.
    """
    known = known_task(options)
    splits = read_splits(options)
    train_name = options.train_split or (known.train_split if known else "train")
    train = _split(splits, train_name, options)
    modality, inputs = input_columns(options, train)
    problem = problem_of(options)
    for name in options.metrics or ():
        check_metric(name, PROBLEMS[problem].takes, problem)
    carve_by = options.split or (known.split if known else "seeded")
    _check_modality(modality, inputs, problem, carve_by, options)
    test_name = options.test_split or (known.test_split if known else ("test" if "test" in splits else None))
    stand_in = not options.test_split and test_name == "test" and "test" not in splits and "validation" in splits
    if stand_in:
        test_name = "validation"
    named = [name for name in (train_name, options.validation_split, test_name) if name]
    if len(set(named)) < len(named):
        raise InputError(
            f"The splits {', '.join(named)} (train, validation, test) must differ, as nothing may be selected on test: leave "
            "task.validation_split out to carve it from train."
        )
    raw = {
        "train": train,
        "test": _split(splits, test_name, options) if test_name else None,
        "validation": _split(splits, options.validation_split, options) if options.validation_split else None,
    }
    official = known is None or not str(test_name).startswith("validation")
    spare = next((name for name in VALIDATION_NAMES if name in splits and name not in named), None)
    if official and options.validation_split is None and spare:
        raw["validation"] = splits[spare]
    stratified = PROBLEMS[problem].stratified
    if not stratified and options.few_shot is not None:
        raise InputError(
            f"task.few_shot draws examples a class, and a {problem.replace('_', ' ')} has none: use task.train_size."
        )
    columns = label_columns(options, known, splits[train_name])
    if both := {*inputs} & {*columns}:
        raise InputError(f"The column {both.pop()!r} is a label and an input too: leave it out of one of them.")
    names = label_names(options, known, problem, columns, train)
    ready = {
        split: prepare(data, modality, inputs, columns, names, problem, known, options, split)
        for split, data in raw.items()
        if data is not None
    }
    notes = []
    if carve_by == "scaffold" and find_spec("rdkit") is None:
        if options.split == "scaffold":
            raise InputError("task.split: scaffold needs rdkit: pip install 'hf_reprogram[molecules]'.")
        carve_by = "seeded"
        notes.append("rdkit is not installed, so the split is seeded and not by scaffold.")
    if "test" not in ready:
        labels = _strata(ready["train"], stratified)
        if carve_by == "scaffold":
            kept, held_out = scaffold_split(
                ready["train"]["text"], round(0.2 * len(ready["train"])), options.split_seed
            )
            notes.append(
                "The data has no test split: 20 % was carved by Murcko scaffold: its scaffolds are not in train."
            )
        else:
            kept, held_out = carve(labels, 0.2, 10**9, options.split_seed, stratified)
            notes.append(f"The data has no test split: 20 % of train was carved with seed {options.split_seed}.")
        ready["train"], ready["test"] = ready["train"].select(kept), ready["train"].select(held_out)
    elif stand_in:
        notes.append("The data has no test split: its validation split is the test split here.")
    elif known is not None and str(test_name).startswith("validation"):
        notes.append("The official test labels are hidden: the official validation split is the test split here.")
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
        ready["test"] = at_most(ready["test"], options.max_test, options.split_seed)
        notes.append(f"{options.max_test} test examples were drawn.")
    if options.max_train is not None:
        notes.append(f"At most {options.max_train} training examples were used.")
    metrics = list(options.metrics or (known.metrics if known else PROBLEMS[problem].metrics))
    task = Task(
        options=options,
        train=ready["train"],
        test=ready["test"],
        validation=ready.get("validation"),
        problem_type=problem,
        labels=names,
        metrics=metrics,
        test_split=test_name or "carved from train",
        columns=inputs,
        average=known.average if known else ("binary" if len(names) == 2 else "macro"),
        carve_by=carve_by,
        notes=notes,
    )
    _check_classes(task)
    return task


def _check_modality(modality: Modality, inputs: list[str], problem: str, carve_by: str, options: TaskOptions) -> None:
    """Refuse what only texts have where the examples are something else."""
    noun = modality.noun
    if PROBLEMS[problem].per_token and (not modality.letters or len(inputs) > 1):
        raise InputError(
            f"A {problem.replace('_', ' ')} has a label a letter of one text: name one column in task.text."
        )
    if not modality.letters and carve_by == "scaffold":
        raise InputError(f"task.split: scaffold is for molecules as texts, and these examples are {noun}: use seeded.")
    if not modality.letters and options.max_length is not None:
        raise InputError(f"task.max_length cuts texts, and these examples are {noun}: leave it out.")


def _check_classes(task: Task) -> None:
    """A metric of scores needs both classes in a split: say so before anything is trained."""
    needs = [name for name in task.metrics if METRICS[name].takes == "scores"]
    if not needs:
        return
    for split, data in (("validation", task.validation), ("test", task.test)):
        if data is not None:
            labels = np.asarray(data["label"], dtype=float).reshape(len(data), -1)
            if all(len(np.unique(column[~np.isnan(column)])) < 2 for column in labels.T):
                raise InputError(
                    f"The {split} split has labels of one class only, so its {needs[0]} is undefined: use "
                    "task.metrics: [accuracy], or another split."
                )


def _few_shot_note(labels: np.ndarray, shots: int, names: list[str]) -> str:
    few = {names[label]: count // 2 for label, count in enumerate(np.bincount(labels)) if count < 2 * shots}
    fewer = f" ({', '.join(f'{count} of {name}' for name, count in few.items())})" if few else ""
    return f"{shots} examples a class{fewer} for training and as many for validation, drawn with the seed."


def _split(splits: Any, name: str, options: TaskOptions) -> Any:
    if name not in splits:
        raise unknown(f"split of {options.dataset!r}", name, splits)
    if len(splits[name]) == 0:
        raise InputError(f"The split {name!r} of {options.dataset!r} is empty: there is nothing to learn or score.")
    return splits[name]
