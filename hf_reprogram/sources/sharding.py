"""A frozen source whose layers are shared out over the processes of a run, while theta and omega are whole in each of them.

Every process keeps one part of each layer's weights (fully sharded data parallelism, `torch.distributed.fsdp.fully_shard`).
A layer is put together from all parts just before it is computed, and taken apart after it. Frozen weights have no gradients
and no optimizer state, so nothing else travels: theta and omega are trained by DDP, as without sharding, and the adapter's
files are the same. Embeddings, heads, and norms outside of the layers stay whole, since transforms and mappings read them.

`reprogram(..., source_kwargs={"shard": True})`, `source: {name: ..., shard: true}` in a recipe, or `accelerate launch` with a
config of FSDP2 ask for it. All processes must compute the same number of batches.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from .base import Source
from .quantized import quantization_of


def shards(source_kwargs: Mapping[str, Any]) -> bool:
    """Whether a source that is loaded with these arguments is sharded: if that is asked for, and there are several processes.

    Args:
        source_kwargs: as for `hf_reprogram.sources.loading.load_source`; `shard` overrides the config of `accelerate launch`.

    Raises:
        InputError: the config of `accelerate launch` asks for the first version of FSDP, or for DeepSpeed.

    >>> shards({"shard": True})  # in one process
    False
    """
    asked = source_kwargs.get("shard")
    if not isinstance(asked, bool | None):
        raise InputError(f"shard is {asked!r}: give true or false.")
    launched = _accelerate_shards()
    return (launched if asked is None else asked) and _processes() > 1


def shard_source(source: Source) -> None:
    """Share out the layers of a source over all processes, in place.

    Args:
        source: the same source in every process, with its weights on any device. Its layers end on the accelerator, if any.

    Raises:
        InputError: the source has no layers, reads its padding, or has quantized weights.

    >>> from .loading import load_source
    >>> source, _ = load_source(nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 2)))
    >>> shard_source(source)
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: Sequential has no layers that can be sharded: leave shard out.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    layers = layers_in(source.model)
    family = source.spec.family
    if not layers:
        raise InputError(f"{family} has no layers that can be sharded: leave shard out.")
    if getattr(source, "sees_padding", False):
        raise InputError(
            f"{family} runs the rows of each length on their own, so processes would wait for each other: leave shard out."
        )
    if quantization_of(source.model):
        raise InputError(f"{family} is quantized, and quantized weights cannot be sharded: leave shard out.")
    if any(hasattr(part, "hf_device_map") for part in source.model.modules()):
        raise InputError("A device map has placed the source already: leave shard out, or give no device_map.")
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    assert device is not None  # there is one
    mesh = init_device_mesh(device.type, (_processes(),))
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)


def is_sharded(source: nn.Module) -> bool:
    """Whether `shard_source` has shared out a source.

    >>> is_sharded(text_source)
    False
    """
    return any(hasattr(layer, "unshard") for layer in layers_in(source))


def layers_in(model: nn.Module) -> list[nn.Module]:
    """The layers of a transformers model, outermost ones alone, in the order of the modules.

    >>> len(layers_in(text_source.model))
    2
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if isinstance(module, GradientCheckpointingLayer) and not inside:
            found[name] = module
    return list(found.values())


def _processes() -> int:
    """The number of processes of this run."""
    from accelerate import PartialState

    return int(PartialState(cpu=not torch.accelerator.is_available()).num_processes)


@cache
def _accelerate_shards() -> bool:
    """Whether a config of FSDP2 launched this process. The Trainer is then told to use DDP, for theta and omega."""
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        raise InputError(
            "The config of accelerate asks for DeepSpeed, which would partition theta and omega with the source: use a config "
            "of FSDP2 (recipes/accelerate/fsdp2.yml), which shards the frozen source alone."
        )
    if os.environ.get("ACCELERATE_USE_FSDP") != "true":
        return False
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise InputError("The config of accelerate asks for the first version of FSDP: set fsdp_version: 2 in it.")
    os.environ["ACCELERATE_USE_FSDP"] = "false"
    return True
