"""Which source labels stand for which target class: every way to decide, as pure functions on the source's responses.

    response(t, s) = mean over examples of class t of P_source(s | x)          (classes, source labels)

Sets are arrays (classes, m): row t holds the m source labels of class t, no label twice. The Bayesian maps are matrices
(classes, source labels) of weights that sum to one in every row, of which a set with equal weights is a special case.

Sources: frequency, Tsai et al. 2020 (arXiv 2007.08714); optimal, by the Hungarian algorithm on the same response; iterative,
Chen et al. 2023 (ILM-VP, arXiv 2211.11635), which is frequency fitted again in every epoch; Bayesian, Cai et al. 2024
(arXiv 2410.24018); similarity, Yen et al. 2021 (arXiv 2110.03894). ILM-VP counts the source's first guesses where we average
its probabilities: labels that are never the first guess then still have an order.
"""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from ..options import check_whole


def labels_per_class(num_labels: int, width: int, asked: int | None = None) -> int:
    """m, the source labels a class: by default min(10, source labels / classes).

    Raises:
        InputError: there are fewer source labels than that takes.
    """
    if asked is not None:
        check_whole(labels_per_class=asked)
    each = min(10, width // num_labels) if asked is None else asked
    if each < 1 or num_labels * each > width:
        raise InputError(
            f"{num_labels} classes with {max(each, 1)} source labels each need {num_labels * max(each, 1)}, but the source "
            f"has {width}: use a source with more labels, or a dense mapping."
        )
    return each


def check_sets(sets: list[list[int]], num_labels: int, width: int) -> None:
    """Raise `InputError` unless every class has source labels, of 0 to width - 1, and no label stands for two."""
    labels = [label for group in sets for label in group]
    if len(sets) != num_labels or not all(sets):
        raise InputError(
            f"The label map names source labels for {sum(map(bool, sets))} of {num_labels} classes: give at least one for "
            "each in assignment, or say in how to find them."
        )
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise InputError(f"The label map uses the source label {twice} twice: its sets must not overlap.")
    outside = [label for label in labels if type(label) is not int or not 0 <= label < width]
    if outside:
        raise InputError(f"The label map names {outside[0]!r}, a source label outside 0 to {width - 1}: give others.")


def response(probabilities: np.ndarray, labels: np.ndarray, num_labels: int) -> np.ndarray:
    """Mean source probabilities of every class (num_labels, K_S); zeros for a class without examples.

    Args:
        probabilities: (n, K_S) of the source, for the target's examples.
        labels: (n,) target classes.
        num_labels: target classes.
    """
    means = np.zeros((num_labels, probabilities.shape[1]))
    for label in np.unique(labels):
        means[label] = probabilities[labels == label].mean(0, dtype=np.float64)
    return means


def random_sets(num_labels: int, width: int, each: int, seed: int = 0) -> np.ndarray:
    """Sets drawn without overlap."""
    return np.random.default_rng(seed).permutation(width)[: num_labels * each].reshape(num_labels, each)


def identity_sets(num_labels: int, width: int, each: int = 1) -> np.ndarray:
    """Class t is the source labels t m, ..., t m + m - 1."""
    return np.arange(num_labels * each).reshape(num_labels, each)


def frequency_sets(scores: np.ndarray, each: int) -> np.ndarray:
    """Greedy: pairs of class and source label from the largest score to the smallest, each taken if both have room.

    Args:
        scores: (classes, K_S), a response.
        each: m.
    """
    num_labels, width = scores.shape
    sets = np.full((num_labels, each), -1)
    filled = np.zeros(num_labels, dtype=int)
    free = np.ones(width, dtype=bool)
    for flat in np.argsort(-scores, axis=None, kind="stable"):
        label, source = divmod(int(flat), width)
        if free[source] and filled[label] < each:
            sets[label, filled[label]] = source
            filled[label] += 1
            free[source] = False
            if filled.sum() == num_labels * each:
                break
    return sets


def optimal_sets(scores: np.ndarray, each: int) -> np.ndarray:
    """The sets with the largest total score: the Hungarian algorithm, every class standing m times.

    Source labels stand in the rows: SciPy then takes a fifth to a half of the time where every label is used.
    """
    from scipy.optimize import linear_sum_assignment

    sources, places = linear_sum_assignment(np.repeat(scores, each, axis=0).T, maximize=True)
    sets = sources[np.argsort(places)].reshape(len(scores), each)
    order = np.argsort(-np.take_along_axis(scores, sets, 1), axis=1, kind="stable")
    return np.take_along_axis(sets, order, 1)


def bayesian_weights(probabilities: np.ndarray, labels: np.ndarray, num_labels: int) -> np.ndarray:
    """BLM: P(t | s) from counts of the source's predictions with one example smoothed in, then weights of one a class.

    Args:
        probabilities: (n, K_S) of the source.
        labels: (n,) target classes.
        num_labels: target classes.

    Returns:
        (num_labels, K_S), rows that sum to one.
    """
    predicted = probabilities.argmax(1)[:, None]
    return _posterior(predicted, np.ones_like(predicted), labels, (num_labels, probabilities.shape[1]))


def bayesian_plus_weights(
    probabilities: np.ndarray, labels: np.ndarray, num_labels: int, share: float = 0.15
) -> np.ndarray:
    """BLM+: as BLM, from the probabilities of each example's most probable source labels instead of its one prediction.

    Args:
        probabilities, labels, num_labels: as for `bayesian_weights`.
        share: how many source labels count for an example, as a share of the number of target classes; at least one.
    """
    top = max(1, int(share * num_labels))
    kept = np.argpartition(-probabilities, top - 1, axis=1)[:, :top]
    mass = np.take_along_axis(probabilities, kept, 1)
    return _posterior(kept, mass, labels, (num_labels, probabilities.shape[1]))


def _posterior(sources: np.ndarray, mass: np.ndarray, labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Weights (classes, K_S) from the mass (n, k) that each example gives to k source labels (n, k)."""
    pairs = labels[:, None] * shape[1] + sources
    joint = np.bincount(pairs.ravel(), mass.ravel(), minlength=shape[0] * shape[1]).reshape(shape)
    given_source = joint / (joint.sum(0, keepdims=True) + 1)
    total = given_source.sum(1, keepdims=True)
    uniform = np.full(shape, 1 / shape[1])  # a class that was never seen weighs all labels alike
    return np.where(total > 0, given_source / np.where(total > 0, total, 1), uniform)


def similarity_sets(target: np.ndarray, source: np.ndarray, most: int) -> list[list[int]]:
    """Every source label joins the class whose mean it is nearest to by cosine, at most so many a class.

    Labels choose in the order of their largest cosine, and go to the next nearest class that has room; a class that
    nobody chose takes the nearest label of a class that has more than one.

    Args:
        target: (classes, width), means of the penultimate features of each class.
        source: (K_S, width), of each source label.
        most: labels a class, as 2 or 3 in the paper.
    """
    if len(source) < len(target):
        raise InputError(f"{len(target)} classes need as many source labels, but there are {len(source)}.")
    cosine = _unit(target) @ _unit(source).T
    sets: list[list[int]] = [[] for _ in target]
    for label in np.argsort(-cosine.max(0), kind="stable"):
        for near in np.argsort(-cosine[:, label], kind="stable"):
            if len(sets[near]) < most:
                sets[near].append(int(label))
                break
    for empty in (t for t, chosen in enumerate(sets) if not chosen):
        spare = [
            (cosine[empty, label], t, label) for t, chosen in enumerate(sets) if len(chosen) > 1 for label in chosen
        ]
        _, giver, label = max(spare)
        sets[giver].remove(label)
        sets[empty].append(label)
    return [sorted(chosen) for chosen in sets]


def _unit(rows: np.ndarray) -> np.ndarray:
    unit: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit


def weights_of(sets: np.ndarray | list[list[int]], width: int) -> np.ndarray:
    """Sets as a matrix (classes, K_S): the mean over each set."""
    weights = np.zeros((len(sets), width))
    for label, chosen in enumerate(sets):
        weights[label, list(chosen)] = 1 / len(chosen)
    return weights
