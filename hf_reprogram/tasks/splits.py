"""Drawing examples: few-shot samples and a validation split carved from train, by class and with a seed."""

from __future__ import annotations

import numpy as np

from ..errors import InputError


def few_shot(
    labels: np.ndarray, shots: int, seed: int, names: list[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of `shots` training examples a class, and of as many others a class for validation.

    Args:
        labels: (n,) class indices of the pool.
        shots: examples a class in each of the two samples. A class with fewer than `2 * shots` examples gives
            half of its examples to each.
        seed: of the draw.
        names: label names for the error message.

    Returns:
        Two disjoint, shuffled index arrays.

    Raises:
        InputError: a class has fewer than two examples.
    """
    random = np.random.default_rng(seed)
    train, validation = [], []
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        take = min(shots, len(members) // 2)
        if take == 0:
            called = names[label] if names else label
            raise InputError(f"The class {called!r} has {len(members)} example: a few-shot sample needs at least 2.")
        train.append(members[:take])
        validation.append(members[take : 2 * take])
    return random.permutation(np.concatenate(train)), random.permutation(np.concatenate(validation))


def carve(labels: np.ndarray, share: float, most: int, seed: int, stratify: bool) -> tuple[np.ndarray, np.ndarray]:
    """Split a training set into train and validation.

    Args:
        labels: (n,) labels; class indices if `stratify`.
        share: share of the examples that go to validation.
        most: but at most this many.
        seed: of the draw; the same seed carves the same split.
        stratify: keep the share of each class.

    Returns:
        Two disjoint index arrays, sorted.
    """
    size = min(most, max(1, round(share * len(labels))))
    if size >= len(labels):
        raise InputError(f"{len(labels)} training examples are too few to carve {size} for validation.")
    random = np.random.default_rng(seed)
    if not stratify:
        chosen = random.permutation(len(labels))[:size]
    else:
        groups = [random.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
        # Interleave the classes in proportion: a member's rank within its class, as a share, orders them all.
        rank = np.concatenate([(np.arange(len(group)) + 0.5) / len(group) for group in groups])
        chosen = np.concatenate(groups)[np.argsort(rank, kind="stable")[:size]]
        missing = len(labels) - size
        if missing < len(groups):
            raise InputError(f"{len(labels)} training examples are too few to carve {size} for validation.")
    validation = np.sort(chosen)
    return np.setdiff1d(np.arange(len(labels)), validation), validation
