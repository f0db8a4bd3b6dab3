"""Positions: a linear layer on several weighted means over the tokens, whose weights by position are learned.

    z_r = 1/n sum_t (1 + a_{r,t}) h_t        logits = W [z_1; ...; z_R] + b

With a = 0 every z_r is the plain mean, where training starts. A mean over tokens blurs what stands where; a label that a
few fixed positions decide, as a splice junction's, is lost in it, while these weights can pick the positions out.

Our extension: R2DL (arXiv 2012.03460) reads pooled features. Omega is a (R, positions), W and b.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..sources.base import Source
from .base import OutputMapping
from .dense import Dense, DenseOptions


@dataclass
class PositionsOptions:
    """Options of `positions`.

    Attributes:
        num_labels: outputs.
        width: of a token's state.
        max_tokens: positions that have a weight; later ones count as in the mean.
        heads: R, weighted means.
        unit: as for `dense`.
        reads: "tokens".
    """

    num_labels: int
    width: int
    max_tokens: int
    heads: int = 4
    unit: float = 1.0
    reads: str = "tokens"

    def __post_init__(self) -> None:
        if self.heads < 1 or self.max_tokens < 1:
            raise InputError(f"heads is {self.heads} and max_tokens {self.max_tokens}: give at least 1 of each.")


class Positions(OutputMapping):
    """`weights` (R, positions) over the tokens, and a `dense` layer on the R means."""

    Options = PositionsOptions
    options: PositionsOptions

    def __init__(self, options: PositionsOptions) -> None:
        super().__init__(options)
        self.weights = nn.Parameter(torch.zeros(options.heads, options.max_tokens))
        self.dense = Dense(DenseOptions(options.num_labels, options.heads * options.width, unit=options.unit))

    def reset(self) -> None:
        """Start at plain means under a fresh linear layer."""
        nn.init.zeros_(self.weights)
        self.dense.reset()

    def forward(self, outputs: Tensor, source: Source) -> Tensor:
        """(batch, tokens, width), zero where there is padding, to (batch, labels)."""
        states = outputs.to(self.weights.dtype)
        attended = states.ne(0).any(-1)
        place = (attended.long().cumsum(1) - 1).clamp(min=0)  # counted without padding, on whichever side it is
        weighed = place < self.options.max_tokens
        weights = 1 + self.weights[:, place.clamp(max=self.options.max_tokens - 1)] * weighed
        count = attended.sum(1).clamp(min=1)
        means = torch.einsum("rbt,btw->brw", weights, states) / count[:, None, None]
        logits: Tensor = self.dense(means.flatten(1), source)
        return logits
