"""Token ids of a target's own tokenizer: what a batch of them may hold, for transforms with a vocabulary of the target."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError, shown
from ..first_batch import free_values
from ..sources.base import SourceSpec


def ids_and_mask(batch: dict[str, Tensor], special_ids: dict[str, int]) -> tuple[Tensor, Tensor]:
    """`input_ids` and `attention_mask` (batch, tokens) of a batch, at least one token long.

    All sequences of a batch can be empty if the source puts no special token around a text. Each then becomes one padding
    token, as in a batch with longer sequences. Padding is the first of the special tokens.

    Args:
        batch: has `input_ids`, and `attention_mask` if there is padding.
        special_ids: the source's id of each special token, by the target's id as text.

    >>> ids_and_mask({"input_ids": torch.tensor([[0, 1]])}, {"4": 0})
    (tensor([[0, 1]]), tensor([[1, 1]]))
    """
    ids, mask = batch["input_ids"], batch.get("attention_mask")
    if ids.shape[1] == 0:
        ids = ids.new_full((len(ids), 1), min(map(int, special_ids), default=0), dtype=torch.long)
        mask = torch.zeros_like(ids)
    return ids, torch.ones_like(ids) if mask is None else mask


def occurring(tokens: Tensor, num_tokens: int) -> tuple[Tensor, Tensor]:
    """The ids of the tokens that occur (n,), in order, and the index into them of every place of `tokens`.

    n is the number of such ids where it may be asked for (`hf_reprogram.first_batch.free_values`). Elsewhere it is the most
    that there can be: no index points to the ids that do not occur.

    >>> occurring(torch.tensor([[7, 2, 7]]), num_tokens=10)
    (tensor([2, 7]), tensor([[1, 0, 1]]))
    """
    every = torch.arange(num_tokens, device=tokens.device)
    free = free_values(tokens)
    if not free and (torch.compiler.is_compiling() or tokens.numel() >= num_tokens):
        return every, tokens
    occurs = torch.zeros(num_tokens, dtype=torch.bool, device=tokens.device)
    occurs[tokens] = True
    place = occurs.cumsum(0) - 1
    if free:
        return occurs.nonzero()[:, 0], place[tokens]
    most = tokens.numel()
    ids = every.new_zeros(most + 1).scatter_(0, torch.where(occurs, place, most), every)
    return ids[:most], place[tokens]


def check_target_ids(
    batch: dict[str, Tensor], known: int, begins_with: int | None = None, ends_with: int | None = None
) -> None:
    """Raise `InputError` unless the ids of a batch can come from the target's own tokenizer.

    Args:
        batch: as for `ids_and_mask`.
        known: the number of ids of the target's tokenizer.
        begins_with, ends_with: the ids of the first and the last token of every sequence; None for any.

    >>> check_target_ids({"input_ids": torch.tensor([[5, 0, 3, 6]])}, known=8, begins_with=5, ends_with=6)
    >>> check_target_ids({"input_ids": torch.tensor([[2, 0, 3, 6]])}, known=8, begins_with=5, ends_with=6)
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: Row 0 of the batch begins with token id 2 instead of 5: tokenize with the processor that \
came with this adapter.
    """
    ids, mask = batch["input_ids"], batch.get("attention_mask")
    advice = "tokenize with the processor that came with this adapter."
    if not ids.numel():
        return
    if int(ids.max()) >= known:
        raise InputError(
            f"The batch holds token id {int(ids.max())}, but the target's vocabulary has {known}: {advice}"
        )
    attended = torch.ones_like(ids) if mask is None else (mask != 0).long()
    place = torch.arange(1, ids.shape[1] + 1, device=ids.device)
    for expected, position, verb in (
        (begins_with, attended.argmax(1), "begins"),
        (ends_with, (attended * place).argmax(1), "ends"),
    ):
        found = ids.gather(1, position[:, None])[:, 0]
        wrong = (found != expected) & attended.any(1)
        if expected is not None and bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            raise InputError(
                f"Row {row} of the batch {verb} with token id {int(found[row])} instead of {expected}: {advice}"
            )


def check_special_keys(special_ids: dict[str, int]) -> None:
    """Raise `InputError` unless the target's ids of the special tokens are whole numbers, as text.

    >>> check_special_keys({"four": 0})
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: special_ids has the key 'four': give ids of the target's tokens, 0 to 16,777,215.
    """
    for key in special_ids:
        if not (key.isdecimal() and key.isascii() and len(key) <= 8 and int(key) < 2**24):
            raise InputError(
                f"special_ids has the key {shown(key)}: give ids of the target's tokens, 0 to {2**24 - 1:,}."
            )


def check_special_ids(special_ids: dict[str, int], spec: SourceSpec) -> None:
    """Raise `InputError` if the source has no embedding for a special token.

    >>> check_special_ids({"4": 0, "5": 2}, text_source.spec)
    """
    for theirs in special_ids.values():
        if not 0 <= theirs < spec.vocab_size:
            raise InputError(
                f"The source's tokenizer has a special token with the id {theirs}, but the source embeds {spec.vocab_size:,} "
                "tokens: use the tokenizer that belongs to it."
            )
