"""The vocabulary at its edges: autocast, empty batches, sources of other scales, tokenizers without special tokens."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hf_reprogram import InputError, reprogram
from hf_reprogram.transforms.vocabulary import Vocabulary, VocabularyOptions, check_special_ids, ids_and_mask
from tests.support import tiny


def make(source, **options):
    torch.manual_seed(0)
    model, processor = reprogram(source, "r2dl", ["a", "b"], **{"tokenizer": "residues", "sparsity": 4, **options})
    return model.eval(), processor


@pytest.mark.parametrize("options", [{}, {"alternating": True}, {"sparsity": None}, {"atoms": "ksvd", "num_atoms": 32}])
def test_the_table_is_the_same_under_autocast_and_what_was_folded_there_serves_afterwards(options, source_folder):
    model, processor = make(source_folder("bert"), init="random", **options)
    batch = processor(["ACDW", "KX"], padding=True, return_tensors="pt")
    with torch.no_grad():
        expected, table = model(**batch).logits, model.transform.folded(model.source).clone()
        model.transform._folded.forget()
        with torch.autocast("cpu", torch.bfloat16):
            model(**batch)
            assert model.transform.folded(model.source).dtype == torch.float32
            assert torch.equal(model.transform.folded(model.source), table)
        assert torch.equal(model(**batch).logits, expected)


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_an_empty_sequence_is_the_same_alone_and_in_a_batch(family, source_folder):
    for reads in ("features", "last"):
        model, processor = make(source_folder(family), reads=reads)
        with torch.no_grad():
            together = model(**processor(["ACD", "", "WWYYY"], padding=True, return_tensors="pt")).logits
            alone = [model(**processor([text], return_tensors="pt")).logits[0] for text in ("ACD", "", "WWYYY")]
        assert torch.isfinite(together).all()
        torch.testing.assert_close(together, torch.stack(alone), rtol=1e-4, atol=1e-4)


def test_a_batch_of_empty_sequences_trains(source_folder):
    model, processor = make(source_folder("gpt2"))
    model.train()
    batch = processor(["", ""], padding=True, return_tensors="pt")
    assert batch["input_ids"].shape == (2, 0)
    model(**batch, labels=torch.tensor([0, 1])).loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.trainable().values())


def test_empty_sequences_become_one_token_of_padding():
    empty = {"input_ids": torch.empty(2, 0), "attention_mask": torch.empty(2, 0)}  # of floats, as tokenizers make them
    ids, mask = ids_and_mask(empty, {"7": 0, "8": 3})
    assert (ids.tolist(), mask.tolist()) == ([[7], [7]], [[0], [0]])
    assert ids.dtype == mask.dtype == torch.long
    ids, mask = ids_and_mask({"input_ids": torch.tensor([[4, 5]])}, {})
    assert (ids.tolist(), mask.tolist()) == ([[4, 5]], [[1, 1]])


def test_special_tokens_must_be_rows_of_the_source(source_folder):
    spec = make(source_folder("bert"))[0].source.spec
    check_special_ids({"20": spec.vocab_size - 1}, spec)
    for wrong in (spec.vocab_size, -1):
        with pytest.raises(InputError, match=f"special token with the id {wrong}, but the source embeds"):
            check_special_ids({"20": wrong}, spec)
        with pytest.raises(InputError, match="use the tokenizer that belongs to it"):
            Vocabulary(VocabularyOptions(20, spec.embedding_width, {"20": wrong})).check(spec)


@pytest.mark.parametrize("options", [{}, {"atoms": "ksvd", "num_atoms": 32}])
def test_the_offsets_unit_is_the_deviation_of_the_sources_table_whatever_the_atoms(options, source_folder):
    model, _ = make(source_folder("bert"), alternating=True, **options)
    torch.testing.assert_close(model.transform.scale, model.source.embedding.weight.std())


def bare_tokenizer() -> PreTrainedTokenizerFast:
    """A fast tokenizer that has no special token at all: no beginning, no end, no padding."""
    backend = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate("abcdefghij")}, unk_token="a"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def test_a_source_tokenizer_without_any_special_token_will_do(source_folder, tmp_path):
    model, processor = make(tiny.make_model("gpt2"), processor=bare_tokenizer())
    assert (processor.bos_token, processor.eos_token, processor.mask_token) == (None, None, None)
    assert model.transform.options.special_ids == {str(processor.pad_token_id): 0}
    processor.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    batch = again(["ACD", "W"], padding=True, return_tensors="pt")
    assert batch["input_ids"].tolist()[1] == [18, again.pad_token_id, again.pad_token_id]
    with torch.no_grad():
        assert torch.isfinite(model(**batch).logits).all()
