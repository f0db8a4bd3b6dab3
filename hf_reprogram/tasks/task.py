"""A loaded task: its splits, labels and metrics, and how validation is drawn from the training data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..modalities import modality_of
from ..modalities.base import Modality
from .metrics import METRICS
from .options import TaskOptions
from .problems import PROBLEMS, decide, score_logits
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
            kept, held_out = scaffold_split(pool[self.modality.column], size, options.split_seed)
            train, validation = pool.select(kept), pool.select(held_out)
        else:
            kept, held_out = carve(
                labels, options.validation_share, options.validation_max, options.split_seed, stratified
            )
            train, validation = pool.select(kept), pool.select(held_out)
        if options.train_size is not None:
            most = min(options.train_size, options.validation_max)
            train = train.select(draw(strata(train, stratified), options.train_size, seed))
            validation = validation.select(draw(strata(validation, stratified), min(most, len(validation)), seed))
        if options.max_train is not None and options.few_shot is None and len(train) > options.max_train:
            train = at_most(train, options.max_train, options.split_seed)
        return DatasetDict(train=train, validation=validation, test=self.test)


def strata(data: Any, stratified: bool) -> np.ndarray:
    """The labels (n,) by which a draw keeps the shares of classes; zeros where there are no classes."""
    return np.asarray(data["label"]) if stratified else np.zeros(len(data))
