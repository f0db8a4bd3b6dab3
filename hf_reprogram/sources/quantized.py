"""Quantized sources: what has to be known of their weights, which are not plain tensors."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..errors import InputError


def prepare_quantized(model: nn.Module) -> None:
    """Keep the weights of a quantized model as they are, and refuse a quantization that stops gradients.

    A 4-bit layer of bitsandbytes on a CPU repacks its weights at the first input without gradients, and has none from then on.

    Raises:
        InputError: torchao quantizes the inputs of layers too, which cuts the gradients of the input transform.

    >>> prepare_quantized(text_source.model)
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
        if getattr(getattr(module, "weight", None), "act_quant_kwargs", None) is not None:
            raise InputError(
                f"{type(model).__name__} is quantized with its activations, so no gradient reaches the input transform: "
                "quantize the weights alone, for example with torchao's Int8WeightOnlyConfig."
            )


def quantization_of(model: nn.Module) -> str | None:
    """The quantization of a model in words, for example "bitsandbytes 8-bit"; None if it has none.

    >>> quantization_of(text_source.model) is None
    True
    """
    config: Any = getattr(getattr(model, "config", None), "quantization_config", None)
    if not config:
        return None
    values = config if isinstance(config, dict) else config.to_dict()
    method = str(getattr(values.get("quant_method"), "value", values.get("quant_method")))
    loaded = next((bits for bits in (8, 4) if values.get(f"load_in_{bits}bit")), values.get("bits"))
    return f"{method} {loaded}-bit" if isinstance(loaded, int) else method


def plain(weight: Tensor) -> Tensor:
    """A weight as a plain tensor, dequantized if torchao quantized it.

    >>> plain(text_source.entry).shape
    torch.Size([112, 32])
    """
    weight = weight.detach()
    return weight.dequantize() if type(weight).__module__.startswith("torchao") else weight
