"""The interface of a baseline."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from ..errors import InputError
from ..gradients import PLAIN_STEP
from ..modalities import every_modality, modality_of
from ..modalities.base import Modality
from ..modalities.examples import Examples
from ..sources.families import native_inputs
from ..tasks.inputs import task_modality
from ..tasks.labels import problem_of
from ..tasks.options import TaskOptions
from ..tasks.task import Task
from ..training.encode import encode
from ..training.rates import RATES

if TYPE_CHECKING:
    from ..sources.base import SourceSpec


MOST_BYTES = 2**29  # of outputs that are kept for further seeds


class Run(Protocol):
    """The part of a recipe that a baseline may read; `hf_reprogram.experiments.recipe.Recipe` has it."""

    source: dict[str, Any]
    method: dict[str, Any]

    unlabelled: dict[str, Any] | None

    @property
    def model_source(self) -> Any:
        """The name of the source, or the source itself if it has no weights that could be loaded."""

    @property
    def source_kwargs(self) -> dict[str, Any]:
        """Arguments of the source's `from_pretrained`."""

    @property
    def training_arguments(self) -> dict[str, Any]:
        """The method's `TrainingArguments`, overridden by the recipe's."""

    @property
    def task_options(self) -> TaskOptions:
        """The checked task section."""


@dataclass
class Setting:
    """Everything that one run of a baseline on one seed needs.

    Attributes:
        recipe: the recipe of the run, with its source, number of epochs and batch size.
        task: the loaded task.
        splits: prepared `train`, `validation` and `test` splits for this seed.
        seed: the seed.
        folder: the folder for checkpoints.
        quiet: show no progress bars.
        make: a function that returns a fresh, untrained model of the method and its processor.
        num_prompts: the method's number of prompts, for baselines that have prompts too.
        chosen: the options that the first seed chose on validation; the other seeds use them too, as the method's seeds do.
        extra: more splits of images to predict, by name, with the column `image`; their labels are not read.
        kept: the arrays that `once` has computed; all settings of a run share them.
        unlabelled: prepared rows without labels, of the recipe's section `unlabelled`; None for a baseline that needs none.
    """

    recipe: Run
    task: Task
    splits: Any
    seed: int
    folder: Path
    quiet: bool
    num_prompts: int
    make: Callable[[], tuple[Any, Any]]
    chosen: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    kept: dict[tuple[str, ...], np.ndarray] = field(default_factory=dict)
    unlabelled: Any = None

    def once(self, data: Any, name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """Outputs of the frozen source for an encoded split, computed once for all seeds of a run that have the same examples.

        Args:
            data: the encoded split.
            name: a name for the combination of source, processor and output.
            compute: a function that computes the outputs, one row per example.
        """
        split = data.key if isinstance(data, Examples) else tokens_key(data)
        if split is None:
            return compute()
        key = (split, name)
        if key in self.kept:
            return self.kept[key]
        outputs = compute()
        if outputs.nbytes + sum(each.nbytes for each in self.kept.values()) <= MOST_BYTES:
            self.kept[key] = outputs
        return outputs

    def training(self, options: dict[str, Any]) -> dict[str, Any]:
        """The recipe's `TrainingArguments`, overridden by those of the baseline; without the step of a search by cma_es."""
        arguments = self.recipe.training_arguments
        searched = all(arguments.get(name, ...) == value for name, value in PLAIN_STEP.items())
        dropped = {*RATES, *(PLAIN_STEP if searched else ())}
        return {**{name: value for name, value in arguments.items() if name not in dropped}, **options}

    def predict_extra(self, processor: Any, predict: Callable[[Any], np.ndarray]) -> dict[str, np.ndarray]:
        """The predictions for each of `extra`, encoded without labels. One split at a time is in memory.

        Args:
            processor: the processor that encodes the images.
            predict: a function from an encoded split to logits (n, classes).
        """
        predictions = {}
        for name, split in self.extra.items():
            column = modality_of(split.column_names).column
            predictions[name] = predict(encode({name: split.select_columns([column])}, processor)[name])
        return predictions


@dataclass
class Outcome:
    """The predictions of a baseline.

    Attributes:
        validation, test: logits, or numbers with the same order and the same predictions; shapes as in
            `hf_reprogram.tasks.problems`.
        trainable: the number of trained parameters.
        seconds: wall-clock time of training.
        chosen: the options that validation chose.
        labels: with one label per token, the labels of `validation` and `test` for the baseline's own tokens.
        extra: logits (n, classes) of each of `Setting.extra`; None for a baseline that ignores the input.
    """

    validation: np.ndarray
    test: np.ndarray
    trainable: int
    seconds: float
    chosen: dict[str, Any] | None = None
    labels: dict[str, np.ndarray] | None = None
    extra: dict[str, np.ndarray] | None = None


def tokens_key(data: Any) -> str | None:
    """A digest of the tokens of an encoded split of texts; None for rows that are no `datasets.Dataset`.

    >>> from datasets import Dataset
    >>> one, two = (Dataset.from_dict({"input_ids": [[1], ids]}) for ids in ([2, 3], [2, 4]))
    >>> tokens_key(one) == tokens_key(one.select([0, 1])), tokens_key(one) == tokens_key(two)
    (True, False)
    """
    if "input_ids" not in (getattr(data, "column_names", None) or ()):
        return None
    digest = hashlib.blake2b(digest_size=16)
    for start in range(0, len(data), 1000):
        rows = data[start : start + 1000]["input_ids"]
        digest.update(np.asarray([len(row) for row in rows]).tobytes())
        digest.update(np.concatenate([np.asarray(row, np.int64) for row in rows]).tobytes())
    return digest.hexdigest()


def check_choices(baseline: str, **choices: list[float]) -> None:
    """Raise `InputError` unless each list has at least one value and all of its values are above 0.

    Args:
        baseline: the name of the baseline, for the message.
        choices: lists of values to choose from, by the name of the option.

    >>> check_choices("lp_ft", learning_rate=[1e-5, 0])
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: learning_rate of lp_ft is [1e-05, 0]: give a list of values above 0 to choose from.
    """
    for name, values in choices.items():
        if not values or not all(value > 0 for value in values):
            raise InputError(f"{name} of {baseline} is {values}: give a list of values above 0 to choose from.")


_OUTPUTS = {"features": "features", "logits": "labels of its own", "pair": "both an image tower and a text tower"}


class Baseline(ABC):
    """The interface of a baseline. Everything that a baseline chooses, it chooses on validation.

    Attributes:
        title: the name of the baseline in tables.
        Options: the dataclass of its options.
        classes_only: whether it only works for single-label classification.
        forecasts_only: whether it only works for forecasts.
        letters: True if it reads strings of letters, False if it reads examples of a fixed size, None if it reads both.
        native: whether the source must take the examples as they are, without the method's input transform.
        reads: the output that the source must have, see `hf_reprogram.sources.base`; None for any.
        needs_unlabelled: whether the recipe must have a section `unlabelled`.
    """

    title: ClassVar[str]
    Options: ClassVar[type]
    classes_only: ClassVar[bool] = False
    forecasts_only: ClassVar[bool] = False
    letters: ClassVar[bool | None] = None
    native: ClassVar[bool] = False
    reads: ClassVar[str | None] = None
    needs_unlabelled: ClassVar[bool] = False

    def __init__(self, options: Any):
        self.options = options

    def check(self, recipe: Run) -> None:
        """Raise `InputError` if this baseline does not fit a recipe; called before anything is loaded."""
        modality = task_modality(recipe.task_options)
        if modality is not None and not self._reads(modality):
            nouns = [each.noun for each in every_modality() if self._reads(each)]
            listed = " and ".join(filter(None, (", ".join(nouns[:-1]), nouns[-1])))
            raise InputError(
                f"The baseline {self.title!r} reads {listed}, and the examples of this task are {modality.noun}: "
                "leave it out."
            )
        problem = problem_of(recipe.task_options)
        if self.classes_only and problem != "single_label_classification":
            raise InputError(
                f"The baseline {self.title!r} needs one class per example, and the problem of this task is {problem!r}: leave "
                "it out."
            )

        if self.forecasts_only and problem != "forecast":
            raise InputError(
                f"The baseline {self.title!r} goes on from a time series, and the problem of this task is {problem!r}: leave "
                "it out, or give task.horizon."
            )

    def _reads(self, modality: Modality) -> bool:
        """Whether this baseline reads examples of a modality."""
        fits = self.letters is None or self.letters == modality.letters
        return fits and (not self.native or modality.takes in native_inputs())

    def check_source(self, spec: SourceSpec, task: Task) -> None:
        """Raise `InputError` if this baseline does not fit a loaded source; called before anything is trained."""
        if self.native and spec.takes != task.modality.takes:
            raise InputError(
                f"The baseline {self.title!r} needs a source that takes {task.modality.noun} as they are, and a source of kind "
                f"{spec.kind!r} does not: leave it out."
            )
        if self.reads is not None and self.reads not in spec.widths:
            raise InputError(
                f"The baseline {self.title!r} needs a source with {_OUTPUTS[self.reads]}, and a source of kind {spec.kind!r} "
                "has none: leave it out."
            )

    @abstractmethod
    def run(self, setting: Setting) -> Outcome:
        """Train on `setting.splits["train"]` and predict validation and test."""
