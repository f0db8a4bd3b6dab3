"""Activation checkpointing recomputes the layers of a frozen source and changes no gradient."""

from __future__ import annotations

import pytest
import torch

from hf_reprogram import InputError
from tests.support import tiny


def gradients(model, batch) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(**batch, labels=torch.arange(len(batch["input_ids"])) % 2).loss.backward()
    return {name: p.grad.clone() for name, p in model.trainable().items()}


@pytest.mark.parametrize("family", [name for name in tiny.FAMILIES if name != "albert"])
def test_activation_checkpointing_recomputes_and_leaves_gradients_equal(family, source_folder):
    from transformers.modeling_layers import GradientCheckpointingLayer

    model, processor = tiny.make_adapter(source_folder(family), prompt_init="normal")
    batch = tiny.batch_of(processor)
    first = next(module for module in model.source.modules() if isinstance(module, GradientCheckpointingLayer))
    runs = []
    inner = next(module for module in first.modules() if isinstance(module, torch.nn.LayerNorm | torch.nn.Linear))
    inner.register_forward_hook(lambda *_: runs.append(1))
    plain = gradients(model.train(), batch)
    once, runs[:] = len(runs), []
    model.activation_checkpointing_enable()
    checkpointed = gradients(model, batch)
    assert len(runs) == 2 * once
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-5, atol=1e-7)
    runs[:] = []
    model.activation_checkpointing_disable()
    gradients(model, batch)
    assert len(runs) == once


def test_activation_checkpointing_through_training_arguments(source_folder, tmp_path):
    weights = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model, processor = tiny.make_adapter(source_folder("bert"))
        tiny.trainer_for(
            model, processor, tiny.tokenized(processor), tmp_path / "run", activation_checkpointing=checkpointing
        ).train()
        assert any("forward" in module.__dict__ for module in model.source.modules()) == checkpointing
        weights.append(model.transform.prompts.detach())
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-5)


def test_activation_checkpointing_of_a_family_without_layers_for_it_is_refused(source_folder):
    model, _ = tiny.make_adapter(source_folder("albert"))
    with pytest.raises(InputError, match="albert has no layers that transformers can checkpoint"):
        model.activation_checkpointing_enable()
