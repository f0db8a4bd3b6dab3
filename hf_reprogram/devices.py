"""Where a model computes."""

from __future__ import annotations

import torch
from torch import nn


def to_accelerator(module: nn.Module) -> nn.Module:
    """Move a module to the accelerator, if there is one and no device map has placed a part of it.

    >>> to_accelerator(nn.Linear(2, 2)).weight.shape
    torch.Size([2, 2])
    """
    placed = any(hasattr(part, "hf_device_map") for part in module.modules())
    if torch.accelerator.is_available() and not placed:
        module.to(torch.accelerator.current_accelerator())
    return module
