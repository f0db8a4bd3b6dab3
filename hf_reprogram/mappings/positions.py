"""Positions: a linear layer on several weighted means over the tokens. The weights depend on the position and are trained.

    z_r = 1/n sum_t (1 + a_{r,t}) h_t        logits = W [z_1; ...; z_R] + b

h_t (width,) is the state of token t, and n is the number of tokens. Omega is a (R, positions), W (labels, R * width) and b
(labels,). Training starts at a = 0, where every z_r is the plain mean. A plain mean does not distinguish positions. If a few
fixed positions decide the label, as for a splice junction, trained weights can select them.

The start "probe" fits a linear probe to the states of all positions side by side, W (labels, positions, width). The singular
value decomposition of W, as a matrix of positions and (labels, width), gives the R most important weights a, and a second probe
fits the layer on their means. The same is done with W times the deviation of the states, where every position counts alike, and
the weights with the smaller loss on validation are taken.

This is our extension of R2DL (arXiv 2012.03460), which reads pooled features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import InputError, unknown
from ..options import check_whole
from ..sources.base import Source
from .base import OutputMapping, Reader
from .dense import Dense, DenseOptions
from .linear import MOST_TEXTS, check_unit, probe
from .linear_fit import LinearModel


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
        start: omega before training: "probe" or "none".
        soft: whether the start "probe" of a classification is made soft before the first step
            (`hf_reprogram.mappings.linear_fit.softness`).
    """

    num_labels: int
    width: int
    max_tokens: int
    heads: int = 4
    unit: float = 1.0
    reads: str = "tokens"
    start: str = "none"
    soft: bool = False

    def __post_init__(self) -> None:
        check_whole(num_labels=self.num_labels, width=self.width)
        check_unit(self.unit)
        if self.heads < 1 or self.max_tokens < 1:
            raise InputError(f"heads is {self.heads} and max_tokens {self.max_tokens}: give at least 1 of each.")
        if self.start not in Positions.starts:
            raise unknown("start", self.start, Positions.starts)


class Positions(OutputMapping):
    """A dense layer on R weighted means. Omega is `weights` (R, positions), and `dense.linear`.

    >>> positions = Positions(PositionsOptions(num_labels=2, width=32, max_tokens=64))
    >>> states = text_source({"inputs_embeds": torch.ones(5, 7, 32), "attention_mask": torch.ones(5, 7)}, "tokens")
    >>> positions(states, text_source).shape
    torch.Size([5, 2])
    """

    Options = PositionsOptions
    starts = ("probe", "none")
    options: PositionsOptions

    def __init__(self, options: PositionsOptions) -> None:
        super().__init__(options)
        self.weights = nn.Parameter(torch.zeros(options.heads, options.max_tokens))
        inner = DenseOptions(options.num_labels, options.heads * options.width, unit=options.unit)
        inner.standardize = options.start == "probe"
        self.dense = Dense(inner)

    def reset(self) -> None:
        """Start at plain means under a fresh linear layer."""
        nn.init.zeros_(self.weights)
        self.dense.reset()

    @torch.no_grad()
    def fit_start(self, read: Reader, validation: Reader | None, problem_type: str | None, source: Source) -> None:
        """Set the weights and the layer by two probes; see the module's docstring and `OutputMapping.begin`."""
        options = self.options
        rows = [None if each is None else each("tokens", MOST_TEXTS) for each in (read, validation)]
        assert rows[0] is not None
        longest = min(options.max_tokens, rows[0][0].shape[1])
        tables = [None if each is None else (by_position(each[0], longest).flatten(1), each[1]) for each in rows]
        assert tables[0] is not None
        first = probe(tables[0], tables[1], problem_type, options.num_labels, self.target)
        plain, deviation = torch.from_numpy(first.weight), tables[0][0].double().std(0, correction=0)
        found: list[tuple[Tensor, Tensor, LinearModel]] = []
        for weight in (plain, plain * deviation.cpu()):
            matrix = weight.reshape(len(weight), longest, -1).transpose(0, 1).flatten(1)
            left = torch.linalg.svd(matrix, full_matrices=False).U[:, : options.heads]
            self.weights.zero_()
            self.weights[: left.shape[1], :longest] = left.T * longest**0.5 - 1
            self.weights[: left.shape[1], longest:] = -1
            means = [
                None if each is None else (self.means(each[0].to(self.weights.device)).flatten(1).cpu(), each[1])
                for each in rows
            ]
            assert means[0] is not None
            layer = probe(means[0], means[1], problem_type, options.num_labels, self.target, soft=options.soft)
            found.append((self.weights.clone(), means[0][0], layer))
        weights, inputs, layer = min(found, key=lambda each: each[2].loss)
        self.weights.copy_(weights)
        self.dense.standardize(inputs)
        self.dense.set_layer(layer)
        self.softness = self.dense.softness

    def softened(self) -> tuple[Tensor, Tensor]:
        """See `OutputMapping.softened`."""
        return self.dense.layer()

    def means(self, outputs: Tensor) -> Tensor:
        """The weighted means (batch, R, width) of token states (batch, tokens, width), which are zero at padding."""
        states = outputs.to(self.weights.dtype)
        place, count = _places(states)
        weighed = place < self.options.max_tokens
        weights = 1 + self.weights[:, place.clamp(max=self.options.max_tokens - 1)] * weighed
        means: Tensor = torch.einsum("rbt,btw->brw", weights, states) / count[:, None, None]
        return means

    def forward(self, outputs: Tensor, source: Source) -> Tensor:
        """Logits (batch, labels) from token states (batch, tokens, width), which are zero at padding."""
        logits: Tensor = self.dense(self.means(outputs).flatten(1), source)
        return logits


def _places(states: Tensor) -> tuple[Tensor, Tensor]:
    """The position of each token without padding on either side (batch, tokens), and the number of tokens (batch,)."""
    attended = states.ne(0).any(-1)
    return (attended.long().cumsum(1) - 1).clamp(min=0), attended.sum(1).clamp(min=1)


def by_position(states: Tensor, positions: int) -> Tensor:
    """States (n, tokens, width) by their position (n, positions, width), divided by the number of tokens of their text.

    >>> by_position(torch.tensor([[[0.0], [4.0], [6.0]]]), positions=2)  # the first is padding
    tensor([[[2.],
             [3.]]])
    """
    place, count = _places(states)
    kept = torch.where(place < positions, place, positions)
    table = states.new_zeros(len(states), positions + 1, states.shape[2])
    table.scatter_add_(1, kept[:, :, None].expand_as(states), states)
    return table[:, :positions] / count[:, None, None]
