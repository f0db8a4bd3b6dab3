"""Tokenizers of the target's alphabet, framed by the special tokens of every kind of source tokenizer."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_reprogram import InputError
from hf_reprogram.transforms.target_tokenizers import (
    NUCLEOTIDES,
    RESIDUES,
    UNKNOWN,
    target_vocabulary,
)
from tests.support.alphabets import FRAMES, MADE, SMILES, made, ordinary

# ------------------------------------------------------------------------------------------------------- residues


def test_the_twenty_residues_are_the_first_twenty_ids_and_the_unknown_one_follows():
    tokenizer, special_ids = made("residues")
    assert len(RESIDUES) == len(set(RESIDUES)) == 20
    assert tokenizer("".join(RESIDUES), add_special_tokens=False)["input_ids"] == list(range(20))
    assert tokenizer.unk_token_id == 20
    assert min(special_ids) == 21


@pytest.mark.parametrize("letter", [*"XBZJ", "*", "-", "1", "[", "é"])
def test_an_ambiguous_residue_is_one_unknown_token(letter):
    assert ordinary(made("residues")[0], f"M{letter}K") == ["M", UNKNOWN, "K"]


@pytest.mark.parametrize(("rare", "common"), [("U", "C"), ("O", "K"), ("u", "C"), ("o", "K")])
def test_a_rare_residue_is_read_as_the_one_it_stands_in_for(rare, common):
    assert ordinary(made("residues")[0], f"M{rare}V") == ["M", common, "V"]


@pytest.mark.parametrize("text", ["mkvL", " MKVL ", "M K V L", "M\tK\nVL", "\nmk\r\nvl\n"])
def test_case_and_white_space_do_not_matter_in_a_protein(text):
    assert ordinary(made("residues")[0], text) == ["M", "K", "V", "L"]


# --------------------------------------------------------------------------------------------------------- k-mers


@pytest.mark.parametrize("k", [1, 2, 3])
def test_kmers_do_not_overlap_and_the_remainder_is_a_shorter_one(k):
    text = "ACGTTGCA"
    expected = [text[i : i + k] for i in range(0, len(text), k)]
    assert ordinary(made("kmers", k=k)[0], text) == expected


def test_there_is_a_token_for_every_kmer_and_every_remainder():
    tokens = target_vocabulary("kmers", k=3)
    assert tokens[:64] == ["".join(word) for word in product(NUCLEOTIDES, repeat=3)]
    assert len(tokens) == len(set(tokens)) == 64 + 16 + 4


def test_a_kmer_with_an_unknown_nucleotide_is_one_unknown_token():
    assert ordinary(made("kmers")[0], "ACGANTTTN") == ["ACG", UNKNOWN, UNKNOWN]


@pytest.mark.parametrize("text", ["ACGUUU", "acguuu", "acg ttt", "ACGTTT"])
def test_rna_and_lower_case_are_read_as_dna(text):
    assert ordinary(made("kmers")[0], text) == ["ACG", "TTT"]


def test_an_alphabet_with_u_of_its_own_keeps_it():
    assert ordinary(made("kmers", k=2, alphabet="ACGU")[0], "ACGU") == ["AC", "GU"]
    assert ordinary(made("kmers", k=2, alphabet="ACGU")[0], "ACGT") == ["AC", UNKNOWN]


def test_an_alphabet_in_lower_case_keeps_its_case():
    assert ordinary(made("kmers", k=2, alphabet="ab")[0], "abBA") == ["ab", UNKNOWN]


# --------------------------------------------------------------------------------------------------------- SMILES


@pytest.mark.parametrize("smiles", SMILES.values(), ids=SMILES)
def test_smiles_are_split_into_atoms_bonds_and_rings_and_nothing_is_lost(smiles):
    tokenizer, _ = made("smiles", texts=list(SMILES.values()))
    found = ordinary(tokenizer, smiles)
    assert "".join(found) == smiles
    assert found == re.findall(r"\[.+?]|%\d\d|[CB][lr]|.", smiles)
    assert UNKNOWN not in found


def test_smiles_by_hand():
    tokenizer, _ = made("smiles", texts=list(SMILES.values()))
    assert ordinary(tokenizer, "C[C@H](N)CBrCl%12") == ["C", "[C@H]", "(", "N", ")", "C", "Br", "Cl", "%12"]


def test_a_reaction_and_a_long_ring_number_are_whole_tokens():
    text = "CO>>C%(123)O"
    assert ordinary(made("smiles", texts=[text])[0], text) == ["C", "O", ">>", "C", "%(123)", "O"]


@given(st.text(alphabet="CBNOcnlr[]()=#%0123456789@H+-/\\>. \n", max_size=30))
def test_no_character_of_any_string_is_lost(text):
    """Whatever is written, molecule or not, the tokens of the training texts join to them again."""
    tokenizer, _ = made("smiles", texts=[text, "CN"])
    assert "".join(ordinary(tokenizer, text)) == text.strip()


def test_an_atom_that_training_lacked_is_unknown():
    assert ordinary(made("smiles", texts=["CCO"])[0], "C[Pt]O") == ["C", UNKNOWN, "O"]


# ----------------------------------------------------------------------------------------------------- characters


def test_characters_are_those_of_the_texts_the_most_frequent_first():
    assert target_vocabulary("characters", ["abb", "bca "]) == ["b", "a", "c"]
    tokenizer, _ = made("characters", texts=["abb", "bca "])
    assert tokenizer("abcx", add_special_tokens=False)["input_ids"] == [1, 0, 2, 3]


def test_characters_keep_their_case_their_spaces_and_line_ends():
    text = "aA b\n\nB"
    assert ordinary(made("characters", texts=[text])[0], f" {text} ") == list(text)


@pytest.mark.parametrize("alphabet", ["AB", ["A", "B"], "ABBA"])
def test_an_alphabet_comes_before_the_texts_and_a_letter_counts_once(alphabet):
    tokenizer, special_ids = made("characters", texts=["CCC"], alphabet=alphabet)
    assert tokenizer("ABC", add_special_tokens=False)["input_ids"] == [0, 1, 2]
    assert tokenizer.unk_token_id == 2
    assert min(special_ids) == 3


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20))
def test_every_text_is_as_many_tokens_as_characters(text):
    tokenizer, _ = made("characters", alphabet="abc")
    assert len(ordinary(tokenizer, text)) == len(text.strip())


# --------------------------------------------------------------------------------------------------------- frames


@pytest.mark.parametrize("source", MADE)
def test_special_tokens_stand_where_the_sources_do_and_map_to_its_ids(source):
    theirs = MADE[source]
    before, after = FRAMES[source]
    tokenizer, special_ids = made("characters", source, alphabet="ABC")
    ids = tokenizer("CAB")["input_ids"]
    inner = ids[len(before) : len(ids) - len(after)]
    assert inner == [2, 0, 1]
    assert [special_ids[i] for i in ids if i not in inner] == theirs.convert_tokens_to_ids([*before, *after])
    assert special_ids[tokenizer.pad_token_id] == (0 if theirs.pad_token is None else theirs.pad_token_id)
    if theirs.mask_token is None:
        assert tokenizer.mask_token is None
    else:
        assert special_ids[tokenizer.mask_token_id] == theirs.mask_token_id


@pytest.mark.parametrize("source", [*MADE, None])
def test_special_ids_follow_the_vocabulary_without_a_gap(source):
    tokenizer, special_ids = made("characters", source, alphabet="ABC")
    assert tokenizer.unk_token_id == 3
    assert sorted(special_ids) == list(range(4, len(tokenizer)))


def test_a_source_without_a_tokenizer_frames_nothing_and_can_pad():
    tokenizer, special_ids = made("characters", None, alphabet="ABC")
    assert tokenizer(["AB", "C"], padding=True)["input_ids"] == [[0, 1], [2, tokenizer.pad_token_id]]
    assert special_ids == {tokenizer.pad_token_id: 0}


@pytest.mark.parametrize("source", MADE)
def test_a_pair_stands_within_one_frame(source):
    before, after = FRAMES[source]
    tokenizer, _ = made("characters", source, alphabet="ABC")
    single, pair = tokenizer("AB")["input_ids"], tokenizer("AB", "CA")["input_ids"]
    assert [i for i in pair if i < 3] == [0, 1, 2, 0]
    assert len(pair) == 4 + len(before) + len(after)
    assert pair[: len(before)] == single[: len(before)]
    assert pair[len(pair) - len(after) :] == single[len(single) - len(after) :]


@pytest.mark.parametrize("source", MADE)
def test_truncation_counts_the_frame_and_keeps_it(source):
    before, after = FRAMES[source]
    tokenizer, _ = made("characters", source, limit=10, alphabet="ABC")
    assert tokenizer.model_max_length == 10
    ids = tokenizer("ABC" * 9, truncation=True)["input_ids"]
    inner = [i for i in ids if i < 3]
    assert len(ids) == 10
    assert inner == ([0, 1, 2] * 4)[: 10 - len(before) - len(after)]
    assert ids[10 - len(after) :] == tokenizer("A")["input_ids"][1 + len(before) :]


@pytest.mark.parametrize("source", MADE)
def test_padding_is_on_the_right_and_masked(source):
    tokenizer, _ = made("residues", source)
    batch = tokenizer(["MKVL", "M"], padding=True)
    assert set(batch) == {"input_ids", "attention_mask"}
    long, short = batch["input_ids"]
    assert len(long) == len(short)
    assert batch["attention_mask"] == [[1] * len(long), [1] * (len(long) - 3) + [0] * 3]
    assert short[-3:] == [tokenizer.pad_token_id] * 3
    assert short[:-3] == tokenizer("M")["input_ids"]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("residues", " mk V", ["m", "k", "V"]),
        ("kmers", "acg ttU a", ["acg", "ttU", "a"]),
        ("kmers", "A CGT", ["A CG", "T"]),
        ("smiles", "C[C@H]Br", ["C", "[C@H]", "Br"]),
        ("characters", " ab a", ["a", "b", " ", "a"]),
    ],
)
def test_offsets_point_into_the_text_as_it_was_given(kind, text, expected):
    tokenizer, _ = made(kind, texts=[text])
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    assert [text[start:end] for start, end in offsets] == ["", *expected, ""]


def test_ids_decode_to_the_text_without_the_frame():
    tokenizer, _ = made("smiles", texts=list(SMILES.values()))
    for smiles in SMILES.values():
        assert tokenizer.decode(tokenizer(smiles)["input_ids"], skip_special_tokens=True) == smiles


# ---------------------------------------------------------------------------------------------------------- words


def test_words_are_lower_cased_split_from_punctuation_and_as_many_as_asked_for():
    texts = ["The film, the FILM!", "a film: don't", " the\nplot "]
    tokenizer, _ = made("words", texts=texts)
    assert ordinary(tokenizer, "THE film,don't\tgo!") == ["the", "film", ",", "don", "'", "t", UNKNOWN, "!"]
    assert target_vocabulary("words", texts)[:2] == ["film", "the"]
    few, special_ids = made("words", texts=texts, most=2)
    assert few("a the Film")["input_ids"][1:-1] == [2, 1, 0]
    assert few.convert_ids_to_tokens([0, 1, 2]) == ["film", "the", UNKNOWN]
    assert sorted(special_ids) == list(range(3, len(few)))


def test_words_stand_apart_when_they_are_decoded():
    tokenizer, _ = made("words", texts=["the plot was dull"])
    assert (
        tokenizer.decode(tokenizer("the plot was dull")["input_ids"], skip_special_tokens=True) == "the plot was dull"
    )


def test_the_most_frequent_characters_can_be_kept_too():
    assert target_vocabulary("characters", ["aabbbc"], most=2) == ["b", "a"]


# --------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        ("residue", {}, "Unknown target tokenizer 'residue': did you mean 'residues'"),
        ("characters", {}, "'characters' takes its tokens from texts: give the training texts"),
        ("smiles", {"texts": []}, "'smiles' takes its tokens from texts"),
        ("characters", {"texts": ["aaa", "a"]}, "vocabulary has 1 token: give texts or an alphabet with at least 2"),
        ("characters", {"texts": ["", " "]}, "vocabulary has 0 token"),
        ("characters", {"alphabet": ["A", "Cl"]}, "The alphabet holds 'Cl': a letter is one character"),
        ("kmers", {"alphabet": [0, 1]}, "The alphabet holds 0: a letter is one character, in quotes"),
        ("kmers", {"k": 0}, "k is 0: k-mers have at least 1 letter"),
        ("kmers", {"k": 9}, "9-mers of 4 letters are 349,524 tokens: use a smaller k"),
        ("smiles", {"texts": [UNKNOWN, "CC"]}, "holds '[UNK]', the name of the unknown token"),
    ],
)
def test_what_cannot_be_a_vocabulary_is_refused(kind, options, sentence):
    with pytest.raises(InputError) as refused:
        made(kind, **options)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
