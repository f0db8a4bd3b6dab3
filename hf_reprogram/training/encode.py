"""Encoding: from prepared splits to the inputs and labels of a model, and from these to batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

from ..losses import IGNORE
from ..modalities import modality_of
from ..modalities.examples import Examples
from ..progress import progress


def encode(
    splits: Any, processor: Any, max_length: int | None = None, problem_type: str = "single_label_classification"
) -> dict[str, Any]:
    """Encode every split into the inputs and labels of a model; see `hf_reprogram.modalities.base.Modality.encode`.

    Args:
        splits: prepared splits by name, all of one modality. A split whose labels are to be predicted may lack `label`.
        processor: the adapter's processor; None for examples that need none, such as rows of numbers.
        max_length: the largest number of tokens of a text.
        problem_type: a key of `hf_reprogram.tasks.problems.PROBLEMS`.

    >>> from datasets import Dataset
    >>> rows = Dataset.from_dict({"features": [[0.5, 2.0], [1.0, 3.0]], "label": [0, 1]})
    >>> encode({"train": rows}, processor=None)["train"].labels.tolist()
    [0, 1]
    """
    modality = modality_of(next(iter(splits.values())).column_names)
    return modality.encode(splits, processor, max_length, problem_type)


def add_groups(data: Any, split: Any) -> None:
    """Let the batches of an encoded split hold the group of each example, for objectives; texts hold it already.

    Args:
        data: the encoded split.
        split: the prepared one, with a column `groups`.
    """
    if isinstance(data, Examples):
        data.groups = np.asarray(split["groups"][:])


class Tokenized(Dataset):
    """Tokenized texts for the Trainer, whose lengths are known at once.

    To group texts by length, the Trainer goes through all rows one by one, which with 200,000 rows of `datasets` takes longer
    than many a training. Here it gets their tokens from blocks. The rows and their order are the same.

    Args:
        rows: a `datasets.Dataset` with a column `input_ids`.

    >>> from datasets import Dataset as Rows
    >>> rows = Tokenized(Rows.from_dict({"input_ids": [[1, 2], [3]], "label": [0, 1]}))
    >>> rows[1], [len(row["input_ids"]) for row in rows]
    ({'input_ids': [3], 'label': 1}, [2, 1])
    """

    def __init__(self, rows: Any):
        self.rows, self.column_names, self.with_format = rows, rows.column_names, rows.with_format

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        found: dict[str, Any] = self.rows[row]
        return found

    def __getitems__(self, rows: Any) -> list[dict[str, Any]]:
        """Several rows at once, as a loader asks for them."""
        found: list[dict[str, Any]] = self.rows.__getitems__(rows)
        return found

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The tokens of each row, without its labels."""
        for start in range(0, len(self), 1000):
            yield from ({"input_ids": ids} for ids in self.rows[start : start + 1000]["input_ids"])


def labels_of(data: Any) -> np.ndarray:
    """The labels of an encoded split: (n,), (n, labels), or (n, tokens) padded with `IGNORE`.

    >>> from datasets import Dataset
    >>> labels_of(Dataset.from_dict({"labels": [[1, 0], [1]]})).tolist()
    [[1, 0], [1, -100]]
    """
    if isinstance(data, Examples):
        return data.labels
    if "labels" not in data.column_names:
        return np.asarray(data["label"][:])
    rows = data["labels"]
    labels = np.full((len(rows), max(map(len, rows))), IGNORE)
    for row, values in zip(labels, rows, strict=True):
        row[: len(values)] = values
    return labels


def collator(processor: Any, per_token: bool = False) -> Any:
    """A data collator: it pads texts to the longest of a batch, and stacks images and rows of numbers.

    Args:
        processor: the adapter's processor.
        per_token: whether there is one label per token, which is then padded with `IGNORE` too.

    >>> collator(None)([{"pixel": 1.0}, {"pixel": 2.0}])["pixel"].tolist()
    [1.0, 2.0]
    """
    from transformers import (
        DataCollatorForTokenClassification,
        DataCollatorWithPadding,
        PreTrainedTokenizerBase,
    )

    if not isinstance(processor, PreTrainedTokenizerBase):
        return default_collate
    if per_token:
        return DataCollatorForTokenClassification(processor, label_pad_token_id=IGNORE)
    return DataCollatorWithPadding(processor)


def batches(
    data: Any,
    processor: Any,
    size: int,
    device: torch.device | str = "cpu",
    desc: str = "",
    quiet: bool = True,
) -> Iterator[tuple[np.ndarray, dict[str, torch.Tensor]]]:
    """Yield the inputs of an encoded split in batches, without their labels. Texts are sorted by length.

    Args:
        data: an encoded split.
        processor: the processor that encoded it.
        size: examples per batch.
        device: the device of the inputs.
        desc: the text before the progress bar.
        quiet: show no progress bar.

    Returns:
        Pairs of the row numbers (batch,) and the inputs by name.

    >>> from datasets import Dataset
    >>> rows = encode({"test": Dataset.from_dict({"features": [[0.5], [1.0], [1.5]]})}, None)["test"]
    >>> [numbers.tolist() for numbers, inputs in batches(rows, None, size=2)]
    [[0, 1], [2]]
    """
    steps = progress(_batches(data, processor, size), desc, -(-len(data) // size), quiet)
    for rows, batch in steps:
        yield rows, {name: values.to(device) for name, values in batch.items()}


def _batches(data: Any, processor: Any, size: int) -> Iterator[tuple[np.ndarray, dict[str, torch.Tensor]]]:
    if isinstance(data, Examples):
        for rows in np.split(np.arange(len(data)), range(size, len(data), size)):
            yield rows, {name: torch.from_numpy(values) for name, values in data.inputs(rows).items()}
        return
    ids = data["input_ids"][:]
    order = np.argsort([len(row) for row in ids], kind="stable")
    for rows in np.split(order, range(size, len(order), size)):
        batch = processor.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt")
        yield rows, {name: batch[name] for name in ("input_ids", "attention_mask")}
