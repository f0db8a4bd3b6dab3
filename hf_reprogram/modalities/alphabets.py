"""Texts that are no words: DNA, proteins and molecules, recognised by their letters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Alphabet:
    """A kind of texts with letters of its own.

    Attributes:
        name: what such texts are called in a sentence.
        letters: what a whole text consists of.
        tokenizer: options of a method that takes a target tokenizer.
        marks: what more than half of the texts contain; None if texts are longer than words instead.
    """

    name: str
    letters: re.Pattern[str]
    tokenizer: Mapping[str, Any]
    marks: re.Pattern[str] | None = None

    def holds(self, values: Sequence[str]) -> bool:
        """Whether all of these texts consist of the letters, and are not plain words that happen to do so."""
        if not values or not all(self.letters.fullmatch(value) for value in values):
            return False
        if self.marks is not None:
            return sum(bool(self.marks.search(value)) for value in values) > len(values) / 2
        return sum(map(len, values)) > 8 * len(values)


ALPHABETS = (  # the first that holds all texts is taken
    Alphabet("DNA", re.compile(r"[ACGTN]+", re.I), {"tokenizer": "kmers", "k": 3}),
    Alphabet("protein or peptide", re.compile(r"[ACDEFGHIKLMNPQRSTVWYXBZUO]+"), {"tokenizer": "residues"}),
    Alphabet(
        "SMILES",
        re.compile(r"[A-Za-z0-9@+\-\[\]()=#$/\\%.:*]+"),
        {"tokenizer": "smiles"},
        marks=re.compile(r"[=#()\[\]\d]"),  # bonds, branches and rings
    ),
)


def alphabet_of(values: Sequence[str]) -> Alphabet | None:
    """The alphabet of these texts; None where they are words.

    >>> alphabet_of(["CC(=O)O", "c1ccccc1"]).name
    'SMILES'
    >>> alphabet_of(["a fine film"]) is None
    True
    """
    texts = [value.strip() for value in values]
    return next((alphabet for alphabet in ALPHABETS if alphabet.holds(texts)), None)
