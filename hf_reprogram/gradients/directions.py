"""Directions in which theta is changed, and estimates of its gradient from the losses there; see `hf_reprogram.gradients`."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, shown
from ..options import check_whole


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
        check_positive("mu", self.mu)

    @property
    def rows(self) -> int:
        """How often a training example is sent in a step."""
        return self.q + 1

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
        check_positive("c", self.c)
        if not 0 <= self.decay < inf:
            raise InputError(f"decay is {shown(self.decay)}: give 0 or more.")

    @property
    def rows(self) -> int:
        """How often a training example is sent in a step."""
        return 2 * self.q + 1

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


def random_of(seed: int, step: int) -> np.random.Generator:
    """The random numbers of a step, which depend on the seed and the step alone.

    >>> bool(random_of(0, 3).random() == random_of(0, 3).random())
    True
    """
    return np.random.default_rng([seed, step])


def check_positive(name: str, value: float) -> None:
    """Raise `InputError` unless a number is finite and above 0.

    >>> check_positive("mu", 0.0)
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: mu is 0.0: give a number above 0.
    """
    if not 0 < value < inf:
        raise InputError(f"{name} is {shown(value)}: give a number above 0.")
