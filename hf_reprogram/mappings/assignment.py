"""Functions that decide which source labels stand for which target class. They are pure functions of arrays.

    response(t, s) = mean over the examples x of class t of P_source(s | x)          (classes, source labels)

K_S is the number of source labels, and m the number of source labels per class. Sets are arrays (classes, m): row t holds the
m source labels of class t, and no label occurs twice. The Bayesian maps are matrices (classes, K_S) of weights. Every row sums
to one, so a set with equal weights is a special case.

Sources: frequency is from Tsai et al. 2020 (arXiv 2007.08714). The optimal sets apply the Hungarian algorithm to the same
response. The iterative map of Chen et al. 2023 (ILM-VP, arXiv 2211.11635) fits the frequency map again in every epoch. The
Bayesian maps are from Cai et al. 2024 (arXiv 2410.24018), and similarity is from Yen et al. 2021 (arXiv 2110.03894). ILM-VP
counts how often a label is the source's most probable one. We average probabilities, so that labels which are never the most
probable are ranked too.
"""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from ..options import check_whole


def labels_per_class(num_labels: int, width: int, requested: int | None = None) -> int:
    """The number m of source labels per class; by default min(10, width // num_labels).

    Args:
        num_labels: the number of target classes.
        width: the number of source labels, K_S.
        requested: the m to check; None for the default.

    Raises:
        InputError: the source has fewer than num_labels * m labels.

    >>> labels_per_class(num_labels=2, width=1000), labels_per_class(num_labels=2, width=12)
    (10, 6)
    """
    if requested is not None:
        check_whole(labels_per_class=requested)
    each = min(10, width // num_labels) if requested is None else requested
    if each < 1 or num_labels * each > width:
        raise InputError(
            f"{num_labels} classes with {max(each, 1)} source labels each need {num_labels * max(each, 1)}, but the source "
            f"has {width}: use a source with more labels, or a dense mapping."
        )
    return each


def check_sets(sets: list[list[int]], num_labels: int, width: int) -> None:
    """Raise `InputError` unless every class has a source label, labels are from 0 to width - 1, and none occurs twice.

    >>> check_sets([[0, 1], [2]], num_labels=2, width=12)
    >>> check_sets([[0, 1], [1]], num_labels=2, width=12)
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The label map uses the source label 1 twice: its sets must not overlap.
    """
    labels = [label for group in sets for label in group]
    if len(sets) != num_labels or not all(sets):
        raise InputError(
            f"The label map names source labels for {sum(map(bool, sets))} of {num_labels} classes: give at least one for "
            "each in assignment, or name a way to choose them in how."
        )
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise InputError(f"The label map uses the source label {twice} twice: its sets must not overlap.")
    outside = [label for label in labels if type(label) is not int or not 0 <= label < width]
    if outside:
        raise InputError(
            f"The label map names {outside[0]!r}, which is no source label: give labels from 0 to {width - 1}."
        )


def response(probabilities: np.ndarray, labels: np.ndarray, num_labels: int) -> np.ndarray:
    """The mean source probabilities of every class (num_labels, K_S); zeros for a class without examples.

    Args:
        probabilities: the source's probabilities (n, K_S) for the target's examples.
        labels: the target class of each example (n,).
        num_labels: the number of target classes.

    >>> response(np.array([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]]), np.array([0, 0, 1]), num_labels=2)
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    return mean_response(response_sums(probabilities, labels, num_labels))


def response_sums(probabilities: np.ndarray, labels: np.ndarray, num_labels: int) -> np.ndarray:
    """The sums behind `response` (num_labels, K_S + 1); the last column is the number of examples of each class.

    Sums of several data sets add up to those of all their examples.

    >>> response_sums(np.array([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]]), np.array([0, 0, 1]), num_labels=2)
    array([[1. , 1. , 2. ],
           [0.5, 0.5, 1. ]])
    """
    sums = np.zeros((num_labels, probabilities.shape[1] + 1))
    for label in np.unique(labels):
        chosen = probabilities[labels == label]
        sums[label] = [*chosen.sum(0, dtype=np.float64), len(chosen)]
    return sums


def mean_response(sums: np.ndarray) -> np.ndarray:
    """The response (classes, K_S) from its sums (classes, K_S + 1); zeros for a class without examples.

    >>> mean_response(np.array([[1.0, 1.0, 2.0], [0.0, 0.0, 0.0]]))
    array([[0.5, 0.5],
           [0. , 0. ]])
    """
    means: np.ndarray = sums[:, :-1] / np.maximum(sums[:, -1:], 1)
    return means


def random_sets(num_labels: int, width: int, each: int, seed: int = 0) -> np.ndarray:
    """Sets (num_labels, each) of source labels that are drawn without replacement.

    >>> random_sets(num_labels=2, width=12, each=3, seed=0).shape
    (2, 3)
    """
    return np.random.default_rng(seed).permutation(width)[: num_labels * each].reshape(num_labels, each)


def identity_sets(num_labels: int, width: int, each: int = 1) -> np.ndarray:
    """Sets (num_labels, each) in order: class t gets the source labels from t * each to t * each + each - 1.

    >>> identity_sets(num_labels=2, width=12, each=3)
    array([[0, 1, 2],
           [3, 4, 5]])
    """
    return np.arange(num_labels * each).reshape(num_labels, each)


def frequency_sets(scores: np.ndarray, each: int) -> np.ndarray:
    """Sets (classes, each) that are chosen greedily.

    Pairs of a class and a source label are visited from the largest score to the smallest. A pair is taken if the class needs
    a label and the label is free.

    Args:
        scores: the response (classes, K_S).
        each: the number m of source labels per class.

    >>> frequency_sets(np.array([[0.6, 0.5, 0.0], [0.55, 0.1, 0.2]]), each=1)
    array([[0],
           [2]])
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
    """The sets (classes, each) with the largest total score, by the Hungarian algorithm with m = `each` copies of every class.

    Args:
        scores: the response (classes, K_S).
        each: the number m of source labels per class.

    >>> optimal_sets(np.array([[0.6, 0.5, 0.0], [0.55, 0.1, 0.2]]), each=1)
    array([[1],
           [0]])
    """
    # Source labels are the rows: SciPy then takes a fifth to a half of the time where every label is used.
    from scipy.optimize import linear_sum_assignment

    sources, places = linear_sum_assignment(np.repeat(scores, each, axis=0).T, maximize=True)
    sets = sources[np.argsort(places)].reshape(len(scores), each)
    order = np.argsort(-np.take_along_axis(scores, sets, 1), axis=1, kind="stable")
    return np.take_along_axis(sets, order, 1)


def bayesian_weights(probabilities: np.ndarray, labels: np.ndarray, num_labels: int) -> np.ndarray:
    """The weights of BLM (Cai et al. 2024), from counts of the source's most probable labels.

        P(t | s) = N(t, s) / (sum over t' of N(t', s) + 1)          weight(t, s) = P(t | s) / sum over s' of P(t | s')

    N(t, s) is the number of examples of class t whose most probable source label is s.

    Args:
        probabilities: the source's probabilities (n, K_S).
        labels: the target class of each example (n,).
        num_labels: the number of target classes.

    Returns:
        Weights (num_labels, K_S). Every row sums to one; the row of a class without examples is uniform.

    >>> probabilities = np.array([[0.75, 0.25], [0.25, 0.75], [0.25, 0.75]])
    >>> bayesian_weights(probabilities, np.array([0, 1, 1]), num_labels=2)
    array([[1., 0.],
           [0., 1.]])
    """
    return posterior(bayesian_counts(probabilities, labels, num_labels))


def bayesian_counts(
    probabilities: np.ndarray, labels: np.ndarray, num_labels: int, share: float | None = None
) -> np.ndarray:
    """The counts N(t, s) of BLM (num_labels, K_S), or those of BLM+ with a `share`; see `bayesian_plus_weights`.

    Counts of several data sets add up to those of all their examples.

    >>> bayesian_counts(np.array([[0.75, 0.25], [0.25, 0.75], [0.25, 0.75]]), np.array([0, 1, 1]), num_labels=2)
    array([[1., 0.],
           [0., 2.]])
    """
    if share is None:
        kept = probabilities.argmax(1)[:, None]
        mass = np.ones_like(kept)
    else:
        top = max(1, int(share * num_labels))
        kept = np.argpartition(-probabilities, top - 1, axis=1)[:, :top]
        mass = np.take_along_axis(probabilities, kept, 1)
    shape = num_labels, probabilities.shape[1]
    pairs = labels[:, None] * shape[1] + kept  # k source labels of each example, (n, k)
    return np.bincount(pairs.ravel(), mass.ravel(), minlength=shape[0] * shape[1]).reshape(shape)


def bayesian_plus_weights(
    probabilities: np.ndarray, labels: np.ndarray, num_labels: int, share: float = 0.15
) -> np.ndarray:
    """The weights of BLM+: N(t, s) sums the probabilities of each example's most probable source labels.

    Args:
        probabilities, labels, num_labels: as for `bayesian_weights`.
        share: each example counts its max(1, share * num_labels) most probable source labels.

    Returns:
        Weights (num_labels, K_S), as from `bayesian_weights`.

    >>> probabilities = np.array([[0.75, 0.25], [0.25, 0.75], [0.25, 0.75]])
    >>> bayesian_plus_weights(probabilities, np.array([0, 1, 1]), num_labels=2, share=1.0).round(2)
    array([[0.79, 0.21],
           [0.29, 0.71]])
    """
    return posterior(bayesian_counts(probabilities, labels, num_labels, share))


def posterior(joint: np.ndarray) -> np.ndarray:
    """The weights (classes, K_S) of BLM and BLM+ from their counts (classes, K_S); see `bayesian_weights`.

    >>> posterior(np.array([[1.0, 0.0], [0.0, 0.0]]))
    array([[1. , 0. ],
           [0.5, 0.5]])
    """
    of_source = joint / (joint.sum(0, keepdims=True) + 1)
    total = of_source.sum(1, keepdims=True)
    uniform = np.full(joint.shape, 1 / joint.shape[1])  # a class without examples weighs all labels alike
    weights: np.ndarray = np.where(total > 0, of_source / np.where(total > 0, total, 1), uniform)
    return weights


def similarity_sets(target: np.ndarray, source: np.ndarray, most: int) -> list[list[int]]:
    """Sets by the cosine between features: every source label joins the nearest class that has room.

    Labels are assigned in the order of their largest cosine. A class that got no label takes the nearest one from a class that
    has several.

    Args:
        target: the mean penultimate features of each class (classes, width).
        source: the mean features, or classifier rows, of each source label (K_S, width).
        most: at most `most` labels join a class; the paper has 2, then 3.

    Raises:
        InputError: there are fewer source labels than classes.

    >>> similarity_sets(np.eye(2), np.array([[1.0, 0.1], [0.9, 0.0], [0.1, 1.0]]), most=2)
    [[0, 1], [2]]
    """
    if len(source) < len(target):
        raise InputError(
            f"{len(target)} classes need at least {len(target)} source labels, but the source has {len(source)}: use a "
            "source with more labels, or a dense mapping."
        )
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


def similarity_sets_in_order(target: np.ndarray, source: np.ndarray, most: int) -> list[list[int]]:
    """Sets by the cosine between features, in the order of the source labels, as the code of AR-SCR chooses them.

    Each label joins the nearest class that has fewer than two labels. If none has, it joins the nearest that has fewer than
    `most`, and is left out if there is none.

    Args:
        target, source, most: as for `similarity_sets`.

    Raises:
        InputError: a class gets no label.

    >>> similarity_sets_in_order(np.eye(2), np.array([[1.0, 0.1], [0.9, 0.0], [1.0, 0.0], [0.1, 1.0]]), most=3)
    [[0, 1], [2, 3]]
    """
    cosine = _unit(target) @ _unit(source).T
    sets: list[list[int]] = [[] for _ in target]
    for label in range(len(source)):
        near = np.argsort(-cosine[:, label], kind="stable")
        for room in range(min(2, most), most + 1):
            if free := [t for t in near if len(sets[t]) < room]:
                sets[free[0]].append(label)
                break
    if empty := [t for t, chosen in enumerate(sets) if not chosen]:
        raise InputError(
            f"The class {empty[0]} gets none of {len(source)} source labels in their order: use label_mapping='similarity', or "
            "a dense mapping."
        )
    return sets


def similarity_sets_optimal(target: np.ndarray, source: np.ndarray, most: int) -> list[list[int]]:
    """The sets with the largest total cosine, of which each has at least one label and at most `most`.

    Args:
        target, source, most: as for `similarity_sets`.

    >>> similarity_sets_optimal(np.eye(2), np.array([[1.0, 0.1], [0.9, 0.0], [1.0, 0.0], [0.1, 1.0]]), most=3)
    [[0, 1, 2], [3]]
    """
    from scipy.optimize import linear_sum_assignment

    if len(source) < len(target):
        raise InputError(
            f"{len(target)} classes need at least {len(target)} source labels, but the source has {len(source)}: use a "
            "source with more labels, or a dense mapping."
        )
    scores = np.repeat(_unit(target) @ _unit(source).T, most, axis=0)
    scores[::most] += 2.0 * len(source)  # so that the first place of every class is taken
    places, labels = linear_sum_assignment(scores, maximize=True)
    sets: list[list[int]] = [[] for _ in target]
    for place, label in zip(places, labels, strict=True):
        sets[place // most].append(int(label))
    return [sorted(chosen) for chosen in sets]


def _unit(rows: np.ndarray) -> np.ndarray:
    unit: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit


def weights_of(sets: np.ndarray | list[list[int]], width: int) -> np.ndarray:
    """Sets as a matrix (classes, width) that averages over each set.

    >>> weights_of([[0, 2], [1]], width=3)
    array([[0.5, 0. , 0.5],
           [0. , 1. , 0. ]])
    """
    weights = np.zeros((len(sets), width))
    for label, chosen in enumerate(sets):
        weights[label, list(chosen)] = 1 / len(chosen)
    return weights
