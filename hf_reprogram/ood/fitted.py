"""Scores that need training data: `fit` computes statistics of it, and `score` gives them to a function of `scores`.

    detector = Mahalanobis().fit(train_features, train_labels)
    detector.score(features)                                   # (n,), a larger score means more OOD

The fitted values are plain arrays in attributes with a trailing underscore; they are copies. Training data are ID samples only.
Labels are class names or indices (n,); classes that do not need them ignore them. All numbers are float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import Array, linear, matrix, number, plain, same, squarable, unit, vector, whole
from ..errors import InputError
from . import scores


def _fitted(detector: Any, attribute: str) -> Any:
    value = getattr(detector, attribute, None)
    if value is None:
        raise InputError(f"{type(detector).__name__} has not been fitted: call fit(features) with ID samples first.")
    return value


class KNN:
    """Distance to the k-th nearest training sample; see `scores.knn`.

    Attributes:
        features_: (n_train, width), a copy.

    >>> KNN(k=1).fit([[1.0, 0.0], [0.0, 1.0]]).score([[2.0, 0.0]]).tolist()
    [0.0]
    """

    def __init__(self, k: int = 50):
        """Set k, from 1 to the number of training samples."""
        self.k = k

    def fit(self, features: Any, labels: Any = None) -> KNN:
        """Keep the training features (n_train, width), no row zero; labels are ignored."""
        rows = matrix(features, "training features")
        whole(self.k, "k", 1, len(rows))
        unit(rows, "training features")  # raises for rows that `score` cannot use
        self.features_ = rows.copy()
        return self

    def score(self, features: Any) -> Array:
        """Distances (n,) of features (n, width)."""
        return scores.knn(features, _fitted(self, "features_"), self.k)


class Mahalanobis:
    """Squared distance to the nearest class mean under the covariance that classes share; see `scores.mahalanobis`.

    The covariance is (1/n) sum_c sum_{i in c} (x_i - m_c)(x_i - m_c)'. Its inverse is the pseudo-inverse:
    directions in which the training features do not vary, up to rounding, are ignored. Shrinkage s replaces the covariance C by
    (1 - s) C + s tr(C) / width I, with which every direction counts.

    Attributes:
        means_: (classes, width).
        precision_: (width, width).

    >>> detector = Mahalanobis().fit([[0.0], [2.0], [4.0], [6.0]], ["a", "a", "b", "b"])
    >>> detector.score([[1.0], [8.0]]).tolist()
    [0.0, 9.0]
    """

    def __init__(self, shrinkage: float = 0.0):
        """Set the shrinkage s, in [0, 1]; it is 0 in the paper."""
        self.shrinkage = shrinkage

    def fit(self, features: Any, labels: Any = None) -> Mahalanobis:
        """Fit the class means and the shared covariance of features (n_train, width); without labels there is one class."""
        rows = squarable(matrix(features, "training features"), "training features")
        groups = _groups(labels, len(rows))
        means = np.stack([rows[groups == group].mean(0) for group in range(groups.max() + 1)])
        covariance = np.zeros((rows.shape[1], rows.shape[1]))
        for group, mean in enumerate(means):
            centred = rows[groups == group] - mean
            covariance += centred.T @ centred
        self.precision_ = _inverse(covariance / len(rows), number(self.shrinkage, "shrinkage", 0, 1))
        self.means_ = means
        return self

    def score(self, features: Any) -> Array:
        """Squared distances (n,) of features (n, width)."""
        return scores.mahalanobis(features, _fitted(self, "means_"), self.precision_)


class RelativeMahalanobis:
    """Mahalanobis distance minus that to one Gaussian of all training data; see `scores.relative_mahalanobis`.

    Attributes:
        classes_: the `Mahalanobis` that was fitted with labels.
        background_: the `Mahalanobis` that was fitted without labels.

    >>> detector = RelativeMahalanobis().fit([[0.0], [2.0], [4.0], [6.0]], ["a", "a", "b", "b"])
    >>> detector.score([[1.0]]).round(3).tolist()
    [-0.8]
    """

    def __init__(self, shrinkage: float = 0.0):
        """Set the shrinkage of both covariances, in [0, 1]; it is 0 in the paper."""
        self.shrinkage = shrinkage

    def fit(self, features: Any, labels: Any = None) -> RelativeMahalanobis:
        """Fit both to features (n_train, width) and labels (n_train,) of at least two classes."""
        if labels is None or len(np.unique(_classes(labels))) < 2:
            raise InputError(
                "RelativeMahalanobis compares each class with all data: give labels of at least two classes."
            )
        self.classes_ = Mahalanobis(self.shrinkage).fit(features, labels)
        self.background_ = Mahalanobis(self.shrinkage).fit(features)
        return self

    def score(self, features: Any) -> Array:
        """Scores (n,) of features (n, width)."""
        classes: Mahalanobis = _fitted(self, "classes_")
        mean, precision = self.background_.means_[0], self.background_.precision_
        return scores.relative_mahalanobis(features, classes.means_, classes.precision_, mean, precision)


class ViM:
    """Virtual-logit matching over a linear last layer; see `scores.vim`.

    The origin is o = -W^+ b, where the logits vanish (or nearly, in least squares, with more classes than features). The
    principal subspace is spanned by the `dim` leading eigenvectors of (X - o)'(X - o), the residual by the others, and
    alpha = sum max z / sum |R'(x - o)| over the training features X.

    Attributes:
        weight_, bias_: of the last layer, copies.
        origin_: (width,).
        residual_: (width, width - dim).
        alpha_: a number.

    >>> features = [[1.0, 0.1], [2.0, -0.1], [3.0, 0.1]]
    >>> detector = ViM(weight=[[1.0, 0.0], [0.5, 0.0]], dim=1).fit(features)
    >>> typical, unusual = detector.score([[2.0, 0.0], [2.0, 5.0]])
    >>> bool(unusual > typical)
    True
    """

    def __init__(self, weight: Any, bias: Any = None, dim: int | None = None):
        """Take a last layer.

        Args:
            weight: (classes, width).
            bias: (classes,), or None.
            dim: width of the principal subspace, less than `width`. By default that of the authors' code:
                1000 for features of width 2048 or more and 512 for others, but half the width for 512 or less, for which
                theirs leaves no residual.
        """
        self.weight, self.bias, self.dim = weight, bias, dim

    def fit(self, features: Any, labels: Any = None) -> ViM:
        """Fit to features (n_train, width); labels are ignored."""
        rows = squarable(matrix(features, "training features"), "training features")
        weight = matrix(self.weight, "weight").copy()
        width = rows.shape[1]
        logits = linear(rows, weight, self.bias)
        dim = whole(_usual_dim(width) if self.dim is None else self.dim, "dim", 0, width - 1)
        bias = np.zeros(len(weight)) if self.bias is None else vector(self.bias, "bias").copy()
        origin = -np.linalg.pinv(weight) @ bias
        centred = rows - origin
        values, vectors = np.linalg.eigh(centred.T @ centred)  # ascending
        residual = vectors[:, : width - dim]
        if values[: width - dim].sum() <= _noise(values):
            raise InputError(
                f"The training features do not leave a subspace of dim={dim}: give more samples or a smaller dim."
            )
        alpha = logits.max(1).sum() / np.linalg.norm(centred @ residual, axis=1).sum()
        if alpha <= 0:
            raise InputError(f"The largest logits have the mean {logits.max(1).mean():.3g}: ViM needs a positive one.")
        self.weight_, self.bias_ = weight, bias
        self.origin_, self.residual_, self.alpha_ = origin, residual, float(alpha)
        return self

    def score(self, features: Any) -> Array:
        """Scores (n,) of features (n, width)."""
        residual = _fitted(self, "residual_")
        return scores.vim(features, self.weight_, self.bias_, self.origin_, residual, self.alpha_)


class ReAct:
    """Energy after clipping activations at a percentile of theirs on ID samples; see `scores.react`.

    Attributes:
        weight_, bias_: copies of the weight and the bias of the last layer; without a bias zeros.
        threshold_: c, the percentile over all activations of all training samples.

    >>> detector = ReAct(weight=[[1.0], [0.0]], percentile=100).fit([[1.0], [2.0]])
    >>> low, high = detector.score([[2.0], [50.0]])
    >>> bool(low == high)
    True
    """

    def __init__(self, weight: Any, bias: Any = None, percentile: float = 90.0, temperature: float = 1.0):
        """Take a last layer.

        Args:
            weight: (classes, width).
            bias: (classes,), or None.
            percentile: in [0, 100]; 90 in the paper. 100 clips beyond what training had, and is not the plain energy.
            temperature: of the energy.
        """
        self.weight, self.bias, self.percentile, self.temperature = weight, bias, percentile, temperature

    def fit(self, features: Any, labels: Any = None) -> ReAct:
        """Fit to features (n_train, width), the activations that the last layer takes; labels are ignored."""
        rows = matrix(features, "training features")
        linear(rows[:1], self.weight, self.bias)  # raises if the shapes do not match
        self.weight_ = matrix(self.weight, "weight").copy()
        self.bias_ = np.zeros(len(self.weight_)) if self.bias is None else vector(self.bias, "bias").copy()
        self.threshold_ = float(np.percentile(rows, number(self.percentile, "percentile", 0, 100)))
        return self

    def score(self, features: Any) -> Array:
        """Energies (n,) of features (n, width)."""
        threshold = _fitted(self, "threshold_")
        return scores.react(features, self.weight_, self.bias_, threshold, self.temperature)


def _usual_dim(width: int) -> int:
    return 1000 if width >= 2048 else 512 if width > 512 else width // 2


def _classes(labels: Any) -> Array:
    """Class names or indices (n,), none of them missing."""
    if str(dtype := getattr(labels, "dtype", "")) in ("torch.bfloat16", "torch.float16", "float16"):
        raise InputError(f"The labels are of dtype {dtype}, which rounds class indices: give whole numbers or names.")
    classes = np.asarray(plain(labels, "labels"))
    if classes.ndim != 1:
        raise InputError(f"The labels have the shape {classes.shape}: give one class per sample.")
    if classes.dtype.kind == "O" or classes.dtype.kind == "f":
        from pandas import isna

        missing = np.flatnonzero(isna(classes) | (np.isinf(classes) if classes.dtype.kind == "f" else False))
        if len(missing):
            raise InputError(f"The label of sample {missing[0]} is missing: leave samples without a class out.")
    if len(kinds := {type(value).__name__ for value in classes.tolist()}) > 1:
        raise InputError(
            f"The labels are of several types, {' and '.join(sorted(kinds))}: give names or numbers alone."
        )
    return classes


def _groups(labels: Any, count: int) -> Array:
    """Class (count,) of each sample, from 0."""
    if labels is None:
        return np.zeros(count, dtype=np.int64)
    classes = _classes(labels)
    same(len(classes), count, "The number of labels", "that of training features")
    return np.unique(classes, return_inverse=True)[1]


def _noise(eigenvalues: Array) -> float:
    """The size of an eigenvalue that is zero except for rounding."""
    return float(np.abs(eigenvalues).max() * len(eigenvalues) * np.finfo(np.float64).eps)


def _inverse(covariance: Array, shrinkage: float) -> Array:
    """Pseudo-inverse of a covariance (width, width), shrunk towards a multiple of the identity."""
    width = len(covariance)
    shrunk = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / width * np.eye(width)
    values, vectors = np.linalg.eigh(shrunk)
    if values[-1] <= 0:
        raise InputError("The training features do not vary within their classes: give more samples of each class.")
    kept = values > _noise(values)
    inverse: Array = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
    return inverse
