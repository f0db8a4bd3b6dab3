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
from .problems import PROBLEMS, decide, finite, score_logits
from .splits import at_most, carve, draw, few_shot, scaffold_split, selected

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from .streaming import Stream


@dataclass(frozen=True)
class ForecastScale:
    """The units in which the errors of forecasts are measured, from the training block of the series.

    Attributes:
        mean, deviation: of the training steps.
        naive: the mean absolute error of the seasonal naive forecast of these steps, in the units of the series.

    >>> ForecastScale(mean=10.0, deviation=2.0, naive=1.0).standardized([12.0]).tolist()
    [1.0]
    """

    mean: float
    deviation: float
    naive: float

    def standardized(self, values: Any) -> np.ndarray:
        """Values (n, steps) of the series as multiples of the deviation, from the mean."""
        return np.asarray((np.asarray(values, np.float64) - self.mean) / self.deviation)


@dataclass
class Task:
    """A loaded task. Every split has the columns of its modality (`hf_reprogram.modalities`) and the column `label`.

    Attributes:
        options: the task section of a recipe.
        train: all training data, before a validation split is carved and before few-shot sampling.
        test: the test data.
        validation: the declared validation split; None if it is carved from train.
        problem_type: a key of `hf_reprogram.tasks.problems.PROBLEMS`.
        labels: class names by class index, one name per label of a multi-label problem, or one per step of a forecast; empty
            for regression and infilling.
        metrics: names of metrics; models are selected on the first one.
        average: how F1 is averaged, "binary" or "macro".
        test_split: the name of the split that the test data come from.
        columns: the columns of the raw data that hold the examples.
        carve_by: how validation is carved, as in `TaskOptions.split`.
        notes: sentences for the model card about the changes to the data.
        stream: the training rows of a streamed task, of which `train` is a sample; None for other tasks.
        scale: the units of the errors of a forecast; None for other tasks.
        groups: the names of the groups by number; empty for a task without groups. Every split then has a column `groups` too.
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
    stream: Stream | None = None
    scale: ForecastScale | None = None
    groups: list[str] = field(default_factory=list)

    @property
    def modality(self) -> Modality:
        """The modality of the examples."""
        return modality_of(self.train.column_names)

    @property
    def feature_names(self) -> list[str]:
        """The name of each number of a row, for tables; empty for other modalities."""
        return self.modality.feature_names(self.columns)

    @property
    def regression(self) -> bool:
        """Whether numbers are predicted: one in a regression, several in a forecast."""
        return self.loss_type == "regression"

    @property
    def loss_type(self) -> str:
        """The problem type that decides the loss: of a forecast it is that of a regression."""
        return "regression" if self.problem_type == "forecast" else self.problem_type

    @property
    def per_token(self) -> bool:
        """Whether there is one label per token rather than one per sequence."""
        return PROBLEMS[self.problem_type].per_token

    def decide(self, logits: Any) -> np.ndarray:
        """Predictions for a model's logits; see `hf_reprogram.tasks.problems.decide`."""
        return decide(logits, self.problem_type)

    def score(self, logits: Any, labels: Any) -> dict[str, float]:
        """The task's metrics for a model's logits; see `hf_reprogram.tasks.problems.score_logits`."""
        if self.scale is None:
            return score_logits(self.metrics, logits, labels, self.problem_type, self.average)
        logits, labels = self.scale.standardized(finite(logits)), self.scale.standardized(labels)
        naive = self.scale.naive / self.scale.deviation
        return score_logits(self.metrics, logits, labels, self.problem_type, self.average, naive)

    def benefit(self, scores: dict[str, float]) -> float:
        """The number that model selection maximises: the first metric, negated if lower values are better."""
        return METRICS[self.metrics[0]].benefit(scores[self.metrics[0]])

    @property
    def title(self) -> str:
        """The name of the task in tables."""
        return self.options.name or Path(self.options.dataset).stem

    @property
    def sizes(self) -> dict[str, int]:
        """The number of examples to train on, to validate on and to test on."""
        sizes = {name: len(split) for name, split in self.splits(0).items()}
        return sizes if self.stream is None else {**sizes, "train": self.stream.size}

    def splits(self, seed: int) -> DatasetDict:
        """The train, validation and test splits for one seed; the seed changes only few-shot and `train_size` draws.

        Of a streamed task, the train split is the sample.
        """
        from datasets import DatasetDict

        options, pool = self.options, self.train
        stratified = PROBLEMS[self.problem_type].stratified
        labels = np.asarray(pool["label"][:]) if stratified else np.zeros(len(pool))
        if options.few_shot is not None:
            chosen, held_out = few_shot(labels, options.few_shot, seed, self.labels)
            train, validation = selected(pool, chosen), selected(pool, held_out)
        elif self.validation is not None:
            train, validation = pool, self.validation
        elif self.carve_by == "scaffold":
            size = min(options.validation_max, max(1, round(options.validation_share * len(pool))))
            kept, held_out = scaffold_split(pool[self.modality.column], size, options.split_seed)
            train, validation = selected(pool, kept), selected(pool, held_out)
        else:
            kept, held_out = carve(
                labels, options.validation_share, options.validation_max, options.split_seed, stratified
            )
            train, validation = selected(pool, kept), selected(pool, held_out)
        if options.train_size is not None:
            most = min(options.train_size, options.validation_max)
            train = selected(train, draw(strata(train, stratified), options.train_size, seed))
            validation = selected(validation, draw(strata(validation, stratified), min(most, len(validation)), seed))
        if options.max_train is not None and options.few_shot is None and len(train) > options.max_train:
            train = at_most(train, options.max_train, options.split_seed)
        return DatasetDict(train=train, validation=validation, test=self.test)


def strata(data: Any, stratified: bool) -> np.ndarray:
    """The class indices (n,) whose shares a draw keeps; zeros if there are no classes.

    >>> strata({"label": [2, 0]}, stratified=True).tolist()
    [2, 0]
    """
    return np.asarray(data["label"][:]) if stratified else np.zeros(len(data))
