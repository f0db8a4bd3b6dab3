"""Label map: every target class is a set of the source classifier's own labels.

    P(t) = mean over s in B_t of P(s)        logit_t = log P(t)

The sets B_t do not overlap, and P is the soft-max over all of the source's labels. There is nothing to train: omega is the
assignment alone, and it is plain data in the config.

Source: Elsayed et al. 2019 (arXiv 1806.11146), many labels a class as in Tsai et al. 2020 (arXiv 2007.08714).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, unknown
from ..sources.base import Source
from . import assignment
from .base import OutputMapping


@dataclass
class LabelMapOptions:
    """Options of `label_map`.

    Attributes:
        num_labels: target classes.
        width: the source's labels.
        assignment: for each class its source labels, by index.
        reads: "logits".
    """

    num_labels: int
    width: int
    assignment: list[list[int]] = field(default_factory=list)
    reads: str = "logits"

    def __post_init__(self):
        labels = [label for group in self.assignment for label in group]
        if len(self.assignment) != self.num_labels or not all(self.assignment):
            raise InputError(
                f"The label map names source labels for {sum(map(bool, self.assignment))} of {self.num_labels} classes: give "
                "at least one for each."
            )
        if len(set(labels)) < len(labels):
            twice = next(label for label in labels if labels.count(label) > 1)
            raise InputError(f"The label map uses the source label {twice} twice: its sets must not overlap.")
        if not all(0 <= label < self.width for label in labels):
            raise InputError(f"The label map names a source label outside 0 to {self.width - 1}: {labels}.")


class LabelMap(OutputMapping):
    """Log of the mean probability of a class's source labels."""

    Options = LabelMapOptions

    def __init__(self, options: LabelMapOptions):
        super().__init__(options)
        mean = torch.tensor(assignment.weights_of(options.assignment, options.width), dtype=torch.float32)
        self.register_buffer("mean", mean, persistent=False)  # the config holds it
        self.mean: Tensor

    def reset(self) -> None:
        """Nothing to start: there are no weights."""

    def forward(self, outputs: Tensor, source: Source) -> Tensor:
        """(batch, source labels) to (batch, labels)."""
        log_probability = outputs.float().log_softmax(-1)
        log_weight = self.mean.to(outputs.device).log()  # -inf where a label is not in the set
        return torch.logsumexp(log_probability[:, None] + log_weight, -1)


def assign(
    num_labels: int, width: int, how: str = "random", labels_per_class: int | None = None, seed: int = 0
) -> list[list[int]]:
    """An assignment for `label_map`; see `hf_reprogram.mappings.assignment`.

    Args:
        num_labels: target classes.
        width: the source's labels.
        how: "random" (drawn with `seed`, without overlap) or "identity" (class i is label i).
        labels_per_class: m; by default min(10, width // num_labels), and 1 for "identity".
        seed: of the draw.

    Raises:
        InputError: there are fewer source labels than the classes need.
    """
    if how not in ("random", "identity"):
        raise unknown("label mapping", how, ("random", "identity"))
    if how == "identity":
        each = assignment.labels_per_class(num_labels, width, 1)
        return assignment.identity_sets(num_labels, width, each).tolist()
    each = assignment.labels_per_class(num_labels, width, labels_per_class)
    return np.sort(assignment.random_sets(num_labels, width, each, seed)).tolist()
