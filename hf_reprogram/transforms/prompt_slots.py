"""Prompt slots: trained vectors in place of the word embeddings of reserved tokens.

    E(ids)_t = theta_k           if ids_t is slot k
               embedding(ids_t)  otherwise

theta is (K, embedding width). Positions, token types and the embedding's LayerNorm apply to a slot as to any token,
because only the word embedding is replaced. Where the slots stand is the template's business, and the template lives in
the tokenizer (`hf_reprogram.transforms.template`).

Source: WARP (Hambardzumyan et al. 2021, arXiv 2101.00121, section 3); the same transform serves prompt tuning (Lester
et al. 2021, arXiv 2104.08691), whose slots all stand before the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..sources.base import Source, SourceSpec
from ..sources.probe import Lines, Probe, nearest_tokens, token_lines
from .base import InputTransform
from .template import Template


@dataclass
class PromptSlotsOptions:
    """Options of `prompt_slots`.

    Attributes:
        template: see `hf_reprogram.transforms.template.Template`; its slot count is K.
        width: width of the source's word embedding.
        first_slot_id: token id of slot 0; the others follow it.
        mask_token_id: token id of the mask, if the template has one.
    """

    template: str
    width: int
    first_slot_id: int
    mask_token_id: int | None = None

    def __post_init__(self) -> None:
        if Template.parse(self.template).has_mask and self.mask_token_id is None:
            raise InputError(f"The template {self.template!r} has a [MASK], so mask_token_id must be given.")


class PromptSlots(InputTransform):
    """Replaces the embeddings of the slots by theta, `self.prompts` (K, width)."""

    Options = PromptSlotsOptions
    options: PromptSlotsOptions

    def __init__(self, options: PromptSlotsOptions) -> None:
        super().__init__(options)
        self.template = Template.parse(options.template)
        self.num_prompts = self.template.num_prompts
        if self.num_prompts:
            self.prompts = nn.Parameter(torch.zeros(self.num_prompts, options.width))

    def check(self, spec: SourceSpec) -> None:
        """The source must take tokens and embed them as wide as the slots are."""
        spec.check_tokens()
        if spec.embedding_width != self.options.width:
            raise InputError(
                f"The prompts are {self.options.width} wide, but the source embeds {spec.embedding_width} wide: this "
                "adapter belongs to another source."
            )

    def forward(self, batch: dict[str, Tensor], source: Source) -> dict[str, Any]:
        """`input_ids`, `attention_mask` (batch, tokens) to `inputs_embeds` (batch, tokens, width) and where to read.

        Also gives `mask_position` (batch,) if the template has a mask, and `text_ids` with `first_slot` (batch,) if
        all slots follow the text, for a source that caches constant text.

        Raises:
            InputError: a row does not hold exactly one mask, so it did not come from the adapter's tokenizer.
        """
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
            inputs["mask_position"] = self._mask_position(ids)
        elif self.num_prompts and self.template.slots_follow_text:
            inputs.update(text_ids=ids, first_slot=is_slot.long().argmax(1))
        return inputs

    # ------------------------------------------------------------------------------------------------- inspection

    def inspect(self, probe: Probe) -> dict[str, Any]:
        """The `template` as tokens; the source tokens nearest to each of `prompts`; their `effect`, see `prompt_effect`."""
        processor = probe.processor
        found: dict[str, Any] = {"template": processor.decode(processor("…", "…")["input_ids"])}
        if self.num_prompts:
            table = probe.source.embedding.weight
            found["prompts"] = nearest_tokens(self.prompts.detach(), table, processor, probe.top)
            found["effect"] = prompt_effect(self.prompts, probe)
        return found

    def lines(self, found: dict[str, Any]) -> Lines:
        """The template, the nearest tokens of each prompt, and whether the prompts matter."""
        lines = Lines([f"template: {found['template']}"])
        if "prompts" not in found:
            return lines
        names = [f"prompt {index}" for index in range(len(found["prompts"]))]
        lines.body = token_lines("nearest tokens of each prompt", names, found["prompts"])
        gradient, change = found["effect"]["gradient"], found["effect"]["logit_change"]
        lines.tail = [f"prompts: gradient norm {gradient:.3g}; logits change by up to {change:.3g} without them"]
        if gradient == 0 or change == 0:
            lines.tail.append("The prompts do not reach the output: check the template and what is read.")
        return lines

    def _mask_position(self, ids: Tensor) -> Tensor:
        assert self.options.mask_token_id is not None  # the options refuse a template with a mask and without its id
        is_mask = ids.eq(self.options.mask_token_id)
        count = is_mask.sum(1)
        if not bool((count == 1).all()):
            row = int((count != 1).nonzero()[0])
            raise InputError(
                f"Row {row} of the batch holds {int(count[row])} mask tokens instead of 1: tokenize with the processor that "
                "came with this adapter, which puts the text into its template."
            )
        return is_mask.long().argmax(1)


def prompt_effect(prompts: nn.Parameter, probe: Probe, text: str = "This is a short example.") -> dict[str, float]:
    """Whether prompts receive a gradient and change the output.

    Args:
        prompts: (K, width), of the model whose logits the probe gives; they are as before when this returns.
        probe: of that model.
        text: what the logits are of.

    Returns:
        `gradient`: norm of d(first logit)/d(prompts); 0 means that the prompts cannot learn.
        `logit_change`: largest change of a logit when every prompt becomes the mean of the embedding table; 0 means
        that the prompts do not reach the output.
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
