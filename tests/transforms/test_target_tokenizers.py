"""Tokenizers of the target's alphabet, framed by the special tokens of every kind of source tokenizer."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hf_reprogram import InputError
from hf_reprogram.transforms.target_tokenizers import (
    NUCLEOTIDES,
    RESIDUES,
    UNKNOWN,
    framed_tokenizer,
    target_tokenizer,
    target_vocabulary,
)
from tests import words

LIMIT = 64
MADE = {name: make() for name, make in words.TOKENIZERS.items()}
FRAMES = {  # what each kind of source puts before and after a text
    "wordpiece": (["[CLS]"], ["[SEP]"]),
    "byte-bpe-roberta": (["<s>"], ["</s>"]),
    "byte-bpe-modernbert": (["[CLS]"], ["[SEP]"]),
    "unigram-albert": (["[CLS]"], ["[SEP]"]),
    "unigram-deberta": (["[CLS]"], ["[SEP]"]),
    "byte-bpe-gpt2": ([], []),
    "bpe-llama": (["<s>"], []),
}
SMILES = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "alanine": "C[C@H](N)C(=O)O",
    "chloramphenicol": "O=C(NC(CO)C(O)c1ccc([N+](=O)[O-])cc1)C(Cl)Cl",
    "bromobenzene": "Brc1ccccc1",
    "sodium acetate": "CC(=O)[O-].[Na+]",
    "maleic acid": r"OC(=O)/C=C\C(=O)O",
    "cubane": "C12C3C4C1C5C2C3C45",
    "a large ring": "C%12CCCCCCCCCCC%12",
    "tetrazole": "c1nnn[nH]1",
    "silane and selenium": "C[Si](C)(C)c1cc[se]c1",
    "isotope and iodine": "[13CH3]C#CI",
}


def made(kind, source="wordpiece", limit=LIMIT, **options):
    return target_tokenizer(MADE[source] if source else None, kind, limit, **options)


def ordinary(tokenizer, text) -> list[str]:
    """The tokens of a text without its frame."""
    return tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"])


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


# --------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        ("residue", {}, "Unknown target tokenizer 'residue': did you mean 'residues'"),
        ("characters", {}, "'characters' takes its tokens from texts: give the training texts"),
        ("smiles", {"texts": []}, "'smiles' takes its tokens from texts"),
        ("characters", {"texts": ["aaa", "a"]}, "vocabulary has 1 token: there is nothing to tell apart"),
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
