"""From texts and labels to token ids and aligned labels, and from those to batches."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from hf_reprogram import InputError
from hf_reprogram.modalities.text import tokenize
from hf_reprogram.tasks.problems import IGNORE
from hf_reprogram.training.encode import collator, labels_of
from hf_reprogram.transforms.target_tokenizers import target_tokenizer
from tests.support import tiny, words

PROTEINS = ["MKVL", "AX", "C"]


def tokenizer(kind="characters", limit=tiny.MAX_TOKENS, source=words.wordpiece, **options):
    """A tokenizer of a target's letters within [CLS] and [SEP]."""
    if kind == "characters":
        options.setdefault("alphabet", "ACDKLMV")
    return target_tokenizer(source() if source else None, kind, limit, **options)[0]


def split(texts, labels, **more):
    return Dataset.from_dict({"text": list(texts), "label": list(labels), **more})


def encoded(processor, texts, labels, problem="token_classification", max_length=None):
    return tokenize({"train": split(texts, labels)}, processor, max_length, problem)["train"]


# ------------------------------------------------------------------------------------------------ a label a sequence


def test_texts_are_cut_to_the_sources_limit_or_to_a_shorter_one(source_folder):
    _, processor = tiny.make_adapter(source_folder("bert"))
    splits = {"train": split(["film " * 200, "film"], [0, 1])}
    for asked, longest in ((None, tiny.MAX_TOKENS), (20, 20), (500, tiny.MAX_TOKENS)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = tokenize(splits, processor, asked)["train"]
        assert [len(row) for row in data["input_ids"]] == [longest, 7]
        assert data["label"] == splits["train"]["label"]
        assert data.column_names == ["label", "input_ids", "attention_mask"]


def test_a_length_that_the_template_alone_exceeds_is_refused(source_folder):
    _, processor = tiny.make_adapter(source_folder("bert"))  # 3 slots, [CLS], [MASK], [SEP]
    splits = {"train": split(["the film was good"], [0])}
    with pytest.raises(InputError, match="max_length is 6, but the template alone takes 6 tokens"):
        tokenize(splits, processor, 6)
    assert len(tokenize(splits, processor, 7)["train"]["input_ids"][0]) == 7


def test_pairs_are_read_together():
    data = tokenize({"train": split(["AC", "D"], [0, 1], text_pair=["DA", "KL"])}, tokenizer(), None)["train"]
    expected = tokenizer()(["AC", "D"], ["DA", "KL"])["input_ids"]
    assert data["input_ids"][:] == expected
    assert data.column_names == ["label", "input_ids", "attention_mask"]


def test_every_split_is_encoded_and_labels_of_any_kind_are_kept():
    several = [[0.0, 1.0], [float("nan"), 0.0]]
    splits = {"train": split(["A", "C"], several), "test": split(["D"], [[1.0, 1.0]])}
    data = tokenize(splits, tokenizer(), None, "multi_label_classification")
    assert [len(part) for part in data.values()] == [2, 1]
    np.testing.assert_array_equal(labels_of(data["train"]), several)


# ------------------------------------------------------------------------------------------------- what was cut off


def cut(lengths: dict[str, list[int]], max_length=None, limit=10):
    """The warnings of encoding texts of so many letters, with eight letters in ten tokens."""
    splits = {name: split(["A" * n for n in row], [0] * len(row)) for name, row in lengths.items()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = tokenize(splits, tokenizer(limit=limit), max_length)
    assert all(len(ids) <= limit for part in data.values() for ids in part["input_ids"])
    return [str(warning.message) for warning in caught if "were cut" in str(warning.message)]


def test_what_the_source_cannot_take_is_told_by_its_share_of_every_split():
    (sentence,) = cut({"train": [8, 9, 8, 30], "validation": [8, 1], "test": [9, 8, 8]})
    assert sentence == (
        "Sequences longer than the 10 tokens that the source and its tokenizer take were cut: 50.0% of train, "
        "33.3% of test."
    )


def test_nothing_is_told_where_nothing_was_cut():
    assert cut({"train": [8, 1], "test": [0]}) == []


@pytest.mark.parametrize(("max_length", "told"), [(5, 0), (10, 1), (99, 1)])
def test_a_shorter_length_that_was_asked_for_needs_no_telling(max_length, told):
    assert len(cut({"train": [20, 3]}, max_length)) == told


def test_the_share_is_right_over_many_batches():
    """A split is encoded a thousand examples at a time."""
    (sentence,) = cut({"train": [9, 8, 8, 8] * 600})
    assert "25.0% of train" in sentence


# --------------------------------------------------------------------------------------------------- a label a letter


def test_a_token_takes_the_label_of_its_letter_and_the_frame_none():
    data = encoded(tokenizer(), PROTEINS, [[0, 1, 2, 1], [2, IGNORE], [0]])
    assert data.column_names == ["input_ids", "attention_mask", "labels"]
    assert data["labels"][:] == [
        [IGNORE, 0, 1, 2, 1, IGNORE],
        [IGNORE, 2, IGNORE, IGNORE],
        [IGNORE, 0, IGNORE],
    ]
    assert data["input_ids"][:] == tokenizer()(PROTEINS)["input_ids"]


def test_without_a_frame_there_is_a_label_a_letter():
    assert encoded(tokenizer(source=words.gpt2_bpe), ["ACD"], [[0, 1, 2]])["labels"][:] == [[0, 1, 2]]


def test_an_unknown_letter_keeps_its_label():
    assert encoded(tokenizer(), ["AZC"], [[0, 1, 2]])["labels"][:] == [[IGNORE, 0, 1, 2, IGNORE]]


@given(st.lists(st.sampled_from("ACDKLMVZ"), min_size=1, max_size=90).map("".join))
def test_labels_follow_their_letters_up_to_the_cut(text):
    processor = tokenizer(limit=30)
    labels = list(range(len(text)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = encoded(processor, [text], [labels])["labels"][0]
    assert found == [IGNORE, *labels[:28], IGNORE]


def test_white_space_that_is_no_token_takes_its_label_with_it():
    data = encoded(tokenizer("residues"), [" MK V"], [[9, 0, 1, 9, 2]])
    assert data["labels"][:] == [[IGNORE, 0, 1, 2, IGNORE]]


def test_a_token_of_several_letters_takes_the_label_of_the_first():
    assert encoded(tokenizer("kmers"), ["ACGTA"], [[0, 1, 2, 3, 4]])["labels"][:] == [[IGNORE, 0, 3, IGNORE]]


@pytest.mark.parametrize("problem", ["token_classification", "infilling"])
def test_a_tokenizer_that_does_not_say_where_its_tokens_stand_is_refused(problem):
    processor = tokenizer()

    class Slow(type(processor)):
        is_fast = False

    processor.__class__ = Slow
    with pytest.raises(InputError, match="Slow does not say which letters a token spans: use a fast tokenizer"):
        encoded(processor, ["AC"], [[0, 1]], problem)


# ---------------------------------------------------------------------------------------------------------- infilling


def test_the_marked_tokens_are_hidden_and_are_the_labels():
    processor = tokenizer()
    data = encoded(processor, ["MKVL", "AC"], [[0, 1, 1, 0], [0, 0]], "infilling")
    cls, m, k, v, ell, sep = processor("MKVL")["input_ids"]
    mask = processor.mask_token_id
    assert data["input_ids"][:] == [[cls, m, mask, mask, ell, sep], processor("AC")["input_ids"]]
    assert data["labels"][:] == [[IGNORE, IGNORE, k, v, IGNORE, IGNORE], [IGNORE] * 4]
    assert data["attention_mask"][:] == [[1] * 6, [1] * 4]


@given(st.lists(st.tuples(st.sampled_from("ACDKLMVZ"), st.integers(0, 1)), min_size=1, max_size=30))
def test_exactly_the_marked_letters_are_hidden_and_the_known_ones_labelled(pairs):
    processor = tokenizer()
    text, marks = "".join(letter for letter, _ in pairs), [mark for _, mark in pairs]
    data = encoded(processor, [text], [marks], "infilling")
    _, *ids, _ = processor(text)["input_ids"]
    _, *shown, _ = data["input_ids"][0]
    _, *labels, _ = data["labels"][0]
    assert shown == [processor.mask_token_id if mark else i for i, mark in zip(ids, marks, strict=True)]
    expected = [i if mark and i != processor.unk_token_id else IGNORE for i, mark in zip(ids, marks, strict=True)]
    assert labels == expected


def test_a_token_is_hidden_if_any_of_its_letters_is_marked():
    processor = tokenizer("kmers")
    data = encoded(processor, ["ACGTTTAA"], [[0, 0, 1, 0, 0, 0, 0, 0]], "infilling")
    _, first, *_ = processor("ACGTTTAA")["input_ids"]
    assert data["labels"][:] == [[IGNORE, first, IGNORE, IGNORE, IGNORE]]
    assert data["input_ids"][0].count(processor.mask_token_id) == 1


# -------------------------------------------------------------------------------------------------- labels and batches


def test_labels_a_token_are_filled_up_to_the_longest_row():
    data = encoded(tokenizer(), PROTEINS, [[0, 1, 2, 1], [2, 0], [0]])
    found = labels_of(data)
    assert found.shape == (3, 6)
    assert found[1].tolist() == [IGNORE, 2, 0, IGNORE, IGNORE, IGNORE]
    assert found[2].tolist() == [IGNORE, 0, IGNORE, IGNORE, IGNORE, IGNORE]


@pytest.mark.parametrize(("labels", "shape"), [([1, 0, 2], (3,)), ([0.5, 1.0, -2.0], (3,)), ([[0.0, 1.0]] * 3, (3, 2))])
def test_labels_a_sequence_are_an_array(labels, shape):
    data = encoded(tokenizer(), PROTEINS, labels, "regression")
    assert labels_of(data).shape == shape
    assert labels_of(data).tolist() == labels


def test_batches_of_labels_a_token_are_padded_together():
    processor = tokenizer()
    data = encoded(processor, PROTEINS, [[0, 1, 2, 1], [2, 0], [0]])
    batch = collator(processor, per_token=True)([data[i] for i in range(3)])
    assert batch["input_ids"].shape == batch["attention_mask"].shape == batch["labels"].shape == (3, 6)
    assert batch["labels"].tolist() == labels_of(data).tolist()
    assert batch["labels"].dtype == torch.int64
    assert batch["input_ids"][2, 3:].tolist() == [processor.pad_token_id] * 3
    assert not ((batch["attention_mask"] == 0) & (batch["labels"] != IGNORE)).any()


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [([1, 0, 2], torch.int64), ([0.5, 1.0, -2.0], torch.float32), ([[0.0, 1.0]] * 3, torch.float32)],
)
def test_batches_of_labels_a_sequence_pad_the_inputs_alone(labels, dtype):
    processor = tokenizer()
    data = encoded(processor, PROTEINS, labels, "regression")
    batch = collator(processor, per_token=False)([data[i] for i in range(3)])
    assert batch["input_ids"].shape == (3, 6)
    assert batch["labels"].dtype == dtype
    assert batch["labels"].tolist() == labels


def test_a_missing_one_of_several_labels_reaches_the_batch_as_nan():
    processor = tokenizer()
    data = encoded(processor, ["A", "C"], [[0.0, float("nan")], [1.0, 0.0]], "multi_label_classification")
    batch = collator(processor, per_token=False)([data[0], data[1]])
    np.testing.assert_array_equal(batch["labels"], [[0, np.nan], [1, 0]])
