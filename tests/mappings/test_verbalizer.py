"""The verbalizer: one vector and one bias a class."""

from __future__ import annotations

import pytest
import torch

from hf_reprogram import InputError
from hf_reprogram.mappings.verbalizer import Verbalizer, VerbalizerOptions
from hf_reprogram.sources.base import SourceSpec

SPEC = SourceSpec("causal_lm", "gpt2", {"last": 8, "features": 8, "tokens": 8}, 8, 100, 64)


def test_logits_are_the_dot_products_plus_biases():
    mapping = Verbalizer(VerbalizerOptions(2, 3))
    with torch.no_grad():
        mapping.weight.copy_(torch.tensor([[1.0, 2.0, 3.0], [0.0, -1.0, 0.5]]))
        mapping.bias.copy_(torch.tensor([0.5, -0.5]))
    assert mapping(torch.tensor([[1.0, 1.0, 2.0]]), None).tolist() == [[9.5, -0.5]]


def test_it_starts_at_zero_until_it_is_reset():
    mapping = Verbalizer(VerbalizerOptions(3, 16))
    assert mapping(torch.ones(1, 16), None).tolist() == [[0, 0, 0]]
    mapping.reset()
    assert 0 < mapping.weight.abs().max() <= 0.25


def test_states_in_bf16_give_logits_in_the_mappings_dtype():
    mapping = Verbalizer(VerbalizerOptions(2, 4))
    assert mapping(torch.ones(1, 4, dtype=torch.bfloat16), None).dtype == torch.float32


def test_a_source_that_does_not_offer_what_is_read_is_refused():
    with pytest.raises(
        InputError, match="reads 'mask', which the causal_lm source does not have: choose one of features"
    ):
        Verbalizer(VerbalizerOptions(2, 8, "mask")).check(SPEC)


def test_a_source_of_another_width_is_refused():
    with pytest.raises(InputError, match="vectors 16 wide, but the source's are 8 wide"):
        Verbalizer(VerbalizerOptions(2, 16, "last")).check(SPEC)
    Verbalizer(VerbalizerOptions(2, 8, "last")).check(SPEC)
