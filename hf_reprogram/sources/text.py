"""Frozen text models: masked LM, encoder (a masked LM without its head), causal LM, classifier."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..first_batch import free_values
from ..modalities import every_modality
from ..modalities.processors import open_tokenizer, with_padding
from .base import Source, SourceSpec, without_model
from .checks import check_embeddings, sees_padding
from .esm import esm_embeddings
from .families import SourceFamily, architecture_in
from .pooling import at_least_one, mean_over_tokens, outer_token
from .reading import (
    PATCHING,
    added_at,
    by_length,
    can_read_last_layer,
    gather,
    last_layer_at,
    layers_of,
    only_at,
    stop_before,
    with_part,
)
from .text_cache import TextCache


class TextSource(Source):
    """A frozen `transformers` text model.

    Args:
        model: the loaded model, of the class that `kind` has in `TextFamily.kinds`.
        kind: one of `TextFamily.kinds`.

    `source(inputs, reads)` takes `inputs_embeds` (batch, tokens, embedding_width), `attention_mask` (batch, tokens) and, for
    reads="mask", `mask_position` (batch,). Token types are those of a single segment. `mean_mask` (batch, tokens), if given, is
    1 at the tokens that reads="features" averages. `layer_prompts` (layers - 1, K, width), if given, are added to the states at
    `slots` (batch, K) before every layer but the first.

    A model whose output depends on padding, such as FNet, runs the rows of one length together, without padding.

    Raises:
        InputError: embeddings in place of token ids change the model's output, or it is random.

    >>> source = TextSource(text_source.model, kind="masked_lm")
    >>> inputs = {"inputs_embeds": source.embed(torch.tensor([[2, 4, 3]])), "attention_mask": torch.ones(1, 3)}
    >>> source({**inputs, "mask_position": torch.tensor([1])}, "mask").shape
    torch.Size([1, 32])
    """

    def __init__(self, model: Any, kind: str):
        super().__init__(model)
        config = model.config
        hidden = config.hidden_size
        widths = {"features": hidden, "tokens": hidden, "last": hidden}
        self._causal = kind == "causal_lm" or (kind == "classifier" and hasattr(model, "score"))
        if not self._causal:  # a causal model's first token does not see the text
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
        # for compiled models; in a list, since it is no part of the source
        self._headless = [with_part(model, self._decoder(model), nn.Identity())] if kind == "masked_lm" else []
        self.sees_padding = False
        check_embeddings(self)
        self.sees_padding = sees_padding(self)
        if not self.sees_padding:
            self.spec = replace(self.spec, layers=len(layers_of(self.base)))

    @property
    def embedding(self) -> Any:
        """The table of word embeddings."""
        return self.model.get_input_embeddings()

    def load_processor(self, name: str, hub: dict[str, Any]) -> Any:
        """The tokenizer; see `Source.load_processor`."""
        return load_tokenizer(name or self.model.name_or_path, hub)

    def plain_processor(self, name: str, hub: dict[str, Any]) -> Any:
        """See `plain_tokenizer`."""
        return plain_tokenizer(name, self.spec.max_tokens, hub)

    def plain_inputs(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """The embeddings of the source's own tokens."""
        return {"inputs_embeds": self.embed(batch["input_ids"]), "attention_mask": batch["attention_mask"]}

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
        """See `Source.output_rows`. The biases are zero if the decoder has none."""
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
        rows = decoder.weight.to(weight.dtype)
        bias = getattr(decoder, "bias", None)
        folded = weight.T @ rows
        return folded, folded.new_zeros(len(folded)) if bias is None else bias.to(weight.dtype) @ weight

    def cache_text(self, max_bytes: int) -> None:
        """See `Source.cache_text`."""
        if self.spec.kind != "causal_lm":
            super().cache_text(max_bytes)
        if self.pretrained:
            raise InputError(
                "The states of a text change with the weights that tune names, so they cannot be kept: leave the cache out."
            )
        self.text_cache = TextCache(max_bytes)

    def forget(self) -> None:
        """See `Source.forget`."""
        self.text_cache = None

    def mixes_as(self, inputs: dict[str, Any], reads: str) -> Hashable | None:
        """See `Source.mixes_as`: texts of any length; prompts before every layer need a call of their own."""
        if "layer_prompts" in inputs:
            return None
        return str(inputs["inputs_embeds"].dtype)

    def forward(self, inputs: dict[str, Any], reads: str) -> Tensor:
        """See `hf_reprogram.sources.base` for `reads` and the shapes."""
        if reads == "inputs":
            return without_model(inputs)
        if reads not in self.spec.widths:
            raise InputError(
                f"The {self.spec.kind} source cannot read {reads!r}: choose one of {', '.join(sorted(self.spec.widths))}."
            )
        mask = inputs["attention_mask"]
        if mask.shape[1] > self.spec.max_tokens:
            raise InputError(
                f"The input is {mask.shape[1]} tokens long, prompt included, but {self.spec.family} has "
                f"{self.spec.max_tokens} positions: tokenize with truncation=True, max_length={self.spec.max_tokens}."
            )
        inputs, back = _pad_right({**inputs, "attention_mask": at_least_one(mask)})
        layer_prompts = inputs.get("layer_prompts")
        if torch.compiler.is_compiling() and (self.sees_padding or layer_prompts is not None):
            why = "runs the rows of each length on their own" if self.sees_padding else "has prompts before every layer"
            raise InputError(
                f"{self.spec.family} {why}, which cannot be compiled or exported: leave torch.compile out."
            )
        if self.sees_padding:
            output = by_length(
                inputs["attention_mask"], lambda rows, length: self._read(_cut(inputs, rows, length), reads)
            )
        elif layer_prompts is not None:
            with PATCHING, added_at(layers_of(self.base), inputs["slots"], layer_prompts):
                output = self._read(inputs, reads)
        else:
            output = self._read(inputs, reads)
        return output if back is None or reads not in ("tokens", "decoder") else _reorder(output, back)

    def _read(self, inputs: dict[str, Any], reads: str) -> Tensor:
        """As `forward`, for inputs with all padding on the right."""
        embeds, mask = inputs["inputs_embeds"], inputs["attention_mask"]
        cache = None if torch.compiler.is_compiling() else self.text_cache
        if cache is not None and reads == "last" and inputs.get("text_ids") is not None:
            return cache.read_last(self.base, inputs)
        if self.spec.family == "esm":
            embeds = esm_embeddings(self.base, embeds, mask)
        arguments = {"inputs_embeds": embeds, "attention_mask": mask}
        if self._causal:
            arguments.update(position_ids=_positions(mask), use_cache=False)
        if reads == "logits" and self._causal:  # transformers would read embeddings at the end of the padding
            scores: Tensor = self.model.score(self._at(arguments, outer_token(mask, last=True), through_head=False))
            return scores
        if reads == "logits":
            logits: Tensor = self.model(**arguments).logits
            return logits
        if reads == "decoder" and torch.compiler.is_compiling():
            decoded: Tensor = self._headless[0](**arguments).logits
            return decoded
        if reads == "decoder":
            with PATCHING, stop_before(self._decoder(self.model)) as caught:
                self.model(**arguments)
            return caught()
        if reads in ("tokens", "features"):
            hidden: Tensor = self.base(**arguments).last_hidden_state
            if reads == "features":
                return mean_over_tokens(hidden, inputs.get("mean_mask", mask))
            attended: Tensor = hidden * mask[..., None].to(hidden.dtype)
            return attended
        position = inputs["mask_position"] if reads == "mask" else outer_token(mask, last=reads == "last")
        return self._at(arguments, position, through_head=reads == "mask" and self.spec.kind == "masked_lm")

    def _at(self, arguments: dict[str, Any], position: Tensor, through_head: bool) -> Tensor:
        """The state (batch, width) at one position per row, after the masked-LM head's transform with `through_head`."""
        if torch.compiler.is_compiling():
            read = self._headless[0](**arguments).logits if through_head else self.base(**arguments).last_hidden_state
            return gather(read, position)[:, 0]
        with PATCHING, ExitStack() as stack:
            if can_read_last_layer(self.base):
                stack.enter_context(last_layer_at(self.base, position))
            else:
                stack.enter_context(only_at(self.base, position))
            if not through_head:
                states: Tensor = self.base(**arguments).last_hidden_state
                return states[:, 0]
            caught = stack.enter_context(stop_before(self._decoder(self.model)))
            self.model(**arguments)
            return caught()[:, 0]


def _pad_right(inputs: dict[str, Any]) -> tuple[dict[str, Any], Tensor | None]:
    """The inputs with all padding on the right, and the order of the tokens that undoes this; None if nothing changes.

    Encoders count positions from the left end of the row, so padding there would move every token.
    """
    mask = inputs["attention_mask"]
    if free_values(mask) and bool((mask[:, 0] != 0).all()):
        return inputs, None  # elsewhere, asking for the values takes longer than moving the tokens
    place, padding = torch.arange(mask.shape[1], device=mask.device), (mask != 0).long().argmax(1, keepdim=True)
    tokens = place[-1] + 1  # a tensor, since a graph of ONNX divides by no other
    order, back = (place + padding) % tokens, (place - padding) % tokens
    moved: dict[str, Any] = {
        name: _reorder(inputs[name], order)
        for name in ("inputs_embeds", "attention_mask", "mean_mask", "text_ids")
        if name in inputs
    }
    moved |= {
        name: back.gather(1, inputs[name][:, None])[:, 0] for name in ("mask_position", "first_slot") if name in inputs
    }
    if "slots" in inputs:
        moved["slots"] = back.gather(1, inputs["slots"])
    return {**inputs, **moved}, back


def _cut(inputs: dict[str, Any], rows: Tensor, length: int) -> dict[str, Any]:
    """The inputs of some rows, of which only the first `length` tokens are left."""
    chosen = {name: values[rows] for name, values in inputs.items() if isinstance(values, Tensor)}
    return {name: values[:, :length] if values.dim() > 1 else values for name, values in chosen.items()}


def _reorder(rows: Tensor, order: Tensor) -> Tensor:
    """`rows` (batch, tokens, ...) with each row's tokens in another `order` (batch, tokens)."""
    if rows.dim() == 2:
        return rows.gather(1, order)
    return rows.gather(1, order[..., None].expand(-1, -1, rows.shape[-1]))


def _positions(mask: Tensor) -> Tensor:
    """The position of every token, counted without padding, so that padding on the left has no effect."""
    return (mask.long().cumsum(-1) - 1).clamp(min=0)


def max_tokens(model: Any) -> int:
    """The length of the longest input that the position embeddings allow.

    RoBERTa and models like it do not use the rows up to the padding index.

    >>> max_tokens(text_source.model)
    64
    """
    config = model.config
    given = (getattr(config, name, None) or 0 for name in ("max_position_embeddings", "n_positions"))
    positions: int = next((most for most in given if most > 0), 2**31 - 1)  # XLNet's -1 stands for no limit
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return positions - int(module.padding_idx) - 1
    return positions


def load_tokenizer(name: str, hub: dict[str, Any]) -> Any:
    """The tokenizer in a source's folder or repository; arguments as for `Source.load_processor`.

    Raises:
        InputError: the source has no name, or no tokenizer.

    >>> load_tokenizer(text_source.model.name_or_path, {}).mask_token
    '[MASK]'
    """
    if not name:
        raise InputError(
            "The source is a loaded model without a name, so its tokenizer cannot be found: pass it as processor=..."
        )
    try:
        tokenizer = open_tokenizer(name, hub)
        if tokenizer.vocab_size <= len(tokenizer.all_special_tokens):  # true for a folder without a tokenizer
            raise ValueError("its vocabulary is empty")
        return tokenizer
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(
            f"There is no tokenizer for {name!r} ({str(error).splitlines()[0]}): pass it as processor=..."
        ) from error


def plain_tokenizer(name: str, max_tokens: int, hub: dict[str, Any]) -> Any:
    """A source's own tokenizer with a padding token and a limit of `max_tokens`, without a template.

    >>> plain_tokenizer(text_source.model.name_or_path, max_tokens=64, hub={}).model_max_length
    64
    """
    return with_padding(open_tokenizer(name, hub), max_tokens)


class TextFamily(SourceFamily):
    """Language models of transformers.

    >>> TextFamily().kind_of_architecture("BertForMaskedLM", text_source.model.config)
    'masked_lm'
    """

    kinds = {
        "masked_lm": "AutoModelForMaskedLM",
        "encoder": "AutoModel",
        "causal_lm": "AutoModelForCausalLM",
        "classifier": "AutoModelForSequenceClassification",
    }
    takes = "input_ids"
    noun = "text models"
    example = "a masked, encoder or causal language model"
    pooled = ("classifier",)
    without_head = {"masked_lm": "encoder"}

    def kind_of_architecture(self, architecture: str, config: Any) -> str | None:
        """See `SourceFamily.kind_of_architecture`."""
        if getattr(config, "is_encoder_decoder", False):
            return None
        from transformers.models.auto import modeling_auto as auto

        masked = architecture_in(auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, config)
        if architecture in masked or architecture.endswith("ForPreTraining"):
            return "masked_lm" if masked else None
        if architecture in architecture_in(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, config):
            return "causal_lm"
        known = architecture_in(auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, config)
        return "classifier" if architecture in known else None

    def kind_of_config(self, config: Any) -> str | None:
        """See `SourceFamily.kind_of_config`."""
        if getattr(config, "is_encoder_decoder", False):
            return None
        from transformers.models.auto import modeling_auto as auto

        masked = architecture_in(auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, config)
        causal = architecture_in(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, config)
        if config.model_type not in auto.MODEL_MAPPING_NAMES or not (masked or causal):
            return None
        return "encoder" if masked else "causal_lm"

    def build(self, model: Any, kind: str, settings: dict[str, Any]) -> TextSource:
        """See `SourceFamily.build`."""
        if model.main_input_name != self.takes:
            noun = next((each.noun for each in every_modality() if each.takes == model.main_input_name), "other data")
            raise InputError(f"{type(model).__name__} takes {noun}, and the kind {kind!r} is for text: leave it out.")
        return TextSource(model, kind)
