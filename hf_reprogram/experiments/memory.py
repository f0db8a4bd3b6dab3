"""A memory of the outputs of a frozen source, for programs that are scored before any training.

Many untrained programs give the source the same inputs: a program that starts at nothing changes no image, whatever its method,
and a vocabulary is the same whether the mean, the first or the last state is read. The states of all tokens decide the three.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from ..sources.pooling import POOLED, pooled

MOST_BYTES = 2**29  # of outputs that are kept


class Memory:
    """Outputs of one frozen source by its inputs, in at most `MOST_BYTES`. The source may be loaded several times."""

    def __init__(self) -> None:
        self._kept: dict[bytes, Tensor] = {}
        self._bytes = 0

    def attach(self, source: Any) -> None:
        """Let a source answer from the memory where no gradient is wanted."""
        compute, spec = source.forward, source.spec
        pools = spec.takes == "input_ids" and "tokens" in spec.widths

        def remembered(inputs: dict[str, Any], reads: str) -> Tensor:
            key = None if torch.is_grad_enabled() else _key(inputs, reads)
            if key is None:
                return compute(inputs, reads)
            if key not in self._kept:
                output = compute(inputs, reads)
                size = output.numel() * output.element_size()
                if self._bytes + size > MOST_BYTES:
                    return output
                self._kept[key], self._bytes = output, self._bytes + size
            return self._kept[key]

        def forward(inputs: dict[str, Any], reads: str) -> Tensor:
            if pools and reads in POOLED and reads in spec.widths and not torch.is_grad_enabled():
                tokens = remembered(inputs, "tokens")
                return pooled(tokens, inputs["attention_mask"], reads, inputs.get("mean_mask"))
            return remembered(inputs, reads)

        source.forward = forward


def _key(inputs: dict[str, Any], reads: str) -> bytes | None:
    """A digest of what decides an output; None if an input is no tensor."""
    device = next((value.device.type for value in inputs.values() if isinstance(value, Tensor)), "cpu")
    half = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    digest = hashlib.blake2b(f"{reads} {half}".encode(), digest_size=16)
    for name, value in sorted(inputs.items()):
        if not isinstance(value, Tensor):
            return None
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.digest()
