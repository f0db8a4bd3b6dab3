"""Quantized sources, with stand-ins for the layers and weights of bitsandbytes and torchao."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from transformers import AutoModelForMaskedLM, BitsAndBytesConfig

from hf_reprogram import InputError
from hf_reprogram.sources import load_source, restore_source
from hf_reprogram.sources.quantized import quantization_of
from hf_reprogram.sources.reading import can_read_last_layer
from tests.support import tiny


class Packing(nn.Linear):
    """Packs its weights at the first input without gradients, as bitsandbytes' 4-bit layer does on some CPUs."""

    support_avx512bf16_for_cpu = True
    packed = False

    def forward(self, values):
        if self.support_avx512bf16_for_cpu and not values.requires_grad:
            self.packed = True
        return super().forward(values).detach() if self.packed else super().forward(values)


class Quantized(nn.Parameter):
    """A weight that refuses to be viewed in another shape, as torchao's does."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function in (torch.Tensor.view, torch.Tensor.reshape):
            raise NotImplementedError("aten.view")
        return super().__torch_function__(function, types, args, kwargs or {})


def test_the_layers_of_bitsandbytes_keep_their_weights_and_their_gradients():
    model = tiny.make_model("bert")
    query = model.bert.encoder.layer[0].attention.self.query
    query.__class__ = Packing
    source, _ = load_source(model)
    assert not query.packed
    embeds = torch.randn(1, 4, tiny.WIDTH, requires_grad=True)
    with torch.no_grad():
        source({"inputs_embeds": embeds, "attention_mask": torch.ones(1, 4)}, "features")
    assert not query.packed


def test_weights_of_torchao_are_read_without_taking_them_apart():
    model = tiny.make_model("bert")
    for layer in model.bert.encoder.layer:
        for module in (layer.attention.self.key, layer.attention.self.value):
            module.weight = Quantized(module.weight.detach())
    assert not can_read_last_layer(model.bert)
    assert load_source(model)[0].spec.kind == "masked_lm"


def test_quantized_activations_would_cut_the_gradient():
    model = tiny.make_model("bert")
    weight = Quantized(model.bert.encoder.layer[0].attention.self.key.weight.detach())
    weight.act_quant_kwargs = {}
    model.bert.encoder.layer[0].attention.self.key.weight = weight
    with pytest.raises(InputError, match="BertForMaskedLM is quantized with its activations"):
        load_source(model)


def test_a_source_that_is_no_longer_quantized_says_so(source_folder):
    model = AutoModelForMaskedLM.from_pretrained(source_folder("bert"))
    model.config.quantization_config = BitsAndBytesConfig(load_in_8bit=True)
    assert quantization_of(model) == "bitsandbytes 8-bit"
    _, record = load_source(model)
    with pytest.warns(UserWarning, match="a source with bitsandbytes 8-bit quantization, and this source has no"):
        restore_source(record)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        restore_source(record, model)
