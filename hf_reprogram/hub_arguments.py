"""The arguments that locate a file on the Hub and control its download: one list for models, tokenizers and adapters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HUB_ARGUMENTS = (
    "revision",
    "token",
    "cache_dir",
    "local_files_only",
    "force_download",
    "proxies",
    "subfolder",
    "gguf_file",
)
FILE_ARGUMENTS = ("subfolder", "variant", "gguf_file")  # which files of a repository are the model
ACCESS_ARGUMENTS = ("token", "cache_dir", "local_files_only", "force_download", "proxies")


def hub_arguments(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `kwargs` that locate files of a repository or control their download, without those that are None.

    >>> hub_arguments({"revision": "main", "dtype": "float32", "token": None})
    {'revision': 'main'}
    """
    return {name: kwargs[name] for name in HUB_ARGUMENTS if kwargs.get(name) is not None}


def access_arguments(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `kwargs` that are valid for any repository, so without revision and subfolder.

    >>> access_arguments({"revision": "main", "cache_dir": "kept"})
    {'cache_dir': 'kept'}
    """
    return {name: kwargs[name] for name in ACCESS_ARGUMENTS if kwargs.get(name) is not None}


def repository_files(kwargs: Mapping[str, Any]) -> dict[str, str]:
    """The entries of `kwargs` that say which of a repository's files are the model.

    >>> repository_files({"revision": "main", "variant": "fp16"})
    {'variant': 'fp16'}
    """
    return {name: kwargs[name] for name in FILE_ARGUMENTS if kwargs.get(name)}
