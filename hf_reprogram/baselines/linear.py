"""A linear model on fixed features, for every problem type; validation chooses its strength."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tasks.task import Task


class LinearModel:
    """Logistic regression, ridge regression, or one logistic regression per label, on standardised features.

    Args:
        task: the task whose labels are predicted.
        strength: inverse L2 strength.
        outputs: the number of logits.
    """

    def __init__(self, task: Task, strength: float, outputs: int):
        self.task, self.strength, self.outputs = task, strength, outputs
        self.models: list[Any] = []
        self.classes = np.empty(0)

    def fit(self, features: Any, labels: np.ndarray) -> LinearModel:
        """Fit to features (n, width), dense or sparse, and labels shaped as in `hf_reprogram.tasks.problems`."""
        from sklearn.linear_model import LogisticRegression, Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import MaxAbsScaler, StandardScaler

        scaler = StandardScaler if isinstance(features, np.ndarray) else MaxAbsScaler  # the second keeps zeros
        self.classes = np.unique(labels)
        columns = labels.T if labels.ndim == 2 else [labels]
        self.models = []
        for column in columns:
            known = ~np.isnan(column.astype(float))
            if self.task.regression:
                model = make_pipeline(scaler(), Ridge(alpha=1 / self.strength))
            elif len(np.unique(column[known])) < 2:  # one class only: the logit of this label is constant
                self.models.append(None)
                continue
            else:
                model = make_pipeline(scaler(), LogisticRegression(C=self.strength, max_iter=2000))
            target = column[known] if self.task.regression else column[known].astype(int)
            self.models.append(model.fit(features[np.flatnonzero(known)], target))
        return self

    def logits(self, features: Any) -> np.ndarray:
        """Logits (n, outputs) of features (n, width); a class that training lacked has logit -1000."""
        size = features.shape[0]
        if self.task.regression:
            return self.models[0].predict(features)[:, None]
        if self.task.problem_type == "multi_label_classification":
            rows = [np.zeros(size) if m is None else m.decision_function(features) for m in self.models]
            return np.stack(rows, 1)
        scores = np.zeros(size) if self.models[0] is None else self.models[0].decision_function(features)
        if len(self.classes) == 2:
            scores = np.stack([np.zeros(size), scores], 1)
        logits = np.full((size, self.outputs), -1e3)
        logits[:, self.classes.astype(int)] = scores.reshape(size, -1)
        return logits

    def layer(self, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Weight (outputs, width) and bias (outputs,) of the linear layer with the same logits."""
        logits = self.logits(np.concatenate([np.zeros((1, width)), np.eye(width)]))
        return (logits[1:] - logits[0]).T, logits[0]

    @property
    def trainable(self) -> int:
        """The number of fitted parameters."""
        return sum(int(m[-1].coef_.size + np.size(m[-1].intercept_)) for m in self.models if m is not None)


def best_linear(
    task: Task,
    features: dict[str, dict[Any, Any]],
    labels: dict[str, np.ndarray],
    strengths: Sequence[float],
    outputs: int,
) -> tuple[dict[str, Any], LinearModel]:
    """Choose features and strength on validation.

    Args:
        task: the task whose labels are predicted.
        features: for "train" and "validation", the candidate features (n, width) by name.
        labels: the labels of the same splits.
        strengths: the inverse L2 strengths to try.
        outputs: the number of logits.

    Returns:
        The choice as {"features": name, "strength": strength}, and the `LinearModel` that was fitted with it.
    """
    best: tuple[float, dict[str, Any], LinearModel] | None = None
    for which in features["train"]:
        for strength in strengths:
            model = LinearModel(task, strength, outputs).fit(features["train"][which], labels["train"])
            value = task.benefit(task.score(model.logits(features["validation"][which]), labels["validation"]))
            if best is None or value > best[0]:
                best = (value, {"features": which, "strength": strength}, model)
    assert best is not None
    return best[1], best[2]
