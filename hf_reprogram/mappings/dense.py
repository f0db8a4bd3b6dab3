"""Dense: a linear layer on the source's pooled features, on its logits, or on their soft-max.

    logits = W features + b

The plainest omega: with an untouched input it is the linear probe. W may be held in a unit, W = unit * `linear.weight`: an
optimizer that moves every entry by its learning rate moves a logit by the sum over all of them, so that beside an input
transform, whose vectors want large steps, a unit of `width ** -0.5` keeps the layer from fitting the labels by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..sources.base import Source
from .base import OutputMapping


@dataclass
class DenseOptions:
    """Options of `dense`.

    Attributes:
        num_labels: outputs.
        width: of what is read.
        reads: any of the source's outputs.
        dropout: of what is read, in training.
        unit: W's.
        probabilities: whether the layer sees the soft-max of the source's logits.
    """

    num_labels: int
    width: int
    reads: str = "features"
    dropout: float = 0.0
    unit: float = 1.0
    probabilities: bool = False

    def __post_init__(self):
        if self.probabilities and self.reads != "logits":
            raise InputError(f"probabilities are the soft-max of logits, not of {self.reads!r}: set reads='logits'.")


class Dense(OutputMapping):
    """`linear` of shape (labels, width) after dropout."""

    Options = DenseOptions

    def __init__(self, options: DenseOptions):
        super().__init__(options)
        self.dropout = nn.Dropout(options.dropout)
        self.linear = nn.Linear(options.width, options.num_labels)

    def reset(self) -> None:
        """Start as a fresh linear layer, whatever the unit."""
        self.linear.reset_parameters()
        with torch.no_grad():
            self.linear.weight.div_(self.options.unit)

    def forward(self, outputs: Tensor, source: Source) -> Tensor:
        """(batch, width) or (batch, tokens, width) to the same with labels in place of the width."""
        weight = self.linear.weight * self.options.unit if self.options.unit != 1 else self.linear.weight
        values = outputs.to(weight.dtype)
        if self.options.probabilities:
            values = values.softmax(-1)
        return F.linear(self.dropout(values), weight, self.linear.bias)
