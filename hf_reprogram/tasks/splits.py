"""Drawing examples with a seed: few-shot samples, and validation splits that are carved from train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError


def few_shot(
    labels: np.ndarray, shots: int, seed: int, names: list[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of `shots` training examples per class, and of as many others for validation.

    Args:
        labels: class indices (n,) of the examples to draw from.
        shots: examples per class in each of the two samples. A class with fewer than `2 * shots` examples gives half of
            its examples to each.
        seed: the seed of the draw.
        names: label names for the error message.

    Returns:
        Two disjoint, shuffled index arrays.

    Raises:
        InputError: a class has fewer than two examples.

    >>> labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    >>> train, validation = few_shot(labels, shots=2, seed=0)
    >>> sorted(labels[train].tolist()), set(train.tolist()) & set(validation.tolist())
    ([0, 0, 1, 1], set())
    """
    random = np.random.default_rng(seed)
    train, validation = [], []
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        count = min(shots, len(members) // 2)
        if count == 0:
            name = names[label] if names else label
            raise InputError(f"The class {name!r} has {len(members)} example: a few-shot sample needs at least 2.")
        train.append(members[:count])
        validation.append(members[count : 2 * count])
    return random.permutation(np.concatenate(train)), random.permutation(np.concatenate(validation))


def carve(labels: np.ndarray, share: float, most: int, seed: int, stratify: bool) -> tuple[np.ndarray, np.ndarray]:
    """Split a training set into train and validation.

    Args:
        labels: labels (n,), which are class indices if `stratify`.
        share: the share of the examples that go to validation.
        most: the largest number of examples that go to validation.
        seed: the seed of the draw; the same seed carves the same split.
        stratify: whether to keep the share of each class.

    Returns:
        Two disjoint index arrays, sorted: train and validation.

    Raises:
        InputError: there are too few examples.

    >>> train, validation = carve(np.array([0, 1] * 10), share=0.2, most=100, seed=0, stratify=True)
    >>> len(train), len(validation)
    (16, 4)
    """
    size = min(most, max(1, round(share * len(labels))))
    if size >= len(labels):
        raise InputError(
            f"There are {len(labels)} training examples, too few to carve {size} for validation: give more data or a "
            "validation split."
        )
    random = np.random.default_rng(seed)
    if not stratify:
        chosen = random.permutation(len(labels))[:size]
    else:
        groups = [random.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
        # Interleave the classes in proportion: the rank of an example within its class, as a share, orders all examples.
        rank = np.concatenate([(np.arange(len(group)) + 0.5) / len(group) for group in groups])
        chosen = np.concatenate(groups)[np.argsort(rank, kind="stable")[:size]]
        missing = len(labels) - size
        if missing < len(groups):
            raise InputError(
                f"There are {len(labels)} training examples, too few to carve {size} for validation: give more data or a "
                "validation split."
            )
    validation = np.sort(chosen)
    return np.setdiff1d(np.arange(len(labels)), validation), validation


def draw(labels: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Shuffled indices of `size` examples, with the share of each class kept as nearly as whole numbers allow.

    Args:
        labels: class indices (n,); equal numbers to draw without regard to classes.
        size: the number of examples to draw.
        seed: the seed of the draw. A larger draw with the same seed contains the smaller one.

    Raises:
        InputError: there are fewer than `size` examples.

    >>> labels = np.array([0, 0, 0, 1])
    >>> sorted(labels[draw(labels, size=4, seed=0)].tolist())
    [0, 0, 0, 1]
    """
    if size > len(labels):
        raise InputError(f"There are {len(labels)} examples, too few to draw {size}: give a smaller number.")
    random = np.random.default_rng(seed)
    groups = [random.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    rank = np.concatenate([(np.arange(len(group)) + 0.5) / len(group) for group in groups])
    return random.permutation(np.concatenate(groups)[np.argsort(rank, kind="stable")[:size]])


def selected(data: Any, rows: Any) -> Any:
    """Rows of a prepared split; those of texts and numbers are copied, as each would else be looked up whenever it is read.

    Images stay where they are, which may be a file.

    Args:
        data: a `datasets.Dataset`.
        rows: their numbers.

    >>> from datasets import Dataset
    >>> selected(Dataset.from_dict({"text": ["a", "b", "c"]}), [2, 0])[:]
    {'text': ['c', 'a']}
    """
    from datasets import Dataset

    found = data.select(rows)
    if found._indices is None or "image" in data.column_names:
        return found
    table = found.data.table.take(found._indices.column(0)).combine_chunks()
    return Dataset(table, info=found.info, split=found.split, fingerprint=found._fingerprint)


def at_most(data: Any, count: int, seed: int) -> Any:
    """All rows of a data set, or `count` of them drawn with a seed; the order is kept.

    >>> from datasets import Dataset
    >>> at_most(Dataset.from_dict({"number": range(100)}), count=3, seed=0).num_rows
    3
    """
    if len(data) <= count:
        return data
    return selected(data, np.sort(np.random.default_rng(seed).permutation(len(data))[:count]))


def scaffold_split(smiles: Sequence[str], size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Hold out about `size` molecules whose Murcko scaffolds the others do not have.

    This is MoleculeNet's scaffold split (Wu et al. 2018, arXiv 1703.00564). The molecules of one scaffold form a group, which
    is never divided. Groups are taken from the largest to the smallest and go to the first side while it has room, else to
    the second. Groups of equal size, most of which hold one molecule, are taken in an order drawn with the seed, because
    their order in the file may follow the label: the last molecules of BBBP are all of one class. A string that is no
    molecule is a scaffold of its own.

    Args:
        smiles: the n molecules as SMILES strings.
        size: the number of molecules to hold out.
        seed: the seed of the order of equally large groups.

    Returns:
        Two disjoint index arrays, sorted: kept and held out.

    Raises:
        InputError: the scaffolds cannot be divided, for example if there is only one.

    >>> kept, held_out = scaffold_split(["c1ccccc1O", "c1ccccc1N", "c1ccccc1C", "C1CCCCC1O"], size=1)
    >>> kept.tolist(), held_out.tolist()
    ([0, 1, 2], [3])
    """
    from rdkit import Chem, RDLogger
    from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]  # molecules that cannot be read are expected here
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
        raise InputError(
            f"{len(smiles)} molecules of {len(groups)} scaffolds cannot be split by scaffold: use task.split: seeded."
        )
    return np.sort(kept), np.sort(held_out)
