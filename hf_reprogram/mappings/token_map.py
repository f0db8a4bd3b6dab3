"""Token map: the source's predictions of its own tokens, mapped to the target's tokens at every position.

    logits_T = logits_S Gamma          Gamma (N_S, N_T), logits_S the masked-LM decoder's at a position

The decoder is linear, so both fold into one matrix: `(h W^T + b) Gamma = h (Gamma^T W)^T + b Gamma`. The source's
vocabulary of logits is never computed; the result is equal up to rounding, and a test says so.

Gamma is held in units of `N_S ** -0.5`: thousands of its entries add up in every logit, and an optimizer that moves each by
its learning rate would otherwise need a rate far below that of the input transform (the paper's is 1e-5).

Source: ReprogBERT (Melnyk et al. 2023, arXiv 2210.07144), the map gamma of its infilling of antibody sequences.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..sources.base import Source, SourceSpec
from .base import OutputMapping


@dataclass
class TokenMapOptions:
    """Options of `token_map`: target tokens, width of the state the decoder sees, and the source's vocabulary."""

    num_labels: int
    width: int
    vocab_size: int
    reads: str = "decoder"


class TokenMap(OutputMapping):
    """`weight` of shape (source vocabulary, target tokens), which is Gamma in its unit."""

    Options = TokenMapOptions
    options: TokenMapOptions

    def __init__(self, options: TokenMapOptions) -> None:
        super().__init__(options)
        self.weight = nn.Parameter(torch.zeros(options.vocab_size, options.num_labels))

    @property
    def gamma(self) -> Tensor:
        """Gamma (source vocabulary, target tokens)."""
        gamma: Tensor = self.weight * self.options.vocab_size**-0.5
        return gamma

    def check(self, spec: SourceSpec) -> None:
        """The source must have a masked-LM decoder over as many tokens."""
        super().check(spec)
        if spec.vocab_size != self.options.vocab_size:
            raise InputError(
                f"The token map is for {self.options.vocab_size:,} source tokens, but the source has {spec.vocab_size:,}: this "
                "adapter belongs to another source."
            )

    def reset(self) -> None:
        """Start small, so that the first predictions are near uniform: a masked LM's logits are far from zero (-7 in BERT)."""
        nn.init.normal_(self.weight, std=0.1)

    def forward(self, outputs: Tensor, source: Source) -> Tensor:
        """(batch, tokens, width) to (batch, tokens, target tokens)."""
        weight, bias = source.fold_output(self.gamma)
        return F.linear(outputs.to(weight.dtype), weight, bias)
