"""Any `nn.Module` with an input embedding as a frozen source, such as an LSTM or a network of your own.

The module is called with token ids, and the output of its embedding is replaced. So only its embedding must be known. The
module returns states (batch, tokens, width) or logits (batch, labels). From states, mappings can read all tokens, the last
token or the mean.

A module without an attention mask would read padding. So rows are grouped by length and run without padding, and the result
of a row does not depend on the others. All token ids of a call are the same, and none is the module's padding.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from .base import Source, SourceSpec, without_model
from .checks import check_independent, check_repeatable
from .families import SourceFamily
from .pooling import at_least_one
from .reading import PATCHING, by_length


class ModuleSource(Source):
    """A frozen module from token ids (batch, tokens) to states or logits.

    Args:
        model: the module, for example an `nn.LSTM` after an `nn.Embedding`. If it returns a tuple, the first entry is used.
        embedding: its input embedding; by default its only `nn.Embedding`, or `get_input_embeddings()`.
        max_tokens: the length of the longest input.

    Raises:
        InputError: there is no embedding or more than one, the module does not call it, the output is neither states nor
            logits, it is random, or a row's output depends on the rest of the batch.

    >>> lstm = nn.Sequential(nn.Embedding(30, 8), nn.LSTM(8, 16, batch_first=True))
    >>> ModuleSource(lstm).spec.widths
    {'features': 16, 'last': 16, 'tokens': 16}
    """

    def __init__(self, model: nn.Module, embedding: nn.Embedding | None = None, max_tokens: int = 2**31 - 1):
        super().__init__(model)
        self._embedding = [embedding or _find_embedding(model)]  # in a list, since it is a part of the model already
        if getattr(self.embedding, "max_norm", None) is not None:
            raise InputError(
                "The embedding has a max_norm, so that a look-up changes its weights: set max_norm to None."
            )
        self._recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
        weight, probe = self.embedding.weight, self._probe()
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

    @torch.no_grad()
    def _probe(self) -> Tensor:
        """The module's output for two rows of three tokens, after checks of its shape."""
        name, weight = type(self.model).__name__, self.embedding.weight
        embeds = self.embed(torch.arange(6, device=weight.device).view(2, 3) % len(weight))
        output = self._run(embeds)
        if not isinstance(output, Tensor):
            raise InputError(
                f"{name} returns a {type(output).__name__}: use a module that returns a tensor, or a tuple with one first."
            )
        if output.dim() not in (2, 3) or output.shape[0] != 2 or (output.dim() == 3 and output.shape[1] != 3):
            raise InputError(
                f"{name} returns a tensor of shape {tuple(output.shape)} for ids of shape (2, 3): use a module that returns "
                "states (batch, tokens, width) or logits (batch, labels)."
            )
        check_repeatable(name, output, self._run(embeds))
        needed = "module that takes ids (batch, tokens), for which an nn.LSTM needs batch_first=True"
        check_independent(name, output[1:], self._run(embeds[1:]), needed)
        return output

    def _run(self, embeds: Tensor) -> Any:
        """The module's first output if the output of its embedding is `embeds` (batch, tokens, width)."""
        plain = int(self.embedding.padding_idx == 0)  # not the padding, by which a module may measure its input
        ids = torch.full(embeds.shape[:2], plain, dtype=torch.long, device=embeds.device)
        called: list[bool] = []

        def replace(*_: Any) -> Tensor:
            called.append(True)
            return embeds

        # cuDNN has no gradient for a recurrent network in eval mode
        without = (
            torch.backends.cudnn.flags(enabled=False)
            if self._recurrent and (embeds.requires_grad or self.pretrained)
            else nullcontext()
        )
        with PATCHING, without:
            handle = self.embedding.register_forward_hook(replace)
            try:
                output = self.model(ids)
            finally:
                handle.remove()
        if not called:
            raise InputError(
                f"{type(self.model).__name__} does not call its embedding as a module, so its output cannot be replaced: name "
                "the embedding that it calls with ModuleSource(model, embedding=...)."
            )
        output = output[0] if isinstance(output, tuple | list) else output
        return getattr(output, "last_hidden_state", getattr(output, "logits", output))

    def mixes_as(self, inputs: dict[str, Any], reads: str) -> Hashable | None:
        """See `Source.mixes_as`: texts of any length."""
        return str(inputs["inputs_embeds"].dtype)

    def forward(self, inputs: dict[str, Any], reads: str) -> Tensor:
        """See `hf_reprogram.sources.base` for `reads` and the shapes."""
        if reads == "inputs":
            return without_model(inputs)
        if reads not in self.spec.widths:
            raise InputError(
                f"{self.spec.family} cannot be read at {reads!r}: choose one of {', '.join(sorted(self.spec.widths))}."
            )
        embeds, mask = inputs["inputs_embeds"], at_least_one(inputs["attention_mask"]).bool()
        if mask.shape[1] > self.spec.max_tokens:
            raise InputError(
                f"The input is {mask.shape[1]} tokens long, but this source takes {self.spec.max_tokens}: truncate it."
            )

        attended = mask.long().argsort(
            dim=1, descending=True, stable=True
        )  # the places of tokens, then those of padding

        def run(rows: Tensor, length: int) -> Tensor:
            place = attended[rows, :length, None]
            output: Tensor = self._run(embeds[rows].gather(1, place.expand(-1, -1, embeds.shape[-1])))
            if reads != "tokens":
                return _READ[reads](output)
            spread = output.new_zeros(len(rows), mask.shape[1], output.shape[-1])
            return spread.scatter(1, place.expand_as(output), output)

        return by_length(mask, run)


_READ: dict[str, Callable[[Tensor], Tensor]] = {
    "logits": lambda output: output,
    "last": lambda output: output[:, -1],
    "features": lambda output: output.mean(1),
}


def _find_embedding(model: Any) -> nn.Embedding:
    declared = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    if isinstance(declared, nn.Embedding):
        return declared
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    if len(embeddings) != 1:
        raise InputError(
            f"{type(model).__name__} has {len(embeddings)} nn.Embedding modules: name its input embedding with "
            "ModuleSource(model, embedding=...)."
        )
    return embeddings[0]


class ModuleFamily(SourceFamily):
    """Modules with an input embedding, which are passed as loaded modules.

    >>> ModuleFamily().build(nn.Sequential(nn.Embedding(30, 8), nn.GRU(8, 16, batch_first=True)), "module", {}).spec.kind
    'module'
    """

    kind = "module"
    kinds = {kind: None}
    takes = "input_ids"
    noun = "modules of token ids"

    def build(self, model: Any, kind: str, settings: dict[str, Any]) -> ModuleSource:
        """See `SourceFamily.build`."""
        return ModuleSource(model)
