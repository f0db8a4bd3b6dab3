"""Prediction: the logits of a reprogrammed model for an encoded split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ..modalities.examples import Examples
from .encode import batches

EXAMPLES = 64  # per batch, where examples have one size
TOKENS = 2048  # per batch of texts on a CPU, padding counted; with more, a token takes as long and a batch more memory
ACCELERATOR_TOKENS = 2**15  # the same where a batch should keep many cores busy


@torch.no_grad()
def predict_logits(
    model: Any, processor: Any, data: Any, *, batch_size: int = EXAMPLES, bf16: bool = False, quiet: bool = False
) -> np.ndarray:
    """Logits (n, labels) in the order of `data`, or (n, tokens, labels) with zeros after the end of a text.

    Args:
        model: a `ReprogrammedModel`, in eval mode.
        processor: its processor.
        data: a split from `hf_reprogram.training.encode.encode`.
        batch_size: examples per batch.
        bf16: whether to autocast to bfloat16, as in training with `bf16: true`.
        quiet: show no progress bar.
    """
    logits = np.empty(0)
    device = model.source.device
    for rows, inputs in batches(data, processor, batch_size, device, "Predicting", quiet):
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            batch = model(**inputs).logits.float().cpu()
        if not logits.size:
            tokens = [max(map(len, data["input_ids"]))] if batch.dim() == 3 else []
            logits = np.zeros((len(data), *tokens, batch.shape[-1]), np.float32)
        if batch.dim() == 3:
            logits[rows, : batch.shape[1]] = batch
        else:
            logits[rows] = batch
    return logits


@torch.no_grad()
def predict_each(
    model: Any, processor: Any, data: Any, done: Callable[[int], None] = lambda count: None
) -> list[np.ndarray]:
    """Logits (labels,) of every example in the order of `data`, or (tokens, labels) without padding.

    Texts are sorted by length, and a batch holds as many of them as have `TOKENS` tokens together.

    Args:
        model: a `ReprogrammedModel`, in eval mode.
        processor: its processor.
        data: a split from `hf_reprogram.training.encode.encode`.
        done: called after every batch with the number of examples that are done.
    """
    logits: list[np.ndarray] = [np.empty(0)] * len(data)
    device, count = model.source.device, 0
    ids = None if isinstance(data, Examples) else data["input_ids"][:]
    for rows, inputs in _texts(ids, processor, device) if ids else batches(data, processor, EXAMPLES, device):
        for row, values in zip(rows, model(**inputs).logits.float().cpu().numpy(), strict=True):
            logits[row] = values[: len(ids[row])] if ids and values.ndim == 2 else values
        count += len(rows)
        done(count)
    return logits


def _texts(
    ids: Sequence[Sequence[int]], processor: Any, device: torch.device
) -> Iterator[tuple[np.ndarray, dict[str, torch.Tensor]]]:
    for rows in batches_by_length([len(row) for row in ids], tokens_on(device)):
        batch = processor.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt").to(device)
        yield rows, {name: batch[name] for name in ("input_ids", "attention_mask")}


def tokens_on(device: torch.device) -> int:
    """The tokens of a batch of texts on a device.

    >>> tokens_on(torch.device("cpu"))
    2048
    """
    return TOKENS if device.type == "cpu" else ACCELERATOR_TOKENS


def batches_by_length(lengths: Sequence[int], tokens: int) -> Iterator[np.ndarray]:
    """Rows in the order of their lengths, in batches of `tokens` at most with padding; a longer row is a batch of its own.

    Args:
        lengths: the length of every row.
        tokens: the number of rows of a batch times its longest length.

    >>> [rows.tolist() for rows in batches_by_length([3, 1, 2, 9], tokens=6)]
    [[1, 2], [0], [3]]
    """
    order = np.argsort(lengths, kind="stable")
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or lengths[order[end]] * (end + 1 - start) > tokens:
            yield order[start:end]
            start = end
