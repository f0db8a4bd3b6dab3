"""Prompt slots: trained vectors in place of the word embeddings of reserved tokens.

    E(ids)_t = theta_k           if ids_t is slot k
               embedding(ids_t)  otherwise

Theta is (K, embedding width). Positions, token types and the embedding's LayerNorm apply to a slot as to any token, because
only the word embedding is replaced. The template decides the places of the slots. It is part of the tokenizer
(`hf_reprogram.transforms.template`).

Source: WARP (Hambardzumyan et al. 2021, arXiv 2101.00121, section 3); the same transform serves prompt tuning (Lester
et al. 2021, arXiv 2104.08691), where all slots are before the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..options import check_whole
from ..sources.base import Source, SourceSpec
from ..sources.probe import Lines, Probe, nearest_tokens, token_lines
from .base import InputTransform
from .template import Template


@dataclass
class PromptSlotsOptions:
    """Options of `prompt_slots`.

    Attributes:
        template: the template (`hf_reprogram.transforms.template.Template`), which has K slots.
        width: the width of the source's word embedding.
        first_slot_id: the token id of slot 0; the other slots have the next ids.
        mask_token_id: the token id of the mask, if the template has one.
    """

    template: str
    width: int
    first_slot_id: int
    mask_token_id: int | None = None

    def __post_init__(self) -> None:
        check_whole(width=self.width)
        check_whole(0, first_slot_id=self.first_slot_id)
        if Template.parse(self.template).has_mask and self.mask_token_id is None:
            raise InputError(f"The template {self.template!r} has a [MASK], so mask_token_id must be given.")


class PromptSlots(InputTransform):
    """Replaces the word embeddings of the slots. Theta is `prompts` (K, width).

    >>> from .template import apply_template
    >>> templated, first_slot = apply_template(tokenizer, Template.parse("2 $A 2 $B"), max_tokens=64)
    >>> slots = PromptSlots(PromptSlotsOptions("2 $A 2 $B", width=32, first_slot_id=first_slot))
    >>> batch = templated("a lovely film", return_tensors="pt")
    >>> slots(batch, text_source)["inputs_embeds"].shape  # [CLS], 2 slots, 3 words, 2 slots, [SEP]
    torch.Size([1, 9, 32])
    """

    Options = PromptSlotsOptions
    options: PromptSlotsOptions

    def __init__(self, options: PromptSlotsOptions) -> None:
        super().__init__(options)
        self.template = Template.parse(options.template)
        self.num_prompts = self.template.num_prompts
        if self.num_prompts:
            self.prompts = nn.Parameter(torch.zeros(self.num_prompts, options.width))

    def check(self, spec: SourceSpec) -> None:
        """Raise `InputError` unless the source takes tokens and its embeddings have the width of the prompts."""
        spec.check_tokens()
        if spec.embedding_width != self.options.width:
            raise InputError(
                f"The prompts are {self.options.width} wide, but the source embeds {spec.embedding_width} wide: this "
                "adapter belongs to another source."
            )

    def _is_mask(self, ids: Tensor) -> Tensor:
        assert self.options.mask_token_id is not None  # the options refuse a template with a mask and without its id
        return ids.eq(self.options.mask_token_id)

    def check_batch(self, batch: dict[str, Tensor]) -> None:
        """Raise `InputError` unless every row holds each prompt slot once, and one mask if the template has one."""
        ids = batch["input_ids"]
        slots = (ids >= self.options.first_slot_id) & (ids < self.options.first_slot_id + self.num_prompts)
        expected = [(slots, self.num_prompts, "prompt slots")]
        if self.template.has_mask:
            expected.append((self._is_mask(ids), 1, "mask tokens"))
        for found, number, what in expected:
            count = found.sum(1)
            if bool((count != number).any()):
                row = int((count != number).nonzero()[0])
                raise InputError(
                    f"Row {row} of the batch holds {int(count[row])} {what} instead of {number}: tokenize with the processor "
                    "that came with this adapter, which puts the text into its template."
                )

    def forward(self, batch: dict[str, Tensor], source: Source) -> dict[str, Any]:
        """`inputs_embeds` (batch, tokens, width) and `attention_mask` from `input_ids` and `attention_mask` (batch, tokens).

        If the template has a mask, `mask_position` (batch,) is the index of the mask. If all slots follow the text, `text_ids`
        (batch, tokens) and `first_slot` (batch,), the index of the first slot, allow a source to cache the text.

        Raises:
            InputError: see `check_batch`.
        """
        self.check_first(batch)
        ids = batch["input_ids"]
        mask = batch.get("attention_mask")
        slot = ids - self.options.first_slot_id
        is_slot = (slot >= 0) & (slot < self.num_prompts)
        embeds = source.embed(ids.masked_fill(is_slot, 0))
        if self.num_prompts:
            theta = self.prompts.to(embeds.dtype)[slot.clamp(0, self.num_prompts - 1)]
            embeds = torch.where(is_slot.unsqueeze(-1), theta, embeds)
        inputs = {"inputs_embeds": embeds, "attention_mask": torch.ones_like(ids) if mask is None else mask}
        if self.template.has_mask:
            inputs["mask_position"] = self._is_mask(ids).long().argmax(1)
        elif self.num_prompts and self.template.slots_follow_text:
            inputs.update(text_ids=ids, first_slot=is_slot.long().argmax(1))
        return inputs

    # ------------------------------------------------------------------------------------------------- inspection

    def inspect(self, probe: Probe) -> dict[str, Any]:
        """Describe the prompts: the `template` as tokens, the source tokens nearest to `prompts`, and the `effect`.

        See `prompt_effect` for the effect.
        """
        processor = probe.processor
        description: dict[str, Any] = {"template": processor.decode(processor("…", "…")["input_ids"])}
        if self.num_prompts:
            table = probe.source.embedding.weight
            description["prompts"] = nearest_tokens(self.prompts.detach(), table, processor, probe.top)
            description["effect"] = prompt_effect(self.prompts, probe)
        return description

    def lines(self, description: dict[str, Any]) -> Lines:
        """The template, the nearest tokens of each prompt, and whether the prompts matter."""
        lines = Lines([f"template: {description['template']}"])
        if "prompts" not in description:
            return lines
        names = [f"prompt {index}" for index in range(len(description["prompts"]))]
        lines.body = token_lines("nearest tokens of each prompt", names, description["prompts"])
        gradient, change = description["effect"]["gradient"], description["effect"]["logit_change"]
        lines.tail = [f"prompts: gradient norm {gradient:.3g}; logits change by up to {change:.3g} without them"]
        if gradient == 0 or change == 0:
            lines.tail.append("The prompts do not reach the output: check the template and `reads`.")
        return lines


def prompt_effect(prompts: nn.Parameter, probe: Probe, text: str = "This is a short example.") -> dict[str, float]:
    """Measure whether prompts receive a gradient and change the output.

    Args:
        prompts: theta (K, width) of a model; it is the same as before when this returns.
        probe: has the logits and the processor of that model.
        text: the text for which the logits are computed.

    Returns:
        `gradient` is the norm of d(first logit)/d(prompts); if it is 0, the prompts cannot learn. `logit_change` is the largest
        change of a logit if every prompt becomes the mean of the embedding table; if it is 0, the prompts do not reach the
        output.

    >>> from hf_reprogram import reprogram
    >>> model, processor = reprogram(text_source, "warp", ["no", "yes"], num_prompts=4, prompt_init="normal")
    >>> probe = Probe(text_source, processor, ["no", "yes"], lambda batch: model(**batch).logits, model.config.source)
    >>> prompt_effect(model.transform.prompts, probe)["gradient"] > 0
    True
    """
    batch = dict(probe.processor([text], return_tensors="pt").to(prompts.device))
    with torch.enable_grad():
        logits = probe.logits(batch)
        (gradient,) = torch.autograd.grad(logits[0, 0], prompts)
    saved = prompts.detach().clone()
    with torch.no_grad():
        prompts.copy_(probe.source.embedding.weight.float().mean(0).expand_as(prompts))
        change = (probe.logits(batch) - logits).abs().max()
        prompts.copy_(saved)
    return {"gradient": float(gradient.norm()), "logit_change": float(change)}
