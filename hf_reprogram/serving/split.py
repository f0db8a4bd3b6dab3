"""The server's side of split training: outputs of a frozen source, and vector-Jacobian products, for a `RemoteSource`.

    GET  /split                               the source's properties, and the record of it in adapters
    POST /split/forward?reads=logits&keep=1   inputs -> output; with `keep`, the header x-graph names what its gradient needs
    POST /split/vjp?graph=NAME                gradient of the output -> gradients of the inputs
    POST /split/vjp?reads=logits              the same with the inputs beside the gradient, if the graph was dropped

`hf_reprogram.serving.split_routes` has these routes.

Bodies are safetensors. No weight is sent, and nothing that is sent here is stored.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import asdict
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ..errors import InputError
from ..sources.base import Source
from ..sources.remote import PROTOCOL, SPECS

GRAPHS = 8  # outputs that wait for their gradient
SECONDS = 300.0  # after which a graph is dropped


class Split:
    """A source that answers tensors with tensors.

    Args:
        source: images or sounds are its inputs.
        record: of the source, as `hf_reprogram.sources.load_source` gives it.
        white_box: whether gradients are given; else only outputs are.

    Raises:
        InputError: the source takes tokens.

    >>> from hf_reprogram.sources import load_source
    >>> split = Split(*load_source(image_source))
    >>> body = save({"pixels": torch.zeros(2, 3, 32, 32)})
    >>> output, graph = split.forward(body, "features", keep=True)
    >>> gradient = save({"gradient": torch.ones_like(load(output)["output"])})
    >>> load(split.vjp(gradient, graph=graph))["pixels"].shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(self, source: Source, record: dict[str, Any], white_box: bool = True):
        if source.spec.takes not in SPECS or source.spec.kind == "dual":
            raise InputError(
                f"The source is of kind {source.spec.kind!r}: training at a distance is for images and sounds, since a program "
                "for texts stands among embeddings, which are weights."
            )
        self.source, self.white_box = source, white_box
        name = record["name"]
        self.record = {**record, "name": "" if os.path.isdir(name) else name}  # a folder here is none elsewhere
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[float, dict[str, Tensor], Tensor]] = OrderedDict()

    def about(self) -> dict[str, Any]:
        """The properties of the source as plain data."""
        spec = asdict(self.source.spec)
        return {"protocol": PROTOCOL, "spec": spec, "record": self.record, "white_box": self.white_box}

    def forward(self, body: bytes, reads: str, keep: bool) -> tuple[bytes, str]:
        """An output of the source, and the name of what is kept for its gradient; empty if nothing is.

        Raises:
            InputError: the body or `reads` cannot be used.
        """
        inputs = self._inputs(body)
        with self._lock:
            output = self._run(inputs, reads, keep and self.white_box)
            graph = ""
            if output.requires_grad:
                graph = secrets.token_hex(16)
                self._kept[graph] = time.monotonic(), inputs, output
                self._drop()
        return save({"output": output.detach().contiguous()}), graph

    def vjp(self, body: bytes, graph: str | None = None, reads: str | None = None) -> bytes:
        """The gradients of the inputs from that of the output.

        Args:
            body: the tensor "gradient", and the inputs beside it if no graph is named.
            graph: as `forward` gave it; it is dropped afterwards.
            reads: the output, if no graph is named.

        Raises:
            InputError: no gradients are given here, or the body cannot be used.
            KeyError: the graph was dropped.
        """
        if not self.white_box:
            raise InputError("This source only answers: estimate theta's gradient.")
        tensors = self._inputs(body)
        gradient = tensors.pop("gradient", None)
        if gradient is None:
            raise InputError("The body has no tensor 'gradient': send that of the output.")
        with self._lock:
            if graph is not None:
                self._drop()
                _, inputs, output = self._kept.pop(graph)
            else:
                inputs, output = tensors, self._run(tensors, reads or "", True)
            if gradient.shape != output.shape:
                raise InputError(
                    f"The gradient is {_shape(gradient)}, and the output {_shape(output)}: send the gradient of this output."
                )
            names = [name for name, value in inputs.items() if value.requires_grad]
            found = torch.autograd.grad(
                output, [inputs[name] for name in names], gradient.to(output), allow_unused=True
            )
        return save({name: value.contiguous() for name, value in zip(names, found, strict=True) if value is not None})

    def _run(self, inputs: dict[str, Tensor], reads: str, flows: bool) -> Tensor:
        for value in inputs.values():
            value.requires_grad_(flows and value.is_floating_point())
        try:
            with torch.set_grad_enabled(flows):
                return self.source(inputs, reads)
        except (KeyError, RuntimeError, TypeError, IndexError) as error:
            raise InputError(f"The source does not take these inputs: {str(error).strip().splitlines()[0]}") from error

    def _inputs(self, body: bytes) -> dict[str, Tensor]:
        try:
            return {name: value.to(self.source.device) for name, value in load(body).items()}
        except SafetensorError as error:
            raise InputError(f"The body is no safetensors file: {error}.") from error

    def _drop(self) -> None:
        """Drop what is too old or too much."""
        while self._kept and (
            len(self._kept) > GRAPHS or time.monotonic() - next(iter(self._kept.values()))[0] > SECONDS
        ):
            self._kept.popitem(last=False)


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape))
