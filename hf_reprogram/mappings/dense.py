"""Dense: a linear layer on the source's pooled features, on its logits, or on their soft-max.

    logits = W features + b

The plainest omega: with an untouched input it is the linear probe. W may be held in a unit, W = unit * `linear.weight`: an
optimizer that moves every entry by its learning rate moves a logit by the sum over all of them, so that beside an input
transform, whose vectors want large steps, a unit of `width ** -0.5` keeps the layer from fitting the labels by itself.

A frozen source's features differ little between inputs of another domain beside what they have in common. Standardized, as a
linear probe has them, W acts on (features - mean) / deviation, both taken from the training data through the input
transform as it starts, and kept: the layer then learns in the few steps that few labels make.
"""

from __future__ import annotations

from collections.abc import Callable
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
        standardize: whether it sees them standardized, once `begin_epoch` (the callback `Schedule`) or `fit` found what by.
    """

    num_labels: int
    width: int
    reads: str = "features"
    dropout: float = 0.0
    unit: float = 1.0
    probabilities: bool = False
    standardize: bool = False

    def __post_init__(self) -> None:
        if self.probabilities and self.reads != "logits":
            raise InputError(f"probabilities are the soft-max of logits, not of {self.reads!r}: set reads='logits'.")


class Dense(OutputMapping):
    """`linear` of shape (labels, width) after dropout; `mean` and `deviation` (width,) are 0 and 1 until they are fitted."""

    Options = DenseOptions
    options: DenseOptions
    mean: Tensor
    deviation: Tensor

    def __init__(self, options: DenseOptions) -> None:
        super().__init__(options)
        self.dropout = nn.Dropout(options.dropout)
        self.linear = nn.Linear(options.width, options.num_labels)
        if options.standardize:
            self.register_buffer("mean", torch.zeros(options.width))
            self.register_buffer("deviation", torch.ones(options.width))

    def reset(self) -> None:
        """Start as a fresh linear layer, whatever the unit."""
        self.linear.reset_parameters()
        with torch.no_grad():
            self.linear.weight.div_(self.options.unit)

    def begin_epoch(self, epoch: float, read: Callable[[str], tuple[Tensor, Tensor]], source: Source) -> None:
        """Find what to standardize by, once."""
        if self.options.standardize and not self.mean.any():
            self.fit(read(self.reads)[0])

    @torch.no_grad()
    def fit(self, outputs: Tensor) -> None:
        """Standardize by the mean and deviation of outputs (n, width) of the source."""
        values = self._seen(outputs.float())
        self.mean.copy_(values.mean(0))
        self.deviation.copy_(values.std(0, correction=0).clamp(min=1e-6))

    def _seen(self, outputs: Tensor) -> Tensor:
        return outputs.softmax(-1) if self.options.probabilities else outputs

    def forward(self, outputs: Tensor, source: Source) -> Tensor:
        """(batch, width) or (batch, tokens, width) to the same with labels in place of the width."""
        weight = self.linear.weight * self.options.unit if self.options.unit != 1 else self.linear.weight
        values = self._seen(outputs.to(weight.dtype))
        if self.options.standardize:
            values = (values - self.mean) / self.deviation
        return F.linear(self.dropout(values), weight, self.linear.bias)
