"""The gradient of theta for each example by itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..gradients import ROW_INPUTS


class NoGradients(InputError):
    """Examples of a model have no gradients of their own.

    >>> issubclass(NoGradients, InputError)
    True
    """


def per_sample_gradients(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """The gradient of each example's loss with respect to theta, without the transform's penalty.

    Where every input of the source has one row per example, the source computes forward and backward once for the whole batch:
    the gradient of the sum of losses with respect to the inputs has one row per example, and each row goes back through the
    transform alone. Elsewhere each example goes through the source by itself.

    Args:
        model: a `ReprogrammedModel` with one label per example, whose source can be differentiated.
        batch: inputs and `labels` (n,) or (n, labels), on the model's device.

    Returns:
        (n, numbers), float32, in the order of the parameters of `model.transform`.

    Raises:
        NoGradients: theta has no numbers or no gradient outside training, there is a label per token, or the source cannot be
            differentiated.

    >>> from hf_reprogram import reprogram
    >>> model, processor = reprogram(text_source, "warp", ["no", "yes"], num_prompts=4)
    >>> batch = processor(["a film", "a lovely film"], padding=True, return_tensors="pt")
    >>> per_sample_gradients(model, {**batch, "labels": torch.tensor([0, 1])}).shape  # 4 prompts of 32 numbers
    torch.Size([2, 128])
    """
    theta = [parameter for parameter in model.transform.parameters() if parameter.requires_grad]
    if not theta:
        raise NoGradients(
            "Theta has no numbers, so there is no gradient: choose a method that trains an input transform."
        )
    if not model.source.differentiable:
        raise NoGradients(
            f"The {model.source.spec.kind} source cannot be differentiated, so examples have no gradients: use a source with "
            "weights."
        )
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    labels = batch["labels"]
    if labels.dim() > 1 and model.config.problem_type in ("token_classification", "masked_lm"):
        raise NoGradients(
            "There is a label for every token, and gradients are those of examples: take one label for each."
        )
    training = model.training
    model.eval()
    try:
        with torch.enable_grad():
            made = model.inputs(inputs)
            if not any(isinstance(value, Tensor) and value.requires_grad for value in made.values()):
                raise NoGradients(
                    f"The transform {model.config.transform['type']!r} chooses by its largest numbers outside training, which "
                    "has no gradient: use one that is continuous."
                )
            if {*made} <= ROW_INPUTS:
                return _by_rows(model, theta, inputs, labels, made)
            return torch.stack([_alone(model, theta, _row(inputs, i), labels[i : i + 1]) for i in range(len(labels))])
    finally:
        model.train(training)


def _row(inputs: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    return {name: value[index : index + 1] for name, value in inputs.items()}


def _alone(model: Any, theta: list[Tensor], inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
    """The gradient (numbers,) of one example."""
    outputs = model.source(model.inputs(inputs), model.mapping.reads)
    _, loss = model.logits_and_loss(outputs, inputs, labels)
    return _flat(torch.autograd.grad(loss, theta, allow_unused=True), theta)


def _by_rows(
    model: Any, theta: list[Tensor], inputs: dict[str, Tensor], labels: Tensor, made: dict[str, Any]
) -> Tensor:
    """The gradients (n, numbers) of examples whose inputs of the source are rows of their own."""
    leaves = {name: value.detach().requires_grad_() for name, value in made.items() if value.requires_grad}
    outputs = model.source({**made, **leaves}, model.mapping.reads)
    _, loss = model.logits_and_loss(outputs, inputs, labels)
    rows = torch.autograd.grad(loss * len(labels), [*leaves.values()])
    found = []
    for index in range(len(labels)):
        own = model.inputs(_row(inputs, index))
        gradients = torch.autograd.grad(
            [own[name] for name in leaves], theta, [row[index : index + 1] for row in rows], allow_unused=True
        )
        found.append(_flat(gradients, theta))
    return torch.stack(found)


def _flat(gradients: tuple[Tensor | None, ...], theta: list[Tensor]) -> Tensor:
    parts = [
        torch.zeros_like(parameter) if gradient is None else gradient
        for gradient, parameter in zip(gradients, theta, strict=True)
    ]
    return torch.cat([part.flatten().float() for part in parts])
