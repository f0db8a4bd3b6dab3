"""Learning rates of their own for theta and for omega.

Theta often needs large steps, and an omega that starts from a probe needs small ones. A Trainer takes the optimizer ready-made:

    optimizer = torch.optim.AdamW(parameter_groups(model, theta_learning_rate=0.1, omega_learning_rate=0.01))
    Trainer(model, arguments, optimizers=(optimizer, None), ...)

In a recipe the two are `training.theta_learning_rate` and `training.omega_learning_rate`, which override
`training.learning_rate`.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ..errors import InputError
from ..model import ReprogrammedModel

RATES = ("theta_learning_rate", "omega_learning_rate")


def parameter_groups(
    model: nn.Module, *, theta_learning_rate: float, omega_learning_rate: float, weight_decay: float = 0.0
) -> list[dict[str, Any]]:
    """Groups of parameters for an optimizer of torch: theta (the input transform) and omega (the output mapping).

    Args:
        model: a `ReprogrammedModel`.
        theta_learning_rate, omega_learning_rate: the learning rate of each.
        weight_decay: of both.

    Raises:
        InputError: a rate is not positive.

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
    return groups


def own_optimizer(model: Any, args: Any, rates: dict[str, float]) -> Any:
    """The optimizer that `TrainingArguments` choose, with rates of their own for theta and omega; None if `rates` is empty.

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
