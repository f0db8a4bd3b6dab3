"""Estimated gradients of theta, from losses alone: for sources that cannot be differentiated, such as a model behind an API.

In training the model computes L(theta) and, without gradients, the loss at several changed thetas, all of a step in one batch
through the source. `attach` returns L and hands the estimate back as theta's gradient, so that every optimizer, schedule and
Trainer works unchanged. Omega's gradient and that of theta's penalty are exact.

    rgf     g = d / q * sum of (L(theta + mu u) - L(theta)) / mu * u         u uniform on the unit sphere     q + 1 rows each
    spsa    g = 1 / q * sum of (L(theta + c u) - L(theta - c u)) / (2 c u)   |u_i| uniform in [0.5, 1]       2 q + 1 rows each

    cma_es  g = theta - the new mean of CMA-ES                               `popsize` thetas           popsize + 1 rows each

d is the count of numbers in theta, q that of directions, and an example is sent so many times a step. The directions depend on
the Trainer's seed and step alone. So a resumed run draws those of an uninterrupted one, and all batches of an accumulated step,
and all processes, have the same. An estimate in d dimensions has a cosine of about sqrt(q / (q + d)) with the gradient: choose
programs of few numbers. "cma_es" is a search rather than an estimate: see `hf_reprogram.gradients.search`.

A transform that chooses source tokens has a gradient of its own kind, "reinforce" (`hf_reprogram.gradients.reinforce`): tokens
are drawn, and those whose answers are better become more probable.

"dp_sgd" estimates nothing: it is the exact gradient of theta and omega, clipped for each example and with noise, so that the
adapter tells little about any one of them (`hf_reprogram.gradients.private`).

Sources: rgf is from BAR (Tsai et al. 2020, arXiv 2007.08714); spsa from BlackVIP (Oh et al. 2023, arXiv 2303.14773), whose
gradient correction is the Nesterov momentum of `torch.optim.SGD`, and c is theirs: it falls as c / t^decay with the step t;
cma_es from BBT (Sun et al. 2022, arXiv 2201.03514).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import nn

from ..errors import InputError, shown, unknown
from ..options import from_dict
from .directions import RGF, SPSA
from .estimated import ROW_INPUTS, Estimated, attach, check_precision
from .private import DPSGD, Private, check_private_training, is_private, private_options, refused
from .reinforce import REINFORCE, Reinforced, TokenChoice
from .search import CMAES, PLAIN_STEP, Search
from .training import check_plain_step, check_training, plain_step

__all__ = [
    "CMAES",
    "DPSGD",
    "ESTIMATORS",
    "PLAIN_STEP",
    "REINFORCE",
    "RGF",
    "ROW_INPUTS",
    "SPSA",
    "Estimated",
    "Private",
    "Reinforced",
    "Search",
    "TokenChoice",
    "attach",
    "check_plain_step",
    "check_precision",
    "check_private_training",
    "check_training",
    "estimated",
    "is_private",
    "plain_step",
    "private_options",
    "read_gradients",
    "refused",
]

ESTIMATORS: dict[str, type[RGF | SPSA | CMAES | REINFORCE | DPSGD]] = {
    "rgf": RGF,
    "spsa": SPSA,
    "cma_es": CMAES,
    "reinforce": REINFORCE,
    "dp_sgd": DPSGD,
}


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


def estimated(config: Any, source: Any, transform: Any, omega: nn.Module) -> Estimated | None:
    """What computes the loss of a model in training; None if the gradient of its theta is exact and not private.

    Args:
        config: the model's, whose `gradients` becomes complete. Without any, a source that has no gradients gets "reinforce"
            if the transform chooses tokens, and else "rgf".
        source: the frozen source.
        transform: the input transform, which has theta.
        omega: the output mapping, which stays as it is where theta is searched: its parameters then need no gradient.

    Raises:
        InputError: weights of the source are tuned, and gradients are estimated; or the estimator does not fit the transform,
            the source or the problem.
    """
    chooses = isinstance(transform, TokenChoice)
    without = "reinforce" if chooses else "rgf"
    config.gradients = read_gradients(config.gradients or ("exact" if source.differentiable else without))
    if not config.gradients:
        return None
    ((name, options),) = config.gradients.items()
    if config.tune:
        raise InputError(
            f"tune trains weights of the source, whose gradient {name!r} does not estimate: leave tune or gradients out."
        )
    if name == "dp_sgd":
        if not source.differentiable:
            raise InputError(
                f"dp_sgd clips exact gradients, and the {source.spec.kind} source cannot be differentiated: use a source with "
                "weights."
            )
        return Private(DPSGD(**options))
    estimator = ESTIMATORS[name](**options)
    if not isinstance(estimator, REINFORCE):
        if chooses and not source.spec.embedding_width:
            raise InputError(
                f"gradients is {name!r}, whose small changes of theta leave the tokens of a text as they are, so that a source "
                "of texts alone answers the same: use reinforce."
            )
        made = Estimated(estimator)
        if made.search is not None:
            omega.requires_grad_(False)
        return made
    if not chooses:
        raise InputError(
            f"gradients is 'reinforce', which draws tokens, and the transform {config.transform['type']!r} chooses none: "
            "use rgf or spsa, or the method 'neekhara'."
        )
    if estimator.reward == "accuracy" and config.problem_type != "single_label_classification":
        raise InputError(
            f"The reward 'accuracy' of reinforce is for one class per text, and the problem is a {config.problem_type}: use "
            "'loss'."
        )
    return Reinforced(estimator)
