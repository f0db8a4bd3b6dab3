"""Batches that each example joins by itself, as the accountant of `hf_reprogram.privacy` assumes."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import numpy as np
from torch.utils.data import Sampler

from ..errors import InputError, shown

_DRAW = 2  # in the key of the random numbers, so that they are others than those of the noise


class PoissonBatches(Sampler[list[int]]):
    """Batches of row numbers for a `DataLoader`, as `batch_sampler`. Each example is in each batch with the same probability.

    So batches differ in size, and an example may be in an epoch several times or never. The batch of a step depends on the seed
    and the step alone. A loader cannot make a batch of nothing: for a draw without any example it gets row 0, and `drawn` says
    that nothing was drawn.

    Args:
        examples: the number of examples.
        batch_size: how many of them a batch has on average; with more than there are, each batch has all.
        seed: of the draws.

    Attributes:
        rate: the probability that an example is in a batch.
        expected: the mean size of a batch.

    Raises:
        InputError: a number is no whole number above 0.

    >>> batches = PoissonBatches(examples=10, batch_size=3, seed=0)
    >>> [len(batch) for batch in batches], batches.rate
    ([6, 5, 3, 4], 0.3)
    """

    def __init__(self, examples: int, batch_size: int, seed: int = 0) -> None:
        for name, value in (("examples", examples), ("batch_size", batch_size)):
            if value < 1:
                raise InputError(f"{name} is {shown(value)}: give a whole number, 1 or more.")
        self.examples, self.batch_size, self.seed = examples, batch_size, seed
        self.rate = min(1.0, batch_size / examples)
        self.expected = self.rate * examples
        self.epoch = 0

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        return ceil(self.examples / self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Go on with the batches of an epoch, from 0; accelerate calls this."""
        self.epoch = epoch

    def drawn(self, step: int) -> list[int]:
        """The rows of the batch of a step, from 1; empty if none was drawn."""
        random = np.random.default_rng([self.seed, step, _DRAW])
        rows: list[int] = np.flatnonzero(random.random(self.examples) < self.rate).tolist()
        return rows

    def __iter__(self) -> Iterator[list[int]]:
        first = self.epoch * len(self) + 1
        for step in range(first, first + len(self)):
            yield self.drawn(step) or [0]
