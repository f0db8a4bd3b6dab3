"""A linear model on fixed features, for every problem type; validation chooses its strength."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..mappings.linear_fit import LinearModel, mean_loss
from ..mappings.standardised import Standardised
from ..tasks.task import Task


def best_linear(
    task: Task,
    features: dict[str, dict[Any, Any]],
    labels: dict[str, np.ndarray],
    strengths: Sequence[float],
    outputs: int,
) -> tuple[dict[str, Any], LinearModel]:
    """Choose features and strength on validation: by the task's first metric, and by the loss among equals.

    Strengths are tried from the smallest, up to where the loss rose twice in a row without a better metric.

    Args:
        task: the task whose labels are predicted.
        features: for "train" and "validation", the candidate features (n, width) by name.
        labels: the labels of the same splits.
        strengths: the inverse L2 strengths to try.
        outputs: the number of logits.

    Returns:
        The choice as {"features": name, "strength": strength}, and the `LinearModel` that was fitted with it.
    """
    best: tuple[tuple[float, float], dict[str, Any], LinearModel] | None = None
    for which in features["train"]:
        smallest, value_there, rises = float("inf"), -float("inf"), 0
        rows = Standardised(features["train"][which])
        for strength in sorted(strengths):
            model = LinearModel(task.loss_type, strength, outputs).fit(rows, labels["train"])
            logits = model.logits(features["validation"][which])
            value = task.benefit(task.score(logits, labels["validation"]))
            loss = mean_loss(logits, labels["validation"], task.loss_type)
            if best is None or (value, -loss) > best[0]:
                best = ((value, -loss), {"features": which, "strength": strength}, model)
            better = loss < smallest or value > value_there
            rises = 0 if better else rises + 1
            smallest, value_there = min(smallest, loss), max(value_there, value)
            if rises == 2:
                break
    assert best is not None
    return best[1], best[2]
