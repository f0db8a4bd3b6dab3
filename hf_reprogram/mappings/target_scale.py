"""Target scale: the mean and the deviation of the training targets of a regression.

    loss = mean ( logit - (target - mean) / deviation )^2        prediction = mean + deviation * logit

Training sees the standardized target, so its steps have the same effect for every unit and every offset of the target. The
predictions are in the target's own units. The mean and the deviation are buffers of omega, so a checkpoint holds them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError


class TargetScale(nn.Module):
    """The buffers `mean` () and `deviation` () of the training targets, and `count` (), their number; 0, 1 and 0 before `fit`.

    >>> scale = TargetScale()
    >>> scale.fit(torch.tensor([280.0, 320.0]))
    >>> scale.standardized(torch.tensor([300.0, 320.0])), scale.restored(torch.tensor([0.0, 1.0]))
    (tensor([0., 1.]), tensor([300., 320.]))
    """

    mean: Tensor
    deviation: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self._known_fitted = False  # avoids a wait for the GPU at every step

    @torch.no_grad()
    def fit(self, targets: Any) -> None:
        """Set the mean and the deviation to those of the training targets (n,); missing ones (NaN) are left out.

        If all targets are equal, the deviation is 1.

        Raises:
            InputError: no target is known, or one is infinite.
        """
        values = torch.as_tensor(targets, dtype=torch.float64).flatten()
        values = values[~values.isnan()]
        if not len(values) or values.isinf().any():
            which = "is infinite" if len(values) else "is known"
            raise InputError(f"{'A' if len(values) else 'No'} training target {which}: give finite numbers.")
        deviation = values.std(correction=0)
        self.mean.fill_(float(values.mean()))
        self.deviation.fill_(float(deviation) if float(deviation) > 0 else 1.0)
        self.count.fill_(len(values))

    def is_fitted(self) -> bool:
        """Whether the mean and the deviation are set."""
        if not self._known_fitted:
            self._known_fitted = bool(self.count > 0)
        return self._known_fitted

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._known_fitted = False
        super()._load_from_state_dict(*args, **kwargs)

    def standardized(self, targets: Tensor) -> Tensor:
        """Targets in units of the deviation, from the mean."""
        return (targets.to(self.mean.dtype) - self.mean) / self.deviation

    def restored(self, logits: Tensor) -> Tensor:
        """Predictions in the target's own units."""
        return self.mean + self.deviation * logits.to(self.mean.dtype)
