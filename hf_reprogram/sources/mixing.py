"""Inputs of several adapters as the rows of one batch, which goes through their source in one call.

The rows of a batch do not depend on each other, so each gets what it would get alone, up to the rounding of another batch
size. Texts are padded on the right to the longest of them, with a mask that keeps the padding out.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .pooling import at_least_one

if TYPE_CHECKING:
    from .base import Source


def outputs_together(source: Source, parts: Sequence[dict[str, Any]], reads: str) -> list[Any]:
    """See `hf_reprogram.sources.base.Source.together`.

    >>> ids = torch.tensor([[2, 64, 65, 3]]), torch.tensor([[2, 64, 3], [2, 65, 3]])
    >>> parts = [{"inputs_embeds": text_source.embed(rows), "attention_mask": torch.ones_like(rows)} for rows in ids]
    >>> [output.shape for output in outputs_together(text_source, parts, "features")]
    [torch.Size([1, 32]), torch.Size([2, 32])]
    """
    outputs: list[Any] = [None] * len(parts)
    groups: dict[Hashable, list[int]] = {}
    for place, part in enumerate(parts):
        key = source.mixes_as(part, reads)
        groups.setdefault(("alone", place) if key is None else ("mixed", key), []).append(place)
    for places in groups.values():
        if len(places) == 1:
            outputs[places[0]] = source(parts[places[0]], reads)
            continue
        chosen = [parts[place] for place in places]
        whole = source(joined(chosen, reads), reads)
        rows = whole.split([rows_of(part) for part in chosen])
        for place, part, values in zip(places, chosen, rows, strict=True):
            short = reads in _PER_TOKEN and "attention_mask" in part
            outputs[place] = values[:, : part["attention_mask"].shape[1]] if short else values
    return outputs


_PER_TOKEN = ("tokens", "decoder", "inputs")


def rows_of(inputs: dict[str, Any]) -> int:
    """The number of rows of the inputs of one adapter.

    >>> rows_of({"attention_mask": torch.ones(2, 5)})
    2
    """
    name = "attention_mask" if "attention_mask" in inputs else next(iter(inputs))
    return len(inputs[name])


def joined(parts: Sequence[dict[str, Any]], reads: str) -> dict[str, Any]:
    """The inputs of several adapters, of the same key, as one batch in their order.

    Args:
        parts: inputs of tokens, or inputs with one tensor each.
        reads: the name of the output for which they are.

    >>> first, second = ({"inputs_embeds": torch.ones(1, n, 4), "attention_mask": torch.ones(1, n)} for n in (2, 3))
    >>> joined([first, second], "features")["attention_mask"]
    tensor([[1., 1., 0.],
            [1., 1., 1.]])
    """
    if "attention_mask" not in parts[0]:
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    batch = {name: _padded([part[name] for part in parts]) for name in ("inputs_embeds", "attention_mask")}
    if reads == "mask":
        batch["mask_position"] = torch.cat([part["mask_position"] for part in parts])
    if any("mean_mask" in part for part in parts):
        masks = [part.get("mean_mask", at_least_one(part["attention_mask"])) for part in parts]
        batch["mean_mask"] = _padded(masks)
    return batch


def _padded(parts: Sequence[Tensor]) -> Tensor:
    """Tensors (rows, tokens, ...) as one, with zeros after the end of the shorter ones."""
    longest = max(part.shape[1] for part in parts)
    return torch.cat([F.pad(part, (0, 0) * (part.dim() - 2) + (0, longest - part.shape[1])) for part in parts])


def form_of(inputs: dict[str, Any]) -> Hashable | None:
    """The names, dtypes and sizes of inputs, without their number of rows; None if one is no tensor.

    >>> form_of({"pixels": torch.zeros(5, 3, 32, 32)})
    (('pixels', torch.float32, torch.Size([3, 32, 32])),)
    """
    if not all(isinstance(value, Tensor) for value in inputs.values()):
        return None
    return tuple((name, inputs[name].dtype, inputs[name].shape[1:]) for name in sorted(inputs))
