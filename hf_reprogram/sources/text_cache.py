"""A cache of the key/value states of constant text.

In a causal model the states of a text do not depend on the tokens after it. If all prompts are *after* the text, the text's
states are the same in every epoch. The cache keeps them, and a training step runs the source over the few prompt positions
alone. A prompt before the text changes every state, so nothing can be cached.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class TextCache:
    """Key/value states by token ids, up to `max_bytes` bytes. Texts that do not fit are computed at every call.

    Attributes:
        bytes: the memory in use. A text of n tokens takes `layers * 2 * key/value heads * head size * n` numbers.

    >>> cache = TextCache(max_bytes=2**20)
    >>> len(cache), cache.bytes
    (0, 0)
    """

    def __init__(self, max_bytes: int):
        self.max_bytes, self.bytes = max_bytes, 0
        self._states: dict[bytes, Tensor] = {}

    def __len__(self) -> int:
        return len(self._states)

    def read_last(self, base: nn.Module, inputs: dict[str, Any]) -> Tensor:
        """The last hidden state (batch, width) at each row's last token, equal to that of a run over the whole input.

        Args:
            base: the frozen causal model, without its head.
            inputs: `inputs_embeds`, `attention_mask` and `text_ids` from the transform, and `first_slot` (batch,), the index of
                each row's first prompt slot. Padding must be on the right.
        """
        from transformers import DynamicCache

        ids, lengths = inputs["text_ids"], inputs["first_slot"]
        # the keys of the cache are values, for which this asks once
        known = torch.cat([lengths[:, None], inputs["attention_mask"].long().sum(1, keepdim=True), ids], 1).cpu()
        ends = known[:, 0].tolist()
        keys = [row[2 : 2 + n].numpy().tobytes() for row, n in zip(known, ends, strict=True)]
        states = self._lookup(base, keys, [row[:n] for row, n in zip(ids, ends, strict=True)])
        keys_values, text_mask = _stack(states)
        tail = int(known[0, 1] - known[0, 0])  # the same in every row, by the template
        steps = torch.arange(tail, device=lengths.device)
        positions = lengths[:, None] + steps
        embeds = inputs["inputs_embeds"]
        embeds = embeds.gather(1, positions[..., None].expand(-1, -1, embeds.shape[-1]))
        cache = DynamicCache([(layer[0], layer[1]) for layer in keys_values])
        hidden: Tensor = base(
            inputs_embeds=embeds,
            attention_mask=torch.cat([text_mask, text_mask.new_ones(len(ids), tail)], 1),
            position_ids=positions,
            cache=cache,
            use_cache=True,
        ).last_hidden_state
        return hidden[:, -1]

    def _lookup(self, base: nn.Module, keys: list[bytes], texts: list[Tensor]) -> list[Tensor]:
        """The states (layers, 2, heads, tokens, head size) of each text. Missing ones are computed in one batch."""
        states = {key: self._states[key] for key in keys if key in self._states}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in states}
        if missing:
            for key, state in zip(missing, _states(base, list(missing.values())), strict=True):
                states[key] = state
                if self.bytes + state.nbytes <= self.max_bytes:
                    self._states[key] = state
                    self.bytes += state.nbytes
        return [states[key] for key in keys]


@torch.no_grad()
def _states(base: nn.Module, texts: list[Tensor]) -> list[Tensor]:
    """The key/value states of texts of any lengths, from one run with padding on the right."""
    ids = nn.utils.rnn.pad_sequence(texts, batch_first=True)
    if ids.shape[1] == 0:  # all texts are empty
        ids = ids.new_zeros(len(texts), 1)
    lengths = torch.tensor([len(text) for text in texts], device=ids.device)
    mask = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).long()
    cache = base(input_ids=ids, attention_mask=mask, use_cache=True).past_key_values
    stacked = torch.stack([torch.stack([layer.keys, layer.values]) for layer in cache.layers])  # (L, 2, batch, ...)
    return [stacked[:, :, row, :, :n].clone() for row, n in enumerate(lengths.tolist())]


def _stack(states: list[Tensor]) -> tuple[Tensor, Tensor]:
    """States of different lengths as one batch (layers, 2, batch, heads, tokens, head size), padded left, and its mask."""
    longest = max(state.shape[3] for state in states)
    first = states[0]
    out = first.new_zeros(*first.shape[:2], len(states), first.shape[2], longest, first.shape[4])
    mask = torch.zeros(len(states), longest, dtype=torch.long, device=first.device)
    for row, state in enumerate(states):
        n = state.shape[3]
        if n:
            out[:, :, row, :, longest - n :] = state
            mask[row, longest - n :] = 1
    return out, mask
