"""Dense: a linear layer on pooled features or on every token."""

from __future__ import annotations

import pytest
import torch

from hf_reprogram import InputError
from hf_reprogram.mappings.dense import Dense, DenseOptions


def test_logits_are_linear_in_the_features():
    mapping = Dense(DenseOptions(3, 8)).eval()
    one, other = torch.randn(2, 1, 8)
    bias = mapping(torch.zeros(1, 8), None)
    torch.testing.assert_close(mapping(one + other, None) + bias, mapping(one, None) + mapping(other, None))
    torch.testing.assert_close(mapping(one, None)[0, 1], mapping.linear.weight[1] @ one[0] + mapping.linear.bias[1])


def test_token_states_give_a_row_of_logits_a_token():
    assert Dense(DenseOptions(3, 8, reads="tokens"))(torch.randn(2, 5, 8), None).shape == (2, 5, 3)


def test_dropout_acts_in_training_alone():
    mapping = Dense(DenseOptions(3, 64, dropout=0.5))
    states = torch.ones(1, 64)
    assert not torch.equal(mapping.train()(states, None), mapping(states, None))
    assert torch.equal(mapping.eval()(states, None), mapping(states, None))


def test_reset_draws_new_weights():
    mapping = Dense(DenseOptions(2, 8))
    before = mapping.linear.weight.detach().clone()
    mapping.reset()
    assert not torch.equal(before, mapping.linear.weight)


def test_a_unit_changes_the_step_and_neither_the_start_nor_the_function():
    layers = []
    for unit in (1.0, 16**-0.5):
        torch.manual_seed(0)
        layer = Dense(DenseOptions(num_labels=3, width=16, unit=unit))
        layer.reset()
        layers.append(layer)
    states = torch.randn(5, 16)
    torch.testing.assert_close(layers[0](states, None), layers[1](states, None))
    for layer in layers:
        layer(states, None).square().sum().backward()
    plain, scaled = (layer.linear.weight.grad for layer in layers)
    torch.testing.assert_close(scaled, plain * 16**-0.5)


def test_probabilities_are_the_soft_max_of_the_sources_logits():
    logits = 3 * torch.randn(4, 6)
    mapping = Dense(DenseOptions(2, 6, reads="logits", probabilities=True)).eval()
    plain = Dense(DenseOptions(2, 6, reads="logits")).eval()
    plain.load_state_dict(mapping.state_dict())
    torch.testing.assert_close(mapping(logits, None), plain(logits.exp() / logits.exp().sum(1, keepdim=True), None))
    torch.testing.assert_close(mapping(logits + 5, None), mapping(logits, None))
    with pytest.raises(
        InputError, match="probabilities are the soft-max of logits, not of 'features': set reads='logits'"
    ):
        DenseOptions(2, 6, probabilities=True)


def standardized(**options):
    torch.manual_seed(0)
    made = Dense(DenseOptions(num_labels=2, width=3, standardize=True, **options))
    made.reset()
    return made


def test_standardized_features_have_mean_0_and_deviation_1_before_the_layer():
    made, outputs = standardized(), torch.tensor([[1.0, 2.0, 5.0], [3.0, 2.0, 1.0]])
    made.fit(outputs)
    seen = torch.tensor([[-1.0, 0.0, 1.0], [1.0, 0.0, -1.0]])  # the second never changes
    torch.testing.assert_close(made(outputs, None), seen @ made.linear.weight.T + made.linear.bias)
    assert {"mean", "deviation"} <= set(made.state_dict())
    assert {name for name, _ in made.named_parameters()} == {"linear.weight", "linear.bias"}


def test_what_to_standardize_by_is_found_once_and_of_what_the_layer_reads():
    made, asked = standardized(reads="logits", probabilities=True), []

    def read(reads, most=None):
        asked.append(reads)
        return torch.tensor([[0.0, 0.0, 0.0], [100.0, 0.0, 0.0]]), torch.tensor([0, 1])

    plain = torch.full((1, 3), 1 / 3) @ made.linear.weight.T + made.linear.bias
    torch.testing.assert_close(made(torch.zeros(1, 3), None), plain)  # nothing is known yet
    for epoch in range(3):
        made.begin_epoch(epoch, read, None)
    assert asked == ["logits"]
    torch.testing.assert_close(made.mean, torch.tensor([2 / 3, 1 / 6, 1 / 6]))  # of the probabilities


def test_without_it_nothing_is_read_and_nothing_kept():
    plain = Dense(DenseOptions(num_labels=2, width=3))
    plain.begin_epoch(0, None, None)
    assert set(plain.state_dict()) == {"linear.weight", "linear.bias"}
