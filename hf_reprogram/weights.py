"""The weights of an adapter on disk: one safetensors file, or several with an index.

A file's header says all shapes, so nothing is read before it is known to fit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file

from .errors import InputError, shown
from .files import repository_json

# A part may hold tensors that its checkpoint does not: a canvas of 4096 x 4096 pixels has three times 2**24 entries.
_BEYOND = 2**26
_KINDS = {
    "F": "real numbers",
    "B": "real numbers",
    "I": "whole numbers",
    "U": "whole numbers",
}  # by the dtype's first letter


def weight_files(adapter: str | os.PathLike[str], hub: Mapping[str, Any] | None = None) -> list[str]:
    """The paths of an adapter's weight files, fetched from the Hub if need be.

    Args:
        adapter: a folder or a Hub id.
        hub: arguments that locate its files, see `hf_reprogram.hub_arguments`.

    Raises:
        InputError: there are none, or the index names files outside of the folder.
        OSError: a file of the index is missing, or the Hub cannot be reached.
    """
    hub = hub or {}
    whole = cached_file(adapter, SAFE_WEIGHTS_NAME, _raise_exceptions_for_missing_entries=False, **hub)
    if whole is not None:
        return [str(whole)]
    index = repository_json(adapter, SAFE_WEIGHTS_INDEX_NAME, hub)
    if index is None:
        raise InputError(
            f"The adapter {os.fspath(adapter)!r} has no {SAFE_WEIGHTS_NAME}: take another copy, this one is incomplete."
        )
    places = index.get("weight_map") if isinstance(index, dict) else None
    names = list(dict.fromkeys(map(str, places.values()))) if isinstance(places, dict) else []
    if not names:
        raise InputError(
            f"The file {SAFE_WEIGHTS_INDEX_NAME} of {os.fspath(adapter)!r} names no weights: take another copy."
        )
    for name in names:
        if not re.fullmatch(r"\w[\w.-]*\.safetensors", name):
            raise InputError(
                f"The file {SAFE_WEIGHTS_INDEX_NAME} of {os.fspath(adapter)!r} names {shown(name)}, which is no safetensors "
                "file beside it: take another copy."
            )
    return [str(cached_file(adapter, name, **hub)) for name in names]


def read_headers(files: list[str]) -> dict[str, tuple[tuple[int, ...], str]]:
    """The shape and the dtype of each tensor in safetensors files, by its name; no tensor is read.

    Raises:
        InputError: a file is incomplete, or a name stands in two of them.
    """
    headers: dict[str, tuple[tuple[int, ...], str]] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 - it is no mapping
                    if name in headers:
                        raise InputError(f"The weight {name!r} stands in two files beside {file!r}: take another copy.")
                    part = opened.get_slice(name)
                    headers[name] = (tuple(part.get_shape()), part.get_dtype())
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{file!r} is not a complete safetensors file ({error}): take another checkpoint."
            ) from error
    return headers


def check_headers(module: nn.Module, headers: Mapping[str, tuple[tuple[int, ...], str]], file: str) -> None:
    """Raise `InputError` unless the headers have the names, shapes and kinds of number of a module's state.

    Args:
        module: with the parameters and buffers that the file is for.
        headers: as from `read_headers`.
        file: for the message.
    """
    expected = module.state_dict()
    wrong = sorted({*expected} ^ {*headers})
    for name in {*expected} & {*headers}:
        shape, dtype = headers[name]
        if tuple(expected[name].shape) != shape or _kind(expected[name].dtype) != _kind_of_header(dtype):
            wrong.append(name)
    if wrong:
        names = [name if name.isprintable() and len(name) < 80 else shown(name, 80) for name in sorted(wrong)[:10]]
        raise InputError(
            f"{file!r} does not fit its config.json in {', '.join(names)}: take another copy of the "
            "adapter, since this one is incomplete or mixes two adapters."
        )


def load_weights(module: nn.Module, files: list[str]) -> None:
    """Load safetensors files into a module, whose headers were checked.

    Raises:
        InputError: a number is not finite, where a fresh module's is.
    """
    fresh = module.state_dict()
    state: dict[str, Tensor] = {}
    for file in files:
        try:
            state |= load_file(file)
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{file!r} is not a complete safetensors file ({error}): take another checkpoint."
            ) from error
    for name, value in state.items():
        bad = ~value.isfinite() if value.is_floating_point() else None
        if bad is not None and bad.any() and fresh[name].isfinite().all():
            raise InputError(
                f"{files[0]!r} holds {int(bad.sum())} values of {name} that are not finite: take a checkpoint from before the "
                "training diverged."
            )
    module.load_state_dict(state)


def _kind(dtype: torch.dtype) -> str:
    """Whether a tensor holds real numbers, whole numbers or truth values."""
    return "truth values" if dtype == torch.bool else "real numbers" if dtype.is_floating_point else "whole numbers"


def _kind_of_header(dtype: str) -> str:
    """The same of a dtype as a safetensors header writes it, for example "F32"."""
    return "truth values" if dtype == "BOOL" else _KINDS.get(dtype[:1], dtype)


class Bounded(TorchDispatchMode):
    """Within this context no tensor is made that is much larger than all that a checkpoint holds.

    A config may name any size, and a module of that size would take all memory before its weights could be seen not to fit.

    >>> with Bounded(1000):
    ...     torch.zeros(2**40, 2**20)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The config.json names a tensor of 1099511627776 x 1048576 numbers, but all weights ...
    """

    def __init__(self, numbers: int) -> None:
        """Bound all tensors by `numbers`, the count of all numbers in the checkpoint, and what a part may hold beside them."""
        super().__init__()
        self.numbers = numbers

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at the sizes that an operation is asked for before it runs."""
        for size in args[:2]:
            size = [size] if func.__name__.startswith("arange") and isinstance(size, int) else size
            sides = isinstance(size, list | tuple) and size and all(isinstance(side, int) for side in size)
            if sides and prod(size) > self.numbers + _BEYOND:
                raise InputError(
                    f"The config.json names a tensor of {' x '.join(map(str, size))} numbers, but all weights of the adapter "
                    f"are {self.numbers:,}: take another copy."
                )
        return func(*args, **(kwargs or {}))


def count_numbers(headers: Mapping[str, tuple[tuple[int, ...], str]]) -> int:
    """How many numbers stand in all tensors of some headers.

    >>> count_numbers({"prompts": ((3, 32), "F32"), "bias": ((2,), "F32")})
    98
    """
    return sum(prod(shape) for shape, _ in headers.values())


def remove_others(folder: str | os.PathLike[str], kept: set[str]) -> None:
    """Remove the weight files of a folder but those with the names `kept`: an earlier save may have had more of them."""
    for file in Path(folder).glob("model*.safetensors*"):
        if re.fullmatch(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?", file.name) and file.name not in kept:
            file.unlink()


def weights_bytes(folder: str | os.PathLike[str]) -> int:
    """The size of an adapter's weight files on disk, in bytes."""
    return sum(Path(file).stat().st_size for file in weight_files(folder))
