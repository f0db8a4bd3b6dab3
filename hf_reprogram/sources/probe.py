"""The information with which a transform or a mapping describes itself: the source, names, and an example.

`InputTransform.inspect` and `OutputMapping.inspect` describe a part. They get a `Probe`, which holds all that they may use. So
the code that shows a description does not depend on the part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..hub_arguments import hub_arguments
from ..modalities.processors import open_tokenizer
from .base import Source


class Example(NamedTuple):
    """One input of an adapter.

    Attributes:
        data: the output of the adapter's processor, with a leading dimension of 1: pixels (1, 3, height, width), numbers
            (1, columns) or token ids (1, tokens).
        name: a description in words.

    >>> example = Example(torch.full((1, 3, 32, 32), 0.5), "a grey square")
    """

    data: Tensor
    name: str


@dataclass
class Lines:
    """A part's description as lines for a terminal.

    Attributes:
        head: single facts, which are printed under the counts of parameters.
        body: tables.
        tail: conclusions, which are printed at the end.

    >>> Lines(["alpha: 0.4"]).body
    []
    """

    head: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)


@dataclass
class Probe:
    """All that a part may use for its description.

    Attributes:
        source: the frozen source.
        processor: the adapter's processor of the target's data; None for tables.
        labels: the names of the target's classes.
        logits: a function from a batch of the processor to the model's logits (batch, labels), with gradients if they are on.
        reference: the record of the source in the adapter (`name`, `revision`).
        example: an input on which the transform is shown; None if it is not shown on one.
        top: the number of nearest tokens per vector, and of source labels per class, to name.

    >>> probe = Probe(text_source, tokenizer, ["no", "yes"], logits=None, reference={"name": "", "revision": None})
    >>> probe.source_tokenizer.mask_token
    '[MASK]'
    """

    source: Source
    processor: Any
    labels: list[str]
    logits: Callable[[dict[str, Tensor]], Tensor]
    reference: dict[str, Any]
    example: Example | None = None
    top: int = 5

    @cached_property
    def source_tokenizer(self) -> Any:
        """See the function `source_tokenizer`."""
        return source_tokenizer(self.source, self.reference)


def source_tokenizer(source: Source, reference: dict[str, Any]) -> Any:
    """The source's own tokenizer; None if the source has none or it cannot be fetched.

    Args:
        source: the frozen source. Its tokenizer is loaded from the same name or folder.
        reference: has the `name`, `revision` and `files` that an adapter recorded; the name is used if the source has none.

    >>> source_tokenizer(text_source, {"name": "", "revision": None}).mask_token
    '[MASK]'
    """
    name = getattr(getattr(source.model, "config", None), "_name_or_path", "") or reference["name"]
    try:
        located = hub_arguments({**reference, **(reference.get("files") or {})})
        tokenizer = open_tokenizer(name, located) if name else None
    except (OSError, ValueError):
        return None
    empty = tokenizer is not None and len(tokenizer) <= len(
        tokenizer.all_special_tokens
    )  # a folder without a tokenizer
    return None if empty else tokenizer


class Numbered:
    """Names `size` tokens by their ids, in place of a tokenizer.

    >>> Numbered(30).convert_ids_to_tokens(17)
    '#17'
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def convert_ids_to_tokens(self, index: int) -> str:
        """The name of one token."""
        return f"#{index}"


@torch.no_grad()
def nearest_tokens(vectors: Tensor, table: Tensor, tokenizer: Any, top: int) -> list[list[tuple[str, float]]]:
    """The tokens whose embeddings have the largest cosine with each vector.

    Args:
        vectors: (n, width).
        table: the embeddings (vocabulary, width). Rows beyond the tokenizer's last token are ignored.
        tokenizer: has the names of the rows.
        top: the number of tokens per vector.

    Returns:
        For each vector `top` pairs (token, cosine), the nearest first.

    >>> table = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> nearest_tokens(torch.tensor([[0.0, 5.0]]), table, Numbered(2), top=1)
    [[('#1', 1.0)]]
    """
    cosine = F.normalize(vectors.float(), dim=-1) @ F.normalize(table.detach().float(), dim=-1).T
    best = cosine[:, : len(tokenizer)].topk(min(top, cosine.shape[1]))
    return [
        [(tokenizer.convert_ids_to_tokens(int(i)), round(float(v), 3)) for i, v in zip(ids, values, strict=True)]
        for ids, values in zip(best.indices, best.values, strict=True)
    ]


def token_lines(title: str, names: list[str], tokens: list[list[tuple[str, float]]]) -> list[str]:
    """The result of `nearest_tokens` as lines, one line per vector, under a title.

    >>> token_lines("nearest tokens", ["prompt 0"], [[("film", 0.91), ("movie", 0.5)]])
    ['nearest tokens:', '  prompt 0         film 0.91  movie 0.50']
    """
    rows = zip(names, tokens, strict=True)
    return [
        f"{title}:",
        *(f"  {name:<16} {'  '.join(f'{token} {cosine:.2f}' for token, cosine in row)}" for name, row in rows),
    ]
