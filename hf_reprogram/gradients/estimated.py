"""The loss of a model whose gradient with respect to theta is estimated; see `hf_reprogram.gradients`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import BudgetSpent, InputError
from .directions import random_of
from .search import CMAES, Search

if TYPE_CHECKING:
    from ..model import ReprogrammedModel

# Inputs of a source with one row for each example, which several thetas can share a batch of.
ROW_INPUTS = {
    *("pixels", "patches", "waveform", "spectrogram", "input_ids"),
    *("inputs_embeds", "attention_mask", "mask_position", "mean_mask", "slots", "text_ids", "first_slot"),
}


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
        estimator: the options of the estimate.

    Attributes:
        search: the search of "cma_es", which trains theta alone; None for an estimate of a gradient.
        spent: whether the budget of the source ended during this step, which then has no gradient.
        asked: the number of rows that the last step has asked the source for.
        stopped: whether the budget has ended training before its last step.

    >>> from hf_reprogram import reprogram
    >>> model, tokenizer = reprogram(text_source, "warp", ["no", "yes"], num_prompts=4, gradients={"rgf": {"q": 3}})
    >>> batch = tokenizer(["a film", "a book"], padding=True, return_tensors="pt")
    >>> loss, logits = model.estimated(model, batch, torch.tensor([0, 1]))
    >>> loss.backward()
    >>> model.transform.prompts.grad.shape, model.estimated.asked  # 2 texts with 1 + 3 thetas
    (torch.Size([4, 32]), 8)
    """

    private = False  # whether the training data are protected

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator
        self.search = Search(estimator) if isinstance(estimator, CMAES) else None
        self.seed, self.step, self.scheduled = 0, 0, False
        self.spent, self.asked, self.stopped = False, 0, False

    def begin_step(self, seed: int, step: int) -> None:
        """Draw the directions of this step, from 1, until the next call; the Trainer's `Schedule` calls this."""
        self.seed, self.step, self.scheduled, self.asked = seed, step, True, 0
        if step == 1 and self.search is not None:
            self.search.forget()

    def _begin_own_step(self) -> None:
        """In a loop of its user's own, every batch is a step, and the seed comes from torch's generator."""
        if self.step == 0:
            self.seed = int(torch.randint(2**31, ()))
        self.step += 1

    def __call__(self, model: ReprogrammedModel, batch: dict[str, Tensor], labels: Any) -> tuple[Tensor, Tensor]:
        """The loss and the logits (batch, labels) of a batch.

        Raises:
            InputError: training is not in single precision, or a search has several batches in a step.
            BudgetSpent: the source's budget has ended, and no Trainer is there to stop.
        """
        theta = {name: p for name, p in model.transform.named_parameters() if p.requires_grad}
        check_precision(model, theta)
        if not self.scheduled:
            self._begin_own_step()
        elif self.search is not None and self.asked:
            raise InputError("cma_es takes one batch a step, and this step has more: leave gradient accumulation out.")
        sizes = [parameter.numel() for parameter in theta.values()]
        start = torch.cat([parameter.detach().flatten() for parameter in theta.values()]) if theta else None
        offsets = None if start is None else self._offsets(start).to(start.device, non_blocking=True)
        thetas: list[dict[str, Tensor]] = [{}]
        if start is not None and offsets is not None:
            thetas += [_divided(start + offset, theta) for offset in offsets]
        self.asked += len(thetas) * len(labels)
        noise = _RandomState(model.source.device)
        try:
            outputs = _outputs(model, batch, thetas, noise)
        except BudgetSpent as error:
            return self.cut_short(error, model, labels)
        noise.restore()
        logits, loss = model.logits_and_loss(outputs[0], batch, labels)
        if offsets is not None:
            with torch.no_grad():
                losses = []
                for changed in outputs[1:]:
                    noise.restore()
                    losses.append(model.logits_and_loss(changed, batch, labels)[1])
                estimate = self._gradient(loss.detach(), torch.stack(losses), offsets)
                shaped = [part.view_as(p) for part, p in zip(estimate.split(sizes), theta.values(), strict=True)]
            loss = attach(loss, [*theta.values()], shaped)
        return loss + model.transform.penalty(), logits

    def cut_short(self, error: BudgetSpent, model: ReprogrammedModel, labels: Tensor) -> tuple[Tensor, Tensor]:
        """What `__call__` returns where the budget has ended. Without a Trainer that could stop, the error is raised."""
        if not self.scheduled:
            raise error
        self.spent = True
        return _without_step(model), labels.new_zeros(len(labels), len(model.label_names), dtype=torch.float32)

    def _offsets(self, theta: Tensor) -> Tensor:
        """The changes (count, size) of theta (size,) whose losses are asked for in this step."""
        if self.search is not None:
            return self.search.offsets(theta, self.seed)
        offsets: Tensor = self.estimator.offsets(len(theta), random_of(self.seed, self.step), self.step)
        return offsets

    def _gradient(self, loss: Tensor, losses: Tensor, offsets: Tensor) -> Tensor:
        """What becomes theta's gradient (size,)."""
        if self.search is not None:
            return self.search.gradient(losses)
        gradient: Tensor = self.estimator.gradient(loss, losses, offsets)
        return gradient


def check_precision(model: ReprogrammedModel, theta: Mapping[str, Tensor]) -> None:
    """Raise `InputError` under autocast and for half precision, in which differences of losses drown.

    >>> from types import SimpleNamespace
    >>> check_precision(SimpleNamespace(source=text_source), {"w": nn.Parameter(torch.ones(2))})
    >>> half = {"w": nn.Parameter(torch.ones(2).bfloat16())}
    >>> check_precision(SimpleNamespace(source=text_source), half)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: Gradients are estimated from small differences of losses, which bfloat16 rounds away: ...
    """
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
    return outputs_of(model, made)


@torch.no_grad()
def outputs_of(model: ReprogrammedModel, made: list[dict[str, Any]]) -> list[Tensor]:
    """The source's output for several inputs of as many rows; in one batch if every input has a row for each example.

    >>> from hf_reprogram import reprogram
    >>> model, tokenizer = reprogram(text_source, "warp", ["no", "yes"], num_prompts=4)
    >>> inputs = model.transform(tokenizer(["a film"], return_tensors="pt"), text_source)
    >>> [output.shape for output in outputs_of(model, [inputs, inputs])]
    [torch.Size([1, 32]), torch.Size([1, 32])]
    """
    reads = model.mapping.reads
    if {*made[0]} <= ROW_INPUTS:
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
