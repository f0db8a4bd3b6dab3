"""The input embeddings of ESM, which its `forward` computes from token ids alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

MASKED_IN_TRAINING = 0.15 * 0.8  # the share of tokens that were masks in the training of every ESM model


def esm_embeddings(model: Any, embeds: Tensor, mask: Tensor) -> Tensor:
    """The inputs of an ESM model's encoder, from token embeddings.

    Given embeddings, `EsmModel` skips its embedding layer: position embeddings, the first norm, and token dropout
    (`token_dropout` of its config: masks are zero, and every other token is scaled as if a share of 0.12 were masks).

    Args:
        model: the `EsmModel`.
        embeds: (batch, tokens, width). A row equal to the embedding of the mask token is a mask.
        mask: (batch, tokens), 1 for a token and 0 for padding, which is on the right.

    >>> from transformers import EsmConfig, EsmModel
    >>> sizes = dict(vocab_size=33, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    >>> ids = dict(mask_token_id=32, pad_token_id=1)
    >>> model = EsmModel(EsmConfig(**sizes, **ids, position_embedding_type="rotary", token_dropout=True))
    >>> round(esm_embeddings(model, torch.ones(1, 3, 8), torch.ones(1, 3))[0, 0, 0].item(), 2)
    0.88
    """
    layer = model.embeddings
    if layer.token_dropout:
        masked = (embeds == layer.word_embeddings.weight[layer.mask_token_id]).all(-1) & mask.bool()
        share = masked.sum(1).float() / mask.sum(1)
        scale = (1 - MASKED_IN_TRAINING) / (1 - share).clamp(min=torch.finfo(torch.float32).eps)
        embeds = (embeds.masked_fill(masked[..., None], 0.0) * scale[:, None, None]).to(embeds.dtype)
    prepared: Tensor = layer(inputs_embeds=embeds, attention_mask=mask)
    return prepared
