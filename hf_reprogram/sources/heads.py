"""Finds the layer of a classifier whose output is the logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def last_linear(model: nn.Module, run: Callable[[], Any]) -> tuple[Any, str | None]:
    """What a model returns, and the name of the last linear layer whose output that is; None if there is none.

    Args:
        model: the model.
        run: calls it.

    >>> layers = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> output, name = last_linear(layers, lambda: layers(torch.ones(1, 2)))
    >>> name
    '2'
    """
    called: list[tuple[str, Tensor]] = []
    handles = [
        module.register_forward_hook(lambda _, __, output, name=name: called.append((name, output)))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        output = run()
    finally:
        for handle in handles:
            handle.remove()
    if not isinstance(output, Tensor):
        return output, None
    same = [
        name
        for name, value in called
        if value is output or (value.shape == output.shape and not value.is_meta and torch.equal(value, output))
    ]
    return output, same[-1] if same else None
