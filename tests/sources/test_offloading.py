"""A source of which a device map keeps the layers on disk."""

from __future__ import annotations

import pytest
import torch

from hf_reprogram import InputError, reprogram

OFFLOADED = {
    "model.embed_tokens": "cpu",
    "model.rotary_emb": "cpu",
    "model.layers": "disk",
    "model.norm": "disk",
    "lm_head": "cpu",
}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_layers_on_disk_give_the_same_logits_and_gradients(checkpointing, source_folder, tmp_path):
    folder, found = source_folder("llama"), []
    for source_kwargs in ({}, {"device_map": OFFLOADED, "offload_folder": str(tmp_path)}):
        torch.manual_seed(0)
        model, tokenizer = reprogram(
            folder, "warp", ["no", "yes"], num_prompts=3, start="none", prompt_init="normal",
            source_kwargs=source_kwargs,
        )  # fmt: skip
        assert any(p.is_meta for p in model.source.parameters()) == bool(source_kwargs)
        if checkpointing:
            model.activation_checkpointing_enable()
        output = model(
            **tokenizer(["a lovely film", "no"], padding=True, return_tensors="pt"), labels=torch.tensor([0, 1])
        )
        output.loss.backward()
        found.append((output.logits, model.transform.prompts.grad))
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


def test_an_embedding_on_disk_is_refused(source_folder, tmp_path):
    with pytest.raises(
        InputError, match=r"offloads 'model.embed_tokens.weight' of .* place the input embedding on a device"
    ):
        reprogram(
            source_folder("llama"),
            "warp",
            2,
            source_kwargs={"device_map": {"": "disk"}, "offload_folder": str(tmp_path)},
        )
