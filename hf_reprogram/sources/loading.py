"""From a name, a folder or a loaded model to a frozen source, and back from what an adapter recorded."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel

from ..errors import InputError
from ..hub_arguments import hub_arguments
from ..options import from_dict
from .base import Source, same_fingerprint
from .dual import MODEL_TYPES, DualSource
from .module import ModuleSource
from .text import TextSource
from .vision import KINDS, VisionSource

IMAGE_KINDS = (*KINDS, "dual")
_POOLED = ("classifier", "dual")  # whose answers come through a pooler
_OWN = {"image_module": ("gives", "labels"), "dual": ("resample", "crop")}  # settings of one kind of image source


@dataclass
class SourceReference:
    """What an adapter records of its source.

    Attributes:
        name: Hub id or folder; empty if the source was given as a model that was never loaded from anywhere.
        kind: as in `hf_reprogram.sources.base.SourceSpec`.
        revision: commit of the Hub repository.
        dtype: floating dtype the adapter was trained on, used again when it is loaded.
        fingerprint: of the first weights (`hf_reprogram.sources.base.fingerprint`).
        image: of an image source, its `image_size`, `mean` and `std`; of a module also what it `gives` and its `labels`, of a
            dual encoder how its images are resized (`resample`, `crop`).
    """

    name: str
    kind: str
    revision: str | None = None
    dtype: str = "float32"
    fingerprint: dict[str, Any] = field(default_factory=dict)
    image: dict[str, Any] | None = None


def load_source(
    source: str | os.PathLike | nn.Module, kind: str | None = None, **source_kwargs: Any
) -> tuple[Source, dict[str, Any]]:
    """A frozen source and the plain data by which an adapter remembers it.

    Args:
        source: a Hub id, a folder, a loaded `transformers` model, any module from token ids to states or logits
            (`hf_reprogram.sources.module`), or a `Source`; a module of images is given as a `VisionSource`.
        kind: as in `SourceSpec`; read off the checkpoint's architecture if None.
        source_kwargs: passed to `from_pretrained` (dtype, revision, quantization_config, device_map, token, ...); for an
            image model also `image_size`, `mean` and `std`, by default those of its image processor.

    Raises:
        InputError: the name is unknown or unreachable, or the architecture is not supported.
    """
    found: Source
    image: dict[str, Any] = {
        name: source_kwargs.pop(name)
        for name in ("image_size", "mean", "std", "bgr", *_OWN.get(kind or "", ()))
        if name in source_kwargs
    }
    if isinstance(source, Source):
        if given := [*image, *source_kwargs]:
            raise InputError(
                f"{', '.join(map(repr, given))} cannot apply to a source that is made already: leave it out."
            )
        found = source
        name = _name(getattr(found.model, "config", None))
    elif isinstance(source, nn.Module):
        if source_kwargs:
            raise InputError(f"{', '.join(map(repr, source_kwargs))} cannot apply to a model that is loaded already.")
        config: Any = getattr(source, "config", None)
        name = _name(config)
        if kind in ("module", "image_module") or not isinstance(source, PreTrainedModel):
            found = VisionSource(source, **_whole(image)) if kind == "image_module" else ModuleSource(source)
        else:
            found = _source(source, kind or _kind([type(source).__name__], config), name, image, {})
    else:
        name = os.fspath(source)
        model, kind = _from_pretrained(name, kind, source_kwargs)
        found = _source(model, kind, name, image, source_kwargs)
    if isinstance(found, TextSource):
        _check_embeddings(found)
    config = getattr(found.model, "config", None)
    reference = SourceReference(
        name=name,
        kind=found.spec.kind,
        revision=getattr(config, "_commit_hash", None) or source_kwargs.get("revision"),
        dtype=str(next(found.parameters()).dtype).removeprefix("torch."),
        fingerprint=found.fingerprint(),
        image=found.settings,
    )
    return found, {key: value for key, value in asdict(reference).items() if key != "image" or value is not None}


def restore_source(
    recorded: dict[str, Any], source: str | os.PathLike | nn.Module | None = None, **source_kwargs: Any
) -> Source:
    """The source an adapter was trained on: the recorded one, or `source` if it is given and is the same model.

    Raises:
        InputError: the source cannot be found, or its first weights are others than those recorded.
    """
    reference = from_dict(SourceReference, recorded, "key of the adapter's source")
    if source is None:
        if not reference.name:
            raise InputError(
                "This adapter was trained on a model without a name: give it again with from_pretrained(..., source=model)."
            )
        source = reference.name
        source_kwargs.setdefault("revision", reference.revision)
    if not isinstance(source, nn.Module):
        source_kwargs.setdefault("dtype", reference.dtype)
        source_kwargs.setdefault("trust_remote_code", False)
    if not isinstance(source, Source):
        source_kwargs = {**source_kwargs, **(reference.image or {})}
    found, now = load_source(source, kind=reference.kind, **source_kwargs)
    for key, value in (reference.image or {}).items():
        if key != "labels" and (found.settings or {}).get(key) != value:
            raise InputError(
                f"This adapter was trained on a source whose {key} is {value}, and the given one's is "
                f"{(found.settings or {}).get(key)}: give it as it was."
            )
    if not same_fingerprint(reference.fingerprint, now["fingerprint"]):
        raise InputError(
            f"This adapter was trained on another source than {now['name'] or 'the given model'!r}: its first weights are "
            f"{_describe(now['fingerprint'])}, those of {reference.name or 'the original'!r} were "
            f"{_describe(reference.fingerprint)}; pass the original with source=."
        )
    return found


def _source(model: Any, kind: str, name: str, image: dict[str, Any], source_kwargs: dict[str, Any]) -> Source:
    """The source around a transformers model."""
    if kind not in IMAGE_KINDS:
        if image:
            raise InputError(
                f"{next(iter(image))!r} is for image models, and {name or type(model).__name__!r} takes text."
            )
        if model.main_input_name == "pixel_values":
            raise InputError(
                f"{type(model).__name__} takes images, and the kind {kind!r} is for text: leave it out, or choose one of "
                f"{', '.join(IMAGE_KINDS)}."
            )
        return TextSource(model, kind)
    if not {"image_size", "mean", "std"} <= {*image}:
        image = {**_image_settings(name, model.config, source_kwargs, kind), **image}
    return DualSource(model, **image) if kind == "dual" else VisionSource(model, kind=kind, **image)


def _whole(image: dict[str, Any]) -> dict[str, Any]:
    if not {"image_size", "mean", "std"} <= {*image}:
        raise InputError("A module of images needs image_size, mean and std: give it as VisionSource(model, ...).")
    return image


def _image_settings(name: str, config: Any, source_kwargs: dict[str, Any], kind: str) -> dict[str, Any]:
    """`image_size`, `mean` and `std` as a model's image processor has them, and for a dual encoder how it resizes."""
    from transformers import AutoImageProcessor

    try:
        processor = AutoImageProcessor.from_pretrained(name, **hub_arguments(source_kwargs))
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"No image processor found for {name!r} ({str(error).strip().splitlines()[0]}): give image_size, mean and std "
            "with the source."
        ) from error
    cropped = getattr(processor, "do_center_crop", False) and getattr(processor, "crop_size", None)
    size = dict(processor.crop_size if cropped else processor.size)
    height, width = (size.get(side) or size.get("shortest_edge") for side in ("height", "width"))
    ratio = processor.size.get("shortest_edge", height) / height if cropped else None
    found = {"image_size": (height or config.image_size, width or config.image_size), **_normalisation(processor)}
    return {**found, "resample": int(processor.resample), "crop": ratio} if kind == "dual" else found


def _normalisation(processor: Any) -> dict[str, Any]:
    """`mean` and `std`, and `bgr` where channels are turned around: what an image processor does to pixels from 0 to 1."""
    rescales, normalises = getattr(processor, "do_rescale", True), getattr(processor, "do_normalize", True)
    scale = 255 * processor.rescale_factor if rescales else 255.0
    offset = 1.0 if rescales and getattr(processor, "rescale_offset", False) else 0.0
    mean, std = (list(processor.image_mean), list(processor.image_std)) if normalises else ([0.0] * 3, [1.0] * 3)
    if normalises and getattr(processor, "include_top", False):  # EfficientNet's divides by its deviation again
        std = [value * value for value in std]
    found: dict[str, Any] = {
        "mean": [(value + offset) / scale for value in mean],
        "std": [value / scale for value in std],
    }
    return {**found, "bgr": True} if getattr(processor, "do_flip_channel_order", False) else found


@torch.no_grad()
def _check_embeddings(source: Source) -> None:
    """Refuse an architecture that does not give the same states for token ids and for their embeddings.

    Some families do more than look a word up where they embed ids, and would silently do less with embeddings.
    """
    model = source.model
    ids = torch.arange(5, 8, device=source.device)[None] % source.spec.vocab_size
    mask = torch.ones_like(ids)
    inputs = {"inputs_embeds": source.embed(ids), "attention_mask": mask, "mask_position": mask[:, 0]}
    try:
        theirs = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
        ours = {reads: source(inputs, reads) for reads in source.spec.widths}["tokens"]
        same = torch.allclose(ours.float(), theirs.float(), rtol=1e-2, atol=1e-2)
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"{type(model).__name__} cannot be read as a {source.spec.kind} source: {error}") from error
    if not same:
        raise InputError(
            f"{type(model).__name__} is not supported: given embeddings instead of token ids it computes something else."
        )


def _describe(fingerprint: dict[str, Any]) -> str:
    shape = " x ".join(map(str, fingerprint["shape"]))
    return f"{shape}, {fingerprint['dtype']}, sha256 {fingerprint['sha256'][:12]}"


def _name(config: Any) -> str:
    return getattr(config, "_name_or_path", "") or ""


def _from_pretrained(name: str, kind: str | None, source_kwargs: dict[str, Any]) -> tuple[nn.Module, str]:
    """Load `name` with the auto class that fits `kind`."""
    from transformers import (
        AutoConfig,
        AutoModel,
        AutoModelForCausalLM,
        AutoModelForImageClassification,
        AutoModelForMaskedLM,
        AutoModelForSequenceClassification,
    )

    classes = {
        "masked_lm": AutoModelForMaskedLM,
        "encoder": AutoModel,
        "causal_lm": AutoModelForCausalLM,
        "classifier": AutoModelForSequenceClassification,
        "image_classifier": AutoModelForImageClassification,
        "image_encoder": AutoModel,
        "dual": AutoModel,
    }
    if kind in ("module", "image_module"):
        raise InputError(
            f"The source {name!r} is a name or folder, but a module source is given as the loaded module itself."
        )
    if kind is not None and kind not in classes:
        raise InputError(f"Unknown source kind {kind!r}: choose one of {', '.join(classes)}.")
    trust = {"trust_remote_code": source_kwargs[key] for key in ("trust_remote_code",) if key in source_kwargs}
    try:
        config = AutoConfig.from_pretrained(name, **hub_arguments(source_kwargs), **trust)
    except (OSError, ValueError) as error:
        raise _not_found(name, error) from error
    chosen = kind or _kind(config.architectures or [], config)
    model, missing = _load(classes[chosen], name, source_kwargs, pooled=chosen in _POOLED)
    if (
        missing and chosen == "masked_lm" and kind is None
    ):  # the checkpoint has no head of its own: ELECTRA's discriminator
        chosen = "encoder"
        model, missing = _load(classes[chosen], name, source_kwargs)
    if missing:
        raise InputError(
            f"{name!r} has no weights for {missing[0]!r}{f' and {len(missing) - 1} more' if missing[1:] else ''} of "
            f"{type(model).__name__}, and a frozen model cannot learn them: load it as another kind with source_kind=."
        )
    return model, chosen


def _load(
    auto_class: Any, name: str, source_kwargs: dict[str, Any], pooled: bool = False
) -> tuple[nn.Module, list[str]]:
    """A model, and the names of weights that its checkpoint lacks; a pooler's count where what it gives is read."""
    try:
        model, info = auto_class.from_pretrained(name, output_loading_info=True, **source_kwargs)
    except TypeError as error:
        raise InputError(f"{name!r} cannot be loaded with {', '.join(map(repr, source_kwargs))}: {error}") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise _not_found(name, error) from error
    return model, sorted(key for key in info["missing_keys"] if pooled or not re.search(r"(^|\.)pooler\.", key))


def _kind(architectures: list[str], config: Any) -> str:
    """What kind of model a checkpoint is, from the class that wrote it."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        MODEL_FOR_IMAGE_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        MODEL_MAPPING_NAMES,
    )

    def names(mapping) -> set[str]:
        value = mapping.get(config.model_type, ())
        return {value} if isinstance(value, str) else set(value)

    supported = not getattr(config, "is_encoder_decoder", False)
    for architecture in architectures if supported else ():
        if architecture in names(MODEL_FOR_MASKED_LM_MAPPING_NAMES) or architecture.endswith("ForPreTraining"):
            if names(MODEL_FOR_MASKED_LM_MAPPING_NAMES):
                return "masked_lm"
        elif architecture in names(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
            return "causal_lm"
        elif architecture in names(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES):
            return "classifier"
        elif architecture in names(MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES):
            return "image_classifier"
    if config.model_type in MODEL_TYPES:
        return "dual"
    if config.model_type in MODEL_FOR_IMAGE_MAPPING_NAMES:
        return "image_encoder"
    has_text_head = names(MODEL_FOR_MASKED_LM_MAPPING_NAMES) or names(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    if supported and config.model_type in MODEL_MAPPING_NAMES and has_text_head:
        only_causal = not names(MODEL_FOR_MASKED_LM_MAPPING_NAMES)
        return "causal_lm" if only_causal else "encoder"
    raise InputError(
        f"The architecture {', '.join(architectures) or config.model_type!r} is not supported as a source: "
        "give a masked, encoder or causal language model, an image classifier or encoder, or a text-image encoder of type "
        f"{', '.join(MODEL_TYPES)}."
    )


def _not_found(name: str, error: Exception) -> InputError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if os.path.isdir(name):
        return InputError(f"The folder {name!r} does not hold a model that transformers can load: {reason}")
    return InputError(
        f"The source {name!r} is neither a folder here nor a model that can be fetched from the Hub now ({reason}): "
        "check its spelling and the network, or give a folder."
    )
