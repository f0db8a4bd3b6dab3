"""Prompt slots: trained vectors in place of the word embeddings of reserved tokens.

    E(ids)_t = theta_k           if ids_t is slot k
               embedding(ids_t)  otherwise

Theta is (K, embedding width), or a few numbers in a `subspace` of that (`hf_reprogram.transforms.prompt_subspace`).
Positions, token types and the embedding's LayerNorm apply to a slot as to any token, because only the word embedding is
replaced. With `layers` there are prompts before every further layer of the source too, which are added to the states of the
slots. The template decides the places of the slots. It is part of the tokenizer (`hf_reprogram.transforms.template`).

Source: WARP (Hambardzumyan et al. 2021, arXiv 2101.00121, section 3); the same transform serves prompt tuning (Lester
et al. 2021, arXiv 2104.08691), where all slots are before the text. Prompts at every layer are those of P-tuning v2 (Liu et al.
2022, arXiv 2110.07602) and of VPT-deep (Jia et al. 2022, arXiv 2203.12119). These put keys and values, or new states, in place
of the slots' own; here they are added, so that zeros change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..options import check_whole, from_dict
from ..sources.base import Source, SourceSpec
from ..sources.probe import Lines, Probe, nearest_tokens, token_lines
from .base import InputTransform
from .prompt_subspace import Subspace, SubspaceOptions
from .template import Template


@dataclass
class PromptSlotsOptions:
    """Options of `prompt_slots`.

    Attributes:
        template: the template (`hf_reprogram.transforms.template.Template`), which has K slots.
        width: the width of the source's word embedding.
        first_slot_id: the token id of slot 0; the other slots have the next ids.
        mask_token_id: the token id of the mask, if the template has one.
        layers: the number of layers, after the source's first one, before which prompts are added to the states; 0 for input
            prompts alone.
        hidden: with `layers`, the width of the states.
        averaged: whether the mean over tokens (`reads="features"`) has the slots' own states in it. They say little of the text
            and move the mean as K grows; adapters from before this option have them.
        subspace: train few numbers in place of the prompts, as `hf_reprogram.transforms.prompt_subspace.SubspaceOptions`.
    """

    template: str
    width: int
    first_slot_id: int
    mask_token_id: int | None = None
    layers: int = 0
    hidden: int | None = None
    averaged: bool = True
    subspace: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        check_whole(width=self.width)
        check_whole(0, first_slot_id=self.first_slot_id, layers=self.layers)
        if self.layers:
            check_whole(hidden=self.hidden)
        if self.subspace is not None:
            from_dict(SubspaceOptions, self.subspace, "option of subspace", most=2**24)
            if self.layers or not Template.parse(self.template).num_prompts:
                raise InputError(
                    "A subspace is for prompts at the input alone: leave out subspace, or deep, and give 1 prompt or more."
                )
        if Template.parse(self.template).has_mask and self.mask_token_id is None:
            raise InputError(f"The template {self.template!r} has a [MASK], so mask_token_id must be given.")


class PromptSlots(InputTransform):
    """Replaces the word embeddings of the slots. Theta is `prompts` (K, width), and `layer_prompts` (layers, K, hidden) if any.

    In a subspace theta is `z` (d,) instead.

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
        self.subspace: Subspace | None = None
        if options.subspace is not None:
            self.subspace = Subspace(SubspaceOptions(**options.subspace), self.num_prompts, options.width)
            self.z = nn.Parameter(torch.zeros(self.subspace.options.size))
        elif self.num_prompts:
            self.prompts = nn.Parameter(torch.zeros(self.num_prompts, options.width))
        if self.num_prompts and options.layers:
            assert options.hidden is not None  # the options check it
            self.layer_prompts = nn.Parameter(torch.zeros(options.layers, self.num_prompts, options.hidden))

    def check(self, spec: SourceSpec) -> None:
        """Raise `InputError` unless the source takes tokens and its embeddings have the width of the prompts."""
        spec.check_tokens()
        if spec.embedding_width != self.options.width:
            raise InputError(
                f"The prompts are {self.options.width} wide, but the source embeds {spec.embedding_width} wide: this "
                "adapter belongs to another source."
            )
        if self.subspace is not None:
            self.subspace.check(spec)
        if self.options.layers and (spec.layers, spec.widths["tokens"]) != (
            self.options.layers + 1,
            self.options.hidden,
        ):
            raise InputError(
                f"There are prompts before {self.options.layers + 1} layers of width {self.options.hidden}, but this "
                f"{spec.family} source has {spec.layers} of width {spec.widths['tokens']} that take them: this adapter "
                "belongs to another source."
            )

    def check_state(self, spec: SourceSpec) -> None:
        """See `InputTransform.check_state`; the matrix of a subspace is drawn, since what was loaded fits it."""
        if self.subspace is not None:
            self.subspace.draw(self.z.device)

    def vectors(self, source: Source) -> Tensor:
        """The vectors (K, width) of the slots."""
        return self.prompts if self.subspace is None else self.subspace.prompts(self.z, source)

    def start_from(self, other: InputTransform) -> None:
        """See `InputTransform.start_from`; a subspace must be the same one, so this model takes that of the other.

        Raises:
            InputError: one of the two has no subspace, or they differ in size.
        """
        super().start_from(other)
        if self.subspace is not None:
            assert isinstance(other, PromptSlots)
            assert other.subspace is not None
            self.options.subspace = other.options.subspace
            self.subspace = Subspace(other.subspace.options, self.num_prompts, self.options.width)

    @torch.no_grad()
    def token_rows(self, source: Source) -> Tensor | None:
        """See `InputTransform.token_rows`: the source's own rows, with the prompts at the ids of the slots."""
        if self.options.layers:
            return None
        own = source.embed(torch.arange(source.spec.vocab_size, device=source.device)).float()
        first, end = self.options.first_slot_id, self.options.first_slot_id + self.num_prompts
        rows = torch.cat([own, own.new_zeros(max(0, end - len(own)), own.shape[1])])
        if self.num_prompts:
            rows[first:end] = self.vectors(source).to(rows.dtype)
        return rows

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
        (batch, tokens) and `first_slot` (batch,), the index of the first slot, allow a source to cache the text. With `layers`
        there are `layer_prompts` (layers, K, hidden) and `slots` (batch, K), the index of each slot, instead. Unless the slots
        are `averaged`, `mean_mask` (batch, tokens) is 1 at the other tokens.

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
            theta = self.vectors(source).to(embeds.dtype)[slot.clamp(0, self.num_prompts - 1)]
            embeds = torch.where(is_slot.unsqueeze(-1), theta, embeds)
        inputs = {"inputs_embeds": embeds, "attention_mask": torch.ones_like(ids) if mask is None else mask}
        if self.num_prompts and not self.options.averaged:
            inputs["mean_mask"] = inputs["attention_mask"].masked_fill(is_slot, 0)
        if self.template.has_mask:
            inputs["mask_position"] = self._is_mask(ids).long().argmax(1)
        if self.num_prompts and self.options.layers:
            order = torch.where(is_slot, slot, self.num_prompts).argsort(stable=True, dim=1)
            inputs.update(layer_prompts=self.layer_prompts, slots=order[:, : self.num_prompts])
        elif self.num_prompts and self.template.slots_follow_text:
            inputs.update(text_ids=ids, first_slot=is_slot.long().argmax(1))
        return inputs

    # ------------------------------------------------------------------------------------------------- inspection

    def inspect(self, probe: Probe) -> dict[str, Any]:
        """Describe the prompts: the `template` as tokens, the source tokens nearest to `prompts`, `effect` and `layer_norms`.

        See `prompt_effect` for the effect.
        """
        processor = probe.processor
        description: dict[str, Any] = {"template": processor.decode(processor("…", "…")["input_ids"])}
        if self.num_prompts:
            table = probe.source.embedding.weight
            description["prompts"] = nearest_tokens(self.vectors(probe.source).detach(), table, processor, probe.top)
            description["effect"] = prompt_effect(self, probe)
        if self.num_prompts and self.options.layers:
            description["layer_norms"] = self.layer_prompts.detach().float().norm(dim=(1, 2)).tolist()
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
        if "layer_norms" in description:
            norms = ", ".join(f"{norm:.3g}" for norm in description["layer_norms"])
            lines.tail.append(f"norms of the prompts before layers 2 to {len(description['layer_norms']) + 1}: {norms}")
        if gradient == 0 or change == 0:
            lines.tail.append("The prompts do not reach the output: check the template and `reads`.")
        return lines


def prompt_effect(slots: PromptSlots, probe: Probe, text: str = "This is a short example.") -> dict[str, float]:
    """Measure whether theta receives a gradient and the prompts change the output.

    Args:
        slots: the transform of a model.
        probe: has the logits and the processor of that model.
        text: the text for which the logits are computed.

    Returns:
        `gradient` is the norm of d(first logit)/d(theta); if it is 0, the prompts cannot learn. `logit_change` is the largest
        change of a logit if every prompt becomes the mean of the embedding table; if it is 0, the prompts do not reach the
        output.

    >>> from hf_reprogram import reprogram
    >>> model, processor = reprogram(text_source, "warp", ["no", "yes"], num_prompts=4, prompt_init="normal")
    >>> probe = Probe(text_source, processor, ["no", "yes"], lambda batch: model(**batch).logits, model.config.source)
    >>> prompt_effect(model.transform, probe)["gradient"] > 0
    True
    """
    theta = slots.prompts if slots.subspace is None else slots.z
    batch = dict(probe.processor([text], return_tensors="pt").to(theta.device))
    with torch.enable_grad():
        logits = probe.logits(batch)
        (gradient,) = torch.autograd.grad(logits[0, 0], theta)
    mean = probe.source.embedding.weight.float().mean(0).expand(slots.num_prompts, -1)
    slots.vectors = lambda source: mean  # type: ignore[method-assign]
    try:
        with torch.no_grad():
            change = (probe.logits(batch) - logits).abs().max()
    finally:
        del slots.vectors
    return {"gradient": float(gradient.norm()), "logit_change": float(change)}
