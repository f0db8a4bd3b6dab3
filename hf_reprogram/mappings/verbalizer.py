"""Verbalizer: one vector and one bias per class, applied to the state from which the source would predict a word.

    logit_c = omega_c . h + b_c

h (width,) is the state at the mask after the masked-LM head's transform, which is the input of the vocabulary decoder. The
decoder, with one row per word, is never run. C rows, one per class, take its place. They may start from the rows of C words.

Source: WARP (Hambardzumyan et al. 2021, arXiv 2101.00121, section 3). Without a masked-LM head, h is the last hidden
state at the mask, at [CLS], or at the last token of a causal model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..options import check_whole
from ..sources.base import Source
from ..sources.probe import Lines, Probe, nearest_tokens, token_lines
from .base import OutputMapping


@dataclass
class VerbalizerOptions:
    """Options of `verbalizer`.

    Attributes:
        num_labels: C, the number of classes.
        width: the width of the state.
        reads: the name of the state (`hf_reprogram.sources.base`), such as "mask", "first" or "last".
    """

    num_labels: int
    width: int
    reads: str = "mask"

    def __post_init__(self) -> None:
        check_whole(num_labels=self.num_labels, width=self.width)


class Verbalizer(OutputMapping):
    """One vector and one bias per class. Omega is `weight` (C, width) and `bias` (C,).

    >>> verbalizer = Verbalizer(VerbalizerOptions(num_labels=2, width=32))
    >>> verbalizer.reset()
    >>> verbalizer(torch.zeros(5, 32), text_source)[0].tolist()  # all biases start at zero
    [0.0, 0.0]
    """

    Options = VerbalizerOptions
    options: VerbalizerOptions

    def __init__(self, options: VerbalizerOptions) -> None:
        super().__init__(options)
        self.weight = nn.Parameter(torch.zeros(options.num_labels, options.width))
        self.bias = nn.Parameter(torch.zeros(options.num_labels))

    def reset(self) -> None:
        """Start the class vectors as a fresh linear layer."""
        bound = self.weight.shape[1] ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.bias)

    def inspect(self, probe: Probe) -> dict[str, Any]:
        """`classes`: the source tokens nearest to each class vector, if its width is that of the decoder's rows."""
        if probe.source.spec.kind not in ("masked_lm", "causal_lm") or self.reads not in ("mask", "last"):
            return {}
        table = probe.source.model.get_output_embeddings().weight
        if table.shape[1] != self.weight.shape[1]:
            return {}
        return {"classes": nearest_tokens(self.weight.detach(), table, probe.processor, probe.top)}

    def lines(self, description: dict[str, Any]) -> Lines:
        """One line per class."""
        if "classes" not in description:
            return Lines()
        rows = token_lines("nearest tokens of each class vector", description["labels"], description["classes"])
        return Lines(body=rows)

    def forward(self, outputs: Tensor, source: Source) -> Tensor:
        """Logits (batch, labels) from states (batch, width)."""
        return F.linear(outputs.to(self.weight.dtype), self.weight, self.bias)
