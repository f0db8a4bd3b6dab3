"""A source with random weights: the architecture of a checkpoint without what it learned, to measure what pretraining is worth.

`reprogram(..., source_kwargs={"random": 0})` or `source: {name: ..., random: 0}` in a recipe gives the seed, and `true` stands
for 0. No weights are read. An adapter records the seed, and the same weights are drawn again when it is loaded; the fingerprint
of the first weights says whether they are the same.
"""

from __future__ import annotations

from typing import Any

import torch

from ..errors import InputError
from ..options import check_whole
from ..trust import file_arguments

_TAKES = ("dtype", "torch_dtype", "attn_implementation", "use_safetensors", "low_cpu_mem_usage")


def seed_of(random: Any) -> int | None:
    """The seed of random weights; None for pretrained weights.

    Args:
        random: a whole number, true for 0, or false or None for pretrained weights.

    Raises:
        InputError: it is something else.

    >>> seed_of(True), seed_of(7), seed_of(None)
    (0, 7, None)
    """
    if random is None or isinstance(random, bool):
        return 0 if random else None
    check_whole(0, random=random)
    return int(random)


def random_model(auto_class: Any, name: str, config: Any, seed: int, source_kwargs: dict[str, Any]) -> Any:
    """A model of transformers with weights that are drawn on the CPU in float32, as its authors initialise them.

    Args:
        auto_class: the `AutoModel...` class.
        name: the Hub id or folder, for messages.
        config: its config.
        seed: of the weights. The random numbers of the caller are not touched.
        source_kwargs: arguments of `from_pretrained`, of which only `dtype` and `attn_implementation` have a meaning here.

    Raises:
        InputError: an argument is for weights that are read.

    >>> from transformers import AutoModel
    >>> drawn = [random_model(AutoModel, "", text_source.model.config, seed, {}) for seed in (0, 0, 1)]
    >>> [torch.equal(model.embeddings.word_embeddings.weight, drawn[0].embeddings.word_embeddings.weight) for model in drawn]
    [True, True, False]
    """
    located = file_arguments(source_kwargs)
    if others := [key for key, value in source_kwargs.items() if value and key not in (*_TAKES, *located)]:
        raise InputError(f"{others[0]!r} is for weights that are read, and those of {name!r} are random: leave it out.")
    how = {key: source_kwargs[key] for key in ("attn_implementation",) if source_kwargs.get(key)}
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        model = auto_class.from_config(
            config, dtype=torch.float32, trust_remote_code=bool(located.get("trust_remote_code")), **how
        )
    dtype = source_kwargs.get("dtype", source_kwargs.get("torch_dtype"))
    dtype = getattr(torch, dtype, None) if isinstance(dtype, str) and dtype != "auto" else dtype
    return model.to(dtype) if isinstance(dtype, torch.dtype) else model
