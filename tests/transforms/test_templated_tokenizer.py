"""A tokenizer that carries a template: where the slots stand, what is cut, what is saved, what a text cannot forge."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, BertTokenizer

from hf_reprogram import InputError
from hf_reprogram.transforms.template import Template, apply_template, special_frame
from tests.support import words
from tests.support.alphabets import FRAMES, LIMIT, MADE

TEXT, PAIR = "the film was good", "a dull plot"


def templated(name: str, template: str | None = None):
    """The templated tokenizer and the id of its first slot; by default with a mask where the tokenizer has one."""
    template = template or ("1 $A 2 [MASK] 1 $B 2" if name in words.WITH_MASK else "$A [SEP] $B 6")
    return apply_template(MADE[name], Template.parse(template), LIMIT)


def plain(name: str, text: str) -> list[int]:
    """Ids of the bare text, as the tokenizer alone makes them."""
    return MADE[name](text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("name", words.TOKENIZERS)
def test_special_tokens_around_a_text_are_found(name):
    assert special_frame(MADE[name]) == FRAMES[name]


@pytest.mark.parametrize("name", words.WITH_MASK)
def test_slots_mask_and_texts_stand_where_the_template_says(name):
    tokenizer, first = templated(name, "1 $A 2 [MASK] 1 $B 2")
    mask = MADE[name].mask_token_id
    before, after = (MADE[name].convert_tokens_to_ids(tokens) for tokens in FRAMES[name])
    single = [*before, first, *plain(name, TEXT), first + 1, first + 2, mask, first + 3, first + 4, first + 5, *after]
    assert tokenizer(TEXT)["input_ids"] == single
    pair = [*before, first, *plain(name, TEXT), first + 1, first + 2, mask, first + 3, *plain(name, PAIR)]
    assert tokenizer(TEXT, PAIR)["input_ids"] == [*pair, first + 4, first + 5, *after]
    assert first == len(MADE[name])  # past the vocabulary
    assert set(tokenizer(TEXT, PAIR)) == {"input_ids", "attention_mask"}  # one segment: no token types


@pytest.mark.parametrize("name", words.TOKENIZERS)
def test_a_separator_stands_between_the_texts_of_a_pair_only(name):
    tokenizer, first = templated(name, "$A [SEP] $B 2")
    original = MADE[name]
    separator = original.sep_token_id if original.sep_token_id is not None else original.eos_token_id
    before, after = (original.convert_tokens_to_ids(tokens) for tokens in FRAMES[name])
    slots = [first, first + 1]
    assert tokenizer(TEXT)["input_ids"] == [*before, *plain(name, TEXT), *slots, *after]
    pair = [*before, *plain(name, TEXT), separator, *plain(name, PAIR), *slots, *after]
    assert tokenizer(TEXT, PAIR)["input_ids"] == pair


@pytest.mark.parametrize("name", words.TOKENIZERS)
def test_no_slots_at_all(name):
    template = "$A [MASK] $B" if name in words.WITH_MASK else "$A [SEP] $B"
    tokenizer, first = templated(name, template)
    assert first == len(MADE[name]) == len(tokenizer)
    before, after = (MADE[name].convert_tokens_to_ids(tokens) for tokens in FRAMES[name])
    mask = [MADE[name].mask_token_id] if name in words.WITH_MASK else []
    assert tokenizer(TEXT)["input_ids"] == [*before, *plain(name, TEXT), *mask, *after]


@pytest.mark.parametrize("name", words.TOKENIZERS)
def test_truncation_counts_the_slots_and_cuts_only_the_texts_the_longer_first(name):
    tokenizer, first = templated(name)
    long, short = " ".join([TEXT] * 20), "bad"
    fixed = len(tokenizer([""], [""])["input_ids"][0])
    for most in (fixed + 8, LIMIT):
        ids = tokenizer(long, short, truncation=True, max_length=most)["input_ids"]
        assert len(ids) == most
        assert [i for i in ids if i >= first] == [first + i for i in range(6)]
        assert ids.count(MADE[name].mask_token_id) == int(name in words.WITH_MASK)
        assert ids[ids.index(plain(name, short)[0]) :][: len(plain(name, short))] == plain(name, short)
    both = tokenizer(long, long, truncation=True, max_length=fixed + 8)["input_ids"]
    text = plain(name, long)
    assert sum(both[i : i + 4] == text[:4] for i in range(len(both))) == 2  # four of each
    assert len(tokenizer(long, truncation=True)["input_ids"]) == LIMIT


@pytest.mark.parametrize("name", words.TOKENIZERS)
def test_padding_fills_up_on_the_right_and_is_masked(name):
    tokenizer, _ = templated(name)
    batch = tokenizer([TEXT, "bad"], padding=True)
    long, short = (tokenizer(text)["input_ids"] for text in (TEXT, "bad"))
    missing = len(long) - len(short)
    assert batch["input_ids"] == [long, short + [tokenizer.pad_token_id] * missing]
    assert batch["attention_mask"] == [[1] * len(long), [1] * len(short) + [0] * missing]


@pytest.mark.parametrize("name", words.TOKENIZERS)
def test_saved_and_reloaded_it_gives_identical_ids(name, tmp_path):
    tokenizer, _ = templated(name)
    tokenizer([TEXT, "bad"], truncation=True, max_length=12, padding="max_length")  # must not be remembered
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    forged = "a [MASK] and <|prompt_0|> <mask> </s>"
    long = " ".join([TEXT] * 20)
    for arguments in ((TEXT,), (TEXT, PAIR), (forged, forged), ("",), (long,), ("Ünïcode 🙂 text",)):
        assert again(*arguments)["input_ids"] == tokenizer(*arguments)["input_ids"]
        assert again(*arguments, truncation=True) == tokenizer(*arguments, truncation=True)
    texts = [TEXT, "bad"]
    assert again(texts, padding=True) == tokenizer(texts, padding=True)
    assert again.model_max_length == LIMIT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]


@pytest.mark.parametrize("name", words.TOKENIZERS)
def test_a_special_token_spelled_in_a_text_is_ordinary_characters(name):
    tokenizer, first = templated(name)
    frame = special_ids(name, tokenizer([""], [""])["input_ids"][0], first)
    for token in {*MADE[name].special_tokens_map.values(), "[MASK]", "<mask>", "<|prompt_0|>", "<|prompt_5|>"}:
        if token != MADE[name].unk_token:  # what is unknown may read as the unknown token
            ids = tokenizer(f"a {token} b", token)["input_ids"]
            assert special_ids(name, ids, first) == frame, token


def special_ids(name: str, ids: list[int], first: int) -> list[int]:
    """Slots and special tokens among `ids`, the unknown token aside."""
    special = {*MADE[name].all_special_ids} - {MADE[name].unk_token_id}
    return [i for i in ids if i in special or i >= first]


@pytest.mark.parametrize("name", words.TOKENIZERS)
@settings(max_examples=40)
@given(text=st.text(max_size=60), pair=st.none() | st.text(max_size=30), most=st.integers(10, 64))
def test_any_text_leaves_every_slot_and_one_mask(name, text, pair, most):
    tokenizer, first = templated(name)
    ids = tokenizer(text, pair, truncation=True, max_length=most)["input_ids"]
    assert len(ids) <= most
    assert [i for i in ids if i >= first] == [first + i for i in range(6)]
    if name in words.WITH_MASK:
        assert ids.count(tokenizer.mask_token_id) == 1


@pytest.mark.parametrize("name", words.TOKENIZERS)
def test_decoding_drops_slots_and_mask(name):
    tokenizer, _ = templated(name)
    assert tokenizer.decode(tokenizer(TEXT)["input_ids"], skip_special_tokens=True).strip() == TEXT
    kept = tokenizer.decode(tokenizer(TEXT, PAIR)["input_ids"])
    assert all(f"<|prompt_{i}|>" in kept for i in range(6))


@pytest.mark.parametrize("name", words.TOKENIZERS)
def test_the_original_tokenizer_stays_as_it_is(name):
    original = words.TOKENIZERS[name]()
    before = original.backend_tokenizer.to_str(), len(original), original.padding_side, original.pad_token
    ids = original(TEXT, PAIR)["input_ids"]
    tokenizer, _ = apply_template(original, Template.parse("3 $A 2 $B"), LIMIT)
    tokenizer(TEXT, truncation=True, max_length=8)
    assert (original.backend_tokenizer.to_str(), len(original), original.padding_side, original.pad_token) == before
    assert original(TEXT, PAIR)["input_ids"] == ids


def test_limits_that_the_original_was_saved_with_are_not_taken_over():
    original = words.wordpiece()
    original.backend_tokenizer.enable_truncation(8)
    original.backend_tokenizer.enable_padding(length=8)
    tokenizer, _ = apply_template(original, Template.parse("1 $A $B"), LIMIT)
    assert tokenizer.backend_tokenizer.truncation is None
    assert tokenizer.backend_tokenizer.padding is None


@pytest.mark.parametrize("name", words.TOKENIZERS)
def test_offsets_point_at_the_words_without_the_space_before(name):
    tokenizer, _ = templated(name)
    offsets = tokenizer(TEXT, return_offsets_mapping=True)["offset_mapping"]
    found = [
        TEXT[start:end].strip() if "llama" in name or "unigram" in name else TEXT[start:end] for start, end in offsets
    ]
    assert [word for word in found if word] == TEXT.split()


def test_a_shorter_limit_of_the_tokenizer_is_kept():
    short = BertTokenizer(vocab=MADE["wordpiece"].get_vocab(), model_max_length=32)
    assert apply_template(short, Template.parse("2 $A $B"), LIMIT)[0].model_max_length == 32


@pytest.mark.parametrize("name", ["byte-bpe-gpt2", "bpe-llama"])
def test_a_mask_needs_a_mask_token(name):
    with pytest.raises(InputError, match=r"has a \[MASK\], but the tokenizer has no mask token"):
        templated(name, "1 $A [MASK] $B")


@pytest.mark.parametrize(("prompts", "fits"), [(60, True), (61, False), (500, False)])
def test_a_template_that_leaves_no_room_for_the_text_is_refused_with_the_limit(prompts, fits):
    template = f"{prompts} $A [MASK] $B"  # with [CLS], [MASK] and [SEP]: three more
    if fits:
        tokenizer, _ = templated("wordpiece", template)
        assert len(tokenizer(TEXT, truncation=True)["input_ids"]) == LIMIT
    else:
        with pytest.raises(InputError, match=rf"takes {prompts + 3} tokens .* 64 positions.* fewer than 61 prompts"):
            templated("wordpiece", template)


def test_a_template_on_top_of_a_template_is_refused():
    tokenizer, _ = templated("wordpiece")
    with pytest.raises(InputError, match="has a prompt template already"):
        apply_template(tokenizer, Template.parse("1 $A $B"), LIMIT)


def test_a_tokenizer_without_a_fast_backend_is_refused():
    class Slow:
        backend_tokenizer = None

    with pytest.raises(InputError, match="Slow is not a fast tokenizer"):
        apply_template(Slow(), Template.parse("$A $B"), LIMIT)
