"""FixMatch: a weak view that the model is sure about teaches a strong view of the same input.

    L = weight / B sum_b 1[max_k q_b > threshold] CE(argmax_k q_b, p(strong view of x_b)),     q_b = p(weak view of x_b)

p are the probabilities of the target's labels behind the mapping, and q has no gradient. B counts the uncertain rows too, so
the loss grows as the model becomes sure. Views are made of x, before the input transform places it, and theta is the same in
both.

Sohn et al. 2020 (arXiv 2001.07685). They also see labelled examples in a weak view, and average the weights over steps; here
labelled examples are as they are, and validation chooses the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from .unlabelled import OnUnlabelled, ViewedOptions, logits_of

if TYPE_CHECKING:
    from ..losses import Batch
    from ..model import ReprogrammedModel


@dataclass
class FixMatchOptions(ViewedOptions):
    """Options of `fixmatch`.

    Attributes:
        threshold: the probability above which the weak view's class is taken.
        ratio: unlabelled rows per labelled example of a step; the paper's is 7.
    """

    threshold: float = 0.95
    ratio: int = 7

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.threshold < 1:
            raise InputError(f"threshold is {self.threshold!r}: give a probability from 0 to below 1.")


def fixmatch_loss(weak: Tensor, strong: Tensor, threshold: float) -> Tensor:
    """The mean loss over all rows of a batch.

    Args:
        weak, strong: logits (batch, labels) of the two views; the first are not differentiated.
        threshold: see the module's docstring.

    >>> weak, strong = torch.tensor([[9.0, 0.0], [1.0, 0.0]]), torch.zeros(2, 2)
    >>> round(float(fixmatch_loss(weak, strong, 0.95)), 4)  # 0.6931 of the first row, nothing of the second
    0.3466
    """
    sure, label = weak.detach().softmax(-1).max(-1)
    losses = F.cross_entropy(strong, label, reduction="none")
    return (losses * (sure > threshold)).mean()


class FixMatch(OnUnlabelled):
    """See the module's docstring."""

    name = "fixmatch"
    with_views = True
    needs_unlabelled = True
    Options = FixMatchOptions

    def loss(self, model: ReprogrammedModel, batch: Batch) -> Tensor:
        """See `Objective.loss`."""
        drawn, device = self.draw(), model.source.device
        weak = drawn.share(self.views.weak(drawn.rows, drawn.random), device)
        strong = drawn.share(self.views.strong(drawn.rows, drawn.random), device)
        with torch.no_grad():
            sure = logits_of(model, weak)
        return self.options.weight * fixmatch_loss(sure, logits_of(model, strong), self.options.threshold)
