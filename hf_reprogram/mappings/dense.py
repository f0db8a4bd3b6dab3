"""Dense: a linear layer on the source's pooled features, on its logits, or on their soft-max.

    logits = W features + b          W (labels, width), b (labels,)

This is the simplest omega. With an untouched input it is the linear probe.

W may be scaled: W = unit * `linear.weight`. Adam moves every entry by about its learning rate, and a logit moves by the sum
over all entries. The vectors of an input transform need large steps. With a unit of `width ** -0.5` the dense layer does not
fit the labels alone at such a learning rate.

On inputs of another domain, a frozen source's features are mostly a shared offset. With `standardize`, W acts on
(features - mean) / deviation. Mean and deviation (width,) come from the training data through the untrained input transform
and then stay fixed. The layer then learns in the few steps that a small training set allows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..options import check_whole
from ..sources.base import Source
from .base import OutputMapping


@dataclass
class DenseOptions:
    """Options of `dense`.

    Attributes:
        num_labels: the number of outputs.
        width: the width of the source's output.
        reads: the name of the source's output (`hf_reprogram.sources.base`).
        dropout: the share of the source's output that is dropped in training.
        unit: the scale of W.
        probabilities: whether the layer reads the soft-max of the source's logits.
        standardize: whether the layer reads standardized values. `begin_epoch` (`hf_reprogram.schedule`) or `fit` sets the
            mean and the deviation.
    """

    num_labels: int
    width: int
    reads: str = "features"
    dropout: float = 0.0
    unit: float = 1.0
    probabilities: bool = False
    standardize: bool = False

    def __post_init__(self) -> None:
        check_whole(num_labels=self.num_labels, width=self.width)
        check_unit(self.unit)
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is {self.dropout!r}: give a share from 0 up to 1.")
        if self.probabilities and self.reads != "logits":
            raise InputError(f"probabilities are the soft-max of logits, not of {self.reads!r}: set reads='logits'.")


def check_unit(unit: float) -> None:
    """Raise `InputError` if this is no scale of a weight.

    >>> check_unit(0.0)
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: unit is 0.0: give a number above 0 and at most 1000.
    """
    if not 0 < unit <= 1000:
        raise InputError(f"unit is {unit!r}: give a number above 0 and at most 1000.")


class Dense(OutputMapping):
    """A linear layer. Omega is `linear.weight` (labels, width) and `linear.bias` (labels,).

    With `standardize` the buffers `mean` and `deviation` (width,) are 0 and 1 until they are fitted.

    >>> dense = Dense(DenseOptions(num_labels=2, width=32))
    >>> dense(torch.zeros(5, 32), text_source).shape
    torch.Size([5, 2])
    """

    Options = DenseOptions
    options: DenseOptions
    mean: Tensor
    deviation: Tensor

    def __init__(self, options: DenseOptions) -> None:
        super().__init__(options)
        self.dropout = nn.Dropout(options.dropout)
        self.linear = nn.Linear(options.width, options.num_labels)
        if options.standardize:
            self.register_buffer("mean", torch.zeros(options.width))
            self.register_buffer("deviation", torch.ones(options.width))
        self._known_fitted = False  # avoids a wait for the GPU at every step

    def reset(self) -> None:
        """Start as a fresh linear layer; the start does not depend on the unit."""
        self.linear.reset_parameters()
        with torch.no_grad():
            self.linear.weight.div_(self.options.unit)

    def begin_epoch(self, epoch: float, read: Callable[[str], tuple[Tensor, Tensor]], source: Source) -> None:
        """Fit the mean and the deviation before the first epoch, if the layer standardizes."""
        if self.scheduled():
            self.fit(read(self.reads)[0])

    def scheduled(self) -> list[str]:
        """See `OutputMapping.scheduled`."""
        if not self.options.standardize or self._known_fitted:
            return []
        self._known_fitted = bool(self.mean.any())
        return [] if self._known_fitted else ["standardize"]

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._known_fitted = False
        super()._load_from_state_dict(*args, **kwargs)

    @torch.no_grad()
    def fit(self, outputs: Tensor) -> None:
        """Standardize by the mean and the deviation of the source's outputs (n, width)."""
        values = self._input(outputs.float())
        self.mean.copy_(values.mean(0))
        self.deviation.copy_(values.std(0, correction=0).clamp(min=1e-6))

    def _input(self, outputs: Tensor) -> Tensor:
        return outputs.softmax(-1) if self.options.probabilities else outputs

    def forward(self, outputs: Tensor, source: Source) -> Tensor:
        """Logits (batch, labels) from outputs (batch, width), or (batch, tokens, labels) from (batch, tokens, width)."""
        weight = self.linear.weight * self.options.unit if self.options.unit != 1 else self.linear.weight
        values = self._input(outputs.to(weight.dtype))
        if self.options.standardize:
            values = (values - self.mean) / self.deviation
        return F.linear(self.dropout(values), weight, self.linear.bias)
