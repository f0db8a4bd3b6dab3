"""Pseudo-labels: what the model thinks of unlabelled rows at the start of an epoch is what it learns in the epoch.

    q_b ~ p_b prior / mean_b p_b        label_b = argmax_k q_b        L = weight / B sum_b max_k q_b CE(label_b, p(x_b))

Dividing by the mean probability of each class and multiplying by its prior keeps a class that the model likes too much from
taking all rows (as in ReMixMatch, Berthelot et al. 2020, arXiv 1911.09785). A label counts as much as the model is sure of it.
Labels are made anew before each epoch (Lee 2013), and are a part of each checkpoint.

A label map that is fitted before each epoch is fitted to labelled examples alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..training.encode import encode
from ..training.predict import predict_logits
from .base import TrainingData, packed, unpacked
from .unlabelled import OnUnlabelled, UnlabelledObjectiveOptions, logits_of

if TYPE_CHECKING:
    from ..losses import Batch
    from ..mappings.base import Reader
    from ..model import ReprogrammedModel


@dataclass
class PseudoLabelsOptions(UnlabelledObjectiveOptions):
    """Options of `pseudo_labels`.

    Attributes:
        prior: the share of each class among the unlabelled rows, by its name; by default all are equal.
    """

    prior: dict[str, float] | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.prior is not None and not (
            all(share > 0 for share in self.prior.values()) and abs(sum(self.prior.values()) - 1) < 1e-3
        ):
            raise InputError(f"prior is {self.prior!r}: give a share above 0 for each class, 1 in all.")


def weighted(probabilities: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
    """Pseudo-labels (n,) and how much each counts (n,).

    Args:
        probabilities: (n, classes).
        prior: (classes,).

    >>> labels, sure = weighted(torch.tensor([[0.9, 0.1], [0.7, 0.3]]), torch.tensor([0.5, 0.5]))
    >>> labels.tolist(), [round(value, 3) for value in sure.tolist()]
    ([0, 1], [0.692, 0.632])
    """
    shares = probabilities * prior / probabilities.mean(0).clamp(min=1e-12)
    sure, labels = (shares / shares.sum(1, keepdim=True)).max(1)
    return labels, sure


class PseudoLabels(OnUnlabelled):
    """See the module's docstring."""

    name = "pseudo_labels"
    needs_unlabelled = True
    Options = PseudoLabelsOptions

    def prepare(self, model: ReprogrammedModel, data: TrainingData) -> None:
        """See `Objective.prepare`."""
        super().prepare(model, data)
        names, prior = data.task.labels, self.options.prior
        if prior is not None and sorted(prior) != sorted(names):
            raise InputError(
                f"prior names {', '.join(prior)}, and the classes are {', '.join(names)}: name each of them."
            )
        self.prior = torch.tensor([1 / len(names) if prior is None else prior[name] for name in names])
        rows = {"unlabelled": data.unlabelled}
        self.encoded = encode(rows, data.processor, data.task.options.max_length, data.task.problem_type)["unlabelled"]

    def begin(self, seed: int, record: dict[str, Any] | None) -> None:
        """See `Objective.begin`."""
        super().begin(seed, record)
        self.epoch: float = 0
        self.made: float | None = None  # the epoch of the labels
        if record and record["epoch"] is not None:
            self.made, kept = record["epoch"], unpacked(record["labels"])
            self.labels, self.sure = kept["labels"], kept["sure"]

    def record(self) -> dict[str, Any]:
        """The labels of this epoch."""
        if self.made is None:
            return {"epoch": None}
        return {"epoch": self.made, "labels": packed({"labels": self.labels, "sure": self.sure})}

    def begin_epoch(self, model: ReprogrammedModel, epoch: float, fresh: Callable[[], Reader]) -> None:
        """See `Objective.begin_epoch`. Labels are made in the first step, and not again in an epoch that is resumed."""
        self.epoch = epoch

    def loss(self, model: ReprogrammedModel, batch: Batch) -> Tensor:
        """See `Objective.loss`."""
        if self.made != self.epoch:
            training = model.training
            answers = predict_logits(model.eval(), self.data.processor, self.encoded, quiet=True)
            model.train(training)
            self.labels, self.sure = weighted(torch.from_numpy(answers).softmax(-1), self.prior)
            self.made = self.epoch
        drawn, device = self.draw(), model.source.device
        logits = logits_of(model, drawn.share(self.views.plain(drawn.rows), device))
        rows = drawn.rows[drawn.own]
        losses = F.cross_entropy(logits, self.labels[rows].to(device), reduction="none")
        return self.options.weight * (losses * self.sure[rows].to(device)).mean()
