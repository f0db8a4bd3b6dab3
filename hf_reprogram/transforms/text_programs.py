"""Text programs: trained changes of the token embeddings e of class texts, for the text tower of a dual encoder.

    low_rank    e + unit * (e A^T B^T + b)                         A (rank, width), B (width, rank), b (width,)
    context     unit * c_1 ... c_m after the start token           c (m, width)
    table       e + unit * d[token]                                d (tokens that occur in the class texts, width)

Theta is A, B and b, or c, or d. At B = 0 and b = 0, or d = 0, the text is unchanged. Adam moves every entry by about its
learning rate. A `unit` below 1 makes the steps of the text program smaller than those of the image program by this factor.

`context` is that of CoOp (Zhou et al. 2022, arXiv 2109.01134). `table` is the text program of Geng & Chen 2024 (arXiv
2403.10800). They train the tower's whole token table, which has 25.3 million numbers in CLIP. The rows of tokens that no class
text has get no gradient, so d holds the others alone and is the same function. `low_rank` is ours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError, unknown
from ..options import check_whole, from_dict
from ..sources.base import Source
from ..sources.dual import Texts
from .base import check_same_options


@dataclass
class TextProgramOptions:
    """Options of every text program.

    Attributes:
        type: "low_rank", "context" or "table".
        width: the width of the text tower's embedding.
        size: the rank of "low_rank", the number of vectors of "context", or the number of tokens of "table".
        unit: the factor of theta.
    """

    type: str
    width: int
    size: int
    unit: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.type, str) or self.type not in TEXT_PROGRAMS:
            raise unknown("text program", self.type, TEXT_PROGRAMS)
        check_size(self.type, self.size)
        check_whole(width=self.width)
        if not self.unit > 0:
            raise InputError(f"unit is {self.unit!r}: give more than 0.")


def check_size(program: str, size: int) -> None:
    """Raise `InputError` if a text program cannot have this size.

    >>> check_size("low_rank", 0)
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The size of a low_rank text program is 0: give a whole number, 1 or more.
    """
    check_whole(**{f"The size of a {program} text program": size})


class TextProgram(nn.Module, ABC):
    """A trained change of the texts' embeddings. All parameters are zero before `reset`.

    >>> program = make_text_program({"type": "table", "width": 32, "size": 7})
    >>> isinstance(program, TextProgram), program.rows.shape
    (True, torch.Size([7, 32]))
    """

    def __init__(self, options: TextProgramOptions) -> None:
        super().__init__()
        self.options = options

    def reset(self, ids: Tensor, source: Source) -> None:
        """Set the initial theta for class texts with the token ids `ids` (..., tokens)."""

    @torch.no_grad()
    def start_from(self, other: TextProgram) -> None:
        """Copy theta from a trained program.

        Raises:
            InputError: the other program has another type or size.
        """
        check_same_options(self.options, other.options)
        self.load_state_dict(other.state_dict())

    @abstractmethod
    def forward(self, texts: Texts, source: Source) -> Texts:
        """The texts (..., tokens) with changed embeddings (..., tokens, width)."""


class LowRank(TextProgram):
    """An affine map of low rank, the same for every token. Theta is `down` (A), `up` (B) and `bias` (b).

    >>> ids, mask = dual_source.tokenize(dual_tokenizer, ["a cat", "a dog"])
    >>> program = LowRank(TextProgramOptions("low_rank", width=32, size=4))
    >>> program.reset(ids, dual_source)
    >>> program(Texts(ids, mask), dual_source).embeds.shape
    torch.Size([2, 7, 32])
    """

    def __init__(self, options: TextProgramOptions) -> None:
        super().__init__(options)
        self.down = nn.Parameter(torch.zeros(options.size, options.width))
        self.up = nn.Parameter(torch.zeros(options.width, options.size))
        self.bias = nn.Parameter(torch.zeros(options.width))

    @torch.no_grad()
    def reset(self, ids: Tensor, source: Source) -> None:
        """Start as LoRA does, with a random A and B = 0, so that the change is zero."""
        self.down.normal_(std=self.options.width**-0.5)

    def forward(self, texts: Texts, source: Source) -> Texts:
        """See `TextProgram.forward`."""
        embeds = source.embed(texts.ids)
        with torch.autocast(embeds.device.type, enabled=False):  # so that a cached change fits every later call
            change = embeds.to(self.up.dtype) @ self.down.T @ self.up.T + self.bias
        return texts._replace(embeds=embeds + (self.options.unit * change).to(embeds.dtype))


class Context(TextProgram):
    """Vectors after a text's start token; before the text if it has no start token (SigLIP). Theta is `vectors` (m, width).

    >>> ids, mask = dual_source.tokenize(dual_tokenizer, ["a cat", "a dog"])
    >>> program = Context(TextProgramOptions("context", width=32, size=16))
    >>> program(Texts(ids, mask), dual_source).embeds.shape  # 7 tokens and 16 vectors
    torch.Size([2, 23, 32])
    """

    def __init__(self, options: TextProgramOptions) -> None:
        super().__init__(options)
        self.vectors = nn.Parameter(torch.zeros(options.size, options.width))

    @torch.no_grad()
    def reset(self, ids: Tensor, source: Source) -> None:
        """Start with normal vectors of the deviation of the source's embeddings (CoOp has 0.02, that of CLIP)."""
        self.vectors.normal_(std=float(source.embedding.weight.float().std()) / self.options.unit)

    def forward(self, texts: Texts, source: Source) -> Texts:
        """See `TextProgram.forward`. A text becomes m tokens longer, but no longer than the tower's limit."""
        limit, start = source.spec.max_tokens, 0 if source.pads_fully else 1
        leading, count = texts.ids.shape[:-1], len(self.vectors)
        embeds = source.embed(texts.ids)
        vectors = (self.options.unit * self.vectors).to(embeds.dtype).expand(*leading, -1, -1)
        filler = texts.ids[..., start : start + 1].expand(
            *leading, count
        )  # any token that does not end a text; its embedding is not used
        ones = texts.mask[..., :1].expand(*leading, count)
        return Texts(
            torch.cat([texts.ids[..., :start], filler, texts.ids[..., start:]], -1)[..., :limit],
            torch.cat([texts.mask[..., :start], ones, texts.mask[..., start:]], -1)[..., :limit],
            torch.cat([embeds[..., :start, :], vectors, embeds[..., start:, :]], -2)[..., :limit, :],
        )


class Table(TextProgram):
    """A change of the embedding of every token that occurs in the class texts. Theta is `rows` (tokens, width), which is d.

    >>> ids, mask = dual_source.tokenize(dual_tokenizer, ["a cat", "a dog"])
    >>> program = Table(TextProgramOptions("table", width=32, size=len(ids.unique())))
    >>> program.reset(ids, dual_source)
    >>> torch.equal(program(Texts(ids, mask), dual_source).embeds, dual_source.embed(ids))
    True
    """

    tokens: Tensor

    def __init__(self, options: TextProgramOptions) -> None:
        super().__init__(options)
        self.rows = nn.Parameter(torch.zeros(options.size, options.width))
        self.register_buffer("tokens", torch.zeros(options.size, dtype=torch.long))

    @torch.no_grad()
    def reset(self, ids: Tensor, source: Source) -> None:
        """Set the tokens that occur."""
        self.tokens.copy_(ids.unique())

    @torch.no_grad()
    def start_from(self, other: TextProgram) -> None:
        """See `TextProgram.start_from`. Tokens that do not occur in the other's class texts start at zero."""
        check_same_options(self.options, other.options, but=("size",))
        assert isinstance(other, Table)
        known = torch.isin(self.tokens, other.tokens)
        self.rows[known] = other.rows[torch.searchsorted(other.tokens, self.tokens[known])]

    def forward(self, texts: Texts, source: Source) -> Texts:
        """See `TextProgram.forward`."""
        embeds = source.embed(texts.ids)
        if torch.compiler.is_compiling():  # ONNX has no search
            row = texts.ids[..., None].eq(self.tokens).long().argmax(-1)
        else:
            row = torch.searchsorted(self.tokens, texts.ids)
        change = self.options.unit * self.rows[row]
        return texts._replace(embeds=embeds + change.to(embeds.dtype))


TEXT_PROGRAMS: dict[str, type[TextProgram]] = {"low_rank": LowRank, "context": Context, "table": Table}


def make_text_program(options: dict[str, Any]) -> TextProgram:
    """The text program with these options (`TextProgramOptions`), which are plain data.

    >>> make_text_program({"type": "low_rank", "width": 32, "size": 4}).up.shape
    torch.Size([32, 4])
    """
    checked = from_dict(TextProgramOptions, options, "option of text")
    return TEXT_PROGRAMS[checked.type](checked)
