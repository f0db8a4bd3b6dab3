"""Dense: a linear layer on the source's pooled features.

    logits = W features + b

The plainest omega: with an untouched input it is the linear probe.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ..sources.base import Source
from .base import OutputMapping


@dataclass
class DenseOptions:
    """Options of `dense`: number of labels, width of the features, which output is read, and dropout in training."""

    num_labels: int
    width: int
    reads: str = "features"
    dropout: float = 0.0


class Dense(OutputMapping):
    """`linear` of shape (labels, width) after dropout."""

    Options = DenseOptions

    def __init__(self, options: DenseOptions):
        super().__init__(options)
        self.dropout = nn.Dropout(options.dropout)
        self.linear = nn.Linear(options.width, options.num_labels)

    def reset(self) -> None:
        """Start as a fresh linear layer."""
        self.linear.reset_parameters()

    def forward(self, outputs: Tensor, source: Source) -> Tensor:
        """(batch, width) or (batch, tokens, width) to the same with labels in place of the width."""
        return self.linear(self.dropout(outputs.to(self.linear.weight.dtype)))
