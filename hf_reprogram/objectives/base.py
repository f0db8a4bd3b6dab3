"""What an objective is."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from safetensors.torch import load, save
from torch import Tensor

from ..losses import Batch
from ..mappings.base import Reader

if TYPE_CHECKING:
    from ..experiments.recipe import Recipe
    from ..model import ReprogrammedModel
    from ..tasks.task import Task


@dataclass(frozen=True)
class TrainingData:
    """What the objectives of a recipe may see of its data; nothing of the test split is here.

    Attributes:
        task: with its prepared training split.
        processor: of the adapter.
        batch_size: labelled examples per step and process.
        seed: of the run, which draws the splits.
        unlabelled: further inputs, prepared and without labels, of the recipe's key `unlabelled`; those of the training split
            where it has none. None for a training split that is streamed.
    """

    task: Task
    processor: Any
    batch_size: int
    seed: int = 0
    unlabelled: Any = None


@dataclass
class NoOptions:
    """An objective without options."""


class Objective:
    """What training minimises beside the loss of labelled examples.

    Random numbers depend on the Trainer's seed and step alone, so that a resumed run draws those of an uninterrupted one. What
    an objective has learned itself goes into each checkpoint by `record`, and comes back by `begin`.

    Args:
        options: of this objective.

    Attributes:
        without_labels: whether the loss of labelled examples counts as zero in training.
        keeps_last: whether the last epoch is the result of a recipe's run. Else validation chooses the epoch by the task's
            first metric, which says nothing of what some objectives are for, such as fairness, and may choose the start.
        needs_unlabelled: whether the recipe must have a section `unlabelled`.
        step: the step of training, from 1.
        steps: how many there will be; 0 if that is not known.
    """

    Options: ClassVar[type] = NoOptions
    without_labels: bool = False
    keeps_last: ClassVar[bool] = False
    needs_unlabelled: ClassVar[bool] = False

    def __init__(self, options: Any = None) -> None:
        self.options: Any = self.Options() if options is None else options
        self.seed, self.step, self.steps = 0, 0, 0
        self._scheduled = False

    def check(self, recipe: Recipe) -> None:
        """Refuse a recipe that this objective cannot train, before anything is loaded."""

    def prepare(self, model: ReprogrammedModel, data: TrainingData) -> None:
        """Look at a recipe's model and data, before training begins.

        Raises:
            InputError: the model or the data do not allow it.
        """

    def begin(self, seed: int, record: dict[str, Any] | None) -> None:
        """Begin training, or go on with it.

        Args:
            seed: of the Trainer.
            record: what `record` gave at the checkpoint from which training goes on; None at the start.
        """
        self.seed, self.step = seed, 0

    def begin_epoch(self, model: ReprogrammedModel, epoch: float, fresh: Callable[[], Reader]) -> None:
        """Begin an epoch, or go on within it; `hf_reprogram.schedule.begin_epoch` calls this, before the first one repeatedly.

        Args:
            model: the model.
            epoch: the number of epochs that are finished.
            fresh: gives a function that reads the source's outputs on the labelled examples with theta as it then is.
        """

    def end_epoch(self, model: ReprogrammedModel) -> None:
        """Finish an epoch, before validation and checkpoints."""

    def begin_step(self, seed: int, step: int, steps: int) -> None:
        """Begin a step; the Trainer's `Schedule` calls this."""
        self.seed, self.step, self.steps, self._scheduled = seed, step, steps, True

    def record(self) -> dict[str, Any]:
        """What has been learned, as plain data for a checkpoint; see `packed`."""
        return {}

    def random(self, stream: int = 0) -> torch.Generator:
        """The random numbers of this step; another stream has others.

        In a training loop of its user's own, every call is a step.
        """
        if not self._scheduled:
            self.step += 1
        return torch.Generator().manual_seed((self.seed * 1_000_003 + self.step) * 64 + stream)

    def loss(self, model: ReprogrammedModel, batch: Batch) -> Tensor:
        """What is added to the loss of a batch, a number with its graph.

        Args:
            model: in training.
            batch: of labelled examples.
        """
        raise NotImplementedError


def packed(state: dict[str, Tensor]) -> str:
    """Tensors by name as text, for `Objective.record`.

    >>> unpacked(packed({"weight": torch.ones(2)}))
    {'weight': tensor([1., 1.])}
    """
    return b64encode(save({name: value.detach().cpu().contiguous() for name, value in state.items()})).decode()


def unpacked(text: str) -> dict[str, Tensor]:
    """Tensors from what `packed` made of them."""
    return load(b64decode(text))
