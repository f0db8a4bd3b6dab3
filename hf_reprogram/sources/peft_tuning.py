"""LoRA in an adapter's private copy of a source (Hu et al. 2021, arXiv 2106.09685): the part `{lora: {...}}` of `tune`.

    y = W x + (lora_alpha / r) B A x

A (r, in) and B (out, r) are trained for linear layers W of the source. B starts at zero, so training starts at the pretrained
model. The layers are those of peft, which `inject_adapter_in_model` puts into the copy (`hf_reprogram.sources.tuning`). The
adapter holds A and B; W is in the source alone, and its name in the copy is `...base_layer.weight`.

Only linear layers in the source's lists of layers are changed. Heads, poolers and projections of the same name are left as they
are, since transforms and mappings read weights of theirs. The options are those of `LoraOptions`; others of peft, its other
types of adapters, and dropout, which a source in eval mode does not have, are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ..errors import InputError, shown
from ..options import check_whole, check_whole_list, from_dict
from .base import Source
from .quantized import quantization_of

NAME = "tune"  # of the layers in peft, and in the names of their weights
_WITHOUT_EFFECT = ("task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision")
_NO_DROPOUT = "a source stays in eval mode and has no dropout: leave it out"


@dataclass
class LoraOptions:
    """Options of `{lora: {...}}`, with the names and the meaning that they have in `peft.LoraConfig`.

    Attributes:
        target_modules: names of linear layers, or the ends of their names, such as ["query", "value"]; or "all-linear".
        r: the rank of the change.
        lora_alpha: the change is multiplied by lora_alpha / r.
        layers_to_transform: the numbers of the layers that are changed, from 0 (the first number in a name); None for all.
        use_rslora: multiply by lora_alpha / sqrt(r) instead.

    >>> LoraOptions(["query", "value"]).r
    8
    """

    target_modules: list[str] | str
    r: int = 8
    lora_alpha: float = 8
    layers_to_transform: list[int] | None = None
    use_rslora: bool = False

    def __post_init__(self) -> None:
        check_whole(**{"r of lora": self.r})
        if not self.lora_alpha > 0:
            raise InputError(f"lora_alpha is {self.lora_alpha!r}: give a number above 0.")
        names = self.target_modules
        listed = isinstance(names, list) and names and all(isinstance(name, str) and name for name in names)
        if not listed and names != "all-linear":
            raise InputError(
                f"target_modules is {shown(names)}: give a list of names, such as [query, value], or all-linear."
            )
        if self.layers_to_transform is not None:
            check_whole_list(0, layers_to_transform=self.layers_to_transform)


def is_lora(entry: Any) -> bool:
    """Whether a part of `tune` is LoRA, as plain data.

    >>> is_lora({"lora": {"target_modules": ["query"]}}), is_lora("norms")
    (True, False)
    """
    return isinstance(entry, Mapping) and [*entry] == ["lora"]


def is_peft(entry: Any) -> bool:
    """Whether a part of `tune` is a config of peft.

    >>> is_peft("norms")
    False
    """
    return type(entry).__module__.split(".")[0] == "peft"


def read_lora(entry: Any) -> dict[str, Any]:
    """`{lora: {...}}` as plain data, checked, from the same or from a `peft.LoraConfig`.

    Raises:
        InputError: peft is not installed, or an option is missing, unknown or out of its range.

    >>> read_lora({"lora": {"r": 4, "target_modules": ["query"]}})
    {'lora': {'target_modules': ['query'], 'r': 4, 'lora_alpha': 8}}
    """
    if find_spec("peft") is None:
        raise InputError("lora of tune needs peft: pip install 'hf_reprogram[lora]'.")
    values = _given(entry) if is_peft(entry) else entry["lora"]
    if isinstance(values, Mapping) and "lora_dropout" in values:
        if values["lora_dropout"] != 0:
            raise InputError(f"lora_dropout is {shown(values['lora_dropout'])}, and {_NO_DROPOUT}.")
        values = {key: value for key, value in values.items() if key != "lora_dropout"}
    options = from_dict(LoraOptions, values, "option of lora", most=2**24)
    recorded = {key: sorted({*value}) if isinstance(value, list) else value for key, value in asdict(options).items()}
    return {"lora": {key: value for key, value in recorded.items() if value not in (None, False)}}


def _given(config: Any) -> dict[str, Any]:
    """The options of a config of peft that differ from their defaults."""
    if type(config).__name__ != "LoraConfig":
        raise InputError(f"tune names a {type(config).__name__}, and of peft it takes a LoraConfig alone.")
    given = {}
    for field in fields(config):
        value = getattr(config, field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if value != default and field.name not in (*_WITHOUT_EFFECT, "inference_mode"):
            given[field.name] = sorted(value) if isinstance(value, set) else value
    if isinstance(given.get("layers_to_transform"), int):
        given["layers_to_transform"] = [given["layers_to_transform"]]
    return given


def lora_targets(source: Source, options: Mapping[str, Any]) -> list[str]:
    """The names in `source.model` of the linear layers that LoRA changes.

    Args:
        source: a source as it was loaded, in one piece and on its devices.
        options: `LoraOptions` as plain data.

    Raises:
        InputError: the source lacks what `target_modules` or `layers_to_transform` name, has layers of peft already, or is
            quantized in another way than that of bitsandbytes.

    >>> lora_targets(text_source, {"target_modules": ["query"], "layers_to_transform": [1]})
    ['bert.encoder.layer.1.attention.self.query']
    """
    family = source.spec.family
    if any(hasattr(module, "adapter_layer_names") for module in source.modules()):
        raise InputError(
            f"{family} has layers of peft already, and lora of tune would add others: merge them with merge_and_unload(), or "
            "leave lora out."
        )
    found = dict(_linear_in_layers(source.model))
    if not found:
        raise InputError(
            f"lora of tune changes linear layers in the lists of layers of a model of transformers, and {family} has none: "
            "name norms or all."
        )
    quantization = quantization_of(source.model)
    if any(type(module.weight) is not nn.Parameter and not _of_bitsandbytes(module) for module in found.values()) or (
        quantization and not quantization.startswith("bitsandbytes")
    ):
        raise InputError(
            f"The weights of {family} are quantized by {quantization or 'another library'}, and lora of tune goes with those "
            "of bitsandbytes alone: load the source without quantization, or leave lora out."
        )
    wanted, numbers = options["target_modules"], options.get("layers_to_transform")
    chosen: set[str] = set()
    for target in [wanted] if wanted == "all-linear" else wanted:
        named = [name for name in found if wanted == "all-linear" or f".{name}".endswith(f".{target}")]
        if not named:
            ends = dict.fromkeys(name.rpartition(".")[2] for name in found)
            raise InputError(
                f"lora of tune names {shown(target)} in target_modules, and {family} has no linear layer of that name in its "
                f"layers: choose among {', '.join([*ends][:8])}."
            )
        if numbers is not None:
            there = sorted({number for name in named if (number := _number(name)) is not None})
            if absent := [number for number in numbers if number not in there]:
                raise InputError(
                    f"layers_to_transform of lora names {absent[0]}, and {shown(target)} of {family} is in layers "
                    f"{', '.join(map(str, there))}: choose among these."
                )
            named = [name for name in named if _number(name) in numbers]
        chosen.update(named)
    return [name for name in found if name in chosen]


def inject(source: Source, options: Mapping[str, Any]) -> None:
    """Put LoRA into a private copy of a source. Its weights alone require gradients afterwards, at least in float32.

    Args:
        source: the copy, which is changed.
        options: `LoraOptions` as plain data.

    Raises:
        InputError: as for `lora_targets`.

    >>> from hf_reprogram.sources.tuning import for_adapter
    >>> copy = for_adapter(text_source, ["norms"])
    >>> inject(copy, {"target_modules": ["query"], "r": 2, "lora_alpha": 4})
    >>> sum(weight.requires_grad for weight in copy.parameters())  # A and B of two layers
    4
    """
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    names = lora_targets(source, options)
    kept = {key: value for key, value in options.items() if key not in ("target_modules", "layers_to_transform")}
    transposed = [not isinstance(source.model.get_submodule(name), nn.Linear) for name in names]
    exactly = "|".join(map(re.escape, names))
    config = LoraConfig(target_modules=exactly, fan_in_fan_out=all(transposed), **kept)
    inject_adapter_in_model(config, source.model, adapter_name=NAME)
    del source.model.peft_config  # the layers are the copy's own, and no adapter of peft that could be switched
    made = [name for name, module in source.model.named_modules() if isinstance(module, LoraLayer)]
    assert made == names
    for weight in source.parameters():
        if weight.requires_grad and torch.finfo(weight.dtype).bits < 32:  # in which small steps are rounded away
            weight.data = weight.data.float()
    source.eval()


def remove(source: Source) -> None:
    """Take LoRA out of a copy of an adapter's copy of a source, whose own layers stand in their places again.

    >>> remove(text_source)  # there is none
    """
    for name, module in list(source.model.named_modules()):
        if NAME in getattr(module, "lora_A", ()):
            parent, _, own = name.rpartition(".")
            setattr(source.model.get_submodule(parent), own, module.get_base_layer())


def _linear_in_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The linear layers in the lists of layers of models of transformers, with their names."""
    lists = (part for each in model.modules() if isinstance(each, PreTrainedModel) for part in each.modules())
    inside = {id(module) for part in lists if isinstance(part, nn.ModuleList) for module in part.modules()}
    for name, module in model.named_modules():
        if id(module) in inside and (type(module) in (nn.Linear, Conv1D) or _of_bitsandbytes(module)):
            yield name, module


def _of_bitsandbytes(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and type(module).__module__.startswith("bitsandbytes.")


def _number(name: str) -> int | None:
    """The number of the layer that a module is in: the first number in its name."""
    found = re.search(r"(^|\.)(\d+)(\.|$)", name)
    return None if found is None else int(found[2])
