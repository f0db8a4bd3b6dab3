"""Tools for the call of a frozen model: compute only the output that is read, replace inputs, and make constants.

    last_layer_at, stop_before, only_at    shortcuts through a text model, if only the state at one position or the decoder's
                                           inputs are needed
    by_length                              the rows of one length together, for models that would read padding
    input_of, instead_of                   catch the input of a layer, and give its output in its place
    added_at                               adds to the states at some positions before every layer but the first
    forward_of                             replaces the computation of a module, for example by fixed embeddings
    constant                               makes tensors that may be kept from one call to the next
    with_part                              a view of a model with another module in one place, for compiled models

The shortcuts are exact up to rounding; `tests/sources/test_reading.py` compares them with the full computation. A model is
patched for the length of one call only, under the lock `PATCHING`. While `torch.compile` or `torch.export` traces a model, no
lock and no patch is possible: sources then compute all positions and use the views of `with_part`.
"""

from __future__ import annotations

import inspect
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Families whose encoder layers have the same parts as BERT's (post-norm, `attention.self`, `attention.output`).
BERT_LIKE = {"bert", "roberta", "xlm-roberta", "camembert", "electra", "data2vec-text"}


# The shortcuts below put hooks on the shared model for the length of one call, so calls take turns.
PATCHING = threading.RLock()


def gather(hidden: Tensor, position: Tensor) -> Tensor:
    """The states (batch, 1, width) of `hidden` (batch, tokens, width) at `position` (batch,).

    >>> gather(torch.arange(6.0).view(1, 3, 2), torch.tensor([1]))
    tensor([[[2., 3.]]])
    """
    return hidden.gather(1, position.view(-1, 1, 1).expand(-1, 1, hidden.shape[-1]))


def bert_layer_at(layer: Any, hidden: Tensor, mask: Tensor | None, position: Tensor) -> Tensor:
    """The output (batch, 1, width) of a BERT encoder layer at one position per row.

    With a single query q, the keys and values of the other tokens are not needed:
    `q . (W_k h_j) = (W_k^T q) . h_j`, and `sum_j a_j W_v h_j = W_v (sum_j a_j h_j)`, as the weights a_j sum to one. The key
    bias adds the same number to every score and drops out of the soft-max. Two projections of the whole sequence become two
    projections of one state, so the layer's cost does not grow with `tokens * width^2`.

    Args:
        layer: a layer of one of the `BERT_LIKE` families, in eval mode.
        hidden: the layer's input (batch, tokens, width).
        mask: the mask that the encoder passes to its layers under eager or sdpa attention: boolean (True is attended) or
            additive, broadcastable to (batch, 1, tokens, tokens), the same for every query; None attends to all.
        position: the index (batch,) of the token whose output is computed.

    >>> layer, hidden = text_source.base.encoder.layer[-1], torch.randn(1, 5, 32)
    >>> with torch.no_grad():
    ...     torch.allclose(bert_layer_at(layer, hidden, None, torch.tensor([2]))[:, 0], layer(hidden)[0][2], atol=1e-4)
    True
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
    """Whether `bert_layer_at` can replace the last layer of this encoder.

    >>> can_read_last_layer(text_source.base)
    True
    """
    config = model.config
    if config.model_type not in BERT_LIKE:
        return False
    layer = model.encoder.layer[-1]
    attention = layer.attention.self
    touched = (attention.key, attention.value)
    sharded = hasattr(layer, "unshard")  # whole again while the layer runs
    return (
        not getattr(config, "is_decoder", False)
        and getattr(config, "position_embedding_type", "absolute") == "absolute"
        and config._attn_implementation in ("eager", "sdpa")
        and all(type(module) is nn.Linear for module in touched)  # neither quantized nor wrapped in an adapter
        and all(
            sharded or type(module.weight) is nn.Parameter for module in touched
        )  # torchao quantizes the weight alone
        and not any(hasattr(module, "_hf_hook") for module in (layer, *touched))  # nor moved by accelerate
    )


def by_length(mask: Tensor, run: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Outputs of a batch whose rows run without padding, all rows of one length at a time.

    This asks for the lengths, once, also on an accelerator.

    Args:
        mask: (batch, tokens), 1 for a token and 0 for padding.
        run: a function from the indices (n,) of the rows of a length, and this length, to their outputs (n, width), or
            (n, up to all tokens, width), which are padded with zeros.

    Returns:
        The outputs (batch, width) or (batch, tokens, width), in the order of the batch.

    >>> mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 1, 0]])
    >>> by_length(mask, lambda rows, length: torch.full((len(rows), 1), length)).tolist()
    [[2], [3], [2]]
    """
    lengths, order = mask.sum(1).sort(stable=True)
    outputs: list[Tensor] = []
    counts = sorted(Counter(map(int, lengths.tolist())).items())
    for (length, _), rows in zip(counts, order.split([count for _, count in counts]), strict=True):
        output = run(rows, length)
        outputs.append(F.pad(output, (0, 0, 0, mask.shape[1] - output.shape[1])) if output.dim() == 3 else output)
    return torch.cat(outputs)[order.argsort()]


def layers_of(model: Any) -> list[nn.Module]:
    """The layers of a text model in the order of computation; empty if it has no list of them, as where they share weights.

    >>> len(layers_of(text_source.base)) == text_source.model.config.num_hidden_layers
    True
    """
    count = getattr(model.config, "num_hidden_layers", 0)
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count and len({type(layer) for layer in module}) == 1:
            return list(module)
    return []


@contextmanager
def added_at(layers: Sequence[nn.Module], position: Tensor, offsets: Tensor) -> Iterator[None]:
    """Add to the states at some positions before every layer but the first, within this context.

    Args:
        layers: n layers of a text model, which take the states (batch, tokens, width) as their first argument.
        position: the indices (batch, K) of the tokens.
        offsets: what is added before layers 1 to n - 1, (n - 1, K, width).

    >>> layers = [nn.Identity(), nn.Identity()]
    >>> with added_at(layers, torch.tensor([[1]]), torch.ones(1, 1, 2)):
    ...     layers[1](layers[0](torch.zeros(1, 3, 2)))
    tensor([[[0., 0.],
             [1., 1.],
             [0., 0.]]])
    """

    def adding(offset: Tensor) -> Callable[..., Any]:
        def add(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            hidden = args[0] if args else kwargs["hidden_states"]
            index = position.to(hidden.device)[..., None].expand(-1, -1, hidden.shape[-1])
            changed = hidden.scatter_add(1, index, offset.to(hidden).expand(len(hidden), -1, -1))
            return ((changed, *args[1:]), kwargs) if args else ((), {**kwargs, "hidden_states": changed})

        return add

    handles = [
        layer.register_forward_pre_hook(adding(offset), with_kwargs=True)
        for layer, offset in zip(layers[1:], offsets, strict=True)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def forward_of(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Replace the forward of a module within this context. The forward from before, such as accelerate's hook, is restored.

    >>> layer = nn.Identity()
    >>> with forward_of(layer, lambda x: x + 1):
    ...     layer(1)
    2
    """
    saved = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if saved is None:
            del module.forward
        else:
            module.forward = saved


def takes_argument(model: nn.Module, argument: str) -> bool:
    """Whether a model's forward takes an argument, by its name or by passing all keywords on to a part that takes it.

    >>> takes_argument(image_source.model, "interpolate_pos_encoding")
    True
    """
    own = inspect.signature(model.forward).parameters
    passes_on = any(parameter.kind is parameter.VAR_KEYWORD for parameter in own.values())
    return argument in own or (
        passes_on and any(argument in inspect.signature(part.forward).parameters for part in model.children())
    )


def with_part(model: nn.Module, place: nn.Module, part: nn.Module) -> Any:
    """A view of `model` that has `part` in place of its module `place`. It shares all other modules and all weights.

    >>> base = text_source.base
    >>> view = with_part(base, base.embeddings.word_embeddings, nn.Identity())
    >>> view.encoder is base.encoder, view.embeddings.word_embeddings
    (True, Identity())
    """
    names = next(name for name, module in model.named_modules() if module is place).split(".")
    view = parent = _shallow(model)
    for name in names[:-1]:
        child = _shallow(parent._modules[name])
        parent._modules[name] = child
        parent = child
    parent._modules[names[-1]] = part
    return view


def _shallow(module: Any) -> Any:
    """A copy of a module with a dictionary of submodules of its own; everything else is shared."""
    view = copy(module)
    view._modules = dict(module._modules)
    return view


class Given(nn.Module):
    """Returns `value` in place of what a module would compute.

    >>> given = Given()
    >>> given.value = torch.ones(2)
    >>> given(None)
    tensor([1., 1.])
    """

    value: Tensor | None = None

    def forward(self, *_: Any) -> Tensor | None:
        """The value, whatever the arguments are."""
        return self.value


@contextmanager
def constant() -> Iterator[None]:
    """Make tensors without gradients and outside of inference mode within this context, so that they may be kept.

    >>> with torch.inference_mode(), constant():
    ...     torch.ones(1).is_inference()
    False
    """
    with torch.inference_mode(False), torch.no_grad():
        yield


@contextmanager
def last_layer_at(model: Any, position: Tensor) -> Iterator[None]:
    """Make an encoder's last layer, and so the model, return only the state at `position` (batch,) within this context.

    >>> ids = torch.tensor([[2, 64, 65, 3]])
    >>> with last_layer_at(text_source.base, torch.tensor([1])):
    ...     text_source.base(input_ids=ids).last_hidden_state.shape
    torch.Size([1, 1, 32])
    """
    layer = model.encoder.layer[-1]
    with forward_of(layer, lambda hidden, mask=None, *args, **kwargs: bert_layer_at(layer, hidden, mask, position)):
        yield


@contextmanager
def stop_before(decoder: nn.Module) -> Iterator[Callable[[], Tensor]]:
    """Give `decoder` an empty input within this context. The function that it yields returns the decoder's real input.

    >>> decoder = text_source.model.get_output_embeddings()
    >>> with stop_before(decoder) as caught:
    ...     text_source.model(input_ids=torch.tensor([[2, 64, 65, 3]])).logits.shape, caught().shape
    (torch.Size([1, 0, 112]), torch.Size([1, 4, 32]))
    """
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
    """Make `model` return only the last hidden state at `position` (batch,) within this context.

    >>> with only_at(text_source.base, torch.tensor([1])):
    ...     text_source.base(input_ids=torch.tensor([[2, 64, 65, 3]])).last_hidden_state.shape
    torch.Size([1, 1, 32])
    """

    def keep(_module: nn.Module, _args: Any, output: Any) -> Any:
        output.last_hidden_state = gather(output.last_hidden_state, position)
        return output

    handle = model.register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def instead_of(layer: Any, output: Tensor) -> Iterator[Tensor]:
    """Make `layer` return `output` within this context. It yields pixels for the model's call, whose values are not used.

    Args:
        layer: a convolution whose kernel and stride are the side of a patch.
        output: (batch, channels, rows, columns) of patches.

    >>> layer = nn.Conv2d(3, 4, kernel_size=8, stride=8)
    >>> with instead_of(layer, torch.ones(1, 4, 2, 2)) as pixels:
    ...     pixels.shape, float(layer(pixels).mean())
    (torch.Size([1, 3, 16, 16]), 1.0)
    """
    side = layer.kernel_size[0]
    pixels = output.new_zeros(1).to(layer.weight.dtype)
    with forward_of(layer, lambda _: output):
        yield pixels.expand(len(output), 3, side * output.shape[2], side * output.shape[3])


@contextmanager
def input_of(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Add each input of `layer` to a list within this context, and yield the list.

    >>> layer = nn.Linear(2, 1)
    >>> with input_of(layer) as inputs:
    ...     _ = layer(torch.ones(3, 2))
    >>> [input.shape for input in inputs]
    [torch.Size([3, 2])]
    """
    caught: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, args: caught.append(args[0]))
    try:
        yield caught
    finally:
        handle.remove()
