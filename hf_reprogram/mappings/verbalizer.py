"""Verbalizer: one vector and one bias per class, applied to the state from which the source would predict a word.

    logit_c = omega_c . z + b_c        z = h, or unit (h - mean) / deviation

h (width,) is the state at the mask after the masked-LM head's transform, which is the input of the vocabulary decoder. The
decoder, with one row per word, is never run. C rows, one per class, take its place. They may start from the rows of C words.

Source: WARP (Hambardzumyan et al. 2021, arXiv 2101.00121, section 3). Without a masked-LM head, h is the last hidden
state at the mask, at [CLS], or at the last token of a causal model.

The paper reads h as it is. Its entries are near 1 in BERT, so a step of Adam moves a logit by hundreds of learning rates. We
standardize h by default, where class vectors do not start from words. Unit, standardization and start are those of
`hf_reprogram.mappings.linear`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..options import check_whole
from ..sources.base import Source
from ..sources.probe import Lines, Probe, nearest_tokens, token_lines
from .linear import LinearMapping, check_unit


@dataclass
class VerbalizerOptions:
    """Options of `verbalizer`.

    Attributes:
        num_labels: C, the number of classes.
        width: the width of the state.
        reads: the name of the state (`hf_reprogram.sources.base`), such as "mask", "first" or "last".
        unit: the scale of the class vectors, as for `dense`.
        standardize: whether the class vectors act on standardized states; by default with start="probe".
        start: the class vectors before training: "probe" or "none".
        soft: whether the start "probe" of a classification is made soft before the first step
            (`hf_reprogram.mappings.linear_fit.softness`).
    """

    num_labels: int
    width: int
    reads: str = "mask"
    unit: float = 1.0
    standardize: bool | None = None
    start: str = "none"
    soft: bool = False

    def __post_init__(self) -> None:
        check_whole(num_labels=self.num_labels, width=self.width)
        check_unit(self.unit)
        if self.standardize is None:
            self.standardize = self.start == "probe"


class Verbalizer(LinearMapping):
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
        """Start the class vectors as a fresh linear layer; the start does not depend on the unit."""
        bound = self.weight.shape[1] ** -0.5 / self.options.unit
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.bias)

    def layer(self) -> tuple[Tensor, Tensor]:
        """See `LinearMapping.layer`."""
        return self.weight, self.bias

    def affine(self) -> tuple[Tensor, Tensor]:
        """See `OutputMapping.affine`."""
        return self.affine_of_inputs()

    def inspect(self, probe: Probe) -> dict[str, Any]:
        """`classes`: the source tokens nearest to each class vector, if its width is that of the decoder's rows."""
        if probe.source.spec.kind not in ("masked_lm", "causal_lm") or self.reads not in ("mask", "last"):
            return {}
        table = probe.source.model.get_output_embeddings().weight
        if table.shape[1] != self.weight.shape[1]:
            return {}
        return {"classes": nearest_tokens(self._vectors(), table, probe.processor, probe.top)}

    def _vectors(self) -> Tensor:
        """The class vectors (C, width) for states as they are."""
        vectors = self.weight.detach() * self.options.unit
        return vectors / self.deviation if self.options.standardize else vectors

    def lines(self, description: dict[str, Any]) -> Lines:
        """One line per class."""
        if "classes" not in description:
            return Lines()
        rows = token_lines("nearest tokens of each class vector", description["labels"], description["classes"])
        return Lines(body=rows)

    def forward(self, outputs: Tensor, source: Source) -> Tensor:
        """Logits (batch, labels) from states (batch, width)."""
        return self.logits(outputs)
