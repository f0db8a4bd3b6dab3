"""Dense: a linear layer on the source's pooled features.

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

from ..sources.base import Source
from .base import OutputMapping


@dataclass
class DenseOptions:
    """Options of `dense`: number of labels, width of the features, which output is read, dropout in training, W's unit."""

    num_labels: int
    width: int
    reads: str = "features"
    dropout: float = 0.0
    unit: float = 1.0


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
        return F.linear(self.dropout(outputs.to(weight.dtype)), weight, self.linear.bias)
