"""Text programs: what a dual encoder's text tower is given in place of the embeddings e of a class text's tokens.

    low_rank    e + unit * (e A^T B^T + b)          A (rank, width), B (width, rank), b (width,)
    context     unit * c_1 ... c_m between the start token and the text          c (m, width)
    table       e + unit * d[token]                 d: a row for each token that occurs in the class texts

Theta is A, B, b, or c, or d. With everything but A and c at zero the text is as it was. A `unit` below 1 makes the steps of an
optimizer that moves every entry by its learning rate that much smaller than those of the image program beside it.

`context` is CoOp's (Zhou et al. 2022, arXiv 2109.01134), `table` the text program of Geng & Chen 2024 (arXiv 2403.10800), who
train the tower's whole token table, 25.3 million numbers in CLIP: rows of tokens that no class text has get no gradient,
so only the others are held here, and theirs is the same function. `low_rank` is ours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError, unknown
from ..options import check_whole
from ..sources.base import Source
from ..sources.dual import Texts
from .base import check_same_options


@dataclass
class TextProgramOptions:
    """Options of every text program.

    Attributes:
        type: "low_rank", "context" or "table".
        width: of the text tower's embedding.
        size: rank of "low_rank", number of vectors of "context", number of tokens of "table".
        unit: what theta is multiplied with.
    """

    type: str
    width: int
    size: int
    unit: float = 1.0

    def __post_init__(self) -> None:
        if self.type not in TEXT_PROGRAMS:
            raise unknown("text program", self.type, TEXT_PROGRAMS)
        check_size(self.type, self.size)
        if not self.unit > 0:
            raise InputError(f"unit is {self.unit!r}: give more than 0.")


def check_size(program: str, size: int) -> None:
    """Raise `InputError` if a text program cannot be of this size."""
    check_whole(**{f"The size of a {program} text program": size})


class TextProgram(nn.Module, ABC):
    """Theta of the texts; its parameters start at zero."""

    def __init__(self, options: TextProgramOptions) -> None:
        super().__init__()
        self.options = options

    def reset(self, ids: Tensor, source: Source) -> None:
        """Start anew, for class texts `ids` (..., tokens)."""

    @torch.no_grad()
    def start_from(self, other: TextProgram) -> None:
        """Take over theta from a trained program.

        Raises:
            InputError: it is another program, or of another size.
        """
        check_same_options(self.options, other.options)
        self.load_state_dict(other.state_dict())

    @abstractmethod
    def forward(self, texts: Texts, source: Source) -> Texts:
        """Texts (..., tokens) with embeddings."""


class LowRank(TextProgram):
    """An affine map of low rank, the same for every token."""

    def __init__(self, options: TextProgramOptions) -> None:
        super().__init__(options)
        self.down = nn.Parameter(torch.zeros(options.size, options.width))
        self.up = nn.Parameter(torch.zeros(options.width, options.size))
        self.bias = nn.Parameter(torch.zeros(options.width))

    @torch.no_grad()
    def reset(self, ids: Tensor, source: Source) -> None:
        """A random A (LoRA's start): the map itself is zero."""
        self.down.normal_(std=self.options.width**-0.5)

    def forward(self, texts: Texts, source: Source) -> Texts:
        """See `TextProgram.forward`."""
        embeds = source.embed(texts.ids)
        with torch.autocast(embeds.device.type, enabled=False):  # so that what is kept fits every later call
            change = embeds.to(self.up.dtype) @ self.down.T @ self.up.T + self.bias
        return texts._replace(embeds=embeds + (self.options.unit * change).to(embeds.dtype))


class Context(TextProgram):
    """Vectors between a text's start token and the rest; before it, where texts have none (SigLIP's)."""

    def __init__(self, options: TextProgramOptions) -> None:
        super().__init__(options)
        self.vectors = nn.Parameter(torch.zeros(options.size, options.width))

    @torch.no_grad()
    def reset(self, ids: Tensor, source: Source) -> None:
        """Normal with the deviation of the source's embeddings (CoOp: 0.02, which is CLIP's)."""
        self.vectors.normal_(std=float(source.embedding.weight.float().std()) / self.options.unit)

    def forward(self, texts: Texts, source: Source) -> Texts:
        """See `TextProgram.forward`; a text is as many tokens longer, padding at the tower's limit left out."""
        limit, start = source.spec.max_tokens, 0 if source.pads_fully else 1
        leading, count = texts.ids.shape[:-1], len(self.vectors)
        embeds = source.embed(texts.ids)
        vectors = (self.options.unit * self.vectors).to(embeds.dtype).expand(*leading, -1, -1)
        filler = texts.ids[..., start : start + 1].expand(*leading, count)  # not looked up, and not what ends a text
        ones = texts.mask[..., :1].expand(*leading, count)
        return Texts(
            torch.cat([texts.ids[..., :start], filler, texts.ids[..., start:]], -1)[..., :limit],
            torch.cat([texts.mask[..., :start], ones, texts.mask[..., start:]], -1)[..., :limit],
            torch.cat([embeds[..., :start, :], vectors, embeds[..., start:, :]], -2)[..., :limit, :],
        )


class Table(TextProgram):
    """A change of the embedding of every token that occurs."""

    tokens: Tensor

    def __init__(self, options: TextProgramOptions) -> None:
        super().__init__(options)
        self.rows = nn.Parameter(torch.zeros(options.size, options.width))
        self.register_buffer("tokens", torch.zeros(options.size, dtype=torch.long))

    @torch.no_grad()
    def reset(self, ids: Tensor, source: Source) -> None:
        """Find which tokens occur."""
        self.tokens.copy_(ids.unique())

    @torch.no_grad()
    def start_from(self, other: TextProgram) -> None:
        """See `TextProgram.start_from`; tokens that the other's class texts lack start at zero."""
        check_same_options(self.options, other.options, but=("size",))
        assert isinstance(other, Table)
        known = torch.isin(self.tokens, other.tokens)
        self.rows[known] = other.rows[torch.searchsorted(other.tokens, self.tokens[known])]

    def forward(self, texts: Texts, source: Source) -> Texts:
        """See `TextProgram.forward`."""
        embeds = source.embed(texts.ids)
        change = self.options.unit * self.rows[torch.searchsorted(self.tokens, texts.ids)]
        return texts._replace(embeds=embeds + change.to(embeds.dtype))


TEXT_PROGRAMS: dict[str, type[TextProgram]] = {"low_rank": LowRank, "context": Context, "table": Table}


def make_text_program(options: dict[str, Any]) -> TextProgram:
    """The text program that plain data describes; see `TextProgramOptions`."""
    found = TextProgramOptions(**options)
    return TEXT_PROGRAMS[found.type](found)
