"""The score of an untrained program where validation has too few examples to choose by: folds of all examples.

The source reads every example of training and validation once. Omega is fitted to four fifths of them and scored on the last
fifth, five times, so that every example counts and none is scored by an omega that has seen it. Test is not read.
"""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..losses import IGNORE
from ..readings import joined, reader
from ..tasks.task import Task

FEW = 16  # validation examples, below which folds decide
FOLDS = 5


@torch.no_grad()
def folded_logits(
    model: Any, task: Task, loaders: list[Any], half: torch.dtype | None
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (n, labels) of all examples by an omega that is fitted to the other folds, and their labels (n,) or (n, labels).

    Args:
        model: an untrained model with a fresh mapping, which stays as it is.
        task: the task, of one label per example.
        loaders: of the training and the validation data.
        half: the autocast dtype; None for none.
    """
    model.transform.begin_epoch(0)
    readers = [reader(model, loader, 64, half) for loader in loaders]

    @cache
    def whole(reads: str) -> tuple[Tensor, Tensor]:
        outputs, labels = zip(*(read(reads) for read in readers), strict=True)
        return joined(list(outputs), 0.0), joined(list(labels), IGNORE)

    outputs, labels = whole(model.mapping.reads)
    logits = torch.zeros(len(labels), 0)
    for held in _folds(labels.numpy(), task.problem_type):
        rows = torch.from_numpy(np.setdiff1d(np.arange(len(labels)), held))

        def read(reads: str, most: int | None = None, rows: Tensor = rows) -> tuple[Tensor, Tensor]:
            values, targets = whole(reads)
            return values[rows], targets[rows]

        mapping = deepcopy(model.mapping)
        if (target := mapping.target) is not None:
            target.fit(labels[rows])
        mapping.begin_epoch(0, read, model.source)
        if not mapping.has_started():
            mapping.begin(read, None, model.config.problem_type, model.source)
        found = mapping.eval()(outputs[held].to(model.source.device), model.source)
        found = (found if target is None else target.restored(found)).float().cpu()
        logits = logits if logits.shape[1] else torch.zeros(len(labels), found.shape[1])
        logits[held] = found
    return logits.numpy(), labels.numpy()


def _folds(labels: np.ndarray, problem_type: str) -> list[np.ndarray]:
    """The rows that each fold holds out; every class is in every fold where it has enough examples."""
    from sklearn.model_selection import KFold, StratifiedKFold

    least = np.unique(labels, return_counts=True)[1].min() if problem_type == "single_label_classification" else 0
    kind = StratifiedKFold if least >= 2 else KFold
    folds = kind(max(2, min(FOLDS, int(least) if least >= 2 else len(labels))), shuffle=True, random_state=0)
    return [held for _, held in folds.split(np.zeros(len(labels)), labels if kind is StratifiedKFold else None)]
