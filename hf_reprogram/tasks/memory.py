"""Data sets that are objects in memory, in place of the name of a file, a folder or a data set of the Hub."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from ..errors import InputError


class InMemory(str):
    """The name of data in memory, which is what a recipe and a card record of it, together with the data.

    Attributes:
        splits: the raw splits by name.
    """

    splits: dict[str, Any]

    def __new__(cls, splits: dict[str, Any]) -> InMemory:
        rows = sum(map(len, splits.values()))
        made = super().__new__(cls, f"data in memory ({rows} rows, {next(iter(splits.values()))._fingerprint})")
        made.splits = splits
        return made

    def __deepcopy__(self, memo: Any) -> InMemory:
        return self


def held(data: Any) -> Any:
    """The data as `InMemory` if it is a `Dataset`, a `DatasetDict`, a `DataFrame` or a dictionary of these; else as it is.

    Raises:
        InputError: the data is streamed, or a split of a dictionary is something else.

    >>> from datasets import Dataset
    >>> held(Dataset.from_dict({"text": ["a", "b"]})).splits["train"]["text"][:]
    ['a', 'b']
    >>> held("reviews.csv")
    'reviews.csv'
    """
    if isinstance(data, Mapping) and data:
        splits = {str(name): _rows(split) for name, split in data.items()}
        for name, given in data.items():
            if splits[str(name)] is None:
                raise InputError(
                    f"The split {name!r} of the dataset is of type {type(given).__name__}: give a Dataset or a DataFrame."
                )
        return InMemory(splits)
    rows = _rows(data)
    return data if rows is None else InMemory({"train": rows})


def _rows(data: Any) -> Any:
    """A `Dataset` from a `Dataset` or a `DataFrame`; None from anything else."""
    if (pandas := sys.modules.get("pandas")) is not None and isinstance(data, pandas.DataFrame):
        from datasets import Dataset

        return Dataset.from_pandas(data, preserve_index=False)
    datasets = sys.modules.get("datasets")
    if datasets is not None and isinstance(data, datasets.IterableDataset | datasets.IterableDatasetDict):
        raise InputError(
            "The dataset is streamed, and its rows are read more than once: load it without streaming=True."
        )
    return data if datasets is not None and isinstance(data, datasets.Dataset) else None
