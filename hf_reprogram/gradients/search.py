"""CMA-ES: a population of thetas is asked for, and theta moves to the mean of those with the smallest losses.

    x_i = m + s C^(1/2) u_i        m = sum of w_i x_(i), of the losses in their order        "gradient" = theta - m

u_i are normal, the weights w_i fall with the rank of a loss, and the step size s and the covariance C learn from the steps that
the mean m has made. A step of the Trainer is a generation of `popsize` thetas on one batch. Theta's gradient is set to theta
minus the new mean, so that the plain step of `PLAIN_STEP` moves theta to it. Only the order of losses decides. Omega stays
where it starts.

Source: Hansen 2016, arXiv 1604.00772, by the library `cma`. A search is not pickled: its record is its start and the losses it
was told, from which a resumed run asks and tells it again.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..options import check_whole
from .directions import check_positive, random_of

MOST_NUMBERS = 2_000  # of theta with a full covariance, whose eigenvectors take seconds beyond
_WORST = float(np.finfo(np.float32).max)
_OFF = 1e-5  # of the largest number of theta: what single precision loses in a step

# The `TrainingArguments` of a step that moves theta by minus its gradient.
PLAIN_STEP: dict[str, Any] = {
    "optim": "sgd",
    "optim_args": None,
    "learning_rate": 1.0,
    "lr_scheduler_type": "constant",
    "weight_decay": 0.0,
    "max_grad_norm": 0.0,
    "gradient_accumulation_steps": 1,
}


@dataclass
class CMAES:
    """Options of "cma_es", the covariance matrix adaptation of BBT.

    Attributes:
        popsize: the number of thetas in a generation.
        sigma: the deviation of the first generation in every direction.
        diagonal: keep the variances of the numbers of theta alone, which takes linear time; for more than 2,000 numbers.

    >>> CMAES(popsize=1)
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: popsize is 1: give a whole number, 2 or more.
    """

    popsize: int = 20
    sigma: float = 1.0
    diagonal: bool = False

    def __post_init__(self) -> None:
        check_whole(2, popsize=self.popsize)
        check_positive("sigma", self.sigma)

    @property
    def rows(self) -> int:
        """How often a training example is sent in a step."""
        return self.popsize + 1

    def check(self, size: int) -> None:
        """Raise `InputError` if `cma` is not installed, or theta has no numbers or too many."""
        check_installed()
        if not size:
            raise InputError("cma_es searches theta, which has no numbers here: use gradients: exact.")
        if size > MOST_NUMBERS and not self.diagonal:
            raise InputError(
                f"Theta has {size:,} numbers, and cma_es keeps the covariance of at most {MOST_NUMBERS:,}: choose a program of "
                "fewer numbers (a subspace of prompts, larger cells of pixels), or set diagonal: true."
            )


def check_installed() -> None:
    """Raise `InputError` if the library `cma` is missing.

    >>> check_installed()
    """
    if find_spec("cma") is None:
        raise InputError("cma_es needs cma: pip install 'hf_reprogram[blackbox]'.")


class Search:
    """The search of one training: the mean, the step size and the covariance, and what it was told.

    >>> search = Search(CMAES(popsize=8))
    >>> theta = torch.tensor([3.0, -2.0])
    >>> for _ in range(60):
    ...     offsets = search.offsets(theta, seed=0)
    ...     theta = theta - search.gradient((theta + offsets).square().sum(1))
    >>> bool(theta.norm() < 0.01)
    True
    """

    def __init__(self, options: CMAES) -> None:
        self.options = options
        self.forget()

    def forget(self) -> None:
        """Begin anew at the next call of `offsets`."""
        self._strategy: Any = None
        self._start = self._theta = self._moved = np.zeros(0)
        self._population: list[np.ndarray] = []
        self._told: list[np.ndarray] = []
        self._normal = np.random.default_rng()

    def _begin(self, start: np.ndarray) -> None:
        self.options.check(len(start))
        import cma

        self._start = start
        options = {
            "popsize": self.options.popsize,
            "CMA_diagonal": self.options.diagonal,
            "randn": lambda *shape: self._normal.standard_normal(shape),
            "seed": float("nan"),  # none: numpy's own random numbers are left alone
            "verbose": -9,
        }
        self._strategy = cma.CMAEvolutionStrategy(start, self.options.sigma, options)

    def _ask(self, seed: int) -> None:
        self._normal = random_of(seed, len(self._told) + 1)
        self._population = self._strategy.ask()

    def _tell(self, losses: np.ndarray) -> None:
        self._told.append(losses)
        with _random_kept():  # cma draws what it checks itself on
            self._strategy.tell(self._population, losses.astype(float).tolist())

    def offsets(self, theta: Tensor, seed: int) -> Tensor:
        """The changes (popsize, size) of theta (size,) whose losses are asked for.

        Args:
            theta: where the search begins, and then its mean.
            seed: decides the random numbers, together with the number of generations that were told.

        Raises:
            InputError: `cma` is not installed, theta has too many numbers, or it is not where the last step left it.
        """
        self._theta = theta.detach().double().cpu().numpy()
        if self._strategy is None:
            self._begin(self._theta)
        mean = self._strategy.mean
        if self._told and np.abs(self._theta - mean).max() > _OFF * max(np.abs(mean).max(), np.abs(self._moved).max()):
            raise InputError(
                "Theta is not where cma_es has moved it: train with plain SGD (optim: sgd, learning_rate: 1, "
                "lr_scheduler_type: constant, max_grad_norm: 0), and with a program that nothing else changes."
            )
        self._ask(seed)
        return torch.from_numpy(np.stack(self._population) - self._theta).float()

    def gradient(self, losses: Tensor) -> Tensor:
        """Theta minus the new mean (size,), from the losses (popsize,) of the thetas that were asked for.

        A loss that is not finite is the worst.
        """
        found = losses.detach().float().cpu().numpy()
        self._tell(np.nan_to_num(found, nan=_WORST, posinf=_WORST, neginf=-_WORST))
        self._moved = self._theta - self._strategy.mean
        return torch.from_numpy(self._moved).float().to(losses.device)

    # ------------------------------------------------------------------------------------------------------- resuming

    def record(self) -> dict[str, str]:
        """The start and all losses that were told, as texts of base64 that JSON can hold; empty before the first step.

        >>> Search(CMAES()).record()
        {}
        """
        if not self._told:
            return {}
        return {"start": _text(self._start), "losses": _text(np.stack(self._told))}

    def restore(self, record: Any, seed: int) -> None:
        """Be the search of a record.

        Args:
            record: as from `record`.
            seed: the seed of that search.

        Raises:
            InputError: it is no record of a search with these options.
        """
        self.forget()
        held = record if isinstance(record, Mapping) else {}
        start, losses = _numbers(held.get("start")), _numbers(held.get("losses"))
        if not len(start) or not len(losses) or len(losses) % self.options.popsize:
            raise InputError(
                "The checkpoint has no record of cma_es with this popsize: resume from a checkpoint of the same run, or train "
                "anew."
            )
        self._begin(start.astype(float))
        for told in losses.reshape(-1, self.options.popsize):
            self._ask(seed)
            self._tell(told)
        self._moved = self._strategy.mean - start


def _text(numbers: np.ndarray) -> str:
    return b64encode(numbers.astype("<f4").tobytes()).decode()


def _numbers(text: Any) -> np.ndarray:
    """The finite numbers of a text of base64; none if it is something else."""
    try:
        numbers = np.frombuffer(b64decode(text, validate=True), "<f4").astype(np.float32)
    except (ValueError, TypeError):
        return np.zeros(0, np.float32)
    return numbers if np.isfinite(numbers).all() else np.zeros(0, np.float32)


@contextmanager
def _random_kept() -> Iterator[None]:
    """Leave numpy's own random numbers as they are."""
    state = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(state)
