"""What a training needs whose gradients are estimated, checked before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import InputError, shown
from .search import CMAES, PLAIN_STEP, check_installed

if TYPE_CHECKING:
    from ..model import ReprogrammedModel

_OF_OPTIMIZER = ("optim", "optim_args", "learning_rate", "lr_scheduler_type", "weight_decay")


def plain_step(gradients: Mapping[str, Any]) -> dict[str, Any]:
    """The `TrainingArguments` that an estimator needs; none for most.

    Args:
        gradients: as from `read_gradients`.

    >>> plain_step({"rgf": {"q": 5}}), plain_step({"cma_es": {}})["optim"]
    ({}, 'sgd')
    """
    return dict(PLAIN_STEP) if "cma_es" in gradients else {}


def check_plain_step(given: Mapping[str, Any], own_optimizer: bool = False) -> None:
    """Refuse training arguments with which a step would not move theta to the mean of "cma_es", and a missing library.

    Args:
        given: some or all `TrainingArguments` by name, and learning rates of a part of the model.
        own_optimizer: whether the Trainer was given an optimizer, so that the arguments do not make one.

    >>> check_plain_step({"learning_rate": 0.1})
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: cma_es moves theta by a plain step of SGD, and learning_rate is 0.1: set it to 1.0.
    """
    check_installed()
    for name, value in given.items():
        needed = PLAIN_STEP.get(name)
        if (name not in PLAIN_STEP and not name.endswith("_learning_rate")) or value == needed:
            continue
        if not (own_optimizer and name in _OF_OPTIMIZER):
            remedy = "leave it out" if needed is None else f"set it to {needed}"
            raise InputError(f"cma_es moves theta by a plain step of SGD, and {name} is {shown(value)}: {remedy}.")


def check_training(model: ReprogrammedModel, args: Any, own_optimizer: bool) -> None:
    """Refuse a training in which gradients cannot be estimated.

    Args:
        model: with estimated gradients.
        args: the `TrainingArguments`.
        own_optimizer: as for `check_plain_step`.

    Raises:
        InputError: half precision or several processes, and for "cma_es" another step than a plain one, a penalty of theta,
            more numbers than it can search, or no library `cma`.

    >>> from hf_reprogram import reprogram
    >>> from transformers import TrainingArguments
    >>> model, _ = reprogram(text_source, "warp", ["no", "yes"], num_prompts=4, gradients="rgf")
    >>> check_training(model, TrainingArguments(use_cpu=True), own_optimizer=False)
    """
    if args.bf16 or args.fp16:
        raise InputError(
            f"Gradients are estimated from small differences of losses, which {'bf16' if args.bf16 else 'fp16'} rounds away: "
            "leave it out of the training arguments."
        )
    estimator = model.estimated.estimator if model.estimated is not None else None
    alone = isinstance(estimator, CMAES) or not model.source.differentiable
    if args.n_gpu > 1 or (args.world_size > 1 and alone):
        raise InputError(
            f"Gradients of {model.source.spec.family} are estimated in one process on one device, and this training has "
            f"{max(args.n_gpu, args.world_size)}: start a single process that sees one device."
        )
    if isinstance(estimator, CMAES):
        estimator.check(sum(p.numel() for p in model.transform.parameters() if p.requires_grad))
        check_plain_step({name: getattr(args, name) for name in PLAIN_STEP}, own_optimizer)
        if isinstance(model.transform.penalty(), Tensor):
            raise InputError("cma_es knows the order of losses alone, and l2 adds a gradient of its own: set l2 to 0.")
