"""Window: a linear layer that reads the states of a token and of its neighbours side by side, for one label per token.

    logits_t = unit W [z_(t-w); ...; z_t; ...; z_(t+w)] + b        z = h, or (h - mean) / deviation

h_t (width,) is the state of token t, w is `window`, W (labels, (2 w + 1) * width) and b (labels,). A state before the first
token, after the last one or at padding is z = 0, which is the mean state. The special tokens around a text, such as [CLS], have
states of the source's and count as neighbours. Mean and deviation (width,) are those of the tokens that have a label.

The states are never put side by side for a forward pass: each of the 2 w + 1 blocks of W acts on every state, and the results
are shifted and summed, which is the same function. Unit and start are those of `hf_reprogram.mappings.linear`. The start draws
the tokens that it is fitted to before it puts their neighbours beside them.

A label that depends on the context, such as a residue's secondary structure, needs this where the frozen source does not mix
neighbouring tokens by itself. The window is our extension of R2DL (arXiv 2012.03460).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError, unknown
from ..losses import IGNORE
from ..options import check_whole
from ..sources.base import Source
from .base import Reader
from .linear import MOST_EXAMPLES, MOST_TEXTS, LayerMapping, check_unit, probe

MOST_NUMBERS = 32_000_000  # of a start: tokens times the width of a window


@dataclass
class WindowOptions:
    """Options of `window`.

    Attributes:
        num_labels: the number of outputs.
        width: the width of a token's state.
        window: w, the number of neighbours on either side.
        reads: "tokens".
        unit: the scale of W, as for `dense`.
        standardize: whether the layer reads standardized states; by default with start="probe".
        start: the layer before training: "probe" or "none".
        soft: whether the start "probe" of a classification is made soft before the first step
            (`hf_reprogram.mappings.linear_fit.softness`).
        dropout: the share of the states' entries that is dropped in training.
    """

    num_labels: int
    width: int
    window: int = 4
    reads: str = "tokens"
    unit: float = 1.0
    standardize: bool | None = None
    start: str = "none"
    soft: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_whole(num_labels=self.num_labels, width=self.width)
        check_whole(0, window=self.window)
        check_unit(self.unit)
        if self.reads != "tokens":
            raise unknown("output of the source for a window", self.reads, ["tokens"])
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is {self.dropout!r}: give a share from 0 up to 1.")
        if self.standardize is None:
            self.standardize = self.start == "probe"


class Window(LayerMapping):
    """A linear layer on 2 w + 1 states. Omega is `linear.weight` (labels, (2 w + 1) * width) and `linear.bias` (labels,).

    >>> window = Window(WindowOptions(num_labels=2, width=32, window=3))
    >>> window(torch.zeros(5, 7, 32), text_source).shape
    torch.Size([5, 7, 2])
    """

    Options = WindowOptions
    options: WindowOptions

    def states_read(self) -> int:
        """The number of states in a window."""
        return 2 * self.options.window + 1

    def inputs(self, outputs: Tensor) -> Tensor:
        """The states z (..., width) of token states (..., width), which are zero at padding."""
        states = outputs.to(self.linear.weight.dtype)
        if not self.options.standardize:
            return states
        return (states - self.mean) / self.deviation * outputs.ne(0).any(-1, keepdim=True)

    def forward(self, outputs: Tensor, source: Source) -> Tensor:
        """Logits (batch, tokens, labels) from token states (batch, tokens, width), which are zero at padding."""
        weight, bias = self.layer()
        weight = weight if self.options.unit == 1 else weight * self.options.unit
        return window_logits(self.drop(self.inputs(outputs)), weight, bias)

    # ------------------------------------------------------------------------------------------------ before training

    @torch.no_grad()
    def fit(self, outputs: Tensor) -> None:
        """Standardize by the mean and the deviation of token states (n, width)."""
        self.standardize(outputs.float())

    def own_layer(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """See `LinearMapping.own_layer`; the start is fitted to z itself."""
        return weight, bias

    @torch.no_grad()
    def fit_start(self, read: Reader, validation: Reader | None, problem_type: str | None, source: Source) -> None:
        """Set the layer to the linear probe of whole windows; see `LinearMapping.fit_start`."""
        train, held = self._windows(read), None if validation is None else self._windows(validation)
        options = self.options
        self.set_layer(probe(train, held, problem_type, options.num_labels, self.target, soft=options.soft))

    def _rows(self, read: Reader) -> tuple[Tensor, Tensor]:
        """The states (n, width) and labels of some tokens that have a label."""
        outputs, labels = read(self.reads, MOST_TEXTS)
        text, token = drawn_tokens(labels, MOST_EXAMPLES).T
        return outputs[text, token].float(), labels[text, token]

    def _windows(self, read: Reader) -> tuple[Tensor, Tensor]:
        """The windows (n, (2 w + 1) * width) and labels of some tokens that have a label."""
        outputs, labels = read(self.reads, MOST_TEXTS)
        places = drawn_tokens(labels, most_tokens(self.linear.in_features))
        beside = side_by_side(outputs, places, self.options.window).float().to(self.linear.weight.device)
        return self.inputs(beside).flatten(1).cpu(), labels[places[:, 0], places[:, 1]]


def window_logits(states: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The logits (batch, tokens, labels) of a linear layer on windows of states, which are not put side by side.

    Args:
        states: (batch, tokens, width), with zeros outside the texts.
        weight: (labels, (2 w + 1) * width).
        bias: (labels,).

    >>> window_logits(torch.tensor([[[1.0], [2.0], [4.0]]]), torch.tensor([[10.0, 1.0, 0.0]]), torch.zeros(1)).flatten()
    tensor([ 1., 12., 24.])
    """
    tokens, width = states.shape[1:]
    offsets = weight.shape[1] // width
    each = F.linear(states, weight.unflatten(1, (offsets, width)).flatten(0, 1)).to(bias.dtype)
    padded = F.pad(each.unflatten(2, (len(weight), offsets)), [0, 0, 0, 0, offsets // 2, offsets // 2])
    logits = bias + padded[:, :tokens, :, 0]
    for offset in range(1, offsets):
        logits = logits + padded[:, offset : offset + tokens, :, offset]
    return logits


def side_by_side(states: Tensor, places: Tensor, window: int) -> Tensor:
    """The states (n, 2 w + 1, width) of some tokens and of their neighbours, with zeros outside the texts.

    Args:
        states: (texts, tokens, width), with zeros at padding.
        places: the text and the token of each window, (n, 2).
        window: w, the number of neighbours on either side.

    >>> side_by_side(torch.tensor([[[1.0], [2.0], [4.0]]]), torch.tensor([[0, 0], [0, 1]]), window=1).squeeze(2)
    tensor([[0., 1., 2.],
            [1., 2., 4.]])
    """
    beside = states.new_zeros(len(places), 2 * window + 1, states.shape[2])
    for offset in range(2 * window + 1):
        text, token = places[:, 0], places[:, 1] + offset - window
        inside = (token >= 0) & (token < states.shape[1])
        beside[inside, offset] = states[text[inside], token[inside]]
    return beside


def most_tokens(width: int) -> int:
    """The largest number of tokens that a layer on inputs of this width is fitted to before training.

    >>> most_tokens(384), most_tokens(9 * 384)
    (20000, 9259)
    """
    return min(MOST_EXAMPLES, MOST_NUMBERS // width)


def drawn_tokens(labels: Tensor, most: int) -> Tensor:
    """The text and the token (n, 2) of at most so many tokens that have a label, drawn at random and in order.

    Args:
        labels: (texts, tokens), `IGNORE` where there is none.
        most: the largest number of tokens.

    >>> drawn_tokens(torch.tensor([[IGNORE, 1], [0, IGNORE]]), most=5)
    tensor([[0, 1],
            [1, 0]])
    """
    places = (labels != IGNORE).nonzero()
    kept = torch.randperm(len(places), generator=torch.Generator().manual_seed(0))[:most].sort().values
    return places[kept]
