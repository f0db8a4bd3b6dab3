"""The interface of a baseline."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from ..errors import InputError
from ..modalities import every_modality, modality_of
from ..modalities.base import Modality
from ..modalities.examples import Examples
from ..sources.families import native_inputs
from ..tasks.inputs import task_modality
from ..tasks.labels import problem_of
from ..tasks.options import TaskOptions
from ..tasks.task import Task
from ..training.encode import encode

if TYPE_CHECKING:
    from ..sources.base import SourceSpec


class Run(Protocol):
    """What a baseline may know of the recipe that it stands beside; `hf_reprogram.experiments.recipe.Recipe` is one."""

    source: dict[str, Any]
    method: dict[str, Any]

    @property
    def source_kwargs(self) -> dict[str, Any]:
        """What goes to the source's `from_pretrained`."""

    @property
    def training_arguments(self) -> dict[str, Any]:
        """The recipe's `TrainingArguments` over the method's."""

    @property
    def task_options(self) -> TaskOptions:
        """The task section, checked."""


@dataclass
class Setting:
    """What a baseline is run on.

    Attributes:
        recipe: of the run it stands beside: its source, its budget of epochs, its batch size.
        task: labels and metrics.
        splits: raw `train`, `validation` and `test` for this seed.
        seed: of this run.
        folder: for checkpoints.
        quiet: no progress bars.
        make: a fresh, untrained model of the method, and its processor.
        num_prompts: prompt slots of the method, for baselines that have prompts too.
        chosen: what the first seed's run chose on validation; the other seeds take it over, as the method's do.
        extra: further splits of images to predict, by name, with the column `image`; labels that they have are not looked at.
        kept: what `once` has computed; all the settings of a run share it.
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

    def once(self, data: Any, what: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """What the frozen source makes of an encoded split, computed once for all the seeds of a run if it has a key.

        Args:
            data: the split.
            what: says which source, processor and reading this is.
            compute: a row for each example.
        """
        if not isinstance(data, Examples) or data.key is None:
            return compute()
        key = (data.key, what)
        if key not in self.kept:
            self.kept[key] = compute()
        return self.kept[key]

    def training(self, options: dict[str, Any]) -> dict[str, Any]:
        """The method's `TrainingArguments` with the baseline's own on top."""
        return {**self.recipe.training_arguments, **options}

    def predict_extra(self, processor: Any, predict: Callable[[Any], np.ndarray]) -> dict[str, np.ndarray]:
        """`predict` of each further split, encoded without its labels; the pixels of one at a time are in memory."""
        found = {}
        for name, split in self.extra.items():
            column = modality_of(split.column_names).column
            found[name] = predict(encode({name: split.select_columns([column])}, processor)[name])
        return found


@dataclass
class Outcome:
    """What a baseline says of validation and test.

    Attributes:
        validation, test: logits, or anything that orders and decides alike; shapes as in `hf_reprogram.tasks.problems`.
        trainable: trained numbers.
        seconds: of training.
        chosen: what validation chose.
        labels: for one label a token, the labels of `validation` and `test`, as the baseline's own tokens have them.
        extra: logits (n, classes) of each of `Setting.extra`; None of a baseline that does not look at an input.
    """

    validation: np.ndarray
    test: np.ndarray
    trainable: int
    seconds: float
    chosen: dict[str, Any] | None = None
    labels: dict[str, np.ndarray] | None = None
    extra: dict[str, np.ndarray] | None = None


def check_choices(baseline: str, **choices: list[float]) -> None:
    """Raise `InputError` unless each list of values to choose from holds one at least, all of them more than 0."""
    for name, values in choices.items():
        if not values or not all(value > 0 for value in values):
            raise InputError(f"{name} of {baseline} is {values}: give values to choose from, each more than 0.")


_HAVING = {"features": "features", "logits": "labels of its own", "pair": "a text tower beside its image tower"}


class Baseline(ABC):
    """A baseline with the options in its `Options` dataclass; whatever it chooses, it chooses on validation.

    Attributes:
        title: what to call it in a table.
        classes_only: whether it is for one class per example alone.
        letters: True for one that reads strings of letters, False for one that reads examples of a fixed size, None for both.
        native: whether the source must take the examples as they are, without the method's input transform.
        reads: what the source must offer, see `hf_reprogram.sources.base`; None for anything.
    """

    title: ClassVar[str]
    Options: ClassVar[type]
    classes_only: ClassVar[bool] = False
    letters: ClassVar[bool | None] = None
    native: ClassVar[bool] = False
    reads: ClassVar[str | None] = None

    def __init__(self, options: Any):
        self.options = options

    def check(self, recipe: Run) -> None:
        """Raise `InputError` if this baseline cannot stand beside `recipe`; called before anything is loaded."""
        modality = task_modality(recipe.task_options)
        if modality is not None and not self._reads(modality):
            nouns = [each.noun for each in every_modality() if self._reads(each)]
            raise InputError(
                f"The baseline {self.title!r} is for {' and '.join(nouns)}, and the task is one of {modality.noun}: leave it "
                "out."
            )
        problem = problem_of(recipe.task_options)
        if self.classes_only and problem != "single_label_classification":
            raise InputError(
                f"The baseline {self.title!r} is for a class an example, and the task is a {problem.replace('_', ' ')}: leave "
                "it out."
            )

    def _reads(self, modality: Modality) -> bool:
        """Whether examples of a modality are what this baseline reads."""
        fits = self.letters is None or self.letters == modality.letters
        return fits and (not self.native or modality.takes in native_inputs())

    def check_source(self, spec: SourceSpec, task: Task) -> None:
        """Raise `InputError` if this baseline cannot stand on a loaded source; called before anything is trained."""
        if self.native and spec.takes != task.modality.takes:
            raise InputError(
                f"The baseline {self.title!r} needs a source that takes {task.modality.noun} as they are, and this {spec.kind} "
                "source does not: leave it out."
            )
        if self.reads is not None and self.reads not in spec.widths:
            raise InputError(
                f"The baseline {self.title!r} needs a source with {_HAVING[self.reads]}, and this {spec.kind} source has none: "
                "leave it out."
            )

    @abstractmethod
    def run(self, setting: Setting) -> Outcome:
        """Train on `setting.splits["train"]` and predict validation and test."""
