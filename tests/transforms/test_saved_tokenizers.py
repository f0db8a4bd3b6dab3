"""Tokenizers of the target: saved and loaded, spelled out again, and any given one."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hf_reprogram import InputError
from hf_reprogram.transforms.target_tokenizers import (
    UNKNOWN,
    framed_tokenizer,
)
from tests.support import words
from tests.support.alphabets import FRAMES, LIMIT, MADE, made, ordinary

# ------------------------------------------------------------------------------------------------ saving, spelling out

SPELT = ["<|mask|>", "<|pad|>", "<|CLS|>", "<|SEP|>", "[MASK]", "[PAD]", "[CLS]", UNKNOWN]


@pytest.mark.parametrize("kind", ["characters", "residues", "kmers", "smiles", "words"])
@pytest.mark.parametrize("source", ["wordpiece", "byte-bpe-roberta", "byte-bpe-gpt2", None])
def test_saved_and_reloaded_it_gives_the_same_ids(kind, source, tmp_path):
    training = ["CC(=O)Nc1ccc(O)cc1", "ACGTTAGCA", "é[Na+]"]
    tokenizer, special_ids = made(kind, source, texts=training)
    texts = [*training, " mk v\nXU", "", *SPELT]
    tokenizer(texts, padding=True, truncation=True, max_length=5)  # must not be saved with it
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(texts) == tokenizer(texts)
    assert again(texts, padding=True, truncation=True, max_length=7) == tokenizer(
        texts, padding=True, truncation=True, max_length=7
    )
    assert (again.pad_token_id, again.mask_token_id, again.unk_token_id, len(again)) == (
        tokenizer.pad_token_id, tokenizer.mask_token_id, tokenizer.unk_token_id, len(tokenizer),
    )  # fmt: skip
    assert (again.model_max_length, again.padding_side) == (LIMIT, "right")
    assert max(special_ids) == len(again) - 1


@pytest.mark.parametrize("spelt", SPELT)
def test_a_special_token_that_a_text_spells_out_is_letters(spelt, tmp_path):
    tokenizer, special_ids = made("characters", texts=[*SPELT, "ab"])
    tokenizer.save_pretrained(tmp_path)
    for read in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        assert ordinary(read, f"a{spelt}b") == ["a", *spelt, "b"]
        assert not set(read(spelt, add_special_tokens=False)["input_ids"]) & {*special_ids, read.unk_token_id}


def test_a_mask_can_be_spelt_where_that_is_asked_for(tmp_path):
    tokenizer, special_ids = made("residues", spell_mask=True)
    tokenizer.save_pretrained(tmp_path)
    for read in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        ids = read("MK<|mask|><|mask|>V", add_special_tokens=False)["input_ids"]
        assert ids[2:4] == [read.mask_token_id] * 2
        assert special_ids[read.mask_token_id] == MADE["wordpiece"].mask_token_id
        assert read.convert_ids_to_tokens([*ids[:2], ids[4]]) == ["M", "K", "V"]


# --------------------------------------------------------------------------------------------- any given tokenizer


@pytest.mark.parametrize("given", MADE)
@pytest.mark.parametrize("source", ["wordpiece", "byte-bpe-roberta", "byte-bpe-gpt2", "bpe-llama"])
def test_a_given_tokenizer_keeps_its_ids_in_the_sources_frame(given, source):
    theirs, (before, after) = MADE[given], FRAMES[source]
    tokenizer, special_ids = framed_tokenizer(theirs, MADE[source], LIMIT)
    text = "the good film was 3 long [MASK] stories"
    ids = tokenizer(text)["input_ids"]
    inner = ids[len(before) : len(ids) - len(after)]
    assert max(inner) < len(theirs) <= min(special_ids)
    if "[MASK]" not in theirs.all_special_tokens:
        assert inner == theirs(text, add_special_tokens=False)["input_ids"]
    framed = MADE[source].convert_ids_to_tokens([special_ids[i] for i in ids if i not in inner])
    assert framed == [*before, *after]


@pytest.mark.parametrize("given", MADE)
def test_a_given_tokenizer_reads_no_special_token_in_a_text(given, tmp_path):
    tokenizer, special_ids = framed_tokenizer(MADE[given], MADE["wordpiece"], LIMIT)
    tokenizer.save_pretrained(tmp_path)
    for read in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        for spelt in ("<|CLS|>", "<|mask|>", "<|pad|>"):
            assert not set(read(f"a {spelt}", add_special_tokens=False)["input_ids"]) & set(special_ids)


def test_a_given_tokenizer_is_left_as_it_is():
    theirs = words.wordpiece()
    theirs("film", truncation=True, max_length=3, padding="max_length")
    before = theirs.backend_tokenizer.to_str()
    tokenizer, _ = framed_tokenizer(theirs, MADE["byte-bpe-roberta"], LIMIT)
    assert theirs.backend_tokenizer.to_str() == before
    assert len(tokenizer("film " * 9)["input_ids"]) == 11


def test_a_given_tokenizer_without_a_fast_backend_is_refused():
    class Slow:
        backend_tokenizer = None

    with pytest.raises(InputError, match="Slow is not a fast tokenizer"):
        framed_tokenizer(Slow(), MADE["wordpiece"], LIMIT)


@pytest.mark.parametrize("kind", ["characters", "residues"])
def test_what_is_made_is_a_fast_tokenizer_as_any_other(kind):
    assert isinstance(made(kind, alphabet="AB")[0], PreTrainedTokenizerFast)
