"""The largest memory that was in use."""

from __future__ import annotations

import sys
from typing import Any

import torch


class Peak:
    """The largest memory in use, in bytes.

    The process's is the largest resident memory since the process started: an operating system does not say that of a part of
    its life. That of the accelerators is the largest memory of tensors since this object was made, summed over those in sight.

    >>> Peak().process() > 2**20
    True
    """

    def __init__(self) -> None:
        self._module = _accelerator()
        if self._module is not None:
            for device in range(self._module.device_count()):
                self._module.reset_peak_memory_stats(device)

    def process(self) -> int | None:
        """The largest resident memory of this process; None where the system does not say it."""
        try:
            import resource
        except ImportError:  # on Windows
            return None
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(most if sys.platform == "darwin" else most * 1024)

    def accelerator(self) -> int | None:
        """The largest memory of tensors on the accelerators; None without one that counts it."""
        if self._module is None:
            return None
        return sum(int(self._module.max_memory_allocated(device)) for device in range(self._module.device_count()))


def _accelerator() -> Any:
    """The module of torch for the accelerators that are there, such as `torch.cuda`; None if there is none that counts."""
    if not torch.accelerator.is_available():
        return None
    module: Any = torch.get_device_module(torch.accelerator.current_accelerator())
    counts = hasattr(module, "reset_peak_memory_stats") and hasattr(module, "max_memory_allocated")
    return module if counts else None
