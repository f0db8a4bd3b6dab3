"""Mappings with one linear layer: its standardized input, its unit, and its start as a linear probe.

    logits = unit W z + b        z = x, or (x - mean) / deviation        x (width,) an output of the frozen source

Adam moves every entry of W by about its learning rate, and a logit moves by the sum over all entries of z. With `unit` = width
** -0.5 such a step does not depend much on the width. With standardized z it does not depend on the source's scale either. So
one learning rate suits all sources, and the large one that an input transform needs suits the layer too.

**The start** "probe" is the linear probe of what the untrained input transform gives: logistic regression, ridge regression or
one logistic regression per label, on the training data. Its L2 strength is the one with the smallest loss on validation, or in
five folds of the training data if there is no validation. Training then improves a program that is as good as the probe,
instead of a random one. The start "none" leaves the layer as it is.

With `soft`, the probe of a classification is made softer before the first step: all of its logits are multiplied by one factor,
so that the training loss leaves something to learn from (`hf_reprogram.mappings.linear_fit.softness`). No decision changes. The
start that is scored and saved is the probe itself.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError, unknown
from ..losses import IGNORE
from ..sources.base import Source
from .base import OutputMapping, Reader
from .linear_fit import ABSENT, LinearModel, best_strength, softness
from .target_scale import TargetScale

MOST_EXAMPLES = 20_000  # of a start: a linear layer needs no more
MOST_TEXTS = 2_000  # with the states of every token


def check_unit(unit: float) -> None:
    """Raise `InputError` if this is no scale of a weight.

    >>> check_unit(0.0)
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: unit is 0.0: give a number above 0 and at most 1000.
    """
    if not 0 < unit <= 1000:
        raise InputError(f"unit is {unit!r}: give a number above 0 and at most 1000.")


class LinearMapping(OutputMapping):
    """A mapping with one linear layer.

    The options have `num_labels`, `width`, `unit`, `standardize`, `start` and `soft`. With `standardize` the buffers `mean` and
    `deviation` (width,) are 0 and 1 until they are fitted.

    >>> from .dense import Dense, DenseOptions
    >>> dense = Dense(DenseOptions(num_labels=2, width=32, start="probe"))
    >>> isinstance(dense, LinearMapping), dense.options.standardize, dense.scheduled()
    (True, True, [])
    """

    starts: ClassVar[tuple[str, ...]] = ("probe", "none")
    mean: Tensor
    deviation: Tensor

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        if options.start not in self.starts:
            raise unknown("start", options.start, self.starts)
        if options.standardize:
            self.register_buffer("mean", torch.zeros(self.input_width()))
            self.register_buffer("deviation", torch.ones(self.input_width()))
        self._known_fitted = False  # avoids a wait for the GPU at every step

    def input_width(self) -> int:
        """The width of what is standardized together; by default that of the source's output."""
        width: int = self.options.width
        return width

    def layer(self) -> tuple[Tensor, Tensor]:
        """W (labels, width of the inputs) and b (labels,)."""
        raise NotImplementedError  # pragma: no cover - the interface

    def inputs(self, outputs: Tensor) -> Tensor:
        """The inputs x (..., width) of the layer from the source's output; by default the output itself."""
        return outputs

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits (..., labels) from x (..., width)."""
        weight, bias = self.layer()
        if self.options.unit != 1:
            weight = weight * self.options.unit
        values = inputs.to(weight.dtype)
        if self.options.standardize:
            values = (values - self.mean) / self.deviation
        return F.linear(self.drop(values), weight, bias)

    @torch.no_grad()
    def affine_of_inputs(self) -> tuple[Tensor, Tensor]:
        """W and b for which the logits are `W x + b`, without the unit and the standardization."""
        weight, bias = self.layer()
        weight = weight * self.options.unit
        if self.options.standardize:
            weight = weight / self.deviation
            bias = bias - weight @ self.mean
        return weight, bias

    def drop(self, values: Tensor) -> Tensor:
        """Drop a share of z in training; by default nothing."""
        return values

    # ------------------------------------------------------------------------------------------------ before training

    def scheduled(self) -> list[str]:
        """See `OutputMapping.scheduled`."""
        explicit = self.options.standardize and self.options.start == "none"
        return ["standardize"] if explicit and not self.is_fitted() else []

    def is_fitted(self) -> bool:
        """Whether the layer knows by what to standardize, if it does."""
        if not self._known_fitted:
            self._known_fitted = not self.options.standardize or bool(self.mean.any())
        return self._known_fitted

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._known_fitted = False
        super()._load_from_state_dict(*args, **kwargs)

    def begin_epoch(self, epoch: float, read: Reader, source: Source) -> None:
        """Fit the mean and the deviation before the first epoch, if the layer standardizes."""
        if not self.is_fitted() and (self.options.start == "none" or not self.has_started()):
            self.standardize(self._rows(read)[0])

    @torch.no_grad()
    def fit(self, outputs: Tensor) -> None:
        """Standardize by the mean and the deviation of the source's outputs (n, width)."""
        self.standardize(self.inputs(outputs.float()))

    @torch.no_grad()
    def standardize(self, inputs: Tensor) -> None:
        """Standardize by the mean and the deviation of inputs (n, width).

        An input that is almost constant is divided by a hundredth of the mean deviation, so that a small change of theta does
        not make it huge.
        """
        deviation = inputs.std(0, correction=0)
        least = 0.01 * deviation.mean()
        self.mean.copy_(inputs.mean(0))
        self.deviation.copy_(deviation.clamp(min=float(least)) if least > 0 else torch.ones_like(deviation))

    @torch.no_grad()
    def fit_start(self, read: Reader, validation: Reader | None, problem_type: str | None, source: Source) -> None:
        """Set the layer to the linear probe; see the module's docstring and `OutputMapping.begin`."""
        train, held = self._rows(read), None if validation is None else self._rows(validation)
        options = self.options
        self.set_layer(probe(train, held, problem_type, options.num_labels, self.target, soft=options.soft))

    def _rows(self, read: Reader) -> tuple[Tensor, Tensor]:
        """Inputs (n, width) and labels of examples, or of scored tokens."""
        outputs, labels = read(self.reads, MOST_TEXTS if self.reads == "tokens" else MOST_EXAMPLES)
        values = self.inputs(outputs.float())
        return (values[labels != IGNORE], labels[labels != IGNORE]) if values.dim() == 3 else (values, labels)

    @torch.no_grad()
    def set_layer(self, model: LinearModel) -> None:
        """Set W and b so that the logits are those of a linear model of x. A class without examples gets a low bias."""
        weight, bias = torch.from_numpy(model.weight), torch.from_numpy(model.bias)
        absent = bias == ABSENT
        if absent.any() and not absent.all():
            bias = torch.where(absent, bias[~absent].min() - 5, bias)
        weight, bias = self.own_layer(weight, bias)
        ours, ours_bias = self.layer()
        ours.copy_(weight / self.options.unit)
        ours_bias.copy_(bias)
        self.softness = model.softness

    def softened(self) -> tuple[Tensor, Tensor]:
        """See `OutputMapping.softened`."""
        return self.layer()

    def own_layer(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The weight and the bias of z, from those of x."""
        if not self.options.standardize:
            return weight, bias
        return weight * self.deviation.double().cpu(), bias + weight @ self.mean.double().cpu()


class LayerMapping(LinearMapping):
    """A mapping whose layer is `linear.weight` (labels, inputs) and `linear.bias` (labels,), with dropout before it.

    The options have `dropout` too.

    >>> from .dense import Dense, DenseOptions
    >>> isinstance(Dense(DenseOptions(num_labels=2, width=32)), LayerMapping)
    True
    """

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.dropout = nn.Dropout(options.dropout)
        self.linear = nn.Linear(self.states_read() * self.input_width(), options.num_labels)

    def states_read(self) -> int:
        """The number of states that the layer reads side by side."""
        return 1

    def reset(self) -> None:
        """Start as a fresh linear layer; the start does not depend on the unit."""
        self.linear.reset_parameters()
        with torch.no_grad():
            self.linear.weight.div_(self.options.unit)

    def layer(self) -> tuple[Tensor, Tensor]:
        """See `LinearMapping.layer`."""
        return self.linear.weight, self.linear.bias

    def drop(self, values: Tensor) -> Tensor:
        """Drop the share `dropout` in training."""
        dropped: Tensor = self.dropout(values)
        return dropped


def probe(
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor] | None,
    problem_type: str | None,
    outputs: int,
    target: TargetScale | None = None,
    soft: bool = False,
) -> LinearModel:
    """The linear probe with the strength that is best on validation.

    Args:
        train: inputs (n, width), and labels (n,) or (n, outputs). Examples without a label are left out.
        validation: the same; None to divide the training data into folds.
        problem_type: as in a transformers config.
        outputs: the number of logits.
        target: the scale of a regression's target; the model predicts the standardized target.
        soft: find the model's softness for training.

    >>> inputs, labels = torch.eye(2).repeat(8, 1), torch.tensor([0, 1]).repeat(8)
    >>> probe((inputs, labels), None, "single_label_classification", 2).logits(inputs.numpy()).argmax(1).tolist()[:2]
    [0, 1]
    """

    def known(rows: tuple[Tensor, Tensor]) -> tuple[Any, Any]:
        values, labels = rows
        if labels.dim() == 1:
            labelled = ~labels.isnan() if labels.is_floating_point() else labels != IGNORE
            values, labels = values[labelled], labels[labelled]
        labels = labels if target is None else target.standardized(labels.to(target.mean.device)).cpu()
        kept = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:MOST_EXAMPLES].sort().values
        return values[kept].float().numpy(), labels[kept].numpy()

    rows = known(train)
    model = best_strength(rows, None if validation is None else known(validation), problem_type, outputs)
    if soft:
        model.softness = softness(model, *rows)
    return model
