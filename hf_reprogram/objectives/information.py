"""Information maximisation: each answer is to be sure, and all together are to name every class.

    L = weight (mean_b H(p_b) - H(mean_b p_b)),     H(p) = -sum_k p_k log p_k

The second term keeps all rows from becoming one class; `balance: 0` leaves it out, and entropy alone is left. The difference
is minus the mutual information of input and answer, from 0 to -log(classes) (Bridle et al. 1991; Hu et al. 2017, arXiv
1702.08720).

With `without_labels` theta is trained by this alone, and omega stays where it starts. A start that labels have fitted, such
as a probe or a label map, has seen the labelled examples, and validation still chooses the epoch by its labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import InputError
from .unlabelled import OnUnlabelled, UnlabelledObjectiveOptions, logits_of

if TYPE_CHECKING:
    from ..losses import Batch
    from ..model import ReprogrammedModel


@dataclass
class InformationOptions(UnlabelledObjectiveOptions):
    """Options of `information`.

    Attributes:
        without_labels: train theta by this alone, and leave omega where it starts.
        balance: the weight of the entropy of the mean, from 0.
        ratio: unlabelled rows per labelled example of a step; the mean needs several per class.
    """

    without_labels: bool = False
    balance: float = 1.0
    ratio: int = 4

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.balance <= 1000:
            raise InputError(f"balance is {self.balance!r}: give a number from 0 to 1000.")


def information_loss(logits: Tensor, balance: float = 1.0) -> Tensor:
    """The mean entropy of answers, less `balance` times the entropy of their mean, in nats.

    Args:
        logits: (batch, labels).
        balance: see the module's docstring.

    >>> import torch
    >>> round(float(information_loss(torch.tensor([[99.0, 0.0], [0.0, 99.0]]))), 4)
    -0.6931
    """
    logs = logits.log_softmax(-1)
    mean = logs.exp().mean(0)
    return -(logs.exp() * logs).sum(-1).mean() + balance * (mean * mean.clamp(min=1e-12).log()).sum()


class Information(OnUnlabelled):
    """See the module's docstring."""

    name = "information"
    Options = InformationOptions

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.without_labels = self.options.without_labels

    def loss(self, model: ReprogrammedModel, batch: Batch) -> Tensor:
        """See `Objective.loss`."""
        drawn = self.draw()
        inputs = drawn.share(self.views.plain(drawn.rows), model.source.device)
        return self.options.weight * information_loss(logits_of(model, inputs), self.options.balance)
