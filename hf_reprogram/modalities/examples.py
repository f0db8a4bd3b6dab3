"""Examples of a fixed size as a `torch` data set, for the Trainer and for prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import InputError
from .pixels import open_image, read_image

KEEP = 256 * 2**20  # bytes of a split's pixels that are kept in memory


class Examples:
    """Examples with one input each, which is read when it is asked for.

    Args:
        takes: what the model's `forward` calls the input.
        read: from row numbers to an array with a row for each.
        labels: (n, ...), or None where they are to be found.
        size: how many there are.
        key: the same for the same examples, where what a frozen source makes of them is worth keeping; None where it is not.

    Attributes:
        further: constant inputs beside it, by what the model's `forward` calls them, (n, ...) each.
        groups: the group (n,) of each, for objectives in training; None where none reads it.
    """

    def __init__(self, takes: str, read: Callable[[Any], np.ndarray], labels: Any, size: int, key: str | None = None):
        self.takes, self.read, self.labels, self.size, self.key = takes, read, labels, size, key
        self.further: dict[str, np.ndarray] = {}
        self.groups: np.ndarray | None = None

    def inputs(self, rows: Any) -> dict[str, np.ndarray]:
        """What the model takes of several rows, without their labels."""
        return {self.takes: self.read(rows), **{name: np.array(values[rows]) for name, values in self.further.items()}}

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: Any) -> list[dict[str, Any]]:
        """Several rows at once, as a loader asks for them."""
        found = self.inputs(rows)
        if self.labels is not None:
            found["labels"] = self.labels[rows]
        if self.groups is not None:
            found["groups"] = self.groups[rows]
        return [{name: values[place] for name, values in found.items()} for place in range(len(rows))]


class Pixels:
    """Reads images as pixels (n, 3, height, width) from 0 to 1, with a row for each.

    Args:
        split: prepared, with a column `image`.
        processor: an image processor.
        name: of the split, for error messages.

    Raises:
        InputError: an image is missing or broken, or the processor's pixels would not go from 0 to 1.
    """

    def __init__(self, split: Any, processor: Any, name: str):
        from datasets import Image

        if processor.do_normalize or not processor.do_rescale:
            raise InputError(
                "The image processor must rescale pixels to 0 to 1 and not normalise them, as the source does that: set "
                "do_rescale=True and do_normalize=False."
            )
        self.encoded = split.cast_column("image", Image(decode=False))
        self.processor, self.name = processor, name
        self.shades = (np.arange(256) * processor.rescale_factor).astype(np.float32)
        self.kept: np.ndarray | None = None

    def __call__(self, rows: Any) -> np.ndarray:
        pixels: np.ndarray = self.shades[self.decode(rows) if self.kept is None else self.kept[rows]]
        return pixels

    def decode(self, rows: Any) -> np.ndarray:
        """Bytes (n, 3, height, width) from 0 to 255."""
        images = [read_image(value, row, self.name) for value, row in self.values(rows)]
        pixels: np.ndarray = self.processor(images, do_rescale=False, return_tensors="np")["pixel_values"]
        return pixels.astype(np.uint8)

    def values(self, rows: Any) -> Iterator[tuple[Any, int]]:
        """Encoded images and their row numbers."""
        return zip(self.encoded[list(rows)]["image"], rows, strict=True)

    def look(self, keep: int, batch_size: int = 64) -> None:
        """Look at every image before any is used, and keep the pixels if they fit into `keep` bytes."""
        size = len(self.encoded)
        batches = [range(start, min(start + batch_size, size)) for start in range(0, size, batch_size)]
        if self.decode([0]).nbytes * size <= keep:
            self.kept = np.concatenate([self.decode(rows) for rows in batches])
            return
        for rows in batches:
            for value, row in self.values(rows):
                open_image(value, row, self.name).close()


def image_examples(split: Any, processor: Any, name: str, keep: int = KEEP) -> Examples:
    """Pixels (3, height, width) of a prepared split, and its labels; see `Pixels`.

    Images are decoded whenever they are read; where the pixels of the whole split fit into `keep` bytes they are decoded once,
    here. So a broken image is found before anything is trained, in a larger split by its header.
    """
    pixels = Pixels(split, processor, name)
    pixels.look(keep)
    return Examples("pixel_values", pixels, labels_in(split), len(split), pixels.encoded._fingerprint)


def labels_in(split: Any) -> np.ndarray | None:
    """The labels (n, ...) of a prepared split, or None if it has none."""
    if "label" not in split.column_names:
        return None
    labels = np.asarray(split["label"][:])
    return labels.astype(np.float32) if labels.dtype.kind == "f" else labels


class Columns:
    """A few rows in memory, with the part of `datasets.Dataset` that encoding and prediction use.

    Args:
        columns: lists of one length by name.

    >>> rows = Columns({"text": ["a film", "a plot"]})
    >>> rows.map(lambda batch: {"size": [len(text) for text in batch["text"]]})["size"]
    [6, 6]
    >>> rows[[1]]
    {'text': ['a plot']}
    """

    _fingerprint = None  # nothing of them is kept

    def __init__(self, columns: Mapping[str, list[Any]]):
        self.columns = dict(columns)

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""
        return list(self.columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, chosen: Any) -> Any:
        if isinstance(chosen, str):
            return self.columns[chosen]
        return {name: [values[row] for row in chosen] for name, values in self.columns.items()}

    def cast_column(self, name: str, kind: Any) -> Columns:
        """The same rows: their values are encoded as they are."""
        return self

    def map(self, function: Callable[..., Any], fn_kwargs: Mapping[str, Any] | None = None, **_: Any) -> Columns:
        """The columns that a function makes of all rows at once."""
        return Columns(dict(function(self.columns, **(fn_kwargs or {}))))
