"""What `torch.nn.DataParallel` makes of a module for one call on several devices, on one device."""

from __future__ import annotations

from typing import Any


def replica(module: Any) -> Any:
    """A copy with parameters through which gradients flow to the module's own, as plain attributes."""
    copies = {part: part._replicate_for_data_parallel() for part in module.modules()}
    for part, copy in copies.items():
        for name, child in part._modules.items():
            setattr(copy, name, copies.get(child))
        for name, parameter in part._parameters.items():
            setattr(copy, name, None if parameter is None else parameter.clone())
        for name, buffer in part._buffers.items():
            copy._buffers[name] = None if buffer is None else buffer.clone()
    return copies[module]
