"""Which batches have their values checked.

A check that reads the values of a tensor, such as "are all pixels from 0 to 1?", makes an accelerator finish its queue first.
So it is made where that costs nothing, on the CPU, and on an accelerator for the first batch of each phase alone. A phase is
training or inference; an evaluation between two epochs starts a new one. Compiled and exported models check no values.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FirstBatch:
    """Tells a module whether to check the values of this batch. The replicas of `torch.nn.DataParallel` share the object.

    >>> first = FirstBatch()
    >>> first.due(nn.Identity(), torch.zeros(1))  # always on the CPU
    True
    """

    def __init__(self) -> None:
        self._phase: bool | None = None

    def due(self, module: nn.Module, values: Tensor) -> bool:
        """Whether `module`, which is in training mode or not, checks `values`."""
        if torch.compiler.is_compiling() or values.device.type == "meta":
            return False
        if values.device.type == "cpu":
            return True
        due, self._phase = self._phase is not module.training, module.training
        return due
