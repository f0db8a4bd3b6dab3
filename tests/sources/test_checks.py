"""Sources that are no function of their input alone are found when they are built, and run so that they are, or refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, set_seed

from hf_reprogram import InputError
from hf_reprogram.sources import TextSource, VisionSource
from hf_reprogram.sources.module import ModuleSource
from tests.support import tiny, tiny_vision
from tests.support.modules import Convolutions, Recurrent

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "initializer_range": 0.3,
    "max_position_embeddings": 64,
}
SEE_PADDING = {
    "convbert": {"embedding_size": 32, "head_ratio": 1, "conv_kernel_size": 3},
    "fnet": {},
    "yoso": {},
    "nystromformer": {},
}
ESM = {"mask_token_id": 4, "pad_token_id": 1}


def made(model_type: str, **config) -> TextSource:
    set_seed(0)
    model = AutoModelForMaskedLM.from_config(AutoConfig.for_model(model_type, **{**SIZES, **config}))
    return TextSource(model, "masked_lm")


@pytest.mark.parametrize("model_type", SEE_PADDING)
@pytest.mark.parametrize("left", [False, True])
def test_a_text_has_the_same_outputs_alone_and_in_a_padded_batch(model_type, left):
    source = made(model_type, **SEE_PADDING[model_type])
    assert source.sees_padding
    lengths = [2, 7, 4, 2]
    embeds, mask = torch.randn(4, 7, 32), torch.zeros(4, 7, dtype=torch.long)
    for row, length in zip(mask, lengths, strict=True):
        row[slice(-length, None) if left else slice(length)] = 1
    first = mask.argmax(1)
    batch = {"inputs_embeds": embeds, "attention_mask": mask, "mask_position": first + 1}
    for reads in source.spec.widths:
        outputs = source(batch, reads)
        for row, length in enumerate(lengths):
            kept = slice(int(first[row]), int(first[row]) + length)
            alone = {
                "inputs_embeds": embeds[row : row + 1, kept],
                "attention_mask": torch.ones(1, length),
                "mask_position": torch.tensor([1]),
            }
            output = outputs[row, kept] if reads in ("tokens", "decoder") else outputs[row]
            torch.testing.assert_close(output, source(alone, reads)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_models_that_mask_their_padding_run_whole_batches(family):
    assert not TextSource(tiny.make_model(family), tiny.FAMILIES[family].kind).sees_padding


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("positions", ["rotary", "absolute"])
def test_esm_answers_embeddings_as_it_answers_tokens(dropout, positions):
    """ESM-2 scales its embeddings as if masks were missing; ESM-1b has a norm and positions that embeddings skip."""
    source = made("esm", **ESM, token_dropout=dropout, position_embedding_type=positions, emb_layer_norm_before=True)
    ids = torch.tensor([[0, 4, 9, 10, 4, 2], [0, 11, 12, 2, 1, 1]])
    mask = (ids != 1).long()
    output = source({"inputs_embeds": source.embed(ids), "attention_mask": mask}, "tokens")
    with torch.no_grad():
        expected = source.base(input_ids=ids, attention_mask=mask).last_hidden_state * mask[..., None]
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)


class Noisy(nn.Module):
    """Drops inputs in eval mode too, before a network."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def get_input_embeddings(self):
        return self.network.embedding

    def forward(self, values):
        output = self.network(values)
        output = output[0] if isinstance(output, tuple) else output
        return nn.functional.dropout(output, training=True)


def test_modules_that_are_random_in_eval_mode_are_refused():
    torch.manual_seed(0)
    with pytest.raises(InputError, match="Noisy gives different outputs for the same input at two calls"):
        VisionSource(Noisy(Convolutions()), 16, (0.5,) * 3, (0.5,) * 3)
    with pytest.raises(InputError, match="Noisy gives different outputs for the same input at two calls"):
        ModuleSource(Noisy(Recurrent()))


def test_a_text_model_that_is_random_in_eval_mode_is_refused():
    model = tiny.make_model("bert")
    model.bert.embeddings.dropout = Noisy(nn.Identity())
    with pytest.raises(InputError, match="BertForMaskedLM gives different outputs for the same input at two calls"):
        TextSource(model, "masked_lm")


def test_an_image_model_that_mixes_a_batch_is_refused():
    class Centred(Convolutions):
        def forward(self, values):
            return super().forward(values - values.mean(0))

    with pytest.raises(InputError, match="Centred mixes the rows of a batch"):
        VisionSource(Centred(), 16, (0.5,) * 3, (0.5,) * 3)


def test_vit_mae_sees_every_patch_in_its_place():
    set_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model("vit_mae", **tiny_vision.FAMILIES["vit"][1], mask_ratio=0.75))
    source = VisionSource(model, tiny_vision.SIDE, tiny_vision.MEAN, tiny_vision.STD, kind="image_encoder")
    pixels = torch.rand(2, 3, tiny_vision.SIDE, tiny_vision.SIDE)
    assert torch.equal(source({"pixels": pixels}, "features"), source({"pixels": pixels}, "features"))
    with torch.no_grad():
        hidden = model(source._normalised(pixels), noise=torch.arange(16.0).expand(2, 16))
    assert hidden.last_hidden_state.shape[1] == 17  # all patches and the class token
    assert hidden.ids_restore.tolist() == [list(range(16))] * 2
    assert source.spec.patch_size == tiny_vision.PATCH
    patches = nn.functional.unfold(pixels, tiny_vision.PATCH, stride=tiny_vision.PATCH).transpose(1, 2)
    patches = source.project_patches(patches.unflatten(2, (3, tiny_vision.PATCH, tiny_vision.PATCH)))
    torch.testing.assert_close(source({"patches": patches}, "features"), source({"pixels": pixels}, "features"))
