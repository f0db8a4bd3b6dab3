"""Estimated gradients of theta, from losses alone: for sources that cannot be differentiated, such as a model behind an API.

In training the model computes L(theta) and, without gradients, the loss at several changed thetas, all of a step in one batch
through the source. `attach` returns L and hands the estimate back as theta's gradient, so that every optimizer, schedule and
Trainer works unchanged. Omega's gradient and that of theta's penalty are exact.

    rgf     g = d / q * sum of (L(theta + mu u) - L(theta)) / mu * u         u uniform on the unit sphere     q + 1 rows each
    spsa    g = 1 / q * sum of (L(theta + c u) - L(theta - c u)) / (2 c u)   |u_i| uniform in [0.5, 1]       2 q + 1 rows each

d is the count of numbers in theta, q that of directions, and an example is sent so many times a step. The directions depend on
the Trainer's seed and step alone. So a resumed run draws those of an uninterrupted one, and all batches of an accumulated step,
and all processes, have the same. An estimate in d dimensions has a cosine of about sqrt(q / (q + d)) with the gradient: choose
programs of few numbers.

Sources: rgf is from BAR (Tsai et al. 2020, arXiv 2007.08714); spsa from BlackVIP (Oh et al. 2023, arXiv 2303.14773), whose
gradient correction is the Nesterov momentum of `torch.optim.SGD`, and c is theirs: it falls as c / t^decay with the step t.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from .errors import BudgetSpent, InputError, shown, unknown
from .options import check_whole, from_dict

if TYPE_CHECKING:
    from .model import ReprogrammedModel

# Inputs of a source with one row for each example, which several thetas can share a batch of.
_ROWS = {
    *("pixels", "patches", "waveform", "spectrogram"),
    *("inputs_embeds", "attention_mask", "mask_position", "mean_mask", "slots", "text_ids", "first_slot"),
}


@dataclass
class RGF:
    """Options of "rgf", the random gradient-free estimate of BAR.

    Attributes:
        q: the number of directions.
        mu: the length of the change of theta along each of them.

    >>> RGF(q=4).offsets(3, np.random.default_rng(0), step=1).norm(dim=1)
    tensor([0.1000, 0.1000, 0.1000, 0.1000])
    """

    q: int = 25
    mu: float = 0.1

    def __post_init__(self) -> None:
        check_whole(q=self.q)
        _check_positive("mu", self.mu)

    def offsets(self, size: int, random: np.random.Generator, step: int) -> Tensor:
        """Changes (q, size) of theta at a step, from 1, whose losses are asked for."""
        drawn = torch.from_numpy(random.standard_normal((self.q, size)))
        offsets: Tensor = self.mu * drawn / drawn.norm(dim=1, keepdim=True)
        return offsets.float()

    def gradient(self, loss: Tensor, losses: Tensor, offsets: Tensor) -> Tensor:
        """The estimate (size,) from L(theta), and the losses (q,) at the changed thetas.

        >>> RGF(q=1, mu=0.5).gradient(torch.tensor(1.0), torch.tensor([2.0]), torch.tensor([[0.3, 0.4]]))
        tensor([2.4000, 3.2000])
        """
        projected: Tensor = (losses - loss) @ offsets
        return offsets.shape[1] / (self.q * self.mu**2) * projected


@dataclass
class SPSA:
    """Options of "spsa", the simultaneous perturbation of BlackVIP.

    Attributes:
        q: the number of directions; each is asked on both sides.
        c: the size of the changes at the first step.
        decay: the power by which they fall: c / step^decay.

    >>> SPSA(q=2, c=0.1).offsets(3, np.random.default_rng(0), step=1).abs().max() <= 0.1
    tensor(True)
    """

    q: int = 5
    c: float = 0.01
    decay: float = 0.1

    def __post_init__(self) -> None:
        check_whole(q=self.q)
        _check_positive("c", self.c)
        if not 0 <= self.decay < inf:
            raise InputError(f"decay is {shown(self.decay)}: give 0 or more.")

    def offsets(self, size: int, random: np.random.Generator, step: int) -> Tensor:
        """Changes (2 q, size) of theta at a step, from 1; the second half is the negative of the first."""
        drawn = random.uniform(0.5, 1.0, (self.q, size)) * random.choice([-1.0, 1.0], (self.q, size))
        one_side = torch.from_numpy(self.c / step**self.decay * drawn).float()
        return torch.cat([one_side, -one_side])

    def gradient(self, loss: Tensor, losses: Tensor, offsets: Tensor) -> Tensor:
        """The estimate (size,) from the losses (2 q,) at the changed thetas; L(theta) is not used.

        >>> SPSA(q=1).gradient(torch.tensor(0.0), torch.tensor([3.0, 1.0]), torch.tensor([[0.5, -0.25], [-0.5, 0.25]]))
        tensor([ 2., -4.])
        """
        above, below = losses.chunk(2)
        each: Tensor = (above - below)[:, None] / (2 * offsets[: self.q])
        return each.mean(0)


ESTIMATORS: dict[str, type[RGF | SPSA]] = {"rgf": RGF, "spsa": SPSA}


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < inf:
        raise InputError(f"{name} is {shown(value)}: give a number above 0.")


def read_gradients(gradients: Any) -> dict[str, dict[str, Any]]:
    """The estimator of theta's gradient with all of its options, as plain data; empty for the exact gradient.

    Args:
        gradients: "exact", the name of an estimator, or `{name: {option: value}}`.

    Raises:
        InputError: there is no such estimator or option, or a value is out of its range.

    >>> read_gradients({"rgf": {"q": 5}}), read_gradients("exact")
    ({'rgf': {'q': 5, 'mu': 0.1}}, {})
    >>> read_gradients("rfg")
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: Unknown estimator of gradients 'rfg': did you mean 'rgf'?
    """
    if gradients in ("exact", {}):
        return {}
    entry = {gradients: {}} if isinstance(gradients, str) else gradients
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise InputError(
            f"gradients is {shown(gradients)}: give exact, the name of one estimator ({', '.join(ESTIMATORS)}), or {{name: "
            "{option: value}}."
        )
    ((name, options),) = entry.items()
    if name not in ESTIMATORS:
        raise unknown("estimator of gradients", name, ESTIMATORS)
    return {name: asdict(from_dict(ESTIMATORS[name], options or {}, f"option of {name}"))}


class _Attached(torch.autograd.Function):
    """A loss whose gradients with respect to some parameters are given."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: list[Tensor], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        return outer[0], None, *(outer[0] * gradient for gradient in ctx.gradients)


def attach(loss: Tensor, parameters: list[nn.Parameter], gradients: list[Tensor]) -> Tensor:
    """The same loss, whose gradient with respect to the parameters is that given, added to what it has already.

    >>> weight = nn.Parameter(torch.zeros(2))
    >>> attach(torch.tensor(3.0), [weight], [torch.tensor([1.0, 2.0])]).backward()
    >>> weight.grad
    tensor([1., 2.])
    """
    attached: Tensor = _Attached.apply(loss, gradients, *parameters)  # type: ignore[no-untyped-call]
    return attached


class Estimated:
    """The loss of a model, with an estimated gradient of theta.

    Args:
        gradients: as from `read_gradients`, not empty.

    Attributes:
        spent: whether the budget of the source ended during this step, which then has no gradient.
        asked: the number of rows that the last step has asked the source for.
    """

    def __init__(self, gradients: Mapping[str, Mapping[str, Any]]) -> None:
        ((name, options),) = gradients.items()
        self.estimator = ESTIMATORS[name](**options)
        self.seed, self.step, self.scheduled = 0, 0, False
        self.spent, self.asked = False, 0

    def begin_step(self, seed: int, step: int) -> None:
        """Draw the directions of this step, from 1, until the next call; the Trainer's `Schedule` calls this."""
        self.seed, self.step, self.scheduled, self.asked = seed, step, True, 0

    def _begin_own_step(self) -> None:
        """In a loop of its user's own, every batch is a step, and the seed comes from torch's generator."""
        if self.step == 0:
            self.seed = int(torch.randint(2**31, ()))
        self.step += 1

    def __call__(self, model: ReprogrammedModel, batch: dict[str, Tensor], labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and the logits (batch, labels) of a batch.

        Raises:
            InputError: training is not in single precision.
            BudgetSpent: the source's budget has ended, and no Trainer is there to stop.
        """
        theta = {name: p for name, p in model.transform.named_parameters() if p.requires_grad}
        check_precision(model, theta)
        if not self.scheduled:
            self._begin_own_step()
        sizes = [parameter.numel() for parameter in theta.values()]
        random = np.random.default_rng([self.seed, self.step])
        start = torch.cat([parameter.detach().flatten() for parameter in theta.values()]) if theta else None
        offsets = None if start is None else self.estimator.offsets(len(start), random, self.step)
        if start is not None and offsets is not None:
            offsets = offsets.to(start.device, non_blocking=True)
        thetas: list[dict[str, Tensor]] = [{}]
        if start is not None and offsets is not None:
            thetas += [_divided(start + offset, theta) for offset in offsets]
        self.asked += len(thetas) * len(labels)
        noise = _RandomState(model.source.device)
        try:
            outputs = _outputs(model, batch, thetas, noise)
        except BudgetSpent:
            if not self.scheduled:
                raise
            self.spent = True
            return _without_step(model), labels.new_zeros(len(labels), len(model.label_names), dtype=torch.float32)
        noise.restore()
        logits, loss = model.logits_and_loss(outputs[0], batch, labels)
        if offsets is not None:
            with torch.no_grad():
                losses = []
                for changed in outputs[1:]:
                    noise.restore()
                    losses.append(model.logits_and_loss(changed, batch, labels)[1])
                estimate = self.estimator.gradient(loss.detach(), torch.stack(losses), offsets)
                shaped = [part.view_as(p) for part, p in zip(estimate.split(sizes), theta.values(), strict=True)]
            loss = attach(loss, [*theta.values()], shaped)
        return loss + model.transform.penalty(), logits


def estimated(config: Any, differentiable: bool) -> Estimated | None:
    """What computes the loss of a model in training; None if the gradient of its theta is exact.

    Args:
        config: the model's, whose `gradients` becomes complete; without any, "rgf" is for a source that has no gradients.
        differentiable: whether gradients flow through the source.

    Raises:
        InputError: weights of the source are tuned, and gradients are estimated.
    """
    config.gradients = read_gradients(config.gradients or ("exact" if differentiable else "rgf"))
    if not config.gradients:
        return None
    if config.tune:
        raise InputError(
            f"tune trains weights of the source, whose gradient {next(iter(config.gradients))!r} does not estimate: leave tune "
            "or gradients out."
        )
    return Estimated(config.gradients)


def check_precision(model: ReprogrammedModel, theta: Mapping[str, Tensor]) -> None:
    """Raise `InputError` under autocast and for half precision, in which differences of losses drown."""
    half = next((p.dtype for p in [*theta.values(), *model.source.parameters()] if p.dtype.itemsize == 2), None)
    if torch.is_autocast_enabled(model.source.device.type):
        half = torch.get_autocast_dtype(model.source.device.type)
    if half is not None:
        raise InputError(
            f"Gradients are estimated from small differences of losses, which {str(half).removeprefix('torch.')} rounds away: "
            "train in float32, without bf16, fp16 and autocast."
        )


def _divided(vector: Tensor, theta: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A vector as the parameters of a transform. They need gradients, so that nothing computed from them is kept."""
    parts = vector.split([parameter.numel() for parameter in theta.values()])
    return {
        name: part.view_as(parameter).detach().requires_grad_()
        for part, (name, parameter) in zip(parts, theta.items(), strict=True)
    }


def _outputs(
    model: ReprogrammedModel, batch: dict[str, Tensor], thetas: list[dict[str, Tensor]], noise: _RandomState
) -> list[Tensor]:
    """The source's output for each theta, without gradients; in one batch if every input has a row for each example."""
    made = []
    for named in thetas:
        noise.restore()
        inputs = functional_call(model.transform, named, (batch, model.source))
        made.append({name: _detached(value) for name, value in inputs.items()})
    reads = model.mapping.reads
    with torch.no_grad():
        if {*made[0]} <= _ROWS:
            joined = {name: torch.cat([inputs[name] for inputs in made]) for name in made[0]}
            return list(model.source(joined, reads).chunk(len(made)))
        return [model.source(inputs, reads) for inputs in made]


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) and value.requires_grad else value


def _without_step(model: ReprogrammedModel) -> Tensor:
    """A loss that is not a number, so that the log leaves it out; `Schedule` drops its gradients."""
    return torch.stack([p.sum() for p in model.trainable().values()]).sum() * torch.nan


class _RandomState:
    """The state of torch's random numbers, so that every theta meets the same noise, such as dropout."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None
        self._states = torch.get_rng_state(), torch.cuda.get_rng_state(device) if self._cuda else None

    def restore(self) -> None:
        """Set the state back."""
        torch.set_rng_state(self._states[0])
        if self._cuda is not None and self._states[1] is not None:
            torch.cuda.set_rng_state(self._states[1], self._cuda)
