"""The interface of a baseline."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..errors import InputError
from ..hub_arguments import hub_arguments
from ..modalities.examples import Examples, Pixels
from ..tasks.inputs import MODALITIES, task_modality
from ..tasks.labels import problem_of
from ..tasks.load import Task
from ..training.encode import encode

if TYPE_CHECKING:
    from ..experiments.recipe import Recipe
    from ..sources.base import SourceSpec


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

    recipe: Recipe
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
        """What the frozen source makes of an encoded split, computed once for all the seeds of a run if it has images.

        Args:
            data: the split.
            what: says which source, processor and reading this is.
            compute: a row for each image.
        """
        if not isinstance(data, Examples) or not isinstance(data.read, Pixels):
            return compute()
        key = (data.read.encoded._fingerprint, what)
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
            found[name] = predict(encode({name: split.select_columns(["image"])}, processor)[name])
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


def plain_tokenizer(recipe: Recipe, max_tokens: int) -> Any:
    """The source's own tokenizer, with a padding token and a length limit."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(recipe.source["name"], **hub_arguments(recipe.source_kwargs))
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.model_max_length = min(tokenizer.model_max_length, max_tokens)
    return tokenizer


_HAVING = {"features": "features", "logits": "labels of its own", "pair": "a text tower beside its image tower"}


class Baseline(ABC):
    """A baseline with the options in its `Options` dataclass; whatever it chooses, it chooses on validation."""

    title: ClassVar[str]
    Options: ClassVar[type]
    classes_only: ClassVar[bool] = False  # whether it is for a class an example alone
    modalities: ClassVar[tuple[str, ...]] = ("text",)  # what it can be run on; see `hf_reprogram.tasks.inputs`
    reads: ClassVar[str | None] = None  # what the source must offer; see `hf_reprogram.sources.base`

    def __init__(self, options: Any):
        self.options = options

    def check(self, recipe: Recipe) -> None:
        """Raise `InputError` if this baseline cannot stand beside `recipe`; called before anything is trained."""
        modality = task_modality(recipe.task_options)
        if modality is not None and modality not in self.modalities:
            nouns = " and ".join(MODALITIES[name].noun for name in self.modalities)
            raise InputError(
                f"The baseline {self.title!r} is for {nouns}, and the task is one of {MODALITIES[modality].noun}: leave it out."
            )
        problem = problem_of(recipe.task_options)
        if self.classes_only and problem != "single_label_classification":
            raise InputError(
                f"The baseline {self.title!r} is for a class an example, and the task is a {problem.replace('_', ' ')}: leave "
                "it out."
            )

    def check_source(self, spec: SourceSpec, task: Task) -> None:
        """Raise `InputError` if this baseline cannot stand on a loaded source; called before anything is trained."""
        if self.reads is not None and self.reads not in spec.widths:
            raise InputError(
                f"The baseline {self.title!r} needs a source with {_HAVING[self.reads]}, and this {spec.kind} source has none: "
                "leave it out."
            )

    @abstractmethod
    def run(self, setting: Setting) -> Outcome:
        """Train on `setting.splits["train"]` and predict validation and test."""
