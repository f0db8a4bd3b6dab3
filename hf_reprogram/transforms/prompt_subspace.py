"""A subspace of prompts: K prompts of the source's width from few trained numbers.

    prompts = p_0 + A z        z (d,) is theta        A (K * width, d) ~ N(0, deviation^2)

p_0 holds the embeddings of given tokens, such as the mask. A is drawn from a seed. So an adapter holds z alone, 2 KB for
d = 500. Where z is normal with deviation 1, as in the first generation of a search with sigma 1, the prompts are spread around
p_0 as the source's own embeddings are around their mean if the deviation of A is that of these embeddings, divided by sqrt(d).

Source: BBT (Sun et al. 2022, arXiv 2201.03514, section 3.2), after the random embeddings of Wang et al. 2016 (arXiv 1301.1942).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, shown
from ..options import check_whole, check_whole_list
from ..sources.base import Source, SourceSpec

_MOST = 2**28  # numbers of A: 1 GiB


@dataclass
class SubspaceOptions:
    """Options of a subspace of prompts.

    Attributes:
        size: d, the number of trained numbers.
        seed: the seed of A.
        deviation: the deviation of the numbers of A.
        start: ids of the source's tokens, whose embeddings are p_0; they take turns.

    >>> SubspaceOptions(size=0, seed=0, deviation=0.1, start=[4])
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: size is 0: give a whole number, 1 or more.
    """

    size: int
    seed: int
    deviation: float
    start: list[int]

    def __post_init__(self) -> None:
        check_whole(size=self.size)
        check_whole(0, seed=self.seed)
        check_whole_list(0, start=self.start)
        if not 0 < self.deviation < inf:
            raise InputError(f"deviation is {shown(self.deviation)}: give a number above 0.")


class Subspace:
    """The prompts (K, width) of any z (d,); A is drawn by `draw`, or when it is first needed.

    >>> subspace = Subspace(SubspaceOptions(size=5, seed=0, deviation=0.1, start=[4]), num_prompts=3, width=32)
    >>> prompts = subspace.prompts(torch.zeros(5), text_source)
    >>> torch.equal(prompts, text_source.embedding.weight[[4, 4, 4]])
    True
    """

    def __init__(self, options: SubspaceOptions, num_prompts: int, width: int) -> None:
        if num_prompts * width * options.size > _MOST:
            raise InputError(
                f"A subspace of {options.size:,} numbers for {num_prompts:,} prompts of width {width:,} needs a matrix of more "
                f"than {_MOST:,}: choose a smaller one, or fewer prompts."
            )
        self.options, self.num_prompts, self.width = options, num_prompts, width
        self._matrix: Tensor | None = None
        self._ids = torch.zeros(0, dtype=torch.long)

    def draw(self, device: torch.device) -> None:
        """Draw A on a device, unless it is there."""
        if self._matrix is None:
            start = self.options.start
            self._ids = torch.tensor([start[place % len(start)] for place in range(self.num_prompts)])
            self._matrix = self._drawn()
        self._matrix, self._ids = self._matrix.to(device), self._ids.to(device)

    def check(self, spec: SourceSpec) -> None:
        """Raise `InputError` if the source lacks a token of p_0."""
        if max(self.options.start) >= (spec.vocab_size or 0):
            raise InputError(
                f"The prompts start from token {max(self.options.start)}, but the source has {spec.vocab_size}: this adapter "
                "belongs to another source."
            )

    def prompts(self, z: Tensor, source: Source) -> Tensor:
        """The prompts (K, width)."""
        if self._matrix is None or self._matrix.device != z.device:
            self.draw(z.device)
        assert self._matrix is not None
        moved = (self._matrix @ z.float()).view(self.num_prompts, self.width)
        return source.embed(self._ids).detach().float() + moved

    def _drawn(self) -> Tensor:
        """A (K * width, d), from the generator of numpy whose numbers never change between its versions."""
        random = np.random.RandomState(self.options.seed)
        shape = self.width, self.options.size
        rows = [random.standard_normal(shape).astype(np.float32) for _ in range(self.num_prompts)]
        return torch.from_numpy(np.concatenate(rows)).mul_(self.options.deviation)


def subspace_of(source: Source, size: int, start: list[int]) -> dict[str, Any]:
    """The options of a subspace whose prompts are spread as the source's embeddings are, as plain data.

    Args:
        source: the source, whose embeddings decide the deviation.
        size: d.
        start: ids of tokens, whose embeddings are p_0.

    Returns:
        The fields of `SubspaceOptions`. The seed is drawn by torch.

    >>> chosen = subspace_of(text_source, size=4, start=[4])
    >>> bool(abs(chosen["deviation"] - text_source.embedding.weight.std() / 2) < 1e-6)
    True
    """
    deviation = float(source.embedding.weight.float().std())
    return {"size": size, "seed": int(torch.randint(2**24, ())), "deviation": deviation / sqrt(size), "start": start}
