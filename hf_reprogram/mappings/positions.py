"""Positions: a linear layer on several weighted means over the tokens. The weights depend on the position and are trained.

    z_r = 1/n sum_t (1 + a_{r,t}) h_t        logits = W [z_1; ...; z_R] + b

h_t (width,) is the state of token t, and n is the number of tokens. Omega is a (R, positions), W (labels, R * width) and b
(labels,). Training starts at a = 0, where every z_r is the plain mean. A plain mean does not distinguish positions. If a few
fixed positions decide the label, as for a splice junction, trained weights can select them.

This is our extension of R2DL (arXiv 2012.03460), which reads pooled features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..options import check_whole
from ..sources.base import Source
from .base import OutputMapping
from .dense import Dense, DenseOptions, check_unit


@dataclass
class PositionsOptions:
    """Options of `positions`.

    Attributes:
        num_labels: the number of outputs.
        width: the width of a token's state.
        max_tokens: the number of positions that have a weight; later positions have the weight of the plain mean.
        heads: R, the number of weighted means.
        unit: the scale of W, as for `dense`.
        reads: "tokens".
    """

    num_labels: int
    width: int
    max_tokens: int
    heads: int = 4
    unit: float = 1.0
    reads: str = "tokens"

    def __post_init__(self) -> None:
        check_whole(num_labels=self.num_labels, width=self.width)
        check_unit(self.unit)
        if self.heads < 1 or self.max_tokens < 1:
            raise InputError(f"heads is {self.heads} and max_tokens {self.max_tokens}: give at least 1 of each.")


class Positions(OutputMapping):
    """A dense layer on R weighted means. Omega is `weights` (R, positions), and `dense.linear`.

    >>> positions = Positions(PositionsOptions(num_labels=2, width=32, max_tokens=64))
    >>> states = text_source({"inputs_embeds": torch.ones(5, 7, 32), "attention_mask": torch.ones(5, 7)}, "tokens")
    >>> positions(states, text_source).shape
    torch.Size([5, 2])
    """

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
        """Logits (batch, labels) from token states (batch, tokens, width), which are zero at padding."""
        states = outputs.to(self.weights.dtype)
        attended = states.ne(0).any(-1)
        place = (attended.long().cumsum(1) - 1).clamp(min=0)  # positions count without padding, on either side
        weighed = place < self.options.max_tokens
        weights = 1 + self.weights[:, place.clamp(max=self.options.max_tokens - 1)] * weighed
        count = attended.sum(1).clamp(min=1)
        means = torch.einsum("rbt,btw->brw", weights, states) / count[:, None, None]
        logits: Tensor = self.dense(means.flatten(1), source)
        return logits
