"""Logits of a reprogrammed model over an encoded data set."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .encode import batches


@torch.no_grad()
def predict_logits(
    model: Any, processor: Any, data: Any, *, batch_size: int = 64, bf16: bool = False, quiet: bool = False
) -> np.ndarray:
    """Logits (n, labels), or (n, tokens, labels) with zeros after a row's end, in the order of `data`.

    Args:
        model: a `ReprogrammedModel`, in eval mode.
        processor: its own.
        data: a split that `hf_reprogram.training.encode.encode` made.
        batch_size: examples a batch.
        bf16: autocast to bfloat16, as in training with `bf16: true`.
        quiet: no progress bar.
    """
    logits = np.empty(0)
    device = model.source.device
    for rows, inputs in batches(data, processor, batch_size, device, "Predicting", quiet):
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            found = model(**inputs).logits.float().cpu()
        if not logits.size:
            tokens = [max(map(len, data["input_ids"]))] if found.dim() == 3 else []
            logits = np.zeros((len(data), *tokens, found.shape[-1]), np.float32)
        if found.dim() == 3:
            logits[rows, : found.shape[1]] = found
        else:
            logits[rows] = found
    return logits
