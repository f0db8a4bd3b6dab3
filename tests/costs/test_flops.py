"""Operations beside counts by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel

from hf_reprogram.costs import count_flops, flops_per_example


def test_a_linear_layer_takes_two_operations_per_weight_and_row():
    layer = nn.Linear(7, 5)
    assert count_flops(lambda: layer(torch.ones(3, 7))) == 3 * 2 * 7 * 5


def test_the_backward_pass_of_a_frozen_layer_is_as_long_as_its_forward_and_that_of_a_trained_one_twice():
    layer, rows = nn.Linear(7, 5), torch.ones(3, 7, requires_grad=True)
    once = 3 * 2 * 7 * 5
    assert count_flops(lambda: layer(rows).sum().backward()) == 3 * once
    layer.requires_grad_(False)
    assert count_flops(lambda: layer(rows).sum().backward()) == 2 * once


@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_takes_two_operations_per_kernel_number_and_output(groups):
    layer = nn.Conv2d(4, 6, kernel_size=3, groups=groups).requires_grad_(False)
    images = torch.ones(2, 4, 8, 8, requires_grad=True)
    once = 2 * (6 * 6 * 6) * 2 * 9 * (4 // groups)  # images, outputs, a kernel
    assert count_flops(lambda: layer(images)) == once
    assert count_flops(lambda: layer(images).sum().backward()) == 2 * once
    layer.requires_grad_(True)
    assert count_flops(lambda: layer(images).sum().backward()) == 3 * once


@pytest.mark.parametrize("trains", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_transformer_takes_what_its_formula_says_whatever_computes_its_attention(attention, trains):
    layers, width, inner, tokens, batch = 2, 16, 24, 9, 3
    config = BertConfig(
        vocab_size=20, hidden_size=width, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=inner,
        attn_implementation=attention,
    )  # fmt: skip
    model = BertModel(config, add_pooling_layer=False).eval().requires_grad_(False)
    products = layers * batch * tokens * 2 * (4 * width * width + 2 * width * inner)
    attended = layers * batch * 4 * tokens * tokens * width
    embeds = torch.randn(batch, tokens, width, requires_grad=trains)

    def run():
        output = model(inputs_embeds=embeds).last_hidden_state
        if trains:
            output.sum().backward()

    assert count_flops(run) == (2 * products + 3 * attended if trains else products + attended)


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
@torch.no_grad()
def test_recurrent_layers_are_counted(kind, gates):
    layer = kind(3, 4, batch_first=True)
    assert count_flops(lambda: layer(torch.ones(2, 5, 3))) == 2 * 5 * 2 * gates * (3 * 4 + 4 * 4)


@torch.no_grad()
def test_the_fused_encoder_of_torch_is_counted():
    layer = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16, batch_first=True).eval()
    assert count_flops(lambda: layer(torch.ones(1, 5, 8))) == 5 * 2 * (4 * 8 * 8 + 2 * 8 * 16) + 4 * 5 * 5 * 8


def test_counting_changes_neither_results_nor_settings_nor_random_numbers():
    query = torch.randn(1, 2, 5, 4)
    settings = [torch.backends.mkldnn.enabled, torch.backends.mha.get_fastpath_enabled()]
    state, found = torch.get_rng_state(), []
    count_flops(lambda: found.append(F.scaled_dot_product_attention(query, query, query)))
    torch.testing.assert_close(found[0], F.scaled_dot_product_attention(query, query, query))
    assert [torch.backends.mkldnn.enabled, torch.backends.mha.get_fastpath_enabled()] == settings
    assert torch.backends.cuda.flash_sdp_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ZeroDivisionError):
        count_flops(lambda: 1 / 0)
    assert torch.backends.cuda.flash_sdp_enabled()
    assert torch.backends.mkldnn.enabled


@pytest.mark.parametrize(("batch_size", "each"), [(1, 1050), (10, 150), (1000, 51)])
def test_what_a_batch_costs_once_is_shared_by_its_examples(batch_size, each):
    assert flops_per_example(lambda examples: 1000 + 50 * examples, batch_size) == each
