"""Fairness reprogramming: the logits should not tell an adversary the group of an example.

    min over theta, omega  max over h      CE(f(x~), y) - lambda CE(h(f(x~) [, y]), a)

h is an adversary of two layers that reads the logits and guesses the group a. With the label y beside them it looks for what
breaks equalized odds, and without it for what breaks demographic parity. Groups are needed in training alone: the adversary is
not in the adapter, and the adapter predicts without groups.

In every step both play with what the other was before it: theta and omega against h as the last step left it, and h takes a
step of Adam with the mean gradient of the whole step. So the number of processes and gradient accumulation do not change what
is learned. Zhang et al. also take from the gradient of the task what lies along the adversary's; here the two losses are added,
which is their equation.

Source: Zhang et al. 2022, "Fairness Reprogramming" (arXiv 2209.10222).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ..errors import InputError, unknown
from ..losses import IGNORE, Batch
from ..options import check_whole
from .base import Objective, TrainingData, packed, unpacked

if TYPE_CHECKING:
    from ..experiments.recipe import Recipe
    from ..model import ReprogrammedModel

CRITERIA = ("equalized_odds", "demographic_parity")


@dataclass
class FairnessOptions:
    """Options of `fairness`.

    Attributes:
        criterion: "equalized_odds", for which the adversary reads the label too, or "demographic_parity".
        weight: lambda, the weight of the adversary's loss.
        learning_rate: of the adversary's Adam.
        width: of the adversary's hidden layer.
    """

    criterion: str = "equalized_odds"
    weight: float = 0.5
    learning_rate: float = 0.05
    width: int = 32

    def __post_init__(self) -> None:
        if self.criterion not in CRITERIA:
            raise unknown("criterion of fairness", self.criterion, CRITERIA)
        for name in ("weight", "learning_rate"):
            if not 0 < getattr(self, name) < inf:
                raise InputError(f"{name} of fairness is {getattr(self, name)!r}: give a number above 0.")
        check_whole(1, **{"width of fairness": self.width})


class Fairness(Objective):
    """Minus lambda times the loss of an adversary that guesses groups; see the module's docstring.

    In a training loop of its user's own, call `build` and `begin` first; every call of `loss` is then a step.

    Attributes:
        adversary: h; None before `begin`.

    >>> fairness = Fairness()
    >>> fairness.build(num_labels=2, num_groups=2)
    >>> fairness.begin(0, None)
    >>> batch = Batch({}, torch.tensor([0, 1]), torch.tensor([1, 0]), torch.zeros(2, 2))
    >>> float(fairness.loss(None, batch)) < 0
    True
    """

    Options = FairnessOptions
    options: FairnessOptions
    keeps_last = True

    def __init__(self, options: FairnessOptions | None = None) -> None:
        super().__init__(options)
        self.adversary: nn.Module | None = None
        self._sizes, self._device = (0, 0), torch.device("cpu")
        self._pending: list[Tensor] = []
        self._batches = 0

    def check(self, recipe: Recipe) -> None:
        """Refuse a recipe without groups."""
        check_group(recipe, "fairness")

    def prepare(self, model: ReprogrammedModel, data: TrainingData) -> None:
        """Take the numbers of labels and groups, and the model's device."""
        self.build(len(data.task.labels), len(data.task.groups), model.source.device)

    def build(self, num_labels: int, num_groups: int, device: torch.device | str = "cpu") -> None:
        """Say what the adversary reads and guesses.

        Args:
            num_labels: how many logits an example has.
            num_groups: how many groups there are.
            device: of the logits.
        """
        self._sizes, self._device = (num_labels, num_groups), torch.device(device)

    def begin(self, seed: int, record: dict[str, Any] | None) -> None:
        """A new adversary, which depends on the seed alone, or that of the checkpoint; see `Objective.begin`."""
        super().begin(seed, record)
        labels, groups = self._sizes
        if not groups:
            raise InputError(
                "The fairness objective does not know the groups: call its build(num_labels, num_groups) first."
            )
        reads = labels * (2 if self.options.criterion == "equalized_odds" else 1)
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(seed)
            layers = nn.Linear(reads, self.options.width), nn.ReLU(), nn.Linear(self.options.width, groups)
        self.adversary = nn.Sequential(*layers)
        self._pending, self._batches = [], 0
        state = unpacked(record["adversary"]) if record else {}
        names = [name for name, _ in self.adversary.named_parameters()]
        if state:
            self.adversary.load_state_dict({name: state[name] for name in names})
        self.adversary.to(self._device)
        self._optimizer = torch.optim.Adam(self.adversary.parameters(), self.options.learning_rate)
        for name, parameter in self.adversary.named_parameters():
            kept = {key.partition(":")[2]: value for key, value in state.items() if key.startswith(f"{name}:")}
            if kept:
                self._optimizer.state[parameter] = {
                    key: value if key == "step" else value.to(self._device) for key, value in kept.items()
                }

    def begin_step(self, seed: int, step: int, steps: int) -> None:
        """Let the adversary take the step for which the last one has gathered its gradient."""
        self._learn()
        super().begin_step(seed, step, steps)

    def record(self) -> dict[str, Any]:
        """The adversary after the last step, with what its optimizer keeps."""
        self._learn()
        assert self.adversary is not None
        state = dict(self.adversary.state_dict())
        for name, parameter in self.adversary.named_parameters():
            state |= {f"{name}:{key}": value for key, value in self._optimizer.state[parameter].items()}
        return {"adversary": packed(state)}

    def loss(self, model: ReprogrammedModel, batch: Batch) -> Tensor:
        """Minus lambda times the adversary's loss; its own gradient is kept for its next step.

        Raises:
            InputError: the batch has no groups, or training has not begun.
        """
        if batch.groups is None:
            raise InputError(
                "The fairness objective reads the group of each training example, and the batch has none: give task.group in a "
                "recipe, or a column `groups` of whole numbers from 0."
            )
        if self.adversary is None:
            raise InputError("The fairness objective has no adversary yet: call build and begin before the first step.")
        if not self._scheduled:
            self._learn()
        weights = dict(self.adversary.named_parameters())
        with torch.autocast(batch.logits.device.type, enabled=False):
            inputs = self._inputs(batch)
            if torch.is_grad_enabled():
                own = self._entropy(weights, inputs.detach(), batch)
                gradients = torch.autograd.grad(own, [*weights.values()])
                self._pending = (
                    [sum_ + new for sum_, new in zip(self._pending, gradients, strict=True)]
                    if self._pending
                    else [*gradients]
                )
                self._batches += 1
            fixed = {name: weight.detach() for name, weight in weights.items()}
            return -self.options.weight * self._entropy(fixed, inputs, batch)

    def _inputs(self, batch: Batch) -> Tensor:
        """What the adversary reads (batch, width): the logits, and the label for equalized odds."""
        logits = batch.logits.float()
        if self.options.criterion == "demographic_parity":
            return logits
        classes = batch.labels.long().reshape(-1).clamp(min=0)
        return torch.cat([logits, F.one_hot(classes, logits.shape[-1]).to(logits.dtype)], 1)

    def _entropy(self, weights: Mapping[str, Tensor], inputs: Tensor, batch: Batch) -> Tensor:
        """The mean cross-entropy of the guessed groups; an example without a label counts as zero."""
        assert self.adversary is not None
        assert batch.groups is not None
        guessed = functional_call(self.adversary, dict(weights), (inputs,))
        each = F.cross_entropy(guessed, batch.groups.long().reshape(-1), reduction="none")
        return (each * (batch.labels.reshape(-1) != IGNORE)).mean()

    def _learn(self) -> None:
        """Take the adversary's step, with the mean of the gradients since the last one, over batches and processes."""
        if self.adversary is None or not self._batches:
            return
        for parameter, gradient in zip(self.adversary.parameters(), self._pending, strict=True):
            parameter.grad = averaged(gradient / self._batches)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._pending, self._batches = [], 0


def check_group(recipe: Recipe, name: str) -> None:
    """Refuse a recipe whose task has no groups, for an objective of this name."""
    if recipe.task_options.group is None:
        raise InputError(
            f"The objective {name!r} reads the group of each training example: name its column in task.group."
        )


def averaged(gradient: Tensor) -> Tensor:
    """The mean of a gradient over all processes of training; of one process, the gradient itself.

    >>> averaged(torch.ones(2))
    tensor([1., 1.])
    """
    parallel = torch.distributed
    if not (parallel.is_available() and parallel.is_initialized()):
        return gradient
    parallel.all_reduce(gradient)
    return gradient / parallel.get_world_size()
