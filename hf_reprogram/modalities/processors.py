"""Tokenizers, image processors and feature extractors from a folder or the Hub, without running code that lies beside them."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from ..files import repository_json
from ..trust import comes_with_code

# Tokens of a text, where the source takes texts of any length: padding="max_length" would take all memory without an end.
LONGEST = 2**16
_FILES = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json")


def open_tokenizer(name: str | os.PathLike[str], arguments: Mapping[str, Any] | None = None) -> Any:
    """The tokenizer of a source or an adapter.

    Args:
        name: Hub id or folder.
        arguments: of `from_pretrained`; `trust_remote_code` counts as False where it is missing.

    Raises:
        InputError: it needs Python code of its own, and the caller has not consented; or its files are broken.
        OSError, ValueError: as transformers raises them for a tokenizer that is missing.
    """
    from transformers import AutoTokenizer

    return _opened("tokenizer", AutoTokenizer, name, arguments)


def open_image_processor(name: str | os.PathLike[str], arguments: Mapping[str, Any] | None = None) -> Any:
    """The image processor of a source or an adapter; see `open_tokenizer`."""
    from transformers import AutoImageProcessor

    return _opened("image processor", AutoImageProcessor, name, arguments)


def open_feature_extractor(name: str | os.PathLike[str], arguments: Mapping[str, Any] | None = None) -> Any:
    """The feature extractor of a source or an adapter; see `open_tokenizer`."""
    from transformers import AutoFeatureExtractor

    return _opened("feature extractor", AutoFeatureExtractor, name, arguments)


def with_padding(tokenizer: Any, max_tokens: int) -> Any:
    """A copy of a source's own tokenizer with a padding token, on the right, and a limit of `max_tokens`.

    >>> with_padding(tokenizer, max_tokens=16).model_max_length
    16
    """
    made = copy.deepcopy(tokenizer)
    made.padding_side = "right"
    if made.pad_token is None:
        made.pad_token = made.eos_token
    made.model_max_length = min(made.model_max_length, max_tokens, LONGEST)
    return made


def check_without_code(adapter: str | os.PathLike[str], hub: Mapping[str, Any] | None = None) -> None:
    """Raise `InputError` if the tokenizer or image processor of an adapter names Python code to run, which none needs.

    Args:
        adapter: Hub id or folder.
        hub: arguments that locate its files.
    """
    for file in _FILES[1:]:  # the config's class is ours
        if _settings(adapter, file, hub or {}).get("auto_map"):
            raise InputError(
                f"The file {file} of the adapter {os.fspath(adapter)!r} names code to run (auto_map), and nothing in an "
                "adapter is run: take another adapter, or delete the entry."
            )


def _opened(what: str, auto_class: Any, name: str | os.PathLike[str], arguments: Mapping[str, Any] | None) -> Any:
    """What `auto_class` loads with `trust_remote_code`, which transformers asks for on standard input where it is missing."""
    checked = {"trust_remote_code": False, **(arguments or {})}
    if not checked["trust_remote_code"]:
        hub = {key: value for key, value in checked.items() if key not in ("trust_remote_code", "backend")}
        for file in _FILES:
            named = _settings(name, file, hub).get("auto_map")
            if (isinstance(named, dict) and auto_class.__name__ in named) or isinstance(named, list | str):
                raise comes_with_code(what, os.fspath(name))
    try:
        return auto_class.from_pretrained(name, **checked)
    except (OSError, ValueError, ImportError):
        raise
    except Exception as error:  # the tokenizers library raises nothing more precise, and broken settings raise anything
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise InputError(f"The {what} of {os.fspath(name)!r} cannot be read: {reason}.") from error


def _settings(name: str | os.PathLike[str], file: str, hub: Mapping[str, Any]) -> dict[str, Any]:
    """What a JSON file of a folder or repository holds; nothing where it cannot be fetched, which its loader says better."""
    try:
        values = repository_json(name, file, hub)
    except OSError:
        return {}
    return values if isinstance(values, dict) else {}
