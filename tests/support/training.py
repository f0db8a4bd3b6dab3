"""A few steps of an optimizer on one batch, without a Trainer."""

from __future__ import annotations

from typing import Any

import torch


def losses_of(model: Any, learning_rate: float, **batch: torch.Tensor) -> list[float]:
    """The losses of four steps of Adam on a batch, each before its step."""
    optimizer = torch.optim.Adam(model.trainable().values(), lr=learning_rate)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = model.train()(**batch).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
