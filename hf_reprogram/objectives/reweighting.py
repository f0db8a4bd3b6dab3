"""Reweighting: examples count as if groups and labels were independent.

    min over theta, omega      mean over examples of w(a, y) loss(x, y),      w(a, y) = P(a) P(y) / P(a, y)

The shares P are those of the training split. Groups are needed in training alone.

Source: Kamiran, Calders 2012, "Data preprocessing techniques for classification without discrimination".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..losses import IGNORE, Batch
from .base import Objective, TrainingData
from .fairness import check_group

if TYPE_CHECKING:
    from ..experiments.recipe import Recipe
    from ..model import ReprogrammedModel


class Reweighting(Objective):
    """The mapping's loss of labelled examples with a weight for each, in place of the plain one; see the module's docstring.

    Attributes:
        weights: (groups, labels) the weight of an example of a group with a label; None before `fit`. Where no training example
            is, it is 1.

    >>> reweighting = Reweighting()
    >>> reweighting.fit(groups=[0, 0, 0, 1], labels=[1, 1, 0, 0], num_groups=2, num_labels=2)
    >>> reweighting.weights
    tensor([[1.5000, 0.7500],
            [0.5000, 1.0000]])
    """

    without_labels = True
    keeps_last = True

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.weights: Tensor | None = None

    def check(self, recipe: Recipe) -> None:
        """Refuse a recipe without groups."""
        check_group(recipe, "reweighting")

    def prepare(self, model: ReprogrammedModel, data: TrainingData) -> None:
        """Count the groups and labels of the training split; of a streamed one, of its sample."""
        train = data.task.splits(data.seed)["train"]
        self.fit(train["groups"][:], train["label"][:], len(data.task.groups), len(data.task.labels))

    def fit(self, groups: Any, labels: Any, num_groups: int, num_labels: int) -> None:
        """Set the weights.

        Args:
            groups, labels: of the training examples (n,), as whole numbers from 0; a label may be missing (-100).
            num_groups, num_labels: how many there are.
        """
        groups, labels = np.asarray(groups), np.asarray(labels)
        known = labels != IGNORE
        joint = np.zeros((num_groups, num_labels))
        np.add.at(joint, (groups[known], labels[known]), 1)
        expected = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True) / max(joint.sum(), 1)
        self.weights = torch.tensor(np.where(joint > 0, expected / np.maximum(joint, 1), 1.0), dtype=torch.float32)

    def loss(self, model: ReprogrammedModel, batch: Batch) -> Tensor:
        """The mean of the mapping's own losses, each times the weight of its example's group and label.

        Raises:
            InputError: the batch has no groups, or `fit` was not called.
        """
        if batch.groups is None or self.weights is None:
            raise InputError(
                "Reweighting reads the group of each training example, and the batch has none, or fit was not called: give "
                "task.group in a recipe, or a column `groups` of whole numbers from 0."
            )
        groups, labels = batch.groups.long().reshape(-1), batch.labels.long().reshape(-1)
        kind, total = model.config.problem_type, 0.0 * batch.logits.sum()
        for group, row in enumerate(self.weights.tolist()):
            for label, weight in enumerate(row):
                of_both = torch.where((groups == group) & (labels == label), labels, IGNORE)  # others count as zero
                total = total + weight * model.mapping.loss(batch.logits, of_both, kind)
        return total
