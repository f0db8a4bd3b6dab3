"""Two data sets that need no download: the handwritten digits of scikit-learn, and images of squares to count.

task: {dataset: digits}
task: {dataset: squares}
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from PIL import Image as Pillow

CELLS, CELL, MOST = 4, 9, 10  # cells per side of an image, pixels per side of a cell, squares per image at most


def digits() -> DatasetDict:
    """The 1,797 handwritten digits of `sklearn.datasets.load_digits`, with the columns `image` and `label`.

    An image has 8 x 8 pixels. Its 17 grey values are scaled to 0-255.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    greys = np.rint(data.images * (255 / 16)).astype(np.uint8)
    return DatasetDict(train=_images(greys, data.target, [str(digit) for digit in range(10)]))


def squares(train: int = 2000, test: int = 1000, seed: int = 0) -> DatasetDict:
    """Images of 1 to 10 white squares to count, as in Elsayed et al. (2019, arXiv 1806.11146); each label is equally frequent.

    An image is a grid of 4 x 4 cells of 9 x 9 pixels, so it has 36 x 36 pixels. A square fills one cell: it is white with a
    black frame of one pixel.

    Args:
        train, test: the number of examples of each split.
        seed: the seed of the positions of the squares.

    >>> data = squares(train=20, test=10)
    >>> data["test"][0]["image"].size, data["test"].features["label"].names[:3]
    ((36, 36), ['1', '2', '3'])
    """
    random = np.random.default_rng(seed)
    names = [str(count) for count in range(1, MOST + 1)]
    splits = {}
    for split, size in (("train", train), ("test", test)):
        labels = random.permutation(np.arange(size) % MOST)
        splits[split] = _images(np.stack([draw_squares(label + 1, random) for label in labels]), labels, names)
    return DatasetDict(splits)


def draw_squares(count: int, random: np.random.Generator) -> np.ndarray:
    """An image (36, 36) of `count` white squares, each in a cell of its own.

    >>> image = draw_squares(3, np.random.default_rng(0))
    >>> image.shape, int((image == 255).sum()) // 49  # a square has 7 x 7 white pixels
    ((36, 36), 3)
    """
    cell = np.zeros((CELL, CELL), np.uint8)
    cell[1:-1, 1:-1] = 255
    filled = np.zeros(CELLS * CELLS, np.uint8)
    filled[random.choice(CELLS * CELLS, count, replace=False)] = 1
    return np.kron(filled.reshape(CELLS, CELLS), cell)


def _images(greys: np.ndarray, labels: np.ndarray, names: list[str]) -> Dataset:
    """A data set of images (n, height, width) of grey values and their labels (n,)."""
    features = Features({"image": Image(), "label": ClassLabel(names=names)})
    images = [Pillow.fromarray(grey) for grey in greys]
    return Dataset.from_dict({"image": images, "label": labels.tolist()}, features=features)


BUILTIN: dict[str, Callable[[], DatasetDict]] = {"digits": digits, "squares": squares}
