"""Infilling: an adapter that predicts tokens completes sequences in which some positions are masked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..errors import InputError


@torch.no_grad()
def infill(
    model: Any,
    processor: Any,
    texts: Sequence[str],
    *,
    temperature: float = 0.0,
    one_at_a_time: bool = True,
    seed: int | None = None,
) -> list[str]:
    """Replace the masks of texts by predicted tokens. Everything else of a text is returned unchanged.

    Args:
        model: a `ReprogrammedModel` that predicts tokens (ReprogBERT), in eval mode.
        processor: its tokenizer; a hidden position is written as `processor.mask_token`.
        texts: sequences with or without masks.
        temperature: 0 takes the most probable token; a larger temperature samples.
        one_at_a_time: fill the position with the most probable token first and predict the others again, so that the
            tokens agree with each other. If False, all positions are filled at once.
        seed: the seed of the sampling.

    Returns:
        The completed texts, in the same order.

    Raises:
        InputError: the adapter does not predict tokens, `texts` is a single text, the temperature is negative, or a sequence
            has more tokens than the source has positions.
    """
    mask = processor.mask_token_id
    if mask is None or model.mapping.reads != "decoder":
        raise InputError("This adapter does not predict tokens: train one for infilling, with method='reprogbert'.")
    if isinstance(texts, str):
        raise InputError("texts is a single text: give a list of texts.")
    if temperature < 0:
        raise InputError(f"temperature is {temperature}: give 0 or more.")
    if not texts:
        return []
    device = model.source.device
    generator = None if seed is None else torch.Generator(device=device).manual_seed(seed)
    batch = processor(list(texts), padding=True, return_tensors="pt").to(device)
    ids = batch["input_ids"]
    if ids.shape[1] > processor.model_max_length:
        raise InputError(
            f"A sequence has {ids.shape[1]} tokens, and the source takes {processor.model_max_length}: shorten it."
        )
    hidden = were_hidden = ids == mask
    while bool(hidden.any()):
        logits = model(input_ids=ids, attention_mask=batch["attention_mask"]).logits.float()
        if temperature:
            shares = (logits / temperature).softmax(-1)
            chosen = torch.multinomial(shares.flatten(0, 1), 1, generator=generator).view(ids.shape)
        else:
            chosen = logits.argmax(-1)
        now = hidden
        if one_at_a_time:
            sure = logits.log_softmax(-1).amax(-1).masked_fill(~hidden, float("-inf"))
            first = torch.zeros_like(hidden).scatter_(1, sure.argmax(1, keepdim=True), True)
            now = hidden & first
        ids = torch.where(now, chosen, ids)
        hidden = hidden & ~now
    return [
        _put_in(text, processor.mask_token, [processor.decode([i]) for i in row[were].tolist()])
        for text, row, were in zip(texts, ids, were_hidden, strict=True)
    ]


def _put_in(text: str, mask: str, tokens: list[str]) -> str:
    """`text` with its masks replaced by `tokens` in turn."""
    first, *rest = text.split(mask)
    return first + "".join(token + part for token, part in zip(tokens, rest, strict=True))
