"""Loaded models in the wrappers of other libraries: compiled, parallel, with LoRA layers, or as sentence encoders."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ..errors import InputError


def unwrapped(model: nn.Module) -> nn.Module:
    """The model of transformers inside a wrapper, which runs as part of the source in the wrapper's place.

    A compiled model and `DataParallel` hold the model itself, and a `SentenceTransformer` holds it under its pooling. A
    `PeftModel` holds it with the LoRA layers in place. Any other module is returned as it is.

    Raises:
        InputError: the adapter of a `PeftModel` is no change of layers but a prompt.

    >>> unwrapped(nn.DataParallel(text_source.model)) is text_source.model
    True
    """
    outer: Any = model
    library = type(outer).__module__.split(".")[0]
    if isinstance(outer, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrapped(outer.module)
    if library == "torch" and hasattr(outer, "_orig_mod"):
        return unwrapped(outer._orig_mod)
    if library == "peft" and hasattr(outer, "get_base_model"):
        config = outer.active_peft_config
        if config.is_prompt_learning:
            raise InputError(
                f"The PeftModel has an adapter of type {config.peft_type.value}, which is a prompt and no part of the model's "
                "layers: pass its get_base_model(), or a model with LoRA."
            )
        return unwrapped(outer.get_base_model())
    if library == "sentence_transformers":
        return next((part for part in outer.modules() if isinstance(part, PreTrainedModel)), outer)
    return model


def tuner_digest(model: nn.Module) -> str | None:
    """The SHA-256 of all LoRA weights, or of another adapter of peft, in a model; None if it has none.

    >>> tuner_digest(text_source.model) is None
    True
    """
    digest = hashlib.sha256()
    tuned = False
    for name, module in model.named_modules():
        for part in getattr(module, "adapter_layer_names", ()):
            for key, values in getattr(module, part).state_dict().items():
                tuned = True
                digest.update(f"{name}.{part}.{key}".encode())
                digest.update(values.detach().contiguous().reshape(-1).view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest() if tuned else None
