"""Data that needs no download: handwritten digits of scikit-learn, and squares to count.

task: {dataset: digits}
task: {dataset: squares}
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from PIL import Image as Pillow

CELLS, CELL, MOST = 4, 9, 10  # cells a side, pixels a cell, squares an image


def digits() -> DatasetDict:
    """The 1,797 handwritten digits of `sklearn.datasets.load_digits`: 8 x 8 pixels, whose 17 greys are scaled to 0-255."""
    from sklearn.datasets import load_digits

    found = load_digits()
    greys = np.rint(found.images * (255 / 16)).astype(np.uint8)
    return DatasetDict(train=_images(greys, found.target, [str(digit) for digit in range(10)]))


def squares(train: int = 2000, test: int = 1000, seed: int = 0) -> DatasetDict:
    """Images of 1 to 10 white squares, as counted in Elsayed et al. (2019, arXiv 1806.11146); as many of each label.

    An image is a grid of 4 x 4 cells of 9 x 9 pixels, so 36 x 36 in all. A square is white in a black frame of one pixel,
    and stands in a cell of its own.

    Args:
        train, test: examples of each split.
        seed: of where the squares stand.
    """
    random = np.random.default_rng(seed)
    names = [str(count) for count in range(1, MOST + 1)]
    made = {}
    for split, size in (("train", train), ("test", test)):
        labels = random.permutation(np.arange(size) % MOST)
        made[split] = _images(np.stack([draw_squares(label + 1, random) for label in labels]), labels, names)
    return DatasetDict(made)


def draw_squares(count: int, random: np.random.Generator) -> np.ndarray:
    """An image (36, 36) of `count` white squares in cells that are drawn without putting any back."""
    cell = np.zeros((CELL, CELL), np.uint8)
    cell[1:-1, 1:-1] = 255
    taken = np.zeros(CELLS * CELLS, np.uint8)
    taken[random.choice(CELLS * CELLS, count, replace=False)] = 1
    return np.kron(taken.reshape(CELLS, CELLS), cell)


def _images(greys: np.ndarray, labels: np.ndarray, names: list[str]) -> Dataset:
    """Images (n, height, width) of grey values and their labels."""
    features = Features({"image": Image(), "label": ClassLabel(names=names)})
    images = [Pillow.fromarray(grey) for grey in greys]
    return Dataset.from_dict({"image": images, "label": labels.tolist()}, features=features)


BUILTIN: dict[str, Callable[[], DatasetDict]] = {"digits": digits, "squares": squares}
