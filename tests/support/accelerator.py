"""An accelerator to run a step on, and a note of whoever waits for it: a GPU if there is one, and one that computes on the CPU.

A tensor on the imitated accelerator has the device `Imitated.device`, so that code which asks for the device's type takes the
accelerator's way. Its values lie on the CPU. An operation that would wait for an accelerator works, and is noted.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

Waits = list[tuple[str, str]]  # the code that asked, as "file function", and the operation
TORCH = str(Path(torch.__file__).parent)
ROOT = str(Path(__file__).parents[2])


def asking() -> str:
    """The file and the function outside of torch that runs."""
    frame: Any = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith((TORCH, __file__, warnings.__file__, "<")):
        frame = frame.f_back
    return f"{frame.f_code.co_filename.removeprefix(ROOT).lstrip('/')} {frame.f_code.co_qualname}"


class Cuda:
    """The GPU itself; torch warns of what waits for it."""

    @staticmethod
    def put(module: nn.Module) -> nn.Module:
        """Move a module to the GPU."""
        return module.to("cuda")

    @staticmethod
    def copied(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A batch on the GPU."""
        return {name: value.to("cuda") for name, value in batch.items()}

    @staticmethod
    @contextmanager
    def watched() -> Iterator[Waits]:
        """Within this context note what waits."""
        waits: Waits = []
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with noted(waits):
                yield waits
        finally:
            torch.cuda.set_sync_debug_mode("default")


@contextmanager
def noted(waits: Waits) -> Iterator[None]:
    """Within this context note every warning, with the code that runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: waits.append((asking(), str(message)))
        yield


class Imitated:
    """An accelerator that computes on the CPU."""

    device = torch.device("maia", 0)  # a type that torch knows by its name alone

    @staticmethod
    def put(module: nn.Module) -> nn.Module:
        """Move the parameters and buffers of a module. Tied ones stay tied."""
        moved: dict[int, Tensor] = {}
        for part in module.modules():
            for table in (part._parameters, part._buffers):
                for name, value in table.items():
                    if value is not None and id(value) not in moved:
                        there: Tensor = OnDevice(value)
                        if isinstance(value, nn.Parameter):
                            there = nn.Parameter(there, requires_grad=value.requires_grad)
                        moved[id(value)] = moved[id(there)] = there
                    table[name] = None if value is None else moved[id(value)]  # type: ignore[assignment]
        return module

    @staticmethod
    def copied(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A batch on the accelerator."""
        return {name: OnDevice(value) for name, value in batch.items()}

    @staticmethod
    @contextmanager
    def watched() -> Iterator[Waits]:
        """Within this context note what waits. Outside of it no new tensor can be made on the accelerator."""
        lifts = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # so that the copy of torch.tensor(..., device=...) is seen
        try:
            with Watch() as watch:
                yield watch.waits
        finally:
            torch._C._set_only_lift_cpu_tensors(lifts)


class OnDevice(Tensor):
    """A tensor on the imitated accelerator; `values` are its numbers."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    device = Imitated.device
    is_meta = False  # as which the C++ code sees it: without numbers

    @staticmethod
    def __new__(cls, values: Tensor) -> OnDevice:
        place = {"strides": values.stride(), "storage_offset": values.storage_offset()}
        made: OnDevice = Tensor._make_wrapper_subclass(cls, values.size(), **place, dtype=values.dtype, device="meta")
        return made

    def __init__(self, values: Tensor) -> None:
        self.values = values.detach()

    def tolist(self) -> Any:
        """The numbers."""
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute on the CPU."""
        return computed(func, args, kwargs or {})


class Watch(TorchDispatchMode):
    """Notes the operations that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Waits = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note an operation, and compute it."""
        if waits(func, args, kwargs or {}):
            self.waits.append((asking(), str(func)))
        return computed(func, args, kwargs or {})


def places(args: Any, kwargs: dict[str, Any]) -> tuple[list[Tensor], bool, bool]:
    """The tensors that an operation is given, whether one is on the accelerator, and whether the results are."""
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    on_it, target = any(isinstance(leaf, OnDevice) for leaf in given), kwargs.get("device")
    return given, on_it, on_it if target is None else torch.device(target).type in ("maia", "meta")


def computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The result of an operation, on the device where it belongs."""
    _, on_it, stays = places(args, kwargs)
    if stays and "device" in kwargs:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    plain, named = tree_map_only(OnDevice, lambda leaf: leaf.values, (args, kwargs))
    out = func(*plain, **named)
    if not stays:
        return out
    there = tree_map_only(Tensor, OnDevice, out)
    return return_and_correct_aliasing(func, args, kwargs, there) if on_it else there


ASKING = {  # what gives a value, or as many as the values decide
    *("_local_scalar_dense", "allclose", "bincount", "equal", "is_nonzero", "item", "masked_select", "nonzero"),
    *("_unique", "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive"),
}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
COPYING = {"_to_copy", "copy", "copy_", "where"} | INDEXING  # a number on the CPU is copied first, or between devices


def waits(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether an operation waits for the accelerator: it asks for values, or copies between the CPU and the accelerator."""
    given, on_it, stays = places(args, kwargs)
    name = func._schema.name.removeprefix("aten::")
    if not on_it and not stays:
        return False
    if name in ASKING or (name == "repeat_interleave" and kwargs.get("output_size") is None):
        return True
    if name in INDEXING and any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]):
        return True
    if name == "_to_copy" and stays and kwargs.get("non_blocking"):
        return False  # the copy is put into the queue
    elsewhere = [leaf for leaf in given if not isinstance(leaf, OnDevice)]
    if name in COPYING:
        return bool(elsewhere) or not stays
    return any(leaf.dim() for leaf in elsewhere)  # a single number goes along as an argument
