"""Drawing examples: few-shot samples and a validation split carved from train, by class and with a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def draw(labels: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Indices of `size` examples, shuffled, with the share of each class kept as nearly as whole numbers allow.

    Args:
        labels: (n,) class indices; all the same to draw without regard to classes.
        size: how many.
        seed: of the draw. A larger draw with the same seed holds the smaller one.

    Raises:
        InputError: there are fewer examples.
    """
    if size > len(labels):
        raise InputError(f"{size} examples are to be drawn, but there are only {len(labels)}: ask for at most as many.")
    random = np.random.default_rng(seed)
    groups = [random.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    rank = np.concatenate([(np.arange(len(group)) + 0.5) / len(group) for group in groups])
    return random.permutation(np.concatenate(groups)[np.argsort(rank, kind="stable")[:size]])


def at_most(data: Any, count: int, seed: int) -> Any:
    """The rows of a split, or `count` of them drawn with a seed, in their order."""
    if len(data) <= count:
        return data
    return data.select(np.sort(np.random.default_rng(seed).permutation(len(data))[:count]))


def scaffold_split(smiles: Sequence[str], size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Hold out about `size` molecules whose Murcko scaffolds the others do not have.

    Groups of one scaffold are taken from the largest to the smallest; each goes whole to the first side while that has
    room, else to the second: MoleculeNet's scaffold split (Wu et al. 2018, arXiv 1703.00564). Groups of one size, of which
    most hold a single molecule, are taken in an order drawn with the seed: their order in the file may follow the label, as
    BBBP's does, whose last molecules are all of one class. A string that is no molecule is a scaffold of its own.

    Args:
        smiles: (n,) molecules.
        size: how many to hold out.
        seed: of the order of equally large groups.

    Returns:
        Two disjoint index arrays, sorted.
    """
    from rdkit import Chem, RDLogger
    from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]  # a molecule that cannot be read is no news here
    groups: dict[str, list[int]] = {}
    for index, text in enumerate(smiles):
        molecule = Chem.MolFromSmiles(text)
        scaffold = f"?{text}" if molecule is None else MurckoScaffoldSmiles(mol=molecule)
        groups.setdefault(scaffold, []).append(index)
    kept: list[int] = []
    held_out: list[int] = []
    drawn = np.random.default_rng(seed).permutation(len(groups))
    for _, group in sorted(zip(drawn, groups.values(), strict=True), key=lambda pair: (-len(pair[1]), pair[0])):
        (kept if len(kept) + len(group) <= len(smiles) - size else held_out).extend(group)
    if not kept or not held_out:
        raise InputError(f"{len(smiles)} molecules of {len(groups)} scaffolds cannot be split by scaffold: use seeded.")
    return np.sort(kept), np.sort(held_out)
