"""A linear layer on the last states, wherever the padding is, or on the inputs without the source."""

from __future__ import annotations

import pytest
import torch

from hf_reprogram import InputError
from hf_reprogram.mappings.last_states import LastStates, LastStatesOptions
from hf_reprogram.sources import load_source


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_last_states_that_are_no_padding_are_read_side_by_side(side):
    mapping = LastStates(LastStatesOptions(num_labels=2, width=4, states=3, kept=2, unit=0.5))
    states = torch.randn(3, 6, 4)
    lengths = [6, 4, 2]
    padded = torch.zeros_like(states)
    for row, length in enumerate(lengths):
        place = slice(6 - length, 6) if side == "left" else slice(0, length)
        padded[row, place] = states[row, :length]
    found = mapping(padded, None)
    for row, length in enumerate(lengths):
        last = states[row, :length][-3:, :2].flatten()
        last = torch.cat([torch.zeros(6 - len(last)), last])  # missing states are zeros
        expected = 0.5 * mapping.linear.weight @ last + mapping.linear.bias
        torch.testing.assert_close(found[row], expected)


def test_inputs_leave_the_source_out(source_folder, monkeypatch):
    source = load_source(source_folder("bert-encoder"))[0]
    monkeypatch.setattr(source.model, "forward", None)
    embeds = torch.randn(2, 5, source.spec.embedding_width)
    assert torch.equal(source({"inputs_embeds": embeds, "attention_mask": torch.ones(2, 5)}, "inputs"), embeds)
    mapping = LastStates(LastStatesOptions(num_labels=2, width=source.spec.embedding_width, states=2, reads="inputs"))
    mapping.check(source.spec)


def test_what_does_not_fit_is_refused(source_folder):
    with pytest.raises(InputError, match="kept is 9: give a whole number of each state from 1 to 8"):
        LastStatesOptions(num_labels=2, width=8, states=2, kept=9)
    with pytest.raises(InputError, match="reads is 'first'"):
        LastStatesOptions(num_labels=2, width=8, states=2, reads="first")
    spec = load_source(source_folder("bert-encoder"))[0].spec
    for reads in ("tokens", "inputs"):
        with pytest.raises(InputError, match="belongs to another source"):
            LastStates(LastStatesOptions(num_labels=2, width=8, states=2, reads=reads)).check(spec)
