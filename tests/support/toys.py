"""Parts as a third party would write them: registered at run time, on the same terms as ours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from hf_reprogram.baselines import BASELINES
from hf_reprogram.baselines.base import Baseline, Outcome
from hf_reprogram.mappings import MAPPINGS
from hf_reprogram.mappings.base import OutputMapping
from hf_reprogram.sources.base import Source
from hf_reprogram.transforms import TRANSFORMS
from hf_reprogram.transforms.base import InputTransform


@dataclass
class ShiftOptions:
    """Options of `toy_shift`: width of the source's word embedding."""

    width: int


class Shift(InputTransform):
    """Adds one trained vector to the embedding of every token."""

    Options = ShiftOptions

    def __init__(self, options):
        super().__init__(options)
        self.shift = nn.Parameter(torch.zeros(options.width))

    def forward(self, batch, source):
        """See `InputTransform.forward`."""
        embeds = source.embed(batch["input_ids"].clamp(max=source.spec.vocab_size - 1))
        return {"inputs_embeds": embeds + self.shift.to(embeds.dtype), "attention_mask": batch["attention_mask"]}


@dataclass
class CosineOptions:
    """Options of `toy_cosine`."""

    num_labels: int
    width: int
    reads: str


class Cosine(OutputMapping):
    """Scaled cosine with a trained vector a class."""

    Options = CosineOptions

    def __init__(self, options):
        super().__init__(options)
        self.classes = nn.Parameter(torch.zeros(options.num_labels, options.width))

    def reset(self):
        """Start with random directions."""
        nn.init.normal_(self.classes)

    def forward(self, outputs: Tensor, source: Source) -> Tensor:
        """(batch, width) to (batch, labels)."""
        return 5 * nn.functional.cosine_similarity(outputs.float()[:, None], self.classes[None], dim=-1)


TRANSFORMS.register("toy_shift", Shift)
MAPPINGS.register("toy_cosine", "tests.support.toys:Cosine")


@dataclass
class AlwaysFirstOptions:
    """None."""


class AlwaysFirst(Baseline):
    """Says class 0 of every example."""

    title = "always the first class"
    Options = AlwaysFirstOptions

    def run(self, setting):
        """See `Baseline.run`."""
        first = np.eye(len(setting.task.labels))[0]
        logits = {name: np.tile(first, (len(setting.splits[name]), 1)) for name in ("validation", "test")}
        return Outcome(logits["validation"], logits["test"], trainable=0, seconds=0.0)


BASELINES.register("toy_always_first", AlwaysFirst)
