"""Verbalizer: one vector and one bias a class, against the state in which the source would predict a word.

    logit_c = omega_c . h + b_c

h is the state at the mask after the masked-LM head's transform, that is, what the vocabulary decoder would see. The
decoder itself, a row a word, is never run: C rows take its place, and may start from the rows of C words.

Source: WARP (Hambardzumyan et al. 2021, arXiv 2101.00121, section 3). Without a masked-LM head, h is the last hidden
state at the mask, at [CLS], or at the last token of a causal model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..sources.base import Source
from ..sources.probe import Lines, Probe, nearest_tokens, token_lines
from .base import OutputMapping


@dataclass
class VerbalizerOptions:
    """Options of `verbalizer`: number of labels, width of the state, and which state (`reads`)."""

    num_labels: int
    width: int
    reads: str = "mask"


class Verbalizer(OutputMapping):
    """Class vectors `weight` (C, width) and biases `bias` (C,)."""

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
        """The source tokens nearest to each class vector (`classes`), where the vectors live in the decoder's space."""
        if probe.source.spec.kind not in ("masked_lm", "causal_lm") or self.reads not in ("mask", "last"):
            return {}
        table = probe.source.model.get_output_embeddings().weight
        if table.shape[1] != self.weight.shape[1]:
            return {}
        return {"classes": nearest_tokens(self.weight.detach(), table, probe.processor, probe.top)}

    def lines(self, found: dict[str, Any]) -> Lines:
        """A line per class."""
        if "classes" not in found:
            return Lines()
        return Lines(body=token_lines("nearest tokens of each class vector", found["labels"], found["classes"]))

    def forward(self, outputs: Tensor, source: Source) -> Tensor:
        """(batch, width) to (batch, labels)."""
        return F.linear(outputs.to(self.weight.dtype), self.weight, self.bias)
