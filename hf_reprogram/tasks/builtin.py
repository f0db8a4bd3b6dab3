"""Data sets that need no download: the handwritten digits of scikit-learn, images of squares to count, and tables of bits.

task: {dataset: digits}
task: {dataset: squares}
task: {dataset: bit_xor}
task: {dataset: bit_memory}                # 5 patterns of 1,000 bits
task: {dataset: bit_memory, name: small}   # 3 patterns of 20 bits
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
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


def bit_xor(bits: int = 5, test: int = 200, seed: int = 0) -> DatasetDict:
    """All pairs of patterns of bits, each in one split, and their exclusive or, as in Lu et al. (2021, arXiv 2103.05247).

    The columns x0, x1, ... are the bits of both patterns as -1 and 1, and y0, y1, ... the bits of the answer as 0 and 1.

    Args:
        bits: the bits of a pattern, at most 8.
        test: the number of pairs to test on; all others are in train.
        seed: the seed of the order of the pairs.

    >>> data = bit_xor()
    >>> {name: len(split) for name, split in data.items()}, data["train"].column_names[9:11]
    ({'train': 824, 'test': 200}, ['x9', 'y0'])
    """
    pairs = np.random.default_rng(seed).permutation(4**bits)
    both = (pairs[:, None] >> np.arange(2 * bits)) & 1
    return _bits(2 * both - 1, both[:, :bits] ^ both[:, bits:], test)


def bit_memory(patterns: int = 5, bits: int = 1000, train: int = 2000, test: int = 500, seed: int = 0) -> DatasetDict:
    """Patterns of random bits and then one of them with half of its bits masked, as in Lu et al. (2021, arXiv 2103.05247).

    The columns x0, x1, ... are the bits of all patterns in their order and those of the query, as -1 and 1, and 0 for a masked
    one (each with probability 0.5). The columns y0, y1, ... are the bits of the pattern that was asked for, as 0 and 1.

    Args:
        patterns: the patterns to remember.
        bits: the bits of each.
        train, test: the number of examples of each split.
        seed: of all draws.

    >>> data = bit_memory(patterns=2, bits=3, train=10, test=5)
    >>> data["test"].column_names
    ['x0', 'x1', 'x2', 'x3', 'x4', 'x5', 'x6', 'x7', 'x8', 'y0', 'y1', 'y2']
    """
    random, size = np.random.default_rng(seed), train + test
    known = random.integers(2, size=(size, patterns, bits))
    asked = known[np.arange(size), random.integers(patterns, size=size)]
    query = (2 * asked - 1) * random.integers(2, size=(size, bits))
    return _bits(np.hstack([(2 * known - 1).reshape(size, -1), query]), asked, test)


def _bits(inputs: np.ndarray, answers: np.ndarray, test: int) -> DatasetDict:
    """Splits of rows of inputs (n, columns) and answers (n, labels); the last `test` ones are to test on."""
    columns = {
        f"{letter}{i}": part[:, i].astype(np.int8)
        for letter, part in (("x", inputs), ("y", answers))
        for i in range(part.shape[1])
    }
    rows = Dataset.from_dict(columns, features=Features({name: Value("int8") for name in columns}))
    end = len(rows) - test
    return DatasetDict(train=rows.select(range(end)), test=rows.select(range(end, len(rows))))


BUILTIN: dict[tuple[str, str], Callable[[], DatasetDict]] = {
    ("digits", ""): digits,
    ("squares", ""): squares,
    ("bit_xor", ""): bit_xor,
    ("bit_memory", ""): bit_memory,
    ("bit_memory", "small"): partial(bit_memory, patterns=3, bits=20),
}


def builtin(dataset: str, name: str | None = None) -> Callable[[], DatasetDict] | None:
    """What makes a data set of this module, by its name and configuration; None if there is none, or a file has its name.

    >>> builtin("squares") is squares
    True
    """
    return None if Path(dataset).exists() else BUILTIN.get((dataset, name or ""))
