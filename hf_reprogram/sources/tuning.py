"""Parts of an otherwise frozen source that are trained too, with theta and omega: `tune`.

    norms              weights and biases of LayerNorm, RMSNorm, GroupNorm and BatchNorm; running statistics stay as they are
    positions          learned position embeddings
    {last_layers: n}   the last n layers, as transformers divides the model into layers (stages in Swin); of each tower of a
                       text-image encoder
    all                every weight
    {lora: {...}}      low-rank changes of linear layers, in new weights (`hf_reprogram.sources.peft_tuning`)

A source may serve several adapters, so it is never written to. An adapter that tunes gets a private copy of it, in which the
tuned weights are new tensors and all others share their memory with the original. Weights that are tied stay tied within the
copy. The copy knows the values from before training (`Source.pretrained`), so that the pretrained source can be had from it.

The copy stays in eval mode: there is no dropout, and BatchNorm keeps the statistics of pretraining. Training therefore starts
at the pretrained model exactly. (The dropout of 0.1 that Lu et al. train with is left out.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from ..errors import InputError, shown
from ..options import check_whole
from .base import Source
from .peft_tuning import inject, is_lora, is_peft, lora_targets, read_lora, remove
from .quantized import quantization_of
from .reading import PATCHING
from .sharding import is_sharded, layers_in

_NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)
_POSITIONS = re.compile(r"(^|\.)(position(al)?_embeddings?|pos_embed(ding)?s?|embed_positions|wpe)(\.weight)?$")
_PARTS = "norms, positions, {last_layers: N}, {lora: {...}} or all"
_COPIES: WeakSet[nn.Module] = WeakSet()  # the models in private copies


def read_tune(tune: Any) -> list[Any]:
    """The parts that `tune` names as plain data, checked.

    Args:
        tune: a list of parts, or one part. A `peft.LoraConfig` stands for {lora: {...}}.

    Raises:
        InputError: there is no such part, or LoRA cannot have such options.

    >>> read_tune("all"), read_tune(["norms", {"last_layers": 2}])
    (['all'], ['norms', {'last_layers': 2}])
    >>> read_tune(["norm"])
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: tune names 'norm': give norms, positions, {last_layers: N}, {lora: {...}} or all.
    """
    entries = [tune] if isinstance(tune, str | Mapping) or is_peft(tune) else tune
    if not isinstance(entries, list | tuple):
        raise InputError(f"tune is {shown(tune)}: give a list of {_PARTS}.")
    read: list[Any] = []
    for entry in entries:
        if is_lora(entry) or is_peft(entry):
            read.append(read_lora(entry))
        elif isinstance(entry, Mapping) and [*entry] == ["last_layers"]:
            check_whole(**{"last_layers of tune": entry["last_layers"]})
            read.append(dict(entry))
        elif isinstance(entry, str) and entry in _SELECTED:
            read.append(entry)
        else:
            raise InputError(f"tune names {shown(entry)}: give {_PARTS}.")
    if sum(map(is_lora, read)) > 1:
        raise InputError("tune names lora twice: give all of its target_modules in one.")
    return read


def available(source: Source, tune: Iterable[str]) -> list[str]:
    """Those of some parts, by their names, that a source has.

    >>> available(text_source, ["norms", "positions"])
    ['norms', 'positions']
    """
    return [entry for entry in tune if next(_SELECTED[entry](source), None) is not None]


def tuned_names(source: Source, tune: list[Any]) -> list[str]:
    """The names of the source's own weights that `tune` selects, in the order of `source.named_parameters()`.

    Args:
        source: the source.
        tune: as from `read_tune`.

    Raises:
        InputError: the source lacks a part, or its weights cannot be trained.

    >>> tuned_names(text_source, ["positions"])
    ['model.bert.embeddings.position_embeddings.weight']
    """
    if not tune:
        return []
    family = source.spec.family
    if is_sharded(source):
        raise InputError(
            f"The layers of {family} are shared out over processes, and such weights cannot be tuned: leave shard or tune out."
        )
    if any(hasattr(module, "_hf_hook") for module in source.modules()):
        raise InputError(
            f"A device map has spread {family} over devices, and tune needs it on one: leave device_map or tune out."
        )
    chosen: set[int] = set()
    for entry in tune:
        if is_lora(entry):
            lora_targets(source, entry["lora"])
            continue
        weights = list(
            _last_layers(source, entry["last_layers"]) if isinstance(entry, dict) else _SELECTED[entry](source)
        )
        if not weights:
            raise InputError(f"tune names {entry!r}, and {family} has no {_WORDS[entry]}: leave it out.")
        packed = entry not in ("norms", "positions") and quantization_of(source.model) is not None
        if packed or any(type(weight) is not nn.Parameter for weight in weights):
            raise InputError(
                f"tune names {entry!r}, and weights of it in {family} are quantized, which cannot be trained: load the source "
                "without quantization, or tune its norms alone."
            )
        if any(weight.is_meta for weight in weights) and not source.entry.is_meta:
            raise InputError(
                f"tune names {entry!r}, and weights of it in {family} are offloaded: load them onto a device."
            )
        chosen.update(id(weight) for weight in weights if weight.is_floating_point())
    return [name for name, weight in source.named_parameters() if id(weight) in chosen]


def check_precision(source: Source, tune: list[Any]) -> None:
    """Raise `InputError` if a weight to be tuned is in half precision, in which small steps are rounded away.

    >>> check_precision(text_source, ["norms"])
    """
    weights = dict(source.named_parameters())
    for name in tuned_names(source, tune):
        if torch.finfo(weights[name].dtype).bits < 32:
            dtype = str(weights[name].dtype).removeprefix("torch.")
            raise InputError(
                f"The weight {name!r} is in {dtype}, in which the small steps of tune would be rounded away: load the source "
                "with dtype: float32 (in source_kwargs, or in the recipe's source), and train with bf16 if need be."
            )


def for_adapter(source: Source, tune: list[Any]) -> Source:
    """The source of one adapter: the pretrained source itself, or a private copy if some of its weights are tuned.

    Args:
        source: the source, which is not changed. Of another adapter's private copy, the pretrained source is taken.
        tune: as from `read_tune`.

    Raises:
        InputError: as for `tuned_names`.

    >>> copy = for_adapter(text_source, ["norms"])
    >>> sum(weight.requires_grad for weight in copy.parameters()) == len(copy.pretrained)
    True
    >>> copy.embedding.weight.data_ptr() == text_source.embedding.weight.data_ptr()
    True
    """
    source = untuned(source)
    if not tune:
        return source
    weights = dict(source.named_parameters())
    chosen = [weights[name] for name in tuned_names(source, tune)]
    fresh = {weight: nn.Parameter(weight.detach().clone()) for weight in chosen}
    made = _copy(source, fresh)
    for entry in filter(is_lora, tune):
        inject(made, entry["lora"])
    before = {id(value): weight.detach() for weight, value in fresh.items()}
    for value in fresh.values():
        value.requires_grad_(True)
    tuned = ((name, value) for name, value in made.named_parameters() if value.requires_grad)
    made.pretrained = {name: before.get(id(value), value.detach().clone()) for name, value in tuned}
    _COPIES.add(made.model)
    return made


def untuned(source: Source) -> Source:
    """The pretrained source of an adapter's private copy, which shares the memory of all frozen weights; else `source` itself.

    LoRA is taken out of it.

    >>> untuned(text_source) is text_source
    True
    """
    if not source.pretrained:
        return source
    weights = dict(source.named_parameters())
    before = {
        weights[name]: nn.Parameter(value.to(weights[name]), requires_grad=False)
        for name, value in source.pretrained.items()
    }
    made = _copy(source, before)
    made.pretrained = {}
    remove(made)
    return made


def check_pretrained(model: nn.Module) -> None:
    """Raise `InputError` for the model in a private copy, which an adapter must not be made for as if it were pretrained.

    >>> check_pretrained(text_source.model)
    """
    if model in _COPIES:
        raise InputError(
            f"This {type(model).__name__} belongs to an adapter that tunes it: pass the adapter's `source`, of which the "
            "pretrained weights are taken, or load the model again."
        )


def _copy(source: Source, replaced: Mapping[nn.Parameter, nn.Parameter]) -> Source:
    """A copy of a source with other parameters in place of some. All other tensors share their memory with the source's.

    Parameters that are shared have an object of their own, so that moving one source to a device does not move the other.
    """
    memo: dict[int, Any] = {id(buffer): buffer for buffer in source.buffers()}
    for weight in source.parameters():
        plain = type(weight) is nn.Parameter  # else it is quantized, and knows more than its numbers
        memo[id(weight)] = nn.Parameter(weight.detach(), requires_grad=False) if plain else weight
    memo.update((id(weight), value) for weight, value in replaced.items())
    with PATCHING:  # no call has put its hooks on the model now
        made = deepcopy(source, memo)
    made.__dict__.pop("forward", None)  # a memory of the original's outputs
    made.forget()
    return made


# ---------------------------------------------------------------------------------------------------------- selection


def _norms(source: Source) -> Iterator[nn.Parameter]:
    for module in source.modules():
        weights = list(module.parameters(recurse=False))
        named = "norm" in type(module).__name__.lower() and all(weight.dim() < 2 for weight in weights)
        if isinstance(module, _NORMS) or named:
            yield from weights


def _positions(source: Source) -> Iterator[nn.Parameter]:
    return (weight for name, weight in source.named_parameters(remove_duplicate=False) if _POSITIONS.search(name))


def _last_layers(source: Source, count: int) -> Iterator[nn.Parameter]:
    for tower in source.towers():
        layers = layers_in(tower)
        if count > len(layers):
            raise InputError(
                f"tune names the last {count} layers, and {source.spec.family} has {len(layers)} that can be told apart: name "
                f"{'at most as many' if layers else 'norms or all'}."
            )
        for layer in layers[-count:]:
            yield from layer.parameters()


_SELECTED: dict[str, Callable[[Source], Iterator[nn.Parameter]]] = {
    "norms": _norms,
    "positions": _positions,
    "all": lambda source: source.parameters(),
}
_WORDS = {"norms": "norms with weights", "positions": "learned position embeddings", "all": "weights"}


def values_of(source: Source) -> dict[str, Tensor]:
    """The tuned weights of a source by name; empty if all of it is frozen.

    >>> values_of(text_source)
    {}
    """
    weights = dict(source.named_parameters())
    return {name: weights[name] for name in source.pretrained}
