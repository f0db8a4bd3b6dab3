"""Prediction: the logits of a reprogrammed model for an encoded split."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .encode import batches


@torch.no_grad()
def predict_logits(
    model: Any, processor: Any, data: Any, *, batch_size: int = 64, bf16: bool = False, quiet: bool = False
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
