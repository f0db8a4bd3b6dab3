"""Frozen text models: masked LM, encoder (a masked LM without its head), causal LM, classifier."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from .base import Source, SourceSpec
from .reading import PATCHING, can_read_last_layer, gather, last_layer_at, only_at, stop_before
from .text_cache import TextCache

KINDS = ("masked_lm", "encoder", "causal_lm", "classifier")


class TextSource(Source):
    """A frozen `transformers` text model.

    Args:
        model: `AutoModelForMaskedLM`, `AutoModel`, `AutoModelForCausalLM` or `AutoModelForSequenceClassification`,
            according to `kind`.
        kind: one of `KINDS`.

    `source(inputs, reads)` takes `inputs_embeds` (batch, tokens, embedding_width), `attention_mask` (batch, tokens)
    and, where read, `mask_position` (batch,); token types are those of a single segment.
    """

    def __init__(self, model: Any, kind: str):
        super().__init__(model)
        config = model.config
        hidden = config.hidden_size
        widths = {"features": hidden, "tokens": hidden, "last": hidden}
        self._causal = kind == "causal_lm" or (kind == "classifier" and hasattr(model, "score"))
        if not self._causal:  # its first token has seen nothing
            widths["first"] = hidden
        if kind == "masked_lm":
            widths["mask"] = widths["decoder"] = self._decoder(model).weight.shape[1]
        elif kind == "classifier":
            widths["logits"] = config.num_labels
        elif kind == "encoder":
            widths["mask"] = hidden
        self.spec = SourceSpec(
            kind=kind,
            family=config.model_type,
            embedding_width=self.embedding.weight.shape[1],
            vocab_size=self.embedding.weight.shape[0],
            max_tokens=max_tokens(model),
            widths=widths,
            labels=tuple(config.id2label[i] for i in range(config.num_labels)) if kind == "classifier" else (),
        )
        self.text_cache: TextCache | None = None

    @property
    def embedding(self) -> Any:
        """The table of word embeddings."""
        return self.model.get_input_embeddings()

    @property
    def base(self) -> Any:
        """The model without its language-modelling head."""
        return self.model.base_model

    @staticmethod
    def _decoder(model: Any) -> Any:
        decoder = model.get_output_embeddings()
        if decoder is None or decoder.weight.shape[0] != model.get_input_embeddings().weight.shape[0]:
            raise InputError(
                f"{type(model).__name__} has no vocabulary decoder of its own, so the state at its mask cannot be read: "
                "load it as an encoder with source_kind='encoder'."
            )
        return decoder

    def output_rows(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the vocabulary decoder; its biases are zero where it has none."""
        if self.spec.kind == "encoder":
            return super().output_rows(ids)
        decoder = self._decoder(self.model)
        bias = getattr(decoder, "bias", None)
        rows = decoder.weight[ids].detach()
        return rows, rows.new_zeros(len(ids)) if bias is None else bias[ids].detach()

    def fold_output(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """See `Source.fold_output`: `(h W^T + b) G = h (G^T W)^T + b G`."""
        if self.spec.kind != "masked_lm":
            return super().fold_output(weight)
        decoder = self._decoder(self.model)
        rows = decoder.weight.detach().to(weight.dtype)
        bias = getattr(decoder, "bias", None)
        folded = weight.T @ rows
        return folded, folded.new_zeros(len(folded)) if bias is None else bias.detach().to(weight.dtype) @ weight

    def cache_text(self, max_bytes: int) -> None:
        """See `Source.cache_text`."""
        if self.spec.kind != "causal_lm":
            super().cache_text(max_bytes)
        self.text_cache = TextCache(max_bytes)

    def forward(self, inputs: dict[str, Any], reads: str) -> Tensor:
        """See `hf_reprogram.sources.base` for `reads` and the shapes."""
        if reads not in self.spec.widths:
            raise InputError(
                f"A {self.spec.kind} source cannot read {reads!r}: choose one of {', '.join(sorted(self.spec.widths))}."
            )
        mask = inputs["attention_mask"]
        if mask.shape[1] > self.spec.max_tokens:
            raise InputError(
                f"The input is {mask.shape[1]} tokens long, prompt included, but {self.spec.family} has "
                f"{self.spec.max_tokens} positions: tokenize with truncation=True, max_length={self.spec.max_tokens}."
            )
        inputs, back = _pad_right({**inputs, "attention_mask": at_least_one(mask)})
        mask = inputs["attention_mask"]
        if self.text_cache is not None and reads == "last" and inputs.get("text_ids") is not None:
            return self.text_cache.read_last(self.base, inputs)
        arguments = {"inputs_embeds": inputs["inputs_embeds"], "attention_mask": mask}
        if self._causal:
            arguments.update(position_ids=_positions(mask), use_cache=False)
        if reads == "logits" and self._causal:  # given embeddings, transformers would read it at the end of the padding
            return self.model.score(self._at(arguments, _end(mask, last=True), through_head=False))
        if reads == "logits":
            return self.model(**arguments).logits
        if reads == "decoder":
            with PATCHING, stop_before(self._decoder(self.model)) as caught:
                self.model(**arguments)
            hidden = caught()
            return hidden if back is None else _reorder(hidden, back)
        if reads in ("tokens", "features"):
            hidden = self.base(**arguments).last_hidden_state
            if reads == "features":
                return mean_over_tokens(hidden, mask)
            hidden = hidden * mask[..., None].to(hidden.dtype)
            return hidden if back is None else _reorder(hidden, back)
        position = inputs["mask_position"] if reads == "mask" else _end(mask, last=reads == "last")
        return self._at(arguments, position, through_head=reads == "mask" and self.spec.kind == "masked_lm")

    def _at(self, arguments: dict[str, Any], position: Tensor, through_head: bool) -> Tensor:
        """State at one position a row (batch, width), through the masked-LM head's transform if asked."""
        with PATCHING, ExitStack() as stack:
            if can_read_last_layer(self.base):
                stack.enter_context(last_layer_at(self.base, position))
            else:
                stack.enter_context(only_at(self.base, position))
            if not through_head:
                return self.base(**arguments).last_hidden_state[:, 0]
            caught = stack.enter_context(stop_before(self._decoder(self.model)))
            self.model(**arguments)
            return caught()[:, 0]


def _pad_right(inputs: dict[str, Any]) -> tuple[dict[str, Any], Tensor | None]:
    """The inputs with all padding on the right, and the order that undoes it (None if it was there already).

    Encoders count positions from the left end of the row, so that padding there would move every token.
    """
    mask = inputs["attention_mask"]
    if bool((mask[:, 0] != 0).all()):
        return inputs, None
    order = (mask == 0).long().argsort(dim=1, stable=True)
    back = order.argsort(1)
    moved: dict[str, Any] = {
        name: _reorder(inputs[name], order)
        for name in ("inputs_embeds", "attention_mask", "text_ids")
        if name in inputs
    }
    moved |= {
        name: back.gather(1, inputs[name][:, None])[:, 0] for name in ("mask_position", "first_slot") if name in inputs
    }
    return {**inputs, **moved}, back


def _reorder(rows: Tensor, order: Tensor) -> Tensor:
    """`rows` (batch, tokens, ...) with each row's tokens in another `order` (batch, tokens)."""
    if rows.dim() == 2:
        return rows.gather(1, order)
    return rows.gather(1, order[..., None].expand(-1, -1, rows.shape[-1]))


def at_least_one(mask: Tensor) -> Tensor:
    """`mask` (batch, tokens) with the first token attended to in rows that have none: an empty text is one padding token."""
    empty = ~mask.any(1)
    if not bool(empty.any()):
        return mask
    mask = mask.clone()
    mask[empty, 0] = 1
    return mask


def mean_over_tokens(hidden: Tensor, mask: Tensor) -> Tensor:
    """Average `hidden` (batch, tokens, width) over the tokens where `mask` (batch, tokens) is 1: (batch, width)."""
    weight = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)


def _positions(mask: Tensor) -> Tensor:
    """Position of every token counted without padding, so that padding on the left changes nothing."""
    return (mask.long().cumsum(-1) - 1).clamp(min=0)


def _end(mask: Tensor, last: bool) -> Tensor:
    """Index (batch,) of the first or the last token that is not padding."""
    index = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    attended = mask != 0
    return (attended * index).argmax(1) if last else attended.long().argmax(1)


def max_tokens(model: Any) -> int:
    """The longest input the position embeddings allow; RoBERTa and its kin lose the rows up to the padding index."""
    config = model.config
    positions = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 2**31 - 1
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return positions - module.padding_idx - 1
    return positions


__all__ = ["KINDS", "TextSource", "at_least_one", "gather", "max_tokens", "mean_over_tokens"]
