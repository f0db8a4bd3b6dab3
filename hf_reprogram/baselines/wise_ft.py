"""WiSE-FT: weights between the zero-shot model and the fine-tuned model (Wortsman et al. 2022, arXiv 2109.01903).

    w = (1 - alpha) w_start + alpha w_fine-tuned

The average is over weights, not over logits: those of the image tower and of its linear layer. The layer of a dual encoder
starts as its zero-shot classifier, which consists of the features of the class texts. Other sources start from their linear
probe. 0.5 is the paper's choice if there are no shifted data to choose on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..mappings.linear_fit import STRENGTHS
from ..methods.reprogrammer import zero_shot_head
from ..sources.dual import DualSource
from ..tasks.problems import finite
from ..training.encode import labels_of
from .base import Outcome, Setting, check_choices
from .image_tower import RATES, Start, TowerBaseline
from .search import Best, best_of
from .zero_shot import class_text_model


@dataclass
class WiSEFTOptions:
    """Options of `wise_ft`.

    Attributes:
        learning_rate: learning rates; the first seed chooses one on validation.
        alpha: shares of the fine-tuned weights, from 0 to 1; the first seed chooses one on validation.
    """

    learning_rate: list[float] = field(default_factory=lambda: list(RATES))
    alpha: list[float] = field(default_factory=lambda: [0.5])

    def __post_init__(self):
        check_choices("wise_ft", learning_rate=self.learning_rate)
        if not self.alpha or not all(0 <= alpha <= 1 for alpha in self.alpha):
            raise InputError(f"alpha is {self.alpha}: give shares of the fine-tuned weights, each from 0 to 1.")


class WiSEFT(TowerBaseline):
    """A fine-tuned image tower whose weights are averaged with those that it started from."""

    title = "WiSE-FT"
    Options = WiSEFTOptions

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        start = Start(setting)
        layer = first_layer(start)
        grid = [{"learning_rate": rate} for rate in self.options.learning_rate]

        def make(_: Any) -> nn.Module:
            return start.tower().start_from(*layer)

        best = best_of(setting, start.processor, make, grid, data=start.data)
        self._interpolate(best, make(None))
        return best.outcome()

    def _interpolate(self, best: Best, first: nn.Module) -> None:
        """Choose alpha on validation, and set the network to the averaged weights."""
        network, task = best.fit.trainer.model, best.setting.task
        last = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
        labels = labels_of(best.data["validation"])
        chosen: tuple[float, float, np.ndarray] | None = None
        for alpha in [best.chosen["alpha"]] if best.setting.chosen else self.options.alpha:
            interpolate(network, first, last, alpha)
            logits = finite(best.predict(best.data["validation"]))
            value = task.benefit(task.score(logits, labels))
            if chosen is None or value > chosen[0]:
                chosen = (value, alpha, logits)
        assert chosen is not None
        _, alpha, best.fit.logits = chosen
        interpolate(network, first, last, alpha)
        best.chosen = {"learning_rate": best.chosen["learning_rate"], "alpha": alpha}


def first_layer(start: Start) -> tuple[Any, Any]:
    """The weight (classes, width) and bias (classes,) of the linear layer from which fine-tuning starts."""
    if not isinstance(start.source, DualSource) or start.setting.task.problem_type != "single_label_classification":
        return start.probe(list(STRENGTHS))[1]
    model, _ = class_text_model(start.setting, start.source)
    weight = zero_shot_head(model)
    return weight, weight.new_zeros(len(weight))


@torch.no_grad()
def interpolate(network: nn.Module, first: nn.Module, last: dict[str, Tensor], alpha: float) -> None:
    """Set the trained weights of `network` to (1 - alpha) times those of `first` plus alpha times `last`.

    >>> network, first = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    >>> nn.init.constant_(first.weight, 1.0).shape
    torch.Size([1, 1])
    >>> interpolate(network, first, {"weight": torch.tensor([[3.0]])}, alpha=0.5)
    >>> network.weight.tolist()
    [[2.0]]
    """
    starts = dict(first.named_parameters())
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            parameter.copy_((1 - alpha) * starts[name].to(parameter.device) + alpha * last[name])
