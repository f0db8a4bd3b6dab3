"""From prepared splits to what a model takes, with labels, and from that to batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate

from ..losses import IGNORE
from ..modalities import modality_of
from ..modalities.examples import Examples
from ..progress import progress


def encode(
    splits: Any, processor: Any, max_length: int | None = None, problem_type: str = "single_label_classification"
) -> dict[str, Any]:
    """What the model takes of every split, and its labels; see `hf_reprogram.modalities.base.Modality.encode`.

    Args:
        splits: prepared splits by name, all of one modality, with `label` unless it is to be predicted.
        processor: the adapter's, or None where examples need none.
        max_length: tokens at most, of texts.
        problem_type: a key of `hf_reprogram.tasks.problems.PROBLEMS`.
    """
    modality = modality_of(next(iter(splits.values())).column_names)
    return modality.encode(splits, processor, max_length, problem_type)


def labels_of(data: Any) -> np.ndarray:
    """The labels of an encoded split: (n,), (n, tasks), or (n, tokens) filled up with `IGNORE`."""
    if isinstance(data, Examples):
        return data.labels
    if "labels" not in data.column_names:
        return np.asarray(data["label"])
    rows = data["labels"]
    labels = np.full((len(rows), max(map(len, rows))), IGNORE)
    for row, values in zip(labels, rows, strict=True):
        row[: len(values)] = values
    return labels


def collator(processor: Any, per_token: bool = False) -> Any:
    """Dynamic padding of texts, and of their labels where there is one a token; images and rows are stacked."""
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
    """The inputs of an encoded split without their labels, in batches, each with its row numbers; texts by length.

    Args:
        data: an encoded split.
        processor: of its making.
        size: examples a batch.
        device: where the inputs go.
        desc: before the progress bar.
        quiet: no progress bar.
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
