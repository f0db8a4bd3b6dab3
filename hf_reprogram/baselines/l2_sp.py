"""L2-SP: fine-tuning held near its starting point (Li, Grandvalet, Davoine 2018, arXiv 1802.01483).

    loss + strength / 2 * |w - w0|^2 + head_strength / 2 * |v|^2

w are the tower's weights, w0 their pretrained values, and v the new linear layer. The paper trains with SGD. Here the penalty
is a part of the loss for the recipe's optimizer, and it replaces the optimizer's weight decay.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

from torch import Tensor

from ..errors import InputError
from .base import Outcome, Setting, check_choices
from .image_tower import RATES, Start, Tower, TowerBaseline
from .search import best_of


@dataclass
class L2SPOptions:
    """Options of `l2_sp`.

    Attributes:
        learning_rate: learning rates; the first seed chooses one on validation.
        strength: strengths of the penalty on the tower's weights; chosen together with the learning rate.
        head_strength: the strength of the penalty on the linear layer.
    """

    learning_rate: list[float] = field(default_factory=lambda: list(RATES))
    strength: list[float] = field(default_factory=lambda: [1.0, 10.0])
    head_strength: float = 0.01

    def __post_init__(self):
        check_choices("l2_sp", learning_rate=self.learning_rate, strength=self.strength)
        if not self.head_strength >= 0:
            raise InputError(f"head_strength is {self.head_strength!r}: give 0 or more.")


class Anchored(Tower):
    """A tower with the penalty of the module's docstring.

    Args:
        arguments: the arguments of a `Tower`.
        strength, head_strength: the strengths of the penalty.
    """

    def __init__(self, *arguments: Any, strength: float, head_strength: float):
        super().__init__(*arguments)
        self.strength, self.head_strength = strength, head_strength
        for index, parameter in enumerate(self.pretrained()):  # not saved in checkpoints
            self.register_buffer(f"start_{index}", parameter.detach().clone(), persistent=False)

    def penalty(self) -> Tensor | float:
        """The penalty of the module's docstring."""
        starts = (self.get_buffer(f"start_{index}") for index in range(len(self.pretrained())))
        moved = sum((now - before).square().sum() for now, before in zip(self.pretrained(), starts, strict=True))
        size = sum(parameter.square().sum() for parameter in self.head.parameters())
        return self.strength / 2 * moved + self.head_strength / 2 * size


class L2SP(TowerBaseline):
    """Fine-tuning of an image tower with a penalty on the distance from its pretrained weights."""

    title = "L2-SP"
    Options = L2SPOptions

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        start, options = Start(setting), self.options
        grid = [
            {"learning_rate": rate, "strength": strength}
            for rate, strength in product(options.learning_rate, options.strength)
        ]

        def make(choice: dict[str, Any]) -> Anchored:
            return start.tower(Anchored, strength=choice["strength"], head_strength=options.head_strength)

        return best_of(setting, start.processor, make, grid, data=start.data, weight_decay=0.0).outcome()
