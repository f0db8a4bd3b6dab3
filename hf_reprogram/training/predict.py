"""Logits of a reprogrammed model over a tokenized data set."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm


@torch.no_grad()
def predict_logits(
    model: Any, processor: Any, data: Any, *, batch_size: int = 64, bf16: bool = False, quiet: bool = False
) -> np.ndarray:
    """Logits (n, labels), or (n, tokens, labels) with zeros after a row's end, in the order of `data`.

    They are computed in batches of similar length.

    Args:
        model: a `ReprogrammedModel`, in eval mode.
        processor: its tokenizer.
        data: with a column `input_ids`.
        batch_size: examples a batch.
        bf16: autocast to bfloat16, as in training with `bf16: true`.
        quiet: no progress bar.
    """
    ids = data["input_ids"]
    order = np.argsort([len(row) for row in ids], kind="stable")
    logits = np.empty(0)
    device = model.source.device
    for start in tqdm(range(0, len(order), batch_size), desc="Predicting", disable=quiet, leave=False):
        rows = order[start : start + batch_size]
        batch = processor.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt").to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            found = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.float().cpu()
        if not logits.size:
            tokens = [max(map(len, ids))] if found.dim() == 3 else []
            logits = np.zeros((len(ids), *tokens, found.shape[-1]), np.float32)
        if found.dim() == 3:
            logits[rows, : found.shape[1]] = found
        else:
            logits[rows] = found
    return logits
