"""Last states: a linear layer on the source's states at the last positions, side by side.

    logits = unit W [h_1[:k]; ...; h_n[:k]] + b        W (labels, n k), b (labels,)

h_1 ... h_n are the last n states that are not padding, and of each the first k numbers are kept. Where a text has fewer states,
those that are missing are zeros. Unit, standardization and start are those of `hf_reprogram.mappings.linear`.

With `reads` = "inputs" the layer reads the source's inputs in place of its states. This is the same program without the source,
by which it is measured what the source adds.

Source: Time-LLM (Jin et al. 2024, arXiv 2310.01728), which keeps the first d_ff numbers of the states at its n patches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..options import check_whole
from ..sources.base import Source, SourceSpec
from .linear import LayerMapping, check_unit


@dataclass
class LastStatesOptions:
    """Options of `last_states`.

    Attributes:
        num_labels: the number of outputs.
        width: the width of a state, or of an input if `reads` is "inputs".
        states: n, the number of states at the end that are read.
        kept: k, how many numbers of each state are read; None for all.
        reads: "tokens" for the source's states, or "inputs" for its inputs, without the source.
        dropout: the share of the layer's input that is dropped in training.
        unit: the scale of W.
        standardize: whether the layer reads standardized values; by default with start="probe".
        start: the layer before training: "probe" or "none".
        soft: whether the start "probe" of a classification is made soft before the first step
            (`hf_reprogram.mappings.linear_fit.softness`).
    """

    num_labels: int
    width: int
    states: int
    kept: int | None = None
    reads: str = "tokens"
    dropout: float = 0.0
    unit: float = 1.0
    standardize: bool | None = None
    start: str = "none"
    soft: bool = False

    def __post_init__(self) -> None:
        check_whole(num_labels=self.num_labels, width=self.width, states=self.states)
        check_unit(self.unit)
        if self.kept is None:
            self.kept = self.width
        check_whole(1, " of each state", self.width, kept=self.kept)
        if self.reads not in ("tokens", "inputs"):
            raise InputError(f"reads is {self.reads!r}: give 'tokens', or 'inputs' to leave the source out.")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is {self.dropout!r}: give a share from 0 up to 1.")
        if self.standardize is None:
            self.standardize = self.start == "probe"


class LastStates(LayerMapping):
    """A linear layer on the last states. Omega is `linear.weight` (labels, n k) and `linear.bias` (labels,).

    >>> mapping = LastStates(LastStatesOptions(num_labels=2, width=32, states=3, kept=8))
    >>> mapping(torch.ones(5, 7, 32), text_source).shape
    torch.Size([5, 2])
    """

    Options = LastStatesOptions
    options: LastStatesOptions

    def input_width(self) -> int:
        """See `LinearMapping.input_width`."""
        assert self.options.kept is not None  # __post_init__ sets it
        return self.options.states * self.options.kept

    def check(self, spec: SourceSpec) -> None:
        """Raise `InputError` unless the source has states of this width, or takes embeddings of it."""
        if self.reads != "inputs":
            super().check(spec)
            return
        spec.check_tokens()
        if spec.embedding_width != self.options.width:
            raise InputError(
                f"The mapping reads inputs {self.options.width} wide, but the source's are {spec.embedding_width} wide: this "
                "adapter belongs to another source."
            )

    def inputs(self, outputs: Tensor) -> Tensor:
        """The last states side by side (batch, n k), from states (batch, tokens, width) that are zero at padding."""
        count, kept = self.options.states, self.options.kept or self.options.width
        attended = outputs.ne(0).any(-1)
        order = attended.long().argsort(dim=1, stable=True)[:, -count:]  # padding first, on whichever side it is
        states = outputs[..., :kept].gather(1, order[..., None].expand(-1, -1, kept))
        return torch.nn.functional.pad(states, (0, 0, count - states.shape[1], 0)).flatten(1)

    def forward(self, outputs: Tensor, source: Source) -> Tensor:
        """Logits (batch, labels) from states (batch, tokens, width), which are zero at padding."""
        return self.logits(self.inputs(outputs))
