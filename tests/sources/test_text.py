"""What a text source says of itself, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from hf_reprogram import InputError
from hf_reprogram.sources import TextSource
from hf_reprogram.sources.pooling import at_least_one, mean_over_tokens
from tests.support import tiny


def source_of(family: str) -> TextSource:
    return TextSource(tiny.make_model(family), tiny.FAMILIES[family].kind)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_spec_tells_the_embeddings_width_and_the_longest_input(family):
    spec = source_of(family).spec
    narrow = family in ("albert", "electra")
    assert spec.embedding_width == (tiny.NARROW if narrow else tiny.WIDTH)
    assert spec.max_tokens == tiny.MAX_TOKENS  # RoBERTa's two rows before the first position are not counted
    assert spec.kind == tiny.FAMILIES[family].kind
    assert spec.widths["features"] == tiny.WIDTH
    if spec.kind == "masked_lm":
        assert spec.widths["mask"] == (tiny.NARROW if narrow else tiny.WIDTH)
    assert ("mask" in spec.widths) == (spec.kind != "causal_lm")


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "gpt2"])
def test_the_longest_input_runs_and_one_token_more_is_refused(family):
    source = source_of(family)
    for length, fits in ((tiny.MAX_TOKENS, True), (tiny.MAX_TOKENS + 1, False)):
        inputs = {
            "inputs_embeds": torch.randn(1, length, source.spec.embedding_width),
            "attention_mask": torch.ones(1, length, dtype=torch.long),
        }
        if fits:
            assert source(inputs, "last").isfinite().all()
        else:
            with pytest.raises(InputError, match=rf"{length} tokens long.*{tiny.MAX_TOKENS} positions"):
                source(inputs, "last")


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_everything_a_source_offers_depends_on_the_text(family):
    source = source_of(family)
    inputs = {
        "inputs_embeds": torch.randn(2, 7, source.spec.embedding_width),
        "attention_mask": torch.ones(2, 7, dtype=torch.long),
        "mask_position": torch.tensor([3, 3]),
    }
    inputs["inputs_embeds"][:, 0] = inputs["inputs_embeds"][0, 0]  # the same first token, as [CLS] or <s> is
    for reads in source.spec.widths:
        one, other = source(inputs, reads)
        assert (one - other).abs().max() > 1e-3, reads


@pytest.mark.parametrize("family", [*tiny.MASKED, *tiny.CAUSAL])
def test_output_rows_are_the_decoders(family):
    source = source_of(family)
    ids = torch.tensor([7, 3])
    rows, biases = source.output_rows(ids)
    decoder = source.model.get_output_embeddings()
    states = torch.randn(4, rows.shape[1])
    torch.testing.assert_close(states @ rows.T + biases, decoder(states)[:, ids])
    assert not rows.requires_grad


def test_an_encoder_has_no_decoder_to_take_rows_from():
    with pytest.raises(InputError, match="encoder source has no vocabulary decoder"):
        source_of("bert-encoder").output_rows(torch.tensor([1]))


def test_a_model_without_a_decoder_cannot_be_read_as_a_masked_lm():
    with pytest.raises(InputError, match="source_kind='encoder'"):
        TextSource(tiny.make_model("bert-encoder"), "masked_lm")


def test_a_frozen_source_stays_in_eval_mode_whatever_is_asked():
    source = source_of("bert")
    assert not any(module.training for module in source.train().modules())
    assert not any(module.training for module in torch.nn.Sequential(source).train()[0].modules())
    assert not any(parameter.requires_grad for parameter in source.parameters())


def test_mean_over_tokens_by_hand():
    hidden = torch.tensor([[[1.0], [3.0], [100.0]], [[5.0], [7.0], [9.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert mean_over_tokens(hidden, mask).tolist() == [[2.0], [7.0]]


def test_every_nth_layer_alone_can_be_checkpointed():
    source = source_of("bert")
    source.checkpoint_activations(lambda function, *args: function(*args), every_n_layers=2)
    assert ["forward" in layer.__dict__ for layer in source.base.encoder.layer] == [True, False]
    source.checkpoint_activations(None)
    assert not any("forward" in layer.__dict__ for layer in source.base.encoder.layer)


def test_what_a_device_map_put_around_a_layer_stays_within_the_checkpoint():
    source, calls = source_of("bert"), []
    layer = source.base.encoder.layer[0]
    own = type(layer).forward.__get__(layer)
    layer.forward = around = lambda *args, **kwargs: calls.append("moved") or own(*args, **kwargs)
    source.checkpoint_activations(lambda function, *args: calls.append("kept") or function(*args))
    source.embedding.weight.data.normal_()
    inputs = {"inputs_embeds": source.embed(torch.tensor([[1, 2]])), "attention_mask": torch.ones(1, 2)}
    source(inputs, "features")
    assert calls[:2] == ["kept", "moved"]
    source.checkpoint_activations(None)
    assert layer.forward is around


# ------------------------------------------------------------------------------------------------- empty rows


def test_an_empty_row_attends_to_its_first_token_and_the_others_are_as_they_were():
    mask = torch.tensor([[1, 1, 0], [0, 0, 0], [0, 0, 1]])
    assert at_least_one(mask).tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert at_least_one(mask[[0, 2]]).tolist() == mask[[0, 2]].tolist()


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_row_without_tokens_is_that_of_one_token_of_padding(family):
    source = source_of(family)
    embeds = torch.randn(2, 5, source.spec.embedding_width)
    batch = {"inputs_embeds": embeds, "attention_mask": torch.tensor([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]])}
    one = {"inputs_embeds": embeds[1:, :1], "attention_mask": torch.ones(1, 1, dtype=torch.long)}
    for reads in ("features", "last"):
        torch.testing.assert_close(source(batch, reads)[1], source(one, reads)[0], rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------------------------------------- classifiers


def classifier(family: str) -> TextSource:
    made = tiny.FAMILIES[family]
    torch.manual_seed(0)
    config = AutoConfig.for_model(made.model_type, vocab_size=50, **{**made.config, "pad_token_id": 0, "num_labels": 6})
    return TextSource(AutoModelForSequenceClassification.from_config(config).eval(), "classifier")


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize(
    "family", ["bert", "roberta", "albert", "distilbert", "electra", "modernbert", "gpt2", "llama"]
)
def test_a_classifiers_logits_are_its_own_whatever_the_padding(family, left):
    """Given embeddings, transformers reads a causal classifier at the end of the row, padding or not."""
    source = classifier(family)
    ids = torch.arange(7, 19).view(2, 6)
    lengths, masks = [6, 3], {False: [[1] * 6, [1, 1, 1, 0, 0, 0]], True: [[1] * 6, [0, 0, 0, 1, 1, 1]]}
    inputs = {"inputs_embeds": source.embed(ids), "attention_mask": torch.tensor(masks[left])}
    found = source(inputs, "logits")
    assert found.shape == (2, 6)
    for row, n in enumerate(lengths):
        kept = ids[row, -n:] if left else ids[row, :n]
        torch.testing.assert_close(found[row], source.model(input_ids=kept[None]).logits[0], rtol=1e-4, atol=1e-4)


def test_the_first_token_of_a_causal_classifier_has_seen_nothing_and_is_not_offered():
    assert "first" not in classifier("gpt2").spec.widths
    assert "first" in classifier("bert").spec.widths
