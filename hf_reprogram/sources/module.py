"""Any `nn.Module` with an input embedding as a frozen source: an LSTM, a network of your own.

The module is called with token ids and its embedding's output is replaced on the way, so that nothing about it needs to be
known but where its embedding is. What it returns decides what can be read: states (batch, tokens, width), of which tokens,
the last one or the mean can be read, or logits (batch, labels).

A module without an attention mask would read padding. Rows of one length are therefore run together, without any: the
results are those of every row alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from .base import Source, SourceSpec


class ModuleSource(Source):
    """A frozen module from token ids (batch, tokens) to states or logits.

    Args:
        model: its first output (of a tuple) is read; an `nn.LSTM` behind an `nn.Embedding`, for example.
        embedding: its input embedding; by default its only `nn.Embedding`, or `get_input_embeddings()`.
        max_tokens: the longest input it takes.

    Raises:
        InputError: there is no embedding or more than one, or the output is neither states nor logits.
    """

    def __init__(self, model: nn.Module, embedding: nn.Embedding | None = None, max_tokens: int = 2**31 - 1):
        super().__init__(model)
        self._embedding = [embedding or _find_embedding(model)]  # in a list: it is part of the model already
        weight = self.embedding.weight
        with torch.no_grad():
            probe = self._run(self.embed(torch.zeros(2, 3, dtype=torch.long, device=weight.device)))
        if probe.dim() not in (2, 3) or probe.shape[0] != 2 or (probe.dim() == 3 and probe.shape[1] != 3):
            raise InputError(
                f"{type(model).__name__} returns a tensor of shape {tuple(probe.shape)} for ids of shape (2, 3): a source "
                "returns states (batch, tokens, width) or logits (batch, labels)."
            )
        width = probe.shape[-1]
        self.spec = SourceSpec(
            kind="module",
            family=type(model).__name__,
            embedding_width=weight.shape[1],
            vocab_size=weight.shape[0],
            max_tokens=max_tokens,
            widths={"logits": width} if probe.dim() == 2 else dict.fromkeys(("features", "last", "tokens"), width),
        )

    @property
    def embedding(self) -> Any:
        """The module's input embedding."""
        return self._embedding[0]

    def _run(self, embeds: Tensor) -> Any:
        """The module's first output when its embedding gives `embeds` (batch, tokens, width)."""
        ids = torch.zeros(embeds.shape[:2], dtype=torch.long, device=embeds.device)
        handle = self.embedding.register_forward_hook(lambda *_: embeds)
        try:
            output = self.model(ids)
        finally:
            handle.remove()
        output = output[0] if isinstance(output, tuple | list) else output
        return getattr(output, "last_hidden_state", getattr(output, "logits", output))

    def forward(self, inputs: dict[str, Any], reads: str) -> Tensor:
        """See `hf_reprogram.sources.base` for `reads` and the shapes."""
        embeds, mask = inputs["inputs_embeds"], inputs["attention_mask"].bool()
        if mask.shape[1] > self.spec.max_tokens:
            raise InputError(
                f"The input is {mask.shape[1]} tokens long, but this source takes {self.spec.max_tokens}: truncate it."
            )
        lengths = mask.sum(1).clamp(min=1)
        mask = mask | (torch.arange(mask.shape[1], device=mask.device) == 0) & ~mask.any(1, keepdim=True)
        rows: list[Tensor] = []
        order: list[Tensor] = []
        for length in lengths.unique():
            chosen = (lengths == length).nonzero()[:, 0]
            found = self._run(embeds[chosen][mask[chosen]].view(len(chosen), int(length), -1))
            order.append(chosen)
            if reads == "tokens":
                spread = found.new_zeros(len(chosen), mask.shape[1], found.shape[-1])
                rows.append(spread.masked_scatter(mask[chosen, :, None], found))
            else:
                rows.append(_READ[reads](found))
        return torch.cat(rows)[torch.cat(order).argsort()]


_READ: dict[str, Callable[[Tensor], Tensor]] = {
    "logits": lambda found: found,
    "last": lambda found: found[:, -1],
    "features": lambda found: found.mean(1),
}


def _find_embedding(model: Any) -> nn.Embedding:
    if hasattr(model, "get_input_embeddings"):
        return model.get_input_embeddings()
    found = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    if len(found) != 1:
        raise InputError(
            f"{type(model).__name__} has {len(found)} nn.Embedding modules: say which is its input with "
            "ModuleSource(model, embedding=...)."
        )
    return found[0]
