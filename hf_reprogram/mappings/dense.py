"""Dense: a linear layer on the source's pooled features, on its logits, or on their soft-max.

    logits = unit W z + b        W (labels, width), b (labels,)        z = x, or (x - mean) / deviation

This is the simplest omega. With an untouched input it is the linear probe. Unit, standardization and start are those of
`hf_reprogram.mappings.linear`. On the source's logits the layer may also start as a label map: "map" gives each class the
source labels that its training examples get most often (`frequency` in `hf_reprogram.mappings.label_map`).

On inputs of another domain, a frozen source's features are mostly a shared offset. With `standardize`, W acts on
(x - mean) / deviation. Mean and deviation (width,) come from the training data through the untrained input transform and then
stay fixed. The layer then learns in the few steps that a small training set allows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..options import check_whole
from ..sources.base import Source
from .base import Reader
from .label_map import LabelMap
from .label_map_options import LabelMapOptions
from .linear import LayerMapping, check_unit


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
        standardize: whether the layer reads standardized values; by default with start="probe". `begin_epoch`
            (`hf_reprogram.schedule`) or `fit` sets the mean and the deviation.
        start: the layer before training: "probe", "map" (of logits alone) or "none".
        soft: whether the start "probe" of a classification is made soft before the first step
            (`hf_reprogram.mappings.linear_fit.softness`).
    """

    num_labels: int
    width: int
    reads: str = "features"
    dropout: float = 0.0
    unit: float = 1.0
    probabilities: bool = False
    standardize: bool | None = None
    start: str = "none"
    soft: bool = False

    def __post_init__(self) -> None:
        check_whole(num_labels=self.num_labels, width=self.width)
        check_unit(self.unit)
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is {self.dropout!r}: give a share from 0 up to 1.")
        if self.probabilities and self.reads != "logits":
            raise InputError(f"probabilities are the soft-max of logits, not of {self.reads!r}: set reads='logits'.")
        if self.start == "map" and (self.reads != "logits" or self.probabilities):
            raise InputError(
                f"start='map' is a map of the source's labels, and {self.reads!r} is read: use start='probe'."
            )
        if self.standardize is None:
            self.standardize = self.start == "probe"


class Dense(LayerMapping):
    """A linear layer. Omega is `linear.weight` (labels, width) and `linear.bias` (labels,).

    >>> dense = Dense(DenseOptions(num_labels=2, width=32))
    >>> dense(torch.zeros(5, 32), text_source).shape
    torch.Size([5, 2])
    """

    Options = DenseOptions
    starts = ("probe", "map", "none")
    options: DenseOptions

    def affine(self) -> tuple[Tensor, Tensor] | None:
        """See `OutputMapping.affine`; a soft-max is not affine."""
        return None if self.options.probabilities else self.affine_of_inputs()

    def inputs(self, outputs: Tensor) -> Tensor:
        """The source's output, or its soft-max."""
        return outputs.softmax(-1) if self.options.probabilities else outputs

    @torch.no_grad()
    def fit_start(self, read: Reader, validation: Reader | None, problem_type: str | None, source: Source) -> None:
        """See `LinearMapping.fit_start`; "map" fits the label map whose class logits are means of source logits."""
        if self.options.start != "map":
            return super().fit_start(read, validation, problem_type, source)
        options = self.options
        if problem_type != "single_label_classification":
            raise InputError("start='map' needs one class per example: use start='probe'.")
        label_map = LabelMap(
            LabelMapOptions(options.num_labels, options.width, how="frequency", aggregate="mean_logit")
        )
        label_map.fit(*read("logits"), source)
        self.linear.weight.copy_(label_map.matrix() / options.unit)
        self.linear.bias.zero_()
        return None

    def forward(self, outputs: Tensor, source: Source) -> Tensor:
        """Logits (batch, labels) from outputs (batch, width), or (batch, tokens, labels) from (batch, tokens, width)."""
        return self.logits(self.inputs(outputs))
