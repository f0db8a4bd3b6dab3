"""Token map: maps the source's logits over its own tokens to logits over the target's tokens, at every position.

    logits_T = logits_S Gamma          Gamma (N_S, N_T); logits_S (N_S,) of the masked-LM decoder at a position

N_S and N_T are the numbers of source and target tokens. The decoder is linear, so both fold into one matrix:
`(h W^T + b) Gamma = h (Gamma^T W)^T + b Gamma`. The N_S logits are never computed. The result is equal up to rounding, which a
test checks.

Gamma is `weight * N_S ** -0.5`. Every logit sums thousands of its entries, and Adam moves each by about its learning rate.
Without this scale Gamma would need a learning rate far below that of the input transform (the paper's is 1e-5).

Source: ReprogBERT (Melnyk et al. 2023, arXiv 2210.07144), the map gamma for the infilling of antibody sequences.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..options import check_whole
from ..sources.base import Source, SourceSpec
from .base import OutputMapping


@dataclass
class TokenMapOptions:
    """Options of `token_map`.

    Attributes:
        num_labels: N_T, the number of target tokens.
        width: the width of the decoder's input.
        vocab_size: N_S, the number of source tokens.
        reads: "decoder".
    """

    num_labels: int
    width: int
    vocab_size: int
    reads: str = "decoder"

    def __post_init__(self) -> None:
        check_whole(num_labels=self.num_labels, width=self.width, vocab_size=self.vocab_size)


class TokenMap(OutputMapping):
    """A linear map between vocabularies. Omega is `weight` (N_S, N_T), which is Gamma without its scale.

    >>> token_map = TokenMap(TokenMapOptions(num_labels=20, width=32, vocab_size=text_source.spec.vocab_size))
    >>> states = text_source({"inputs_embeds": torch.ones(5, 7, 32), "attention_mask": torch.ones(5, 7)}, "decoder")
    >>> token_map(states, text_source).shape
    torch.Size([5, 7, 20])
    """

    Options = TokenMapOptions
    options: TokenMapOptions

    def __init__(self, options: TokenMapOptions) -> None:
        super().__init__(options)
        self.weight = nn.Parameter(torch.zeros(options.vocab_size, options.num_labels))

    @property
    def gamma(self) -> Tensor:
        """Gamma (N_S, N_T)."""
        gamma: Tensor = self.weight * self.options.vocab_size**-0.5
        return gamma

    def check(self, spec: SourceSpec) -> None:
        """Raise `InputError` unless the source has a masked-LM decoder over N_S tokens."""
        super().check(spec)
        if spec.vocab_size != self.options.vocab_size:
            raise InputError(
                f"The token map is for {self.options.vocab_size:,} source tokens, but the source has {spec.vocab_size:,}: this "
                "adapter belongs to another source."
            )

    def reset(self) -> None:
        """Start with a small Gamma, so that the first predictions are near uniform.

        The logits of a masked LM are far from zero (-7 in BERT), so a large Gamma would not give uniform predictions.
        """
        nn.init.normal_(self.weight, std=0.1)

    def forward(self, outputs: Tensor, source: Source) -> Tensor:
        """Logits (batch, tokens, N_T) from the decoder's inputs (batch, tokens, width)."""
        weight, bias = source.fold_output(self.gamma)
        return F.linear(outputs.to(weight.dtype), weight, bias)
