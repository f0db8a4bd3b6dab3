"""From the states of all tokens to one state per text."""

from __future__ import annotations

import torch
from torch import Tensor

POOLED = ("features", "first", "last")  # the outputs of a source of tokens that its "tokens" decide


def pooled(tokens: Tensor, mask: Tensor, reads: str, mean_mask: Tensor | None = None) -> Tensor:
    """An output (batch, width) of a source of tokens from its output "tokens"; see `hf_reprogram.sources.base`.

    Args:
        tokens: states (batch, tokens, width), zero at padding.
        mask: 1 where there is a token (batch, tokens).
        reads: one of `POOLED`.
        mean_mask: 1 at the tokens (batch, tokens) that "features" averages; by default, those of `mask`.

    >>> tokens, mask = torch.tensor([[[1.0], [3.0], [0.0]]]), torch.tensor([[1, 1, 0]])
    >>> [pooled(tokens, mask, reads).item() for reads in POOLED]
    [2.0, 1.0, 3.0]
    """
    mask = at_least_one(mask)
    if reads == "features":
        return mean_over_tokens(tokens, mask if mean_mask is None else mean_mask)
    return tokens[torch.arange(len(tokens), device=tokens.device), outer_token(mask, last=reads == "last")]


def at_least_one(mask: Tensor) -> Tensor:
    """A mask (batch, tokens) that attends to the first token of empty rows, so that an empty text is one padding token.

    >>> at_least_one(torch.tensor([[1, 1], [0, 0]]))
    tensor([[1, 1],
            [1, 0]])
    """
    first, empty = mask[:, :1], (mask == 0).all(1, keepdim=True)
    return torch.cat([torch.where(empty, torch.ones_like(first), first), mask[:, 1:]], 1)


def mean_over_tokens(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean (batch, width) of `hidden` (batch, tokens, width) over the tokens where `mask` (batch, tokens) is 1.

    >>> mean_over_tokens(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]]))
    tensor([[2.]])
    """
    weight = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)


def outer_token(mask: Tensor, last: bool) -> Tensor:
    """The index (batch,) of the first or the last token that is not padding.

    >>> outer_token(torch.tensor([[1, 1, 0], [0, 1, 1]]), last=True)
    tensor([1, 2])
    """
    index = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    attended = mask != 0
    return (attended * index).argmax(1) if last else attended.long().argmax(1)
