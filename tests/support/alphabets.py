"""Tokenizers of other alphabets to test, the frames of every kind of source, and molecules."""

from __future__ import annotations

from hf_reprogram.transforms.target_tokenizers import (
    target_tokenizer,
)
from tests.support import words

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
