"""Consent: only an argument of the caller lets foreign code run, never a file.

What could run code is the source's own Python code (`auto_map` in its files), weights that are a pickle, and an attention
kernel that is fetched from a repository. The caller consents with `trust_remote_code=True` in `source_kwargs`, or with
`--trust-remote-code` on the command line. A transform, a mapping or a method of an installed package that only an adapter's
files name needs the same consent, unless the package is imported already (`hf_reprogram.registry.plugins`).
`use_safetensors=False` in `source_kwargs` consents to a pickle alone. Nothing that lies in an adapter's folder is consent, and
standard input is never asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .errors import InputError
from .hub_arguments import hub_arguments

# Arguments of `from_pretrained` that let foreign code run, with the value that does not.
_CONSENT: dict[str, Any] = {
    "trust_remote_code": False,
    "use_safetensors": True,
    "weights_only": True,
    "use_kernels": False,
    "kernel_config": None,
    "code_revision": None,
}
# What an adapter's folder may say of how its source is loaded, beside the options of the source's family.
_RECORDED = (
    "revision",
    "subfolder",
    "random",
    "variant",
    "gguf_file",
    "dtype",
    "device_map",
    "max_memory",
    "quantization_config",
)


def trusts_code(source_kwargs: Mapping[str, Any]) -> bool:
    """Whether the caller lets the source's own code run.

    >>> trusts_code({"dtype": "float32"})
    False

    Raises:
        InputError: `trust_remote_code` is neither True nor False.
    """
    given = source_kwargs.get("trust_remote_code")
    if given is not None and not isinstance(given, bool):
        raise InputError(f"trust_remote_code is {given!r}: give True to run the source's own code, or False.")
    return bool(given)


def file_arguments(source_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for the config, the tokenizer and the image processor of a source; `trust_remote_code` is always among them.

    >>> file_arguments({"revision": "main", "dtype": "float32"})
    {'revision': 'main', 'trust_remote_code': False}
    """
    return {**hub_arguments(source_kwargs), "trust_remote_code": trusts_code(source_kwargs)}


def weight_arguments(source_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """All of `source_kwargs`, for the weights of a source: safetensors alone, unless the caller consents to more.

    >>> weight_arguments({"dtype": "float32"})
    {'dtype': 'float32', 'trust_remote_code': False, 'use_safetensors': True}
    >>> weight_arguments({"trust_remote_code": True})
    {'trust_remote_code': True, 'use_safetensors': None}
    """
    trusted = trusts_code(source_kwargs)
    defaults = {"trust_remote_code": trusted, "use_safetensors": None if trusted else True}
    return {**defaults, **{name: value for name, value in source_kwargs.items() if value is not None}}


def pickled(name: str) -> InputError:
    """The error for a source without safetensors."""
    return InputError(
        f"The weights of {name!r} are not in a safetensors file, and a pickle such as pytorch_model.bin can run code: convert "
        "them, or pass source_kwargs={'use_safetensors': False} if you trust them (--trust-remote-code on the command line)."
    )


def comes_with_code(what: str, name: str) -> InputError:
    """The error for a file of a source that needs the source's own code; `what` is what needs it, as "tokenizer"."""
    return InputError(
        f"The {what} of {name!r} needs Python code that lies beside it, and that code is not run: pass "
        "source_kwargs={'trust_remote_code': True} if you trust it (--trust-remote-code on the command line)."
    )


def check_kernels(config: Any, name: str, source_kwargs: Mapping[str, Any]) -> None:
    """Raise `InputError` if a source's config names a kernel of a repository, which would be fetched and run.

    Args:
        config: of transformers; those that it contains are looked at too.
        name: Hub id or folder of the source.
        source_kwargs: of the caller, which go before the config.
    """
    for part in _configs(config):
        for kind in ("attn", "experts"):
            given = getattr(part, f"_{kind}_implementation", None)
            asked = f"{kind}_implementation" in source_kwargs
            if given is not None and not asked and not is_plain(given):
                raise InputError(
                    f"The config of {name!r} names {given!r} as its {kind}_implementation, which is code from elsewhere: pass "
                    f"source_kwargs={{'{kind}_implementation': 'eager'}}, or the name itself if you trust it."
                )


def is_plain(implementation: Any) -> bool:
    """Whether the name of an implementation is one of transformers' own, such as "sdpa", and no repository.

    >>> is_plain("sdpa"), is_plain("owner/kernel")
    (True, False)
    """
    return isinstance(implementation, str) and not {*"/:@\\"} & {*implementation}


def _configs(config: Any) -> Iterable[Any]:
    yield config
    for name in getattr(config, "sub_configs", None) or ():
        if (inner := getattr(config, name, None)) is not None:
            yield from _configs(inner)


def check_recipe_source(values: Mapping[str, Any]) -> None:
    """Raise `InputError` if the section `source` of a recipe tries to consent, which only the caller can."""
    for key, harmless in _CONSENT.items():
        if key in values and values[key] not in (None, harmless):
            raise InputError(
                f"The recipe says source.{key}: {values[key]!r}, but a recipe cannot consent to running code: leave it out, "
                "and if you trust the source give --trust-remote-code (load_recipe(..., trust_remote_code=True) in Python)."
            )
    for key in ("attn_implementation", "experts_implementation"):
        if values.get(key) is not None and not is_plain(values[key]):
            raise InputError(
                f"The recipe says source.{key}: {values[key]!r}, which is code from elsewhere: name one of transformers' own, "
                "such as sdpa."
            )


def recorded_source(values: Mapping[str, Any], options: Iterable[str]) -> dict[str, Any]:
    """What may be taken over from the section `source` of the recipe beside an adapter.

    Args:
        values: the section.
        options: those of the source families (`hf_reprogram.sources.families.SourceFamily.options`).

    >>> recorded_source({"name": "owner/model", "dtype": "float32", "trust_remote_code": True}, ["image_size"])
    {'name': 'owner/model', 'dtype': 'float32'}
    >>> recorded_source({"endpoint": "http://host/", "key": "MY_KEY", "name": "mine"}, [])  # only a caller opens connections
    {'name': 'mine'}
    """
    if "endpoint" in values:
        return {"name": values.get("name")}
    kept = {"name", "kind", *_RECORDED, *options}
    plain = {key: values[key] for key in ("attn_implementation",) if is_plain(values.get(key))}
    return {**{key: value for key, value in values.items() if key in kept}, **plain}
