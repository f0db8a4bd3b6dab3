"""What objectives on unlabelled rows share: the rows of a step, and the logits of inputs without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ..errors import InputError
from ..options import check_whole
from ..tasks.inputs import task_modality
from ..tasks.labels import problem_of
from ..tasks.problems import PROBLEMS
from .base import Objective, TrainingData
from .views import ViewOptions, Views, check_views, read_views

if TYPE_CHECKING:
    from ..experiments.recipe import Recipe
    from ..model import ReprogrammedModel


@dataclass
class UnlabelledObjectiveOptions:
    """Options of objectives on unlabelled rows.

    Attributes:
        weight: of this loss beside that of labelled examples.
        ratio: unlabelled rows per labelled example of a step.
    """

    weight: float = 1.0
    ratio: int = 1

    def __post_init__(self):
        if not 0 < self.weight <= 1000:
            raise InputError(f"weight is {self.weight!r}: give a number above 0 and at most 1000.")
        check_whole(1, " of unlabelled rows per labelled example", ratio=self.ratio)


@dataclass
class ViewedOptions(UnlabelledObjectiveOptions, ViewOptions):
    """Options of objectives on views of unlabelled rows."""

    def __post_init__(self):
        UnlabelledObjectiveOptions.__post_init__(self)
        ViewOptions.__post_init__(self)


@dataclass(frozen=True)
class Drawn:
    """The unlabelled rows of a step, and which of them are this process's.

    Every process draws the rows and the views of all, and keeps its own share: together they have those of one process with
    the same global batch.

    Attributes:
        rows: of the whole step.
        own: the rows of this process.
        random: the random numbers of what is done with them.
    """

    rows: Sequence[int]
    own: slice
    random: torch.Generator

    def share(self, inputs: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
        """The inputs of this process, on its device."""
        return {name: values[self.own].to(device) for name, values in inputs.items()}


class OnUnlabelled(Objective):
    """An objective on the rows of the recipe's section `unlabelled`; without one on the training rows, without their labels.

    Attributes:
        name: in a recipe.
        with_views: whether it needs views of its rows.
        classes_only: whether it needs one class per example.
    """

    name: ClassVar[str]
    with_views: ClassVar[bool] = False
    classes_only: ClassVar[bool] = True
    Options: ClassVar[Any] = UnlabelledObjectiveOptions
    views: Views

    def check(self, recipe: Recipe) -> None:
        """See `Objective.check`."""
        if self.needs_unlabelled and recipe.unlabelled is None:
            raise InputError(
                f"{self.name} needs unlabelled rows: write unlabelled: {{from_train: 2000}}, or name other data."
            )
        problem, modality = problem_of(recipe.task_options), task_modality(recipe.task_options)
        if self.classes_only and problem != "single_label_classification":
            raise InputError(f"{self.name} needs one class per example, and the problem is {problem!r}: leave it out.")
        if PROBLEMS[problem].per_token or problem == "forecast":
            raise InputError(f"{self.name} needs one label per example, and the problem is {problem!r}: leave it out.")
        if self.with_views and modality is not None:
            check_views(modality)

    def prepare(self, model: ReprogrammedModel, data: TrainingData) -> None:
        """Read the rows, and fix omega if training goes without labels."""
        if data.unlabelled is None:
            raise InputError(f"{self.name} reads rows of a stream: name further rows in unlabelled.")
        if self.with_views:
            check_views(data.task.modality)
        self.data = data
        self.views = read_views(data, self.options if isinstance(self.options, ViewOptions) else ViewOptions())
        self.size = len(data.unlabelled)
        if self.without_labels:
            fix_omega(model, self.name)

    def begin_step(self, seed: int, step: int, steps: int) -> None:
        """See `Objective.begin_step`."""
        super().begin_step(seed, step, steps)
        self._batches = 0

    _batches = 0  # of this step, where gradients are accumulated

    def draw(self) -> Drawn:
        """The rows of this step: none twice, unless there are fewer than it needs."""
        spread = torch.distributed.is_available() and torch.distributed.is_initialized()
        place, processes = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if spread else (0, 1)
        random = self.random(self._batches % 64)
        self._batches += 1
        count = self.options.ratio * self.data.batch_size * processes
        if count <= self.size:
            rows = torch.randperm(self.size, generator=random)[:count]
        else:
            rows = torch.randint(self.size, (count,), generator=random)
        share = count // processes
        return Drawn(rows.tolist(), slice(place * share, (place + 1) * share), random)


def fix_omega(model: ReprogrammedModel, name: str) -> None:
    """Leave omega where it starts.

    Raises:
        InputError: then nothing is left to train.
    """
    for parameter in model.mapping.parameters():
        parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.trainable().values()):
        raise InputError(
            f"{name} trains without labels and leaves omega as it is, and this method has no theta: choose another method."
        )


def logits_of(model: ReprogrammedModel, inputs: dict[str, Tensor]) -> Tensor:
    """Logits (batch, labels) in float32 of inputs without labels, with their graph.

    Args:
        model: in training; its wrappers are not called again.
        inputs: what the transform takes.
    """
    outputs = model.source(model.transform(inputs, model.source), model.mapping.reads)
    return model.logits_and_loss(outputs, inputs, None)[0].float()
