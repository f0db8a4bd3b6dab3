"""Attacks on a model's examples: projected gradient descent in a small ball around each.

    max over delta      CE(f(T(x + delta)), y)         |delta_i| <= eps s_i,     x + delta within the region of the data

The attack changes the example itself, before the program places it: neither theta nor omega, and no pixel of the program. It
starts at a random point of the ball, takes `steps` steps of the sign of the gradient and keeps the point with the largest loss,
the example itself counted; so no attack lowers the loss. Pixels stay real numbers and are not rounded to 256 shades.

    images            s = 1              pixels from 0 to 1
    sounds            s = 1              samples from -1 to 1
    tables, series    the deviation      the least to the greatest number of the training split; each column by itself

Tokens cannot be changed a little, so texts have no such attack.

Source: Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial Attacks" (arXiv 1706.06083).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..losses import IGNORE
from ..options import check_whole

if TYPE_CHECKING:
    from ..tasks.task import Task

FIXED = {"pixel_values": (0.0, 1.0), "input_values": (-1.0, 1.0)}  # regions by what a model takes
MEASURED = ("table_values", "past_values")  # regions that the training split decides


@dataclass
class RobustnessOptions:
    """The `robustness:` section of a recipe: accuracy under attack, beside that without.

    Attributes:
        eps: the radii of the attack, each a number or a fraction such as 8/255, in the units of `hf_reprogram.training.attack`:
            shares of the range of a pixel, or deviations of a column.
        steps: of the attack, each with a pass forward and a pass backward.
        examples: test examples at most, drawn with `task.split_seed`.

    >>> RobustnessOptions(eps=["8/255"]).radii()
    {'8/255': 0.03137254901960784}
    """

    eps: list[Any] = field(default_factory=lambda: ["2/255", "4/255", "8/255"])
    steps: int = 10
    examples: int = 500

    def __post_init__(self) -> None:
        if not isinstance(self.eps, list) or not self.eps:
            raise InputError(f"robustness.eps is {self.eps!r}: give a list of numbers, such as [2/255, 8/255].")
        self.radii()
        check_whole(**{"robustness.steps": self.steps, "robustness.examples": self.examples})

    def radii(self) -> dict[str, float]:
        """The radii as numbers, by how they are written."""
        return {str(each): radius(each, "robustness.eps") for each in self.eps}


def radius(value: Any, called: str) -> float:
    """A radius from a number or a fraction.

    Raises:
        InputError: it is none, or not above 0.

    >>> radius("2/4", "eps"), radius(0.1, "eps")
    (0.5, 0.1)
    """
    try:
        number = float("nan") if isinstance(value, bool) else float(Fraction(value))
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        number = float("nan")
    if not 0 < number < float("inf"):
        raise InputError(f"{called} is {value!r}: give a number above 0, or a fraction such as 8/255.")
    return number


def check_takes(takes: str) -> None:
    """Raise `InputError` unless examples of this kind can be changed a little.

    >>> check_takes("input_ids")
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: An attack changes numbers a little, and this model takes input_ids: attack one that takes \
pixel_values, input_values, table_values or past_values.
    """
    if takes not in (*FIXED, *MEASURED):
        known = [*FIXED, *MEASURED]
        raise InputError(
            f"An attack changes numbers a little, and this model takes {takes}: attack one that takes "
            f"{', '.join(known[:-1])} or {known[-1]}."
        )


@dataclass(frozen=True)
class Region:
    """Where the examples of a task lie.

    Attributes:
        scale: s, one number or one per number of an example.
        low, high: the least and the greatest number that an example may hold.
    """

    scale: Tensor
    low: Tensor
    high: Tensor

    def ball(self, inputs: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """The least and the greatest numbers that an attack of radius `eps` may reach. An example is always within."""
        scale, low, high = (value.to(inputs) for value in (self.scale, self.low, self.high))
        return (
            torch.minimum(inputs, torch.maximum(inputs - eps * scale, low)),
            torch.maximum(inputs, torch.minimum(inputs + eps * scale, high)),
        )


def region_of(takes: str, train: Any = None) -> Region:
    """The region of examples.

    Args:
        takes: what the model's `forward` calls them.
        train: the encoded training split, for tables and series.

    Raises:
        InputError: such examples cannot be attacked.

    >>> region_of("pixel_values").high
    tensor(1.)
    """
    check_takes(takes)
    if takes in FIXED:
        low, high = FIXED[takes]
        return Region(torch.tensor(1.0), torch.tensor(low), torch.tensor(high))
    rows = torch.as_tensor(train.inputs(slice(None))[takes]).double()
    rows = rows if takes == "table_values" else rows.reshape(-1, 1)
    found = rows.std(0, unbiased=False), rows.amin(0), rows.amax(0)
    return Region(*(value.float() if takes == "table_values" else value[0].float() for value in found))


def region_of_task(task: Task, processor: Any, takes: str, seed: int) -> Region:
    """The region of a task's examples, from the training split of a seed where it decides."""
    if takes in FIXED:
        return region_of(takes)
    check_takes(takes)
    train = {"train": task.splits(seed)["train"]}
    return region_of(takes, task.modality.encode(train, processor, task.options.max_length, task.problem_type)["train"])


def pgd(
    logits_of: Callable[[Tensor], Tensor],
    inputs: Tensor,
    labels: Tensor,
    region: Region,
    eps: float,
    steps: int = 10,
    random: torch.Generator | None = None,
) -> Tensor:
    """Attacked copies of examples; see the module's docstring. A step is 2.5 eps / steps, so that every edge can be reached.

    Args:
        logits_of: from inputs (batch, ...) to logits (batch, labels), with a gradient.
        inputs: the examples.
        labels: class indices (batch,); of a missing label the example stays as it is.
        region: where the examples lie.
        eps: the radius.
        steps: of the attack.
        random: the random numbers of the start, on the CPU; by default those of torch.

    Raises:
        InputError: no gradient reaches the inputs.

    >>> weight = torch.tensor([[1.0, -1.0]])
    >>> pixels = torch.tensor([[0.5], [0.99]])  # a bright pixel speaks for class 0, so it is made darker
    >>> pgd(lambda x: x @ weight, pixels, torch.tensor([0, 0]), region_of("pixel_values"), eps=0.1)
    tensor([[0.4000],
            [0.8900]])
    """
    low, high = region.ball(inputs, eps)
    scale = eps * region.scale.to(inputs)
    kept = inputs
    with torch.no_grad():
        most = _losses(logits_of(inputs), labels)
    attacked = noisy(inputs, region, eps, random)
    for step in range(steps + 1):
        attacked = attacked.detach().requires_grad_(step < steps)
        with torch.set_grad_enabled(step < steps):
            losses = _losses(logits_of(attacked), labels)
        worse = losses.detach() > most
        most = torch.where(worse, losses.detach(), most)
        kept = torch.where(worse.reshape(-1, *[1] * (inputs.dim() - 1)), attacked.detach(), kept)
        if step < steps:
            (gradient,) = torch.autograd.grad(losses.sum(), attacked, allow_unused=True)
            if gradient is None:
                raise InputError(
                    "No gradient reaches the examples of this model, so they cannot be attacked: leave the attack out."
                )
            attacked = attacked + 2.5 / steps * scale * gradient.sign()
            attacked = torch.minimum(torch.maximum(attacked, low), high)
    return kept


def noisy(inputs: Tensor, region: Region, eps: float, random: torch.Generator | None = None) -> Tensor:
    """Examples at random points of their balls; the arguments are those of `pgd`."""
    low, high = region.ball(inputs, eps)
    noise = (2 * torch.rand(inputs.shape, generator=random) - 1).to(inputs)
    return torch.minimum(torch.maximum(inputs + eps * region.scale.to(inputs) * noise, low), high)


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), labels.long(), reduction="none", ignore_index=IGNORE)
