"""Regularised linear models of fixed features: the linear probe, and the start of an omega that is linear.

Features are standardised first, so one strength suits every width and unit (`hf_reprogram.mappings.standardised`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .standardised import Standardised

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3, 1e4)  # inverse L2 strengths
ABSENT = -1e3  # the logit of a class that training lacked
SOFT = 0.7  # of the loss of the classes' frequencies: the training loss that `softness` leaves


class LinearModel:
    """Logistic regression, ridge regression, or one logistic regression per label, on standardised features.

    Attributes:
        weight: (outputs, width), for features as they are given.
        bias: (outputs,).
        trainable: the number of fitted parameters.
        softness: the factor of the logits with which training begins; see the function `softness`.
        loss: the mean loss on the examples by which `best_strength` chose the strength; infinite before that.

    Args:
        problem_type: "regression", "multi_label_classification", or any other for one class per row.
        strength: inverse L2 strength.
        outputs: the number of logits; of a regression the labels decide it.

    >>> model = LinearModel("single_label_classification", strength=1.0, outputs=2)
    >>> model.fit(np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])).logits(np.array([[3.0]])).argmax(1)
    array([1])
    """

    def __init__(self, problem_type: str | None, strength: float, outputs: int):
        self.problem_type, self.strength = problem_type, strength
        self.softness, self.loss = 1.0, np.inf
        self.outputs = outputs
        self.weight, self.bias, self.trainable = np.zeros((self.outputs, 0)), np.zeros(self.outputs), 0

    def fit(self, features: Any, labels: np.ndarray) -> LinearModel:
        """Fit to features and labels.

        Args:
            features: (n, width), dense or sparse; or the same as `Standardised`, which several fits may share.
            labels: (n,) classes or numbers, or (n, outputs) numbers, or 0 and 1 of several labels; NaN is a missing label.
        """
        given = features if isinstance(features, Standardised) else Standardised(features)
        if self.problem_type == "regression":
            self.outputs = 1 if labels.ndim == 1 else labels.shape[1]
        self.weight, self.bias = np.zeros((self.outputs, len(given.scale))), np.zeros(self.outputs)
        self.trainable = 0
        classified = self.problem_type not in ("regression", "multi_label_classification")
        for columns in self._together(labels):
            target = labels if labels.ndim == 1 else labels[:, columns]
            rows = np.flatnonzero(~np.isnan(target.astype(float).reshape(len(target), -1)).any(1))
            if not len(rows):
                continue
            known = given.of(rows)
            classes, weight, bias = self._fitted(known.inputs, target[rows])
            weight = known.own(weight)
            outputs = classes if classified else columns
            if classified:
                self.bias[:] = ABSENT
            if len(weight) == 1 and len(outputs) == 2:  # the log odds of two classes
                weight, bias = np.stack([np.zeros_like(weight[0]), weight[0]]), np.array([0.0, bias[0]])
            self.weight[outputs] = weight
            self.bias[outputs] = bias - weight @ known.mean
        return self

    def _together(self, labels: np.ndarray) -> list[np.ndarray]:
        """The columns of labels that one model is fitted to: all numbers that are known of the same examples, or one label."""
        columns = np.arange(1 if labels.ndim == 1 else labels.shape[1])
        whole = self.problem_type == "regression" and not np.isnan(labels).any()
        return [columns] if whole else [columns[place : place + 1] for place in columns]

    def _fitted(self, inputs: Any, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The classes of a target (n,) or (n, columns), and the weight and the bias of standardised inputs."""
        from sklearn.linear_model import LogisticRegression, Ridge

        if self.problem_type == "regression":
            ridge = Ridge(alpha=1 / self.strength).fit(inputs, target.reshape(len(target), -1))
            weight = ridge.coef_.reshape(-1, inputs.shape[1])
            self.trainable += len(weight) * (self.weight.shape[1] + 1)
            return np.empty(0), weight, np.reshape(ridge.intercept_, -1)
        target = target.reshape(-1)
        classes = np.unique(target.astype(int))
        if len(classes) < 2:  # the logit of this label is constant
            return classes, np.zeros((1, inputs.shape[1])), np.zeros(1)
        model = LogisticRegression(C=self.strength, max_iter=2000).fit(inputs, target.astype(int))
        self.trainable += len(model.coef_) * self.weight.shape[1] + model.intercept_.size
        return classes, model.coef_, model.intercept_

    def logits(self, features: Any) -> np.ndarray:
        """Logits (n, outputs) of features (n, width); a class that training lacked has logit -1000."""
        return np.asarray(features @ self.weight.T) + self.bias


def losses(logits: np.ndarray, labels: np.ndarray, problem_type: str | None) -> np.ndarray:
    """The loss of every example: squared error, or cross-entropy of one class or of several labels.

    Args:
        logits: (n, outputs).
        labels: (n,) numbers or classes, or (n, outputs) numbers, or 0 and 1 of several labels; NaN is a missing label.

    Returns:
        (n,), or (n, outputs) for several labels; without the examples whose class is negative, and NaN for a missing label.

    >>> losses(np.zeros((2, 2)), np.array([0, 1]), "single_label_classification").round(4)
    array([0.6931, 0.6931])
    """
    if problem_type == "regression":
        return np.asarray((logits - labels.reshape(len(labels), -1)) ** 2).reshape(labels.shape)
    if problem_type == "multi_label_classification":
        return np.asarray(np.logaddexp(0, logits) - labels * logits)
    logits, labels = logits[labels >= 0], labels[labels >= 0]
    top = logits.max(1, keepdims=True)
    log_norm = np.log(np.exp(logits - top).sum(1)) + top[:, 0]
    return np.asarray(log_norm - logits[np.arange(len(logits)), labels.astype(int)])


def mean_loss(logits: np.ndarray, labels: np.ndarray, problem_type: str | None) -> float:
    """The mean of `losses`, without missing ones.

    >>> round(mean_loss(np.zeros((2, 2)), np.array([0, 1]), "single_label_classification"), 4)
    0.6931
    """
    return float(np.nanmean(losses(logits, labels, problem_type)))


def rescaled_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """The loss of several labels with the best factor of all logits, if the mean of each label's logits is its log odds.

    The factor is from 1/1024 to 1024. What remains in the loss is how well the logits order the rows.

    Args:
        logits: (n, labels).
        labels: (n, labels) with 0, 1 or NaN.

    >>> logits, labels = np.array([[-8.0], [8.0], [8.0]]), np.array([[0.0], [1.0], [0.0]])
    >>> rescaled_loss(logits, labels) < mean_loss(logits, labels, "multi_label_classification")
    True
    """
    deviations, odds = logits - logits.mean(0, keepdims=True), _log_odds(labels)
    factors = 2.0 ** np.arange(-10, 10.5, 0.5)
    return min(mean_loss(odds + factor * deviations, labels, "multi_label_classification") for factor in factors)


def _log_odds(labels: np.ndarray) -> np.ndarray:
    """The log odds (labels,) of labels (n, labels) with 0, 1 or NaN; 0 for a label that is never known."""
    known = ~np.isnan(labels)
    share = np.where(known, labels, 0.0).sum(0) / known.sum(0).clip(1)
    share = np.where(known.any(0), share, 0.5).clip(1e-6, 1 - 1e-6)
    odds: np.ndarray = np.log(share / (1 - share))
    return odds


def softness(model: LinearModel, features: np.ndarray, labels: np.ndarray) -> float:
    """The factor of a classifier's logits at which its training loss is at least `SOFT` times that of the classes' frequencies.

    A linear model of many features fits few examples so well that nothing is left for an input transform to learn from: its
    gradient is almost zero, and Adam turns what remains into steps of full size. A factor of all logits changes no decision.

    Args:
        model: the fitted model.
        features, labels: what it was fitted to.

    Returns:
        A number above 0 and at most 1; 1 for a regression.

    >>> rows, classes = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
    >>> model = LinearModel("single_label_classification", strength=100.0, outputs=2).fit(rows, classes)
    >>> factor = softness(model, rows, classes)
    >>> round(mean_loss(factor * model.logits(rows), classes, "single_label_classification") / float(np.log(2)), 3)
    0.7
    """
    problem = model.problem_type
    if problem == "regression" or not len(labels):
        return 1.0
    logits = model.logits(features)
    if problem == "multi_label_classification":
        frequent = np.broadcast_to(_log_odds(labels), logits.shape)
    else:
        counts = np.bincount(labels[labels >= 0].astype(int), minlength=logits.shape[1])
        frequent = np.broadcast_to(np.log(counts.clip(1e-9)), logits.shape)
    least = SOFT * mean_loss(frequent, labels, problem)
    low, high = 0.0, 1.0
    if mean_loss(logits, labels, problem) >= least:
        return high
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if mean_loss(middle * logits, labels, problem) < least else (middle, high)
    return max(low, 1e-3)


def best_strength(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray] | None,
    problem_type: str | None,
    outputs: int,
    strengths: Sequence[float] = STRENGTHS,
) -> LinearModel:
    """The linear model whose strength has the smallest loss on validation.

    Strengths are tried from the smallest, up to where the loss rose twice in a row. The loss of several labels is
    `rescaled_loss`: where most labels are rare, the plain loss wants almost constant logits, and says little about how they
    order the rows.

    Args:
        train: features (n, width) and labels.
        validation: the same; None to divide the training data into folds instead.
        problem_type, outputs: as for `LinearModel`.
        strengths: inverse L2 strengths.

    >>> rows, classes = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
    >>> best_strength((rows, classes), (rows, classes), "single_label_classification", 2, [1e-4, 10.0]).strength
    10.0
    """
    prepared = (Standardised(train[0]), train[1])
    if validation is not None:
        folds = [(prepared, validation)]
    else:
        folds = [((Standardised(rows), labels), held) for (rows, labels), held in _folds(*train, problem_type)]
    best, rises = (np.inf, min(strengths)), 0

    def measure(model: LinearModel, rows: np.ndarray, labels: np.ndarray) -> float:
        logits = model.logits(rows)
        several = problem_type == "multi_label_classification"
        return rescaled_loss(logits, labels) if several else mean_loss(logits, labels, problem_type)

    for strength in sorted(strengths) if folds else ():
        losses = [measure(LinearModel(problem_type, strength, outputs).fit(*fit), *held) for fit, held in folds]
        loss = float(np.mean(losses))
        rises = 0 if loss < best[0] else rises + 1
        best = min(best, (loss, strength))
        if rises == 2:
            break
    chosen = LinearModel(problem_type, best[1], outputs).fit(*prepared)
    chosen.loss = best[0]
    return chosen


def _folds(features: np.ndarray, labels: np.ndarray, problem_type: str | None) -> Iterator[tuple[Any, Any]]:
    """Five folds, fewer where a class has fewer examples; none where there are too few examples.

    Where an example has several numbers, as in a forecast, the folds are consecutive blocks: its neighbours overlap with it.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    classes = problem_type not in ("regression", "multi_label_classification")
    count = min(5, int(np.unique(labels, return_counts=True)[1].min()) if classes else len(labels) // 2)
    if count < 2:
        return
    blocks = problem_type == "regression" and labels.ndim == 2
    splitter = KFold(count) if blocks else (StratifiedKFold if classes else KFold)(count, shuffle=True, random_state=0)
    for fit, held in splitter.split(features, labels if classes else None):
        yield (features[fit], labels[fit]), (features[held], labels[held])
