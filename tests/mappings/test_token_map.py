"""The token map: folding it into the decoder changes nothing, and it stands on one source only."""

from __future__ import annotations

import pytest
import torch

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.sources.base import SourceSpec
from tests.support import tiny


def make(source, **options):
    torch.manual_seed(0)
    return reprogram(source, "reprogbert", problem_type="infilling", tokenizer="residues", **options)


def naive(model, batch):
    """The source's own logits over its whole vocabulary, times Gamma."""
    inputs = model.transform(batch, model.source)
    return model.source.model(**inputs).logits @ model.mapping.gamma


@pytest.mark.parametrize("family", tiny.MASKED)
def test_folded_logits_are_the_decoders_times_gamma_in_value_and_in_gradient(family, source_folder):
    model, processor = make(source_folder(family))
    model.eval()
    batch = processor(["ACDEFGH", "W<|mask|>K"], padding=True, return_tensors="pt")
    target = torch.randn(*batch["input_ids"].shape, 20, generator=torch.Generator().manual_seed(1))
    kept = batch["attention_mask"].bool()
    values, gradients = [], []
    for logits in (model(**batch).logits, naive(model, batch)):
        values.append(logits[kept])
        loss = (logits - target)[kept].square().mean()
        gradients.append(torch.autograd.grad(loss, list(model.trainable().values())))
    assert values[0].abs().max() > 0.02
    torch.testing.assert_close(values[0], values[1], rtol=1e-5, atol=1e-5)
    for found, expected in zip(*gradients, strict=True):
        assert expected.abs().max() > 0
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_the_decoders_bias_counts(source_folder):
    """Without it the folded logits would be others: the bias of a random BERT is not zero here."""
    model, _ = make(source_folder("bert"))
    _, bias = model.source.fold_output(model.mapping.gamma.detach())
    expected = model.source.model.get_output_embeddings().bias @ model.mapping.gamma
    torch.testing.assert_close(bias, expected.detach())
    assert bias.abs().max() > 1e-3


def test_the_source_never_computes_its_vocabulary_of_logits(source_folder):
    model, processor = make(source_folder("bert"))
    seen = []
    decoder = model.source.model.get_output_embeddings()
    handle = decoder.register_forward_hook(lambda *args: seen.append(args[2].numel()))
    model(**processor(["ACD"], return_tensors="pt"))
    handle.remove()
    assert sum(seen) == 0


def test_first_predictions_are_near_uniform_though_the_sources_logits_are_not(source_folder):
    model, processor = make(source_folder("bert"))
    model.eval()
    decoder = model.source.model.get_output_embeddings()
    with torch.no_grad():
        decoder.bias.add_(-7.0)  # as it is in a trained BERT
        batch = processor(["ACDEFGHIKL"], return_tensors="pt")
        own = model.source.model(**model.transform(batch, model.source)).logits
        surprise = -model(**batch).logits.log_softmax(-1).mean()
    assert own.mean() < -5
    assert surprise < 1.2 * torch.tensor(20.0).log()


def test_a_bf16_source_is_mapped_in_float32(source_folder):
    batch, logits = None, []
    for dtype in ("float32", "bfloat16"):
        model, processor = make(source_folder("bert"), source_kwargs={"dtype": dtype})
        batch = processor(["ACDEFGHIKL"], return_tensors="pt")
        with torch.no_grad():
            logits.append(model.eval()(**batch).logits)
    assert logits[1].dtype == torch.float32
    torch.testing.assert_close(*logits, rtol=0.1, atol=0.05 * float(logits[0].abs().max()))


def test_another_source_is_refused(source_folder, tmp_path):
    model, _ = make(source_folder("bert"))
    mapping = model.mapping

    def spec(vocab_size=mapping.options.vocab_size, width=tiny.WIDTH, name="decoder"):
        return SourceSpec("masked_lm", "bert", {name: width}, 32, vocab_size, 64)

    mapping.check(spec())
    for wrong, sentence in (
        (spec(vocab_size=50), "source tokens, but the source has 50: this adapter belongs to another source"),
        (spec(width=16), "32 wide, but the source's are 16 wide"),
        (spec(name="features"), "reads 'decoder', which the masked_lm source does not have"),
    ):
        with pytest.raises(InputError) as refused:
            mapping.check(wrong)
        assert sentence in str(refused.value)
    model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="trained on another source"):
        ReprogrammedModel.from_pretrained(tmp_path, source=tiny.make_model("bert", seed=5))


@pytest.mark.parametrize("family", ["bert-encoder", "gpt2", "bert-classifier"])
def test_a_source_without_a_decoder_of_its_own_vocabulary_is_refused(family, source_folder):
    with pytest.raises(InputError, match="Infilling needs a masked LM with its head, and the source's kind is"):
        make(source_folder(family))
