"""Checks of a new source: it gives the same answer to embeddings as to token ids, at a second call, and in any batch.

A source must be a function of its input alone. Some models are not: ViT-MAE draws a random mask at every call, and Reformer
random hashes. In others the output of a text depends on the padding that its batch needs: ConvBERT, FNet and YOSO.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import InputError
from .base import Source

if TYPE_CHECKING:
    from .text import TextSource


def differs(output: Tensor, other: Tensor, share: float | None = None) -> bool:
    """Whether the norm of the difference of two outputs is more than a share of their norm.

    Args:
        output, other: tensors of one shape.
        share: by default 0.001 in single precision and 0.03 in half precision, far more than rounding makes of it.

    >>> differs(torch.ones(3), torch.ones(3) + 1e-6), differs(torch.ones(3), torch.zeros(3))
    (False, True)
    """
    if share is None:
        share = 1e-3 if output.dtype == torch.float32 else 3e-2
    output, other = output.detach().float(), other.detach().float()
    return bool((output - other).norm() > share * torch.maximum(output.norm(), other.norm()))


def check_repeatable(name: str, output: Tensor, again: Tensor) -> None:
    """Refuse a model whose outputs for the same input differ.

    Args:
        name: the model's class.
        output, again: the outputs of two calls.

    Raises:
        InputError: they differ by more than rounding.

    >>> check_repeatable("Dropout", torch.ones(2), torch.tensor([0.0, 2.0]))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: Dropout gives different outputs for the same input at two calls, ...
    """
    if differs(output, again):
        raise InputError(
            f"{name} gives different outputs for the same input at two calls, so it is random in eval mode: use another model, "
            "or switch its randomness off before you pass it."
        )


def check_independent(name: str, output: Tensor, alone: Tensor, remedy: str) -> None:
    """Refuse a model that mixes the rows of a batch.

    Args:
        name: the model's class.
        output: outputs in a batch.
        alone: outputs of the same rows without the others.
        remedy: the kind of model to use, for the message.

    Raises:
        InputError: they differ by a tenth, far more than 8-bit activations make of it.

    >>> check_independent("LSTM", torch.ones(2), torch.zeros(2), remedy="module with batch_first=True")
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: LSTM mixes the rows of a batch: use a module with batch_first=True.
    """
    if differs(output, alone, 0.1):
        raise InputError(f"{name} mixes the rows of a batch: use a {remedy}.")


@torch.no_grad()
def check_embeddings(source: Source) -> None:
    """Check that a model of transformers has the same states for token ids as for their embeddings, at every call.

    Some architectures compute more than a lookup from the ids. With embeddings they would leave that out.

    >>> check_embeddings(text_source)

    Raises:
        InputError: the states differ, or the model does not take embeddings.
    """
    model = source.model
    ids = torch.arange(5, 8, device=source.device)[None] % source.spec.vocab_size
    masked = getattr(model.config, "mask_token_id", None)  # ESM treats it in its own way
    if masked is not None and 0 <= masked < source.spec.vocab_size:
        ids[0, 1] = masked
    mask = torch.ones_like(ids)
    inputs = {"inputs_embeds": source.embed(ids), "attention_mask": mask, "mask_position": mask[:, 0]}
    try:
        theirs = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
        again = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
        ours = {reads: source(inputs, reads) for reads in source.spec.widths}["tokens"]
        same = torch.allclose(ours.float(), theirs.float(), rtol=1e-2, atol=1e-2)
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"{type(model).__name__} cannot be read as a {source.spec.kind} source: {error}") from error
    check_repeatable(type(model).__name__, theirs, again)
    if not same:
        raise InputError(
            f"{type(model).__name__} is not supported, since embeddings in place of token ids change its output: use another "
            "model."
        )


@torch.no_grad()
def sees_padding(source: TextSource) -> bool:
    """Whether the outputs of a text depend on the padding after it.

    >>> sees_padding(text_source)
    False
    """
    ids = torch.arange(5, 15, device=source.device).view(2, 5) % source.spec.vocab_size
    embeds, mask = source.embed(ids), torch.ones_like(ids)
    mask[0, 3:] = 0
    batch = {"inputs_embeds": embeds, "attention_mask": mask, "mask_position": mask[:, 0]}
    alone = {name: values[:1, :3] if values.dim() > 1 else values[:1] for name, values in batch.items()}
    for reads in source.spec.widths:
        expected = source(alone, reads)
        try:
            output = source(batch, reads)[:1]
        except (RuntimeError, ValueError, IndexError):  # it takes no padding at all
            return True
        if reads in ("tokens", "decoder"):
            output, expected = output[:, :3], expected[:, :3]
        if differs(output, expected):
            return True
    return False
