"""Weighted means over positions."""

from __future__ import annotations

import pytest
import torch

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.mappings.positions import Positions, PositionsOptions
from tests.support import tiny


def made(heads=2, max_tokens=4, unit=1.0):
    torch.manual_seed(0)
    mapping = Positions(PositionsOptions(num_labels=3, width=5, max_tokens=max_tokens, heads=heads, unit=unit))
    mapping.reset()
    return mapping


def naive(mapping, states):
    rows = []
    for row in states:
        length = int(row.ne(0).any(-1).sum())
        means = []
        for weights in mapping.weights:
            total = torch.zeros(5)
            for place in range(length):
                extra = weights[place] if place < mapping.options.max_tokens else 0.0
                total = total + (1 + extra) * row[place]
            means.append(total / length)
        rows.append(mapping.dense.linear.weight @ torch.cat(means) + mapping.dense.linear.bias)
    return torch.stack(rows)


@pytest.mark.parametrize("tokens", [2, 4, 7])
def test_logits_are_those_of_a_naive_loop(tokens):
    mapping = made()
    torch.nn.init.normal_(mapping.weights)
    states = torch.randn(3, tokens, 5)
    states[1, 2:] = 0  # padding
    torch.testing.assert_close(mapping(states, None), naive(mapping, states))


def test_it_starts_at_the_plain_mean():
    mapping = made()
    states = torch.randn(2, 4, 5)
    mean = states.mean(1)
    expected = mapping.dense(torch.cat([mean, mean], 1), None)
    torch.testing.assert_close(mapping(states, None), expected)


def test_it_learns_a_label_that_one_position_decides_and_a_mean_cannot():
    torch.manual_seed(0)
    states = torch.randn(256, 8, 5)
    labels = (states[:, 3, 0] > 0).long()
    mapping = made(max_tokens=8)
    optimizer = torch.optim.Adam(mapping.parameters(), lr=0.05)
    for _ in range(300):
        loss = torch.nn.functional.cross_entropy(mapping(states, None), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (mapping(states, None).argmax(1) == labels).float().mean() > 0.97


@pytest.mark.parametrize("family", ["bert", "gpt2", "modernbert"])
def test_padding_and_reloading_do_not_change_a_row(family, source_folder, tmp_path):
    model, processor = reprogram(
        source_folder(family), "r2dl", ["a", "b"], tokenizer="residues", mapping="positions", max_positions=6
    )
    torch.nn.init.normal_(model.mapping.weights)
    model.eval()
    texts = ["ACDEFGHIK", "MW", "X"]
    together = processor(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        batched = model(**together).logits
        alone = torch.cat([model(**processor(text, return_tensors="pt")).logits for text in texts])
        left = model(**tiny.on_the_left(together)).logits
    torch.testing.assert_close(batched, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(left, batched, rtol=1e-4, atol=1e-5)
    model.save_pretrained(tmp_path)
    again = ReprogrammedModel.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(again(**together).logits, batched)


def test_a_label_a_token_is_refused(source_folder):
    with pytest.raises(InputError, match="needs one label per sequence"):
        reprogram(
            source_folder("bert"), "r2dl", ["a", "b"], problem_type="token_classification",
            tokenizer="residues", mapping="positions",
        )  # fmt: skip
