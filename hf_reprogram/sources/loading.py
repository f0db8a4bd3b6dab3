"""Makes a frozen source from a name, a folder or a loaded model, and restores the source that an adapter recorded."""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import asdict, dataclass, field
from typing import Any

from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel

from ..config import ReprogramConfig
from ..errors import InputError, shown, unknown
from ..files import repository_json
from ..hub_arguments import FILE_ARGUMENTS, access_arguments, repository_files
from ..options import from_dict
from ..trust import check_kernels, comes_with_code, file_arguments, pickled, weight_arguments
from .base import Fingerprint, Source, check_dtype, same_fingerprint
from .families import SourceFamily, every_family, family_of, kind_of
from .fresh import random_model, seed_of
from .module import ModuleFamily
from .quantized import quantization_of
from .sharding import is_sharded, shard_source, shards
from .tuning import check_pretrained, untuned
from .wrapped import tuner_digest, unwrapped


@dataclass
class SourceReference:
    """The record of a source in an adapter.

    Attributes:
        name: the Hub id or folder; empty for a model that was not loaded from a name.
        kind: as in `hf_reprogram.sources.base.SourceSpec`.
        revision: the commit of the Hub repository.
        dtype: the floating dtype that the adapter was trained with; the source is loaded with it again.
        fingerprint: the digest of the first weights (`hf_reprogram.sources.base.fingerprint`).
        settings: the values of the family's options (`SourceFamily.options`), for example `image_size`, `mean` and `std` of an
            image source; None for a family without options.
        random: the seed of random weights (`hf_reprogram.sources.fresh`); None for pretrained ones.

    >>> SourceReference(name="google-bert/bert-base-uncased", kind="masked_lm").dtype
    'float32'
    """

    name: str
    kind: str
    revision: str | None = None
    dtype: str = "float32"
    fingerprint: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] | None = None
    files: dict[str, str] | None = None
    quantization: str | None = None
    random: int | None = None

    def __post_init__(self) -> None:
        seed_of(self.random)


_NO_LOCATION = ("gguf_file", "trust_remote_code")
_OPTIONAL = ("settings", "files", "quantization", "random")


def load_source(
    source: str | os.PathLike[str] | nn.Module, kind: str | None = None, **source_kwargs: Any
) -> tuple[Source, dict[str, Any]]:
    """A frozen source, and the plain data (`SourceReference`) that an adapter records of it.

    Args:
        source: a Hub id, a folder, a loaded `transformers` model, any module from token ids to states or logits
            (`hf_reprogram.sources.module`), or a `Source`; of one that an adapter tunes, the pretrained source is taken. A
            module of images is passed as a `VisionSource`. A folder of a LoRA adapter is loaded with its base model. Of a
            wrapped model (see `hf_reprogram.sources.wrapped`), the model inside is the source.
        kind: as in `SourceSpec`; by default the checkpoint's architecture decides.
        source_kwargs: arguments of the model's `from_pretrained`, such as dtype, revision or device_map, and options of the
            source's family, such as `image_size`, `mean` and `std` of an image model. The default of these options is the
            value in the checkpoint. `shard` shares out the source's layers over the processes of a run
            (`hf_reprogram.sources.sharding`). `random` is the seed of random weights in place of the pretrained ones
            (`hf_reprogram.sources.fresh`).

    Raises:
        InputError: the name is unknown or cannot be reached, or the architecture is not supported.

    >>> source, record = load_source(text_classifier.model)
    >>> record["kind"], record["dtype"]
    ('classifier', 'float32')
    """
    made: Source
    sharded = shards(source_kwargs)
    source_kwargs.pop("shard", None)
    if isinstance(source, Source):
        if source_kwargs:
            raise InputError(
                f"{', '.join(map(repr, source_kwargs))} cannot change a source that exists already: leave it out."
            )
        made, name = untuned(source), _name(getattr(source.model, "config", None))
    elif isinstance(source, nn.Module):
        made, name = _from_module(source, kind, source_kwargs)
    else:
        name = os.fspath(source)
        made = _from_name(name, kind, source_kwargs)
    weight = next(made.parameters(), None)
    reference = SourceReference(
        name=os.path.abspath(name) if name and os.path.isdir(name) else name,  # another working directory finds it too
        kind=made.spec.kind,
        revision=getattr(getattr(made.model, "config", None), "_commit_hash", None) or source_kwargs.get("revision"),
        dtype=str(made.entry.dtype if weight is None else weight.dtype).removeprefix("torch."),
        fingerprint=made.fingerprint(),
        settings=made.settings,
        files=repository_files(source_kwargs) or None,
        quantization=quantization_of(made.model),
        random=made.random,
    )
    if (digest := tuner_digest(made.model)) is not None:
        reference.fingerprint["tuner"] = digest
        reference.name = reference.name if isinstance(source, str | os.PathLike) else ""  # it names the base alone
    if sharded and not is_sharded(made):
        shard_source(made)
    record = asdict(reference)
    return made, {key: value for key, value in record.items() if key not in _OPTIONAL or value is not None}


def restore_source(
    recorded: dict[str, Any], source: str | os.PathLike[str] | nn.Module | None = None, **source_kwargs: Any
) -> Source:
    """The source of an adapter, with the same first weights as in training.

    Args:
        recorded: the record of the source (`SourceReference`) as plain data.
        source: another copy of the same model; by default the recorded name is loaded.
        source_kwargs: as for `load_source`.

    Raises:
        InputError: the source cannot be loaded, or its first weights differ from the recorded ones.

    >>> _, record = load_source(text_classifier)
    >>> restore_source(record, source=text_classifier.model).spec == text_classifier.spec
    True
    """
    reference = read_reference(recorded)
    moved = source is None
    if source is None:
        if not reference.name:
            raise InputError(
                "This adapter was trained on a model without a name: pass the model with from_pretrained(..., source=model)."
            )
        source = reference.name
        source_kwargs = {"revision": reference.revision, **(reference.files or {}), **source_kwargs}
    if not isinstance(source, nn.Module):
        source_kwargs.setdefault("dtype", reference.dtype)
        source_kwargs["random"] = reference.random
    if not isinstance(source, Source):
        source_kwargs = {**source_kwargs, **(reference.settings or {})}
    if moved and os.path.isabs(reference.name) and not os.path.isdir(reference.name):
        raise InputError(
            f"The source {reference.name!r} is neither a folder here nor a model that can be fetched from the Hub now: if it "
            "has moved since the adapter was trained, say where it is with source=... (--source on the command line)."
        )
    made, now = load_source(source, kind=reference.kind, **source_kwargs)
    for key, value in (reference.settings or {}).items():
        if key != "labels" and (made.settings or {}).get(key) != value:
            raise InputError(
                f"This adapter was trained on a source whose {key} is {value}, and this source has "
                f"{(made.settings or {}).get(key)}: use the recorded value."
            )
    if reference.quantization != now.get("quantization"):
        warnings.warn(
            f"This adapter was trained on a source with {_quantized(reference.quantization)}, and this source has "
            f"{_quantized(now.get('quantization'))}, so its outputs differ: load it as it was, with quantization_config in "
            "source_kwargs.",
            stacklevel=2,
        )
    if not same_fingerprint(reference.fingerprint, now["fingerprint"]):
        raise InputError(
            f"This adapter was trained on another source than {now['name'] or 'this model'!r}, whose first weights are "
            f"{_describe(now['fingerprint'])}; those of {reference.name or 'the original'!r} were "
            f"{_describe(reference.fingerprint)}: pass the original with source=..."
        )
    return made


def read_reference(recorded: Any) -> SourceReference:
    """The record of a source from plain data, checked.

    Raises:
        InputError: a key is missing or unknown, or a value is of the wrong type; or the settings are none of the family's.

    >>> read_reference({"name": "owner/model", "kind": "masked_lm", "dtype": 32})
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The key of the adapter's source 'dtype' is 32: give a text.
    """
    reference = from_dict(SourceReference, recorded, "key of the adapter's source")
    from_dict(Fingerprint, reference.fingerprint, "key of the fingerprint of the adapter's source")
    check_dtype(reference.dtype)
    known = family_of(reference.kind).options
    for key in reference.settings or {}:
        if key not in known:
            raise unknown("setting of the adapter's source", key, known)
    for name, path in (reference.files or {}).items():
        if name not in FILE_ARGUMENTS or not isinstance(path, str) or ".." in path or os.path.isabs(path):
            raise InputError(
                f"The adapter records {shown(name)}={shown(path)} for its source, which is no path inside of the source: take "
                "another copy."
            )
    return reference


def _from_module(model: nn.Module, kind: str | None, source_kwargs: dict[str, Any]) -> tuple[Source, str]:
    """The source around a loaded model, and the name that it was loaded from, if any."""
    model = unwrapped(model)
    check_pretrained(model)
    config: Any = getattr(model, "config", None)
    name = _name(config)
    if kind is not None and not isinstance(model, PreTrainedModel) and family_of(kind).kinds[kind] is not None:
        raise InputError(
            f"The kind {kind!r} is for models of transformers, and {type(model).__name__} is none: leave source_kind out, or "
            "pass the model of transformers that it holds."
        )
    if kind is None:
        kind = kind_of([type(model).__name__], config) if isinstance(model, PreTrainedModel) else ModuleFamily.kind
    family = family_of(kind)
    options, others = _divided(family, source_kwargs, name or type(model).__name__)
    if others:
        raise InputError(f"{', '.join(map(repr, others))} cannot change a model that is loaded already: leave it out.")
    return family.build(model, kind, family.settings(name, config, kind, options, {})), name


def _from_name(name: str, kind: str | None, source_kwargs: dict[str, Any]) -> Source:
    """The source that a Hub id or a folder holds."""
    import transformers

    if kind is not None and family_of(kind).kinds[kind] is None:
        raise InputError(
            f"The source {name!r} is a name or folder, but a source of kind {kind!r} must be a loaded module: load it first."
        )
    located = file_arguments(source_kwargs)
    _ = transformers.AutoModel  # its import registers architectures of our own
    try:
        config = transformers.AutoConfig.from_pretrained(name, **located)
    except (OSError, ValueError, ImportError) as error:
        if (base := _base_of_lora(name, located)) is None:
            raise _not_found(name, error) from error
        config = _config_of(base, located)
    if config.model_type == ReprogramConfig.model_type:
        raise InputError(
            f"{name!r} is an adapter of hf_reprogram itself, and a source is a pretrained model: give the source that the "
            "adapter was trained on."
        )
    check_kernels(config, name, source_kwargs)
    chosen = kind or kind_of(config.architectures or [], config)
    family = family_of(chosen)
    options, others = _divided(family, source_kwargs, name)
    if (seed := seed_of(others.pop("random", None))) is not None:
        model = random_model(getattr(transformers, str(family.kinds[chosen])), name, config, seed, others)
        made = family.build(model, chosen, family.settings(name, model.config, chosen, options, located))
        made.random = seed
        return made
    model, missing = _load(family, chosen, name, others)
    if missing and kind is None and chosen in family.without_head:  # such as ELECTRA's discriminator
        chosen = family.without_head[chosen]
        model, missing = _load(family, chosen, name, others)
    if missing:
        raise InputError(
            f"{name!r} has no weights for {missing[0]!r}{f' and {len(missing) - 1} more' if missing[1:] else ''} of "
            f"{type(model).__name__}, and a frozen model cannot learn them: load it as another kind with source_kind=..."
        )
    return family.build(model, chosen, family.settings(name, model.config, chosen, options, located))


def _divided(family: SourceFamily, source_kwargs: dict[str, Any], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of a source, divided into the options of its family and the arguments of `from_pretrained`.

    Raises:
        InputError: an argument is an option of another family.
    """
    options = {key: value for key, value in source_kwargs.items() if key in family.options}
    others = {key: value for key, value in source_kwargs.items() if key not in family.options}
    for other in every_family():
        if wrong := [key for key in others if key in other.options]:
            raise InputError(f"{wrong[0]!r} is for {other.noun}, and {name!r} is one of {family.noun}: leave it out.")
    return options, others


def _load(family: SourceFamily, kind: str, name: str, source_kwargs: dict[str, Any]) -> tuple[Any, list[str]]:
    """A model, and the names of its missing weights. Those of a pooler count only if the kind is pooled."""
    import transformers

    auto_class = getattr(transformers, str(family.kinds[kind]))
    arguments = weight_arguments(source_kwargs)
    try:
        model, info = auto_class.from_pretrained(name, output_loading_info=True, **arguments)
    except (TypeError, AttributeError) as error:  # the second for a dtype that torch has not
        raise InputError(f"{name!r} cannot be loaded with {', '.join(map(repr, source_kwargs))}: {error}") from error
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        if arguments["use_safetensors"] and _has_pickle(name, str(error)):
            raise pickled(name) from error
        raise _not_found(name, error) from error
    if (first := next(model.named_parameters(), None)) is not None and first[1].is_meta:
        raise InputError(
            f"The device map offloads {first[0]!r} of {name!r}, which programs read: place the input embedding on a device, "
            "and offload the layers alone."
        )
    needs_pooler = kind in family.pooled
    return model, sorted(key for key in info["missing_keys"] if needs_pooler or not re.search(r"(^|\.)pooler\.", key))


def _has_pickle(name: str, said: str) -> bool:
    """Whether a source has weights that only a pickle holds, by its files or by what transformers said of a repository."""
    if os.path.isdir(name):
        return any(file.endswith((".bin", ".pt", ".pth", ".ckpt")) for file in os.listdir(name))
    return "use_safetensors" in said


def _config_of(base: str, located: dict[str, Any]) -> Any:
    """The config of the base model of a LoRA adapter, which has no subfolder or revision in common with it."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(
            base, **access_arguments(located), trust_remote_code=located["trust_remote_code"]
        )
    except (OSError, ValueError, ImportError) as error:
        raise _not_found(base, error) from error


def _base_of_lora(name: str, located: dict[str, Any]) -> str | None:
    """The base model of a LoRA adapter in a folder or repository; None if there is no such adapter.

    Raises:
        InputError: there is one, and peft is not installed.
    """
    from transformers.utils import is_peft_available

    try:
        values = repository_json(
            name, "adapter_config.json", {k: v for k, v in located.items() if k not in _NO_LOCATION}
        )
    except OSError:
        return None
    if values is None:
        return None
    if not is_peft_available():
        raise InputError(f"The source {name!r} is a LoRA adapter, which needs peft: run pip install peft.")
    base = values.get("base_model_name_or_path") if isinstance(values, dict) else None
    if not base or not isinstance(base, str):
        raise InputError(f"The LoRA adapter {name!r} names no base model: set base_model_name_or_path in its config.")
    return base


def _quantized(quantization: str | None) -> str:
    return f"{quantization} quantization" if quantization else "no quantization"


def _describe(fingerprint: dict[str, Any]) -> str:
    shape = " x ".join(map(str, fingerprint["shape"]))
    tuner = f", with LoRA weights of sha256 {fingerprint['tuner'][:12]}" if "tuner" in fingerprint else ""
    return f"{shape}, {fingerprint['dtype']}, sha256 {fingerprint['sha256'][:12]}{tuner}"


def _name(config: Any) -> str:
    return getattr(config, "_name_or_path", "") or ""


def _not_found(name: str, error: Exception) -> InputError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "trust_remote_code" in str(error):
        return comes_with_code("model", name)
    if os.path.isdir(name):
        return InputError(f"The folder {name!r} does not hold a model that transformers can load: {reason}")
    return InputError(
        f"The source {name!r} is neither a folder here nor a model that can be fetched from the Hub now ({reason}): "
        "check its spelling and the network, or give a folder."
    )
