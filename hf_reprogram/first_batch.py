"""Where the values of a tensor may be asked for, and which batches have them checked.

On an accelerator a question for a value waits until everything before it is computed. In a step of training nothing asks, from
the second step on (`tests/test_hot_path.py`): what depends on values is computed without knowing them (`free_values`).

A check that reads the values of a tensor, such as "are all pixels from 0 to 1?", makes an accelerator finish its queue first.
So it is made where that costs nothing, on the CPU, and on an accelerator for the first batch of each phase alone. A phase is
training or inference; an evaluation between two epochs starts a new one. Compiled and exported models check no values.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def free_values(tensor: Tensor) -> bool:
    """Whether the values of a tensor can be asked for without a wait: on the CPU, unless a graph is traced.

    >>> free_values(torch.zeros(1)), free_values(torch.zeros(1, device="meta"))
    (True, False)
    """
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


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
        if free_values(values):
            return True
        if torch.compiler.is_compiling() or values.device.type == "meta":
            return False
        due, self._phase = self._phase is not module.training, module.training
        return due
