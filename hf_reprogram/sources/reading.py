"""What sources do inside of a frozen model's call: compute only what is read, put other inputs in, and keep constants.

    last_layer_at, stop_before, only_at    shortcuts through a text model when the states at one position, or at those before
                                           the decoder, are all that is wanted
    forward_of                             another computation in place of a module's, such as given embeddings
    constant                               tensors that may be kept from one call to the next

The shortcuts are exact up to rounding; `tests/sources/test_reading.py` compares them with the full computation. What patches a
model does so for the length of one call, under `PATCHING`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# Families whose encoder layers are laid out as BERT's (post-norm, `attention.self`, `attention.output`).
BERT_LIKE = {"bert", "roberta", "xlm-roberta", "camembert", "electra", "data2vec-text"}


# The shortcuts below put hooks on the shared model for the length of one call, so calls take turns.
PATCHING = threading.RLock()


def gather(hidden: Tensor, position: Tensor) -> Tensor:
    """`hidden` (batch, tokens, width) at `position` (batch,), kept as a sequence of one: (batch, 1, width)."""
    return hidden.gather(1, position.view(-1, 1, 1).expand(-1, 1, hidden.shape[-1]))


def bert_layer_at(layer: Any, hidden: Tensor, mask: Tensor | None, position: Tensor) -> Tensor:
    """A BERT encoder layer's output at one position a row: (batch, 1, width) from `hidden` (batch, tokens, width).

    With a single query q, keys and values of the other tokens are never needed as such:
    `q . (W_k h_j) = (W_k^T q) . h_j`, and `sum_j a_j W_v h_j = W_v (sum_j a_j h_j)` as the weights a_j sum to one;
    the key bias adds the same number to every score and drops out of the soft-max. Two projections of the whole
    sequence become two of a row, so the layer's cost no longer grows with `tokens * width^2`.

    Args:
        layer: a layer of one of the `BERT_LIKE` families, in eval mode.
        hidden: the layer's input.
        mask: what the encoder passes to its layers under eager or sdpa attention: boolean (True is attended) or
            additive, broadcastable to (batch, 1, tokens, tokens), the same for every query; None attends to all.
        position: (batch,), the token whose output is wanted.
    """
    attention = layer.attention.self
    heads, size = attention.num_attention_heads, attention.attention_head_size
    batch, _, width = hidden.shape
    row = gather(hidden, position)
    query = attention.query(row).view(batch, heads, size)
    key_weight = attention.key.weight.view(heads, size, width).to(query.dtype)
    scores = torch.einsum("bhs,hsw->bhw", query, key_weight) @ hidden.to(query.dtype).transpose(1, 2)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32)) * attention.scaling
    if mask is not None:
        mask = mask[:, 0, :1]  # (batch, 1, tokens): every query sees the same tokens
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    weights = scores.softmax(-1).to(query.dtype)
    mean = weights @ hidden.to(query.dtype)  # (batch, heads, width)
    value_weight = attention.value.weight.view(heads, size, width).to(query.dtype)
    value = torch.einsum("bhw,hsw->bhs", mean, value_weight).reshape(batch, 1, heads * size)
    if attention.value.bias is not None:
        value = value + attention.value.bias
    state: Tensor = layer.feed_forward_chunk(layer.attention.output(value, row))
    return state


def can_read_last_layer(model: Any) -> bool:
    """Whether `bert_layer_at` computes what this encoder's last layer would at one position."""
    config = model.config
    if config.model_type not in BERT_LIKE:
        return False
    layer = model.encoder.layer[-1]
    attention = layer.attention.self
    touched = (attention.key, attention.value)
    return (
        not getattr(config, "is_decoder", False)
        and getattr(config, "position_embedding_type", "absolute") == "absolute"
        and config._attn_implementation in ("eager", "sdpa")
        and all(type(module) is nn.Linear for module in touched)  # neither quantized nor wrapped in an adapter
        and not any(hasattr(module, "_hf_hook") for module in (layer, *touched))  # nor moved by accelerate
    )


@contextmanager
def forward_of(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Within this context `module` computes `forward`; what stood in its place, such as accelerate's hook, comes back."""
    saved = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if saved is None:
            del module.forward
        else:
            module.forward = saved


@contextmanager
def constant() -> Iterator[None]:
    """Within this context tensors are made that may be kept: without gradients, and outside of inference mode."""
    with torch.inference_mode(False), torch.no_grad():
        yield


@contextmanager
def last_layer_at(model: Any, position: Tensor) -> Iterator[None]:
    """Within this context the encoder's last layer, and so the model, returns only the state at `position`."""
    layer = model.encoder.layer[-1]
    with forward_of(layer, lambda hidden, mask=None, *args, **kwargs: bert_layer_at(layer, hidden, mask, position)):
        yield


@contextmanager
def stop_before(decoder: nn.Module) -> Iterator[Callable[[], Tensor]]:
    """Within this context `decoder` is given no rows; calling what it yields returns the rows it would have got."""
    caught: list[Tensor] = []

    def catch(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        caught.append(args[0])
        return (args[0][:, :0], *args[1:])

    handle = decoder.register_forward_pre_hook(catch)
    try:
        yield caught.pop
    finally:
        handle.remove()


@contextmanager
def only_at(model: nn.Module, position: Tensor) -> Iterator[None]:
    """Within this context `model` returns, as its last hidden state, only the one at `position`."""

    def keep(_module: nn.Module, _args: Any, output: Any) -> Any:
        output.last_hidden_state = gather(output.last_hidden_state, position)
        return output

    handle = model.register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()
