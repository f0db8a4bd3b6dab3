"""Prompt slots: theta stands in for the word embeddings of the slots, and for nothing else."""

from __future__ import annotations

import pytest
import torch

from hf_reprogram import InputError
from hf_reprogram.sources import TextSource
from hf_reprogram.transforms.prompt_slots import PromptSlots, PromptSlotsOptions
from tests.support import tiny


def slots(template: str, **options) -> PromptSlots:
    made = PromptSlots(PromptSlotsOptions(template=template, **{"width": tiny.WIDTH, "first_slot_id": 112, **options}))
    if made.num_prompts:
        torch.nn.init.normal_(made.prompts)
    return made


@pytest.fixture(scope="module")
def source():
    return TextSource(tiny.make_model("bert"), "masked_lm")


def test_slots_get_theta_and_words_their_own_embedding(source):
    transform = slots("1 $A [MASK] $B 1", mask_token_id=4)
    ids = torch.tensor([[2, 112, 50, 4, 113, 3], [2, 112, 4, 113, 3, 0]])
    inputs = transform({"input_ids": ids, "attention_mask": (ids != 0).long()}, source)
    embeds, table = inputs["inputs_embeds"], source.embedding.weight
    assert torch.equal(embeds[0, 1], transform.prompts[0])
    assert torch.equal(embeds[1, 3], transform.prompts[1])
    assert torch.equal(embeds[0, 2], table[50])
    assert torch.equal(embeds[1, 4:], table[[3, 0]])
    assert inputs["mask_position"].tolist() == [3, 2]
    assert torch.equal(inputs["attention_mask"], (ids != 0).long())


def test_without_a_mask_of_attention_every_token_counts(source):
    ids = torch.tensor([[2, 112, 50, 3]])
    assert slots("1 $A $B")({"input_ids": ids}, source)["attention_mask"].tolist() == [[1, 1, 1, 1]]


def test_gradients_reach_exactly_the_slots_that_stand_in_the_batch(source):
    transform = slots("2 $A $B")
    ids = torch.tensor([[2, 112, 113, 50, 3]])
    embeds = transform({"input_ids": ids}, source)["inputs_embeds"]
    embeds[0, 1].sum().backward()
    assert transform.prompts.grad.sum(1).tolist() == [tiny.WIDTH, 0]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_the_mean_leaves_the_slots_out_unless_they_are_averaged(name, side):
    source = TextSource(tiny.make_model(name), tiny.FAMILIES[name].kind)
    rows = torch.tensor([[2, 112, 50, 113, 3], [0, 0, 2, 112, 113]] if side == "left" else [[2, 112, 50, 113, 3]] * 2)
    batch = {"input_ids": rows, "attention_mask": (rows != 0).long()}
    transform = slots("1 $A $B 1")
    with_slots = transform(batch, source)
    transform.options.averaged = False
    without = transform(batch, source)
    own = ((rows != 0) & (rows < 112))[..., None]
    states = source(with_slots, "tokens")
    for inputs, counted in ((with_slots, (rows != 0)[..., None]), (without, own)):
        expected = (states * counted).sum(1) / counted.sum(1)
        torch.testing.assert_close(source(inputs, "features"), expected)
    assert not torch.allclose(source(with_slots, "features"), source(without, "features"))
    source(without, "features").sum().backward()
    assert (transform.prompts.grad != 0).any()  # the text attends to the slots


def test_no_slots_is_no_parameter(source):
    transform = slots("$A [MASK] $B", mask_token_id=4)
    assert list(transform.parameters()) == []
    inputs = transform({"input_ids": torch.tensor([[2, 50, 4, 3]])}, source)
    assert torch.equal(inputs["inputs_embeds"], source.embed(torch.tensor([[2, 50, 4, 3]])))


def test_where_the_text_ends_is_told_only_if_all_slots_follow_it(source):
    ids = torch.tensor([[2, 50, 51, 112, 113], [2, 50, 112, 113, 0]])
    inputs = slots("$A $B 2")({"input_ids": ids}, source)
    assert inputs["first_slot"].tolist() == [3, 2]
    assert torch.equal(inputs["text_ids"], ids)
    assert "text_ids" not in slots("1 $A $B 1")({"input_ids": ids}, source)


@pytest.mark.parametrize(("row", "count"), [([2, 50, 51, 3], 0), ([2, 4, 4, 3], 2)])
def test_a_row_without_exactly_one_mask_names_the_row(row, count, source):
    ids = torch.tensor([[2, 50, 4, 3], row])
    with pytest.raises(InputError, match=f"Row 1 of the batch holds {count} mask tokens instead of 1"):
        slots("$A [MASK] $B", mask_token_id=4)({"input_ids": ids}, source)


@pytest.mark.parametrize(("row", "count"), [([2, 50, 51, 3], 0), ([2, 112, 51, 3], 1), ([112, 112, 113, 3], 3)])
def test_a_row_without_every_slot_once_names_the_row(row, count, source):
    ids = torch.tensor([[112, 50, 113, 3], row])
    with pytest.raises(InputError, match=f"Row 1 of the batch holds {count} prompt slots instead of 2"):
        slots("1 $A 1 $B")({"input_ids": ids}, source)


def test_another_width_is_refused(source):
    with pytest.raises(InputError, match="16 wide, but the source embeds 32 wide"):
        slots("1 $A $B", width=16).check(source.spec)


def test_a_template_with_a_mask_needs_its_id():
    with pytest.raises(InputError, match="mask_token_id must be given"):
        slots("1 $A [MASK] $B")


def test_theta_keeps_its_dtype_beside_a_bf16_source():
    source = TextSource(tiny.make_model("bert").bfloat16(), "masked_lm")
    transform = slots("1 $A $B")
    embeds = transform({"input_ids": torch.tensor([[2, 112, 50]])}, source)["inputs_embeds"]
    assert embeds.dtype == torch.bfloat16
    assert transform.prompts.dtype == torch.float32
    assert torch.equal(embeds[0, 1], transform.prompts[0].bfloat16())
