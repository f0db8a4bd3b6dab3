"""Scores as pure functions of arrays or tensors. They return float64 (n,), and a larger score means more OOD.

Papers write most of them as confidences, which are negated here. Below, z are the logits (n, classes), p their softmax, and x
the features (n, width). The computation is in float64 and in blocks of rows, so that memory stays small. All functions raise
`InputError` for empty input, NaN, infinities, shapes that do not match, and options out of range.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import BLOCK, Floats, in_blocks, linear, matrix, number, same, squarable, unit, vector, whole
from ..errors import InputError

OF_FEATURES = ("knn", "mahalanobis", "relative_mahalanobis", "vim", "react")  # these and `mcm`; the others take logits


def _shifted(values: Floats, temperature: float = 1.0) -> tuple[Floats, Floats]:
    """The largest value of each row (n, 1), and (values - largest) / temperature, of which none is above 0."""
    largest: Floats = values.max(1, keepdims=True)
    with np.errstate(over="ignore"):  # to -inf, of which the exponential is the 0 that it should be
        shifted: Floats = values - largest if temperature == 1 else (values - largest) / temperature
    return largest, shifted


def _log_sum_exp(values: Floats, temperature: float = 1.0) -> Floats:
    """T log sum exp(values / T) over the last axis, kept: (n, 1)."""
    largest, shifted = _shifted(values, temperature)
    total: Floats = np.exp(shifted).sum(1, keepdims=True)
    return largest + temperature * np.log(total)


def _log_softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Log p (n, classes), as exact for large logits as for small ones."""
    _, shifted = _shifted(logits, temperature)
    total: Floats = np.exp(shifted).sum(1, keepdims=True)
    return shifted - np.log(total)


# ------------------------------------------------------------------------------------------------------------ logits


@in_blocks("logits")
def msp(logits: Any, temperature: float = 1.0) -> Floats:
    """Maximum softmax probability, negated: -max p (Hendrycks & Gimpel 2017, arXiv 1610.02136).

    Args:
        logits: (n, classes).
        temperature: T > 0 in softmax(z / T); 1 in the paper.

    Returns:
        (n,) in [-1, -1 / classes]. If the largest logit is more than 36 above the others, the score is -1; `max_logit` and
        `energy` separate such samples.

    >>> msp([[0.0, 0.0]]).tolist()
    [-0.5]
    """
    likeliest: Floats = _log_softmax(logits, number(temperature, "temperature", 0, open_low=True)).max(1)
    return -np.exp(likeliest)


@in_blocks("logits")
def max_logit(logits: Any) -> Floats:
    """Largest logit, negated: -max z (Hendrycks et al. 2022, arXiv 1911.11132). Logits (n, classes).

    >>> max_logit([[1.0, 3.0]]).tolist()
    [-3.0]
    """
    largest: Floats = logits.max(1)
    return -largest


@in_blocks("logits")
def energy(logits: Any, temperature: float = 1.0) -> Floats:
    """Free energy -T log sum exp(z / T) (Liu et al. 2020, arXiv 2010.03759).

    Args:
        logits: (n, classes).
        temperature: T > 0; 1 in the paper.

    >>> energy([[0.0, 0.0]]).round(4).tolist()
    [-0.6931]
    """
    return -_log_sum_exp(logits, number(temperature, "temperature", 0, open_low=True))[:, 0]


@in_blocks("logits")
def entropy(logits: Any) -> Floats:
    """Shannon entropy of the softmax, -sum p log p, in nats: in [0, log(classes)]. Logits (n, classes).

    >>> entropy([[0.0, 0.0]]).round(4).tolist()
    [0.6931]
    """
    log_p = _log_softmax(logits)
    total: Floats = (np.exp(log_p) * log_p).sum(1)
    return -total


@in_blocks("logits")
def margin(logits: Any) -> Floats:
    """Difference of the two largest probabilities, negated: p_2nd - p_1st in [-1, 0] (Scheffer et al. 2001).

    Logits (n, classes) of at least 2 classes.

    >>> margin([[2.0, 2.0, 0.0]]).tolist()
    [0.0]
    """
    if logits.shape[1] < 2:
        raise InputError("A margin is between two classes, but the logits have one: give at least two.")
    largest: Floats = np.partition(_log_softmax(logits), -2, axis=1)[:, -2:]
    second, first = largest[:, 0], largest[:, 1]
    return np.exp(first) * np.expm1(second - first)


@in_blocks("logits")
def generalized_entropy(logits: Any, gamma: float = 0.1, top: int = 100) -> Floats:
    """GEN: sum over the `top` largest probabilities of p^gamma (1 - p)^gamma (Liu, Lochman & Zach 2023, CVPR).

    1 - p of the most likely class is computed as the sum of the others, so that confident samples are not rounded to 0.

    Args:
        logits: (n, classes).
        gamma: in (0, 1]; 0.1 in the paper.
        top: M, the number of classes that count; all classes if there are fewer. 100 in the paper, for ImageNet.

    >>> confident, unsure = generalized_entropy([[9.0, 0.0], [0.0, 0.0]])
    >>> bool(unsure > confident)
    True
    """
    gamma, top = number(gamma, "gamma", 0, 1, open_low=True), whole(top, "top", 1)
    log_p = -np.sort(-_log_softmax(logits), axis=1)  # descending
    if log_p.shape[1] == 1:
        return np.zeros(len(log_p))
    others = _log_sum_exp(log_p[:, 1:])  # log(1 - p) of the first
    log_rest = np.concatenate([others, np.log(-np.expm1(log_p[:, 1:top]))], axis=1)
    total: Floats = np.exp(gamma * (log_p[:, :top] + log_rest)).sum(1)
    return total


# ---------------------------------------------------------------------------------------------------------- features


@in_blocks("image features")
def mcm(image_features: Any, text_features: Any, temperature: float = 1.0) -> Floats:
    """Maximum concept matching, negated: -max softmax(cos(x, t) / T) (Ming et al. 2022, arXiv 2211.13445).

    Args:
        image_features: (n, width).
        text_features: (classes, width), with one row per class name. Features need not be normalised; none may be zero.
        temperature: T > 0; 1 in the paper, which is not the scale the model was trained with.

    >>> like, unlike = mcm([[1.0, 0.0], [1.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]])
    >>> bool(unlike > like)
    True
    """
    texts = matrix(text_features, "text features")
    same(image_features.shape[1], texts.shape[1], "The width of image features", "that of text features")
    return msp(unit(image_features, "image features") @ unit(texts, "text features").T, temperature)


def knn(features: Any, train_features: Any, k: int = 50) -> Floats:
    """Euclidean distance to the k-th nearest training sample, all of norm one (Sun et al. 2022, arXiv 2204.06507).

    The distances are exact, as in the paper with its whole training set, and are computed for one block of samples at a time.

    Args:
        features: (n, width), no row zero.
        train_features: (n_train, width) of ID samples, no row zero.
        k: from 1 to n_train; 50 in the paper for CIFAR-10, 1000 for ImageNet.

    Returns:
        (n,) in [0, 2].

    >>> knn([[2.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], k=1).tolist()
    [0.0]
    """
    points, train = (
        unit(matrix(rows, name), name) for rows, name in ((features, "features"), (train_features, "training features"))
    )
    same(points.shape[1], train.shape[1], "The width of features", "that of training features")
    whole(k, "k", 1, len(train))
    distances = np.empty(len(points))
    size = max(1, BLOCK // len(train))
    for start in range(0, len(points), size):
        block = points[start : start + size]
        kth = np.argpartition(block @ train.T, len(train) - k, axis=1)[:, len(train) - k]
        distances[start : start + size] = np.linalg.norm(
            block - train[kth], axis=1
        )  # no cancellation where it is small
    return distances


@in_blocks("features")
def mahalanobis(features: Any, means: Any, precision: Any) -> Floats:
    """Squared Mahalanobis distance to the nearest class mean, min_c (x - m_c)' P (x - m_c) (Lee et al. 2018, arXiv 1807.03888).

    This is the paper's confidence of one layer, negated, without its perturbation of the input and its regression over layers.

    Args:
        features: (n, width).
        means: (classes, width) of the training features.
        precision: (width, width), symmetric: the inverse of the covariance that all classes share.

    >>> mahalanobis([[2.0]], means=[[0.0], [5.0]], precision=[[1.0]]).tolist()
    [4.0]
    """
    centres, precision = squarable(matrix(means, "means"), "means"), matrix(precision, "precision")
    squarable(features, "features")
    width = centres.shape[1]
    same(features.shape[1], width, "The width of features", "that of means")
    if precision.shape != (width, width):
        raise InputError(
            f"The precision has the shape {precision.shape}: give ({width}, {width}), as wide as the means."
        )
    middle = centres.mean(0)  # off which both are taken before squares are expanded
    weighted = (centres - middle) @ precision
    nearest = (((centres - middle) * weighted).sum(1) - 2 * (features - middle) @ weighted.T).argmin(1)
    offset = features - centres[nearest]
    squares: Floats = ((offset @ precision) * offset).sum(1)
    return np.maximum(squares, 0)


def relative_mahalanobis(
    features: Any, means: Any, precision: Any, background_mean: Any, background_precision: Any
) -> Floats:
    """Mahalanobis distance minus that to one Gaussian of all training data (Ren et al. 2021, arXiv 2106.09022).

    min_c (x - m_c)' P (x - m_c) - (x - m_0)' P_0 (x - m_0), which may be negative.

    Args:
        features, means, precision: as for `mahalanobis`.
        background_mean: (width,), m_0.
        background_precision: (width, width), P_0.

    >>> relative_mahalanobis([[2.0]], [[0.0], [5.0]], [[1.0]], [1.0], [[1.0]]).tolist()
    [3.0]
    """
    mean = vector(background_mean, "background mean")[None]
    return mahalanobis(features, means, precision) - mahalanobis(features, mean, background_precision)


@in_blocks("features")
def vim(features: Any, weight: Any, bias: Any, origin: Any, residual: Any, alpha: float) -> Floats:
    """Virtual-logit matching: alpha |R'(x - o)| - log sum exp(z), z = W x + b (Wang et al. 2022, arXiv 2203.10807).

    The paper's score is the softmax probability of an added class with logit v = alpha |R'(x - o)|. That is the logistic
    function of this score, which orders samples in the same way and is not rounded to 0 or 1.

    Args:
        features: (n, width), the input of the last layer.
        weight: (classes, width) of that layer.
        bias: (classes,), or None.
        origin: (width,), o.
        residual: (width, r), orthonormal columns R off the principal subspace of the training features.
        alpha: at least 0.

    >>> vim([[1.0, 2.0]], [[1.0, 0.0]], None, origin=[0.0, 0.0], residual=[[0.0], [1.0]], alpha=1.0).tolist()
    [1.0]
    """
    basis, centre = matrix(residual, "residual"), vector(origin, "origin")
    squarable(features, "features")
    same(len(centre), features.shape[1], "The width of the origin", "that of features")
    same(len(basis), features.shape[1], "The number of rows of the residual", "the width of features")
    virtual: Floats = number(alpha, "alpha", 0) * np.linalg.norm((features - centre) @ basis, axis=1)
    return virtual + energy(linear(features, weight, bias))


@in_blocks("features")
def react(features: Any, weight: Any, bias: Any, threshold: float, temperature: float = 1.0) -> Floats:
    """Energy of the logits of clipped activations, z = W min(x, c) + b (Sun et al. 2021, arXiv 2111.12797).

    Args:
        features: (n, width), the input of the last layer.
        weight: (classes, width) of that layer.
        bias: (classes,), or None.
        threshold: c; the paper takes the 90th percentile of the activations of ID samples.
        temperature: of the energy.

    >>> react([[9.0]], weight=[[1.0]], bias=None, threshold=2.0).tolist()
    [-2.0]
    """
    number(threshold, "threshold", -np.inf)
    return energy(linear(np.minimum(features, threshold), weight, bias), temperature)
