"""Split training: theta and omega are here, and the source is behind an address (`hf_reprogram.serving.split`).

    up       x~                        the reprogrammed inputs
    down     f(x~)                     the output that the mapping reads
    up       dL/df(x~)                 in training alone
    down     dL/dx~                    the vector-Jacobian product, from which theta's gradient follows here

No weight crosses the wire in either direction, and labels stay here. Bodies are safetensors. A server that only answers has no
third and fourth message, and theta's gradient must be estimated.

An adapter that was trained so records the server's source: it works with a copy of that source elsewhere, and an adapter that
was trained on a copy works with the server.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from ..errors import InputError, shown
from .audio import AudioSpec
from .base import Source, SourceSpec, check_dtype

PROTOCOL = 1
TOKEN = "HF_REPROGRAM_TOKEN"  # the environment variable with the server's token, on both sides
GRAPH = "x-graph"  # the header that names what the server keeps for a gradient
SPECS: dict[str, type[SourceSpec]] = {"pixel_values": SourceSpec, "input_values": AudioSpec}
AGAIN = (502, 503, 504)
ATTEMPTS, WAIT = 4, 0.1  # seconds before the second; each later wait is twice as long


class RemoteSource(Source):
    """A frozen source of images or sounds at another place, through which gradients flow.

    Args:
        address: of the server, such as `http://host:8000`; `hf-reprogram serve SOURCE --split gradients` starts one. Its token
            is read from the environment variable `HF_REPROGRAM_TOKEN`.
        timeout: seconds to wait for an answer.

    Attributes:
        address: as given.
        differentiable: whether the server gives gradients.
        record: what an adapter records of the source (`hf_reprogram.sources.loading.SourceReference`).
        sent, received: the bytes of all bodies so far.

    Raises:
        InputError: the server gives no answer, speaks another protocol, or has a source of texts, whose programs stand among
            embeddings and so would need its weights.

    >>> RemoteSource("http://127.0.0.1:9")
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: http://127.0.0.1:9 gave no answer after 4 attempts (ConnectionError): see whether it runs.
    """

    _place: Tensor

    def __init__(self, address: str, timeout: float = 60.0):
        super().__init__(nn.Identity())
        self.address, self.timeout = address.rstrip("/"), timeout
        self.sent, self.received = 0, 0
        self._client: Any = None
        about = self._about()
        self.record: dict[str, Any] = about["record"]
        self.differentiable = bool(about["white_box"])
        kind: Any = SPECS[about["spec"]["takes"]]
        spec = {key: tuple(value) if isinstance(value, list) else value for key, value in about["spec"].items()}
        self.spec = kind(**spec)
        self.settings = self.record.get("settings")
        self.random = self.record.get("random")
        check_dtype(self.record["dtype"])
        self.register_buffer("_place", torch.zeros((), dtype=getattr(torch, self.record["dtype"])), persistent=False)
        # by these an adapter records name and revision
        self.model.config = SimpleNamespace(
            _name_or_path=self.record["name"] or self.address, _commit_hash=self.record.get("revision")
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_client": None}  # a copy opens a connection of its own

    # ------------------------------------------------------------------------------------------------ the source's data

    @property
    def entry(self) -> Tensor:
        """No weight of the source is here; the place of the adapter's own."""
        return self._place

    def fingerprint(self) -> dict[str, Any]:
        """That of the source at the server."""
        return dict(self.record["fingerprint"])

    def label_embeddings(self) -> Tensor:
        """Refused, since they are weights."""
        raise InputError(
            "A remote source does not send the rows of its last layer, which are weights: choose a label mapping that reads "
            "answers, such as 'frequency'."
        )

    def plain_processor(self, name: str, hub: dict[str, Any]) -> Any:
        """What brings images or sounds to the source's size."""
        from ..modalities.pixels import image_processor
        from ..modalities.waveform import waveform_extractor

        if isinstance(self.spec, AudioSpec):
            return waveform_extractor(self.spec.sampling_rate, self.spec.samples)
        return image_processor(self.spec.canvas())

    def plain_inputs(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """The images or sounds without a change."""
        return {"waveform" if isinstance(self.spec, AudioSpec) else "pixels": batch[self.spec.takes]}

    # ------------------------------------------------------------------------------------------------------ computation

    def forward(self, inputs: dict[str, Any], reads: str) -> Tensor:
        """See `hf_reprogram.sources.base`.

        Raises:
            InputError: the server refuses the inputs, or gives no answer.
        """
        names = tuple(inputs)
        if strange := [name for name in names if not isinstance(inputs[name], Tensor)]:
            raise InputError(f"A remote source takes tensors, and {strange[0]!r} is none: use another input transform.")
        flows = self.differentiable and torch.is_grad_enabled() and any(inputs[name].requires_grad for name in names)
        if not flows:
            return self.output({name: inputs[name] for name in names}, reads, keep=False)[0]
        found: Tensor = _Through.apply(  # type: ignore[no-untyped-call]
            self, reads, names, *(inputs[name] for name in names)
        )
        return found

    def output(self, inputs: Mapping[str, Tensor], reads: str, keep: bool) -> tuple[Tensor, str]:
        """An output of the source, and the name of what the server keeps for its gradient; empty if it keeps nothing.

        Args:
            inputs: as for `forward`.
            reads: as for `forward`.
            keep: whether a gradient will be asked for.
        """
        answer, headers = self._post("forward", {"reads": reads, "keep": str(int(keep))}, inputs)
        return answer["output"], headers.get(GRAPH, "")

    def gradients(self, graph: str, gradient: Tensor, inputs: Mapping[str, Tensor], reads: str) -> dict[str, Tensor]:
        """The vector-Jacobian product: the gradient of each input.

        Args:
            graph: as `output` gave it. A server that has dropped it computes the output again.
            gradient: of the output.
            inputs, reads: as for `output`.
        """
        answer = self._post("vjp", {"graph": graph}, {"gradient": gradient}, dropped=True) if graph else None
        if answer is None:
            answer = self._post("vjp", {"reads": reads}, {**inputs, "gradient": gradient})
        found: dict[str, Tensor] = answer[0]
        return found

    def _about(self) -> dict[str, Any]:
        """What the server says about its source.

        Raises:
            InputError: it cannot be used.
        """
        answer = self._request("GET", "")
        try:
            about = dict(answer.json())
            protocol, takes = about["protocol"], about["spec"]["takes"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.address} has no source to train on: start it with `hf-reprogram serve SOURCE --split gradients`."
            ) from error
        if protocol != PROTOCOL:
            raise InputError(
                f"{self.address} speaks version {shown(protocol)} of the protocol, and this is version {PROTOCOL}: install the "
                "same version of hf_reprogram on both sides."
            )
        if takes not in SPECS:
            raise InputError(
                f"{self.address} has a source of kind {shown(about['spec']['kind'])}: training at a distance is for images and "
                "sounds, since a program for texts stands among embeddings, which are weights."
            )
        return about

    def _post(self, path: str, query: dict[str, str], tensors: Mapping[str, Tensor], dropped: bool = False) -> Any:
        """Tensors and headers that the server sends back for tensors; None if `dropped` and it does not know the graph."""
        body = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        self.sent += len(body)
        answer = self._request("POST", f"/{path}", query, body, allowed=(410,) if dropped else ())
        if answer.status_code == 410:
            return None
        self.received += len(answer.content)
        try:
            found = load(answer.content)
        except SafetensorError as error:
            raise InputError(f"{self.address} sent an answer that is no safetensors file: {error}.") from error
        return {name: tensor.to(self.device) for name, tensor in found.items()}, answer.headers

    def _request(
        self,
        verb: str,
        path: str,
        query: dict[str, str] | None = None,
        body: bytes | None = None,
        allowed: Sequence[int] = (),
    ) -> Any:
        """The answer to a request, which is sent again while the server is away or busy."""
        import requests

        if self._client is None:
            self._client = requests.Session()
        token = os.environ.get(TOKEN)
        headers = {
            "content-type": "application/octet-stream",
            **({"authorization": f"Bearer {token}"} if token else {}),
        }
        for attempt in range(ATTEMPTS):
            reason = ""
            try:
                answer = self._client.request(
                    verb,
                    f"{self.address}/split{path}",
                    params=query,
                    data=body,
                    headers=headers,
                    timeout=self.timeout,
                    allow_redirects=False,  # which would take the token elsewhere
                )
            except requests.RequestException as error:
                reason = type(error).__name__
            else:
                if answer.status_code < 300 or answer.status_code in allowed:
                    return answer
                reason = f"status {answer.status_code}"
                if answer.status_code not in AGAIN:
                    raise InputError(f"{self.address} refused the request: {_said(answer)}")
            if attempt + 1 < ATTEMPTS:
                time.sleep(WAIT * 2**attempt)
        raise InputError(f"{self.address} gave no answer after {ATTEMPTS} attempts ({reason}): see whether it runs.")


class _Through(torch.autograd.Function):
    """The source at the server as a function with a gradient."""

    @staticmethod
    def forward(ctx: Any, source: RemoteSource, reads: str, names: tuple[str, ...], *values: Tensor) -> Tensor:
        inputs = dict(zip(names, values, strict=True))
        output, ctx.graph = source.output(inputs, reads, keep=True)
        ctx.source, ctx.reads, ctx.names = source, reads, names
        ctx.save_for_backward(*values)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs = dict(zip(ctx.names, ctx.saved_tensors, strict=True))
        found = ctx.source.gradients(ctx.graph, gradients[0], inputs, ctx.reads)
        return None, None, None, *(found.get(name) for name in ctx.names)


def _said(answer: Any) -> str:
    """The server's own sentence, or its status."""
    try:
        said = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        said = None
    return said if isinstance(said, str) else f"status {answer.status_code}."


def is_address(name: str) -> bool:
    """Whether the name of a source is the address of a server.

    >>> is_address("http://127.0.0.1:8000"), is_address("owner/model")
    (True, False)
    """
    return name.startswith(("http://", "https://"))


def remote_source(address: str, kind: str | None, source_kwargs: dict[str, Any]) -> RemoteSource:
    """The source at an address, if it is the one that is asked for.

    Args:
        address: as for `RemoteSource`.
        kind: that of the source, if it is known.
        source_kwargs: arguments of `load_source`, which must be those that the server has loaded it with.

    Raises:
        InputError: there is no source, or it is of another kind or has other options.

    >>> remote_source("http://127.0.0.1:9", "image_classifier", {})
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: http://127.0.0.1:9 gave no answer after 4 attempts (ConnectionError): see whether it runs.
    """
    made = RemoteSource(address)
    there = {**made.record, **(made.settings or {})}
    for key, value in {"kind": kind, **source_kwargs}.items():
        given = str(value).removeprefix("torch.") if key == "dtype" else value
        if value is not None and there.get(key) != given:
            raise InputError(
                f"{key} is {shown(value)}, and the source at {address} has {shown(there.get(key))}: leave it out, or start the "
                "server with it."
            )
    return made
