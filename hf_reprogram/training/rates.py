"""Learning rates of their own for theta, for omega, and for the weights of the source that `tune` names.

Theta often needs large steps, and an omega that starts from a probe needs small ones. A Trainer takes the optimizer ready-made:

    optimizer = torch.optim.AdamW(parameter_groups(model, theta_learning_rate=0.1, omega_learning_rate=0.01))
    Trainer(model, arguments, optimizers=(optimizer, None), ...)

In a recipe they are `training.theta_learning_rate`, `training.omega_learning_rate` and `training.source_learning_rate`, which
override `training.learning_rate`.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ..errors import InputError
from ..model import ReprogrammedModel
from ..sources.tuning import values_of

RATES = ("theta_learning_rate", "omega_learning_rate", "source_learning_rate")


def parameter_groups(
    model: nn.Module,
    *,
    theta_learning_rate: float,
    omega_learning_rate: float,
    source_learning_rate: float | None = None,
    weight_decay: float = 0.0,
) -> list[dict[str, Any]]:
    """Groups of parameters for an optimizer of torch: theta (the input transform), omega (the output mapping), tuned weights.

    Args:
        model: a `ReprogrammedModel`.
        theta_learning_rate, omega_learning_rate: the learning rate of each.
        source_learning_rate: the learning rate of the weights of the source that are tuned; None if there are none.
        weight_decay: of all but the norms and biases of the source.

    Raises:
        InputError: a rate is not positive, or the model tunes its source and has no rate for that.

    >>> from hf_reprogram import reprogram
    >>> model, _ = reprogram(text_source, "warp", ["no", "yes"], num_prompts=4)
    >>> groups = parameter_groups(model, theta_learning_rate=0.1, omega_learning_rate=0.01)
    >>> [(group["lr"], len(group["params"])) for group in groups]
    [(0.1, 1), (0.01, 2)]
    """
    groups = []
    for part, rate in (("transform", theta_learning_rate), ("mapping", omega_learning_rate)):
        if not rate > 0:
            raise InputError(f"A learning rate is {rate!r}: give numbers above 0.")
        parameters = [p for p in getattr(model, part).parameters() if p.requires_grad]
        if parameters:
            groups.append({"params": parameters, "lr": rate, "weight_decay": weight_decay})
    tuned = list(values_of(model.source).values())  # type: ignore[arg-type]
    if tuned and not (source_learning_rate or 0) > 0:
        raise InputError(
            f"source_learning_rate is {source_learning_rate!r}, and the model tunes its source: give a number above 0."
        )
    for matrices in (True, False):
        if parameters := [weight for weight in tuned if (weight.dim() > 1) is matrices]:
            decay = weight_decay if matrices else 0.0
            groups.append({"params": parameters, "lr": source_learning_rate, "weight_decay": decay})
    return groups


def own_optimizer(model: Any, args: Any, rates: dict[str, float]) -> Any:
    """The optimizer that `TrainingArguments` choose, with rates of their own for each part; None if `rates` is empty.

    Args:
        model: the model; any but a `ReprogrammedModel` has no theta, and gets None.
        args: the `TrainingArguments`, whose `learning_rate` is that of a part without its own.
        rates: learning rates by their name in `RATES`.
    """
    from transformers import Trainer

    if not rates or not isinstance(model, ReprogrammedModel):
        return None
    kind, options = Trainer.get_optimizer_cls_and_kwargs(args, model)
    groups = parameter_groups(
        model, weight_decay=args.weight_decay, **{name: rates.get(name, args.learning_rate) for name in RATES}
    )
    return kind(groups, **options)
