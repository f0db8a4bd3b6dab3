"""A linear model on counts: of the text's words or k-mers, of a molecule's substructures, or on which letter stands where.

What a sequence of letters gives away to a linear model, without any pretrained model.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, unknown
from ..options import check_whole, check_whole_list
from ..tasks.labels import problem_of
from ..tasks.problems import IGNORE
from .base import Baseline, Outcome, Run, Setting
from .linear import best_linear
from .linear_probe import MOST_TOKENS

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


TITLES = {
    "words": "TF-IDF regression",
    "kmers": "k-mer regression",
    "positions": "position-wise regression",
    "morgan": "Morgan fingerprint regression",
}


@dataclass
class CountsOptions:
    """Options of `counts`.

    Attributes:
        features: "words": how often each word and each pair of words that train has occurs, weighed by how few texts have
            it (TF-IDF); "kmers": how often each string of k letters that train has occurs; "positions": which letter is the
            first, which the second, and so on, for texts that are aligned, such as DNA around a site; "morgan": how
            often each circular substructure of a molecule occurs, hashed (Rogers and Hahn 2010; needs rdkit).
        k: lengths of k-mers to choose from on validation, on the first seed.
        radius: of Morgan's substructures, in bonds.
        bits: numbers of a fingerprint.
        window: with one label a token, so many letters on each side are read.
        strengths: inverse L2 strengths to choose from on validation, on the first seed.
    """

    features: str = "kmers"
    k: list[int] = field(default_factory=lambda: [1, 2, 3])
    radius: int = 2
    bits: int = 2048
    window: int = 8
    strengths: list[float] = field(default_factory=lambda: [0.01, 0.1, 1.0, 10.0, 100.0])

    def __post_init__(self):
        if self.features not in TITLES:
            raise unknown("features", self.features, TITLES)
        check_whole_list(k=self.k)
        check_whole(0, radius=self.radius, window=self.window)
        check_whole(bits=self.bits)
        known = isinstance(self.strengths, list) and all(isinstance(value, int | float) for value in self.strengths)
        if not known or not self.strengths or any(not strength > 0 for strength in self.strengths):
            raise InputError(f"strengths is {self.strengths!r}: give a list of numbers above 0.")


class Counts(Baseline):
    """Logistic (or ridge) regression on counts, or on the letters around each letter where each has a label."""

    title = TITLES["kmers"]
    Options = CountsOptions
    letters = True

    def __init__(self, options: CountsOptions):
        super().__init__(options)
        self.title = TITLES[options.features]  # type: ignore[misc]

    def check(self, recipe: Run) -> None:
        """See `Baseline.check`."""
        super().check(recipe)
        if self.options.features == "morgan" and find_spec("rdkit") is None:
            raise InputError("counts with features: morgan needs rdkit: pip install 'hf_reprogram[molecules]'.")
        self._check_problem(problem_of(recipe.task_options))

    def _check_problem(self, problem: str) -> None:
        if problem == "infilling":
            raise InputError("counts cannot guess hidden letters: use linear_probe or majority for infilling.")
        if problem == "token_classification" and self.options.features != "kmers":
            raise InputError(
                f"features: {self.options.features} describes a whole text: leave it out where each letter has a label, "
                "and the letters around it are read."
            )

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        started = time.perf_counter()
        task, splits = setting.task, setting.splits
        self._check_problem(task.problem_type)
        strengths = [setting.chosen["strength"]] if setting.chosen else self.options.strengths
        if task.problem_type == "token_classification":
            chosen, model, logits, found = self._per_letter(setting, strengths)
        else:
            which = [setting.chosen["features"]] if setting.chosen else self._names()
            features = self._features(splits, which)
            labels = {split: np.asarray(splits[split]["label"]) for split in splits}
            chosen, model = best_linear(task, features, labels, strengths, len(task.labels) or 1)
            logits = {split: model.logits(features[split][chosen["features"]]) for split in ("validation", "test")}
            found = None
        seconds = time.perf_counter() - started
        return Outcome(logits["validation"], logits["test"], model.trainable, seconds, chosen, found)

    def _names(self) -> list[Any]:
        """What validation chooses among: k, or the one kind of features."""
        return list(self.options.k) if self.options.features == "kmers" else [self.options.features]

    def _features(self, splits: Any, which: Sequence[Any]) -> dict[str, dict[Any, csr_matrix]]:
        """Counts by split and by what is counted; those of a pair's two texts stand side by side."""
        from scipy.sparse import hstack

        columns = [name for name in ("text", "text_pair") if name in splits["train"].column_names]
        features: dict[str, dict[Any, csr_matrix]] = {split: {} for split in splits}
        for name in which:
            parts: dict[str, list[csr_matrix]] = {split: [] for split in splits}
            for column in columns:
                texts = {split: list(splits[split][column]) for split in splits}
                for split, counts in self._count(texts, name).items():
                    parts[split].append(counts)
            for split in splits:
                features[split][name] = hstack(parts[split], format="csr")
        return features

    def _count(self, texts: dict[str, list[str]], name: Any) -> dict[str, csr_matrix]:
        if name == "morgan":
            return {
                split: morgan_counts(found, self.options.radius, self.options.bits) for split, found in texts.items()
            }
        if name == "words":
            return word_weights(texts)
        return position_letters(texts) if name == "positions" else kmer_counts(texts, name)

    def _per_letter(self, setting: Setting, strengths: Sequence[float]) -> Any:
        """A class for every letter, from the letters around it; at most `MOST_TOKENS` scored letters are fitted."""
        task, splits, window = setting.task, setting.splits, self.options.window
        cut = task.options.max_length
        texts = {split: [text[:cut] for text in splits[split]["text"]] for split in splits}
        labels = {split: [row[:cut] for row in splits[split]["label"]] for split in splits}
        alphabet = sorted({letter for text in texts["train"] for letter in text})
        flat = {split: np.concatenate([np.asarray(row, int) for row in labels[split]]) for split in labels}
        fitted = np.flatnonzero(flat["train"] != IGNORE)
        fitted = np.sort(np.random.default_rng(0).permutation(fitted)[:MOST_TOKENS])
        flat["train"] = flat["train"][fitted]
        rows = {"train": fitted, "validation": None, "test": None}
        windows = {split: {"window": letter_windows(texts[split], alphabet, window, rows[split])} for split in texts}
        chosen, model = best_linear(task, windows, flat, strengths, len(task.labels))
        logits, found = {}, {}
        for split in ("validation", "test"):
            there = np.arange(max(map(len, labels[split]))) < np.array([[len(row)] for row in labels[split]])
            found[split] = np.full(there.shape, IGNORE)
            found[split][there] = flat[split]
            logits[split] = np.zeros((*there.shape, len(task.labels)))
            logits[split][there] = model.logits(windows[split]["window"])
        return chosen, model, logits, found


def kmer_counts(texts: dict[str, list[str]], k: int) -> dict[str, csr_matrix]:
    """How often each k-mer of train occurs in each text.

    Args:
        texts: by split, "train" among them, whose k-mers are the columns in alphabetical order.
        k: letters.

    Returns:
        (n, k-mers) counts by split.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    if max(map(len, texts["train"])) < k:
        raise InputError(f"counts looks for strings of {k} letters, and every training text is shorter: use a lower k.")
    vectorizer = CountVectorizer(analyzer="char", lowercase=False, ngram_range=(k, k)).fit(texts["train"])
    return {split: vectorizer.transform(found).astype(np.float64) for split, found in texts.items()}


def word_weights(texts: dict[str, list[str]]) -> dict[str, csr_matrix]:
    """TF-IDF of the words and pairs of words of train, by split; lower case, logarithmic counts, rows of length one."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(texts["train"])
    except ValueError as error:
        raise InputError("counts with features: words finds no word in the training texts: use kmers.") from error
    return {split: vectorizer.transform(found) for split, found in texts.items()}


def position_letters(texts: dict[str, list[str]]) -> dict[str, csr_matrix]:
    """One-hot letters at every position.

    Args:
        texts: by split, "train" among them, whose letters and longest text say what has a column; what else there is in
            the others is ignored.

    Returns:
        (n, longest text x letters) zeros and ones by split.
    """
    from scipy.sparse import csr_matrix

    place = {letter: index for index, letter in enumerate(sorted({c for text in texts["train"] for c in text}))}
    longest = max(map(len, texts["train"]))
    found = {}
    for split, rows in texts.items():
        ids = [[i * len(place) + place[c] for i, c in enumerate(text[:longest]) if c in place] for text in rows]
        ends = np.cumsum([0, *map(len, ids)])
        columns = np.array([column for row in ids for column in row], int)
        found[split] = csr_matrix((np.ones(len(columns)), columns, ends), shape=(len(rows), longest * len(place)))
    return found


def morgan_counts(smiles: Sequence[str], radius: int = 2, bits: int = 2048) -> csr_matrix:
    """(n, bits) Morgan fingerprint counts; a string that is no molecule has a row of zeros."""
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdFingerprintGenerator
    from scipy.sparse import lil_matrix

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=bits)
    counts = lil_matrix((len(smiles), bits))
    with rdBase.BlockLogs():
        for row, text in enumerate(smiles):
            molecule = Chem.MolFromSmiles(text)
            if molecule is not None:
                for bit, count in generator.GetCountFingerprint(molecule).GetNonzeroElements().items():
                    counts[row, bit] = count
    return counts.tocsr()


def letter_windows(
    texts: Sequence[str], alphabet: Sequence[str], window: int, rows: np.ndarray | None = None
) -> csr_matrix:
    """One-hot letters at every place from `-window` to `window` around each letter of each text.

    Args:
        texts: of letters; those outside the alphabet, and what lies beyond a text's ends, are zeros.
        alphabet: letters that have a column.
        window: letters on each side.
        rows: which letters are wanted, counted through all texts; None for all.

    Returns:
        (letters, (2 window + 1) len(alphabet)), the texts one after another.
    """
    from scipy.sparse import csr_matrix

    place = {letter: index for index, letter in enumerate(alphabet)}
    gap = [-1] * window  # keeps a window from reaching into the next text
    ids = np.array([*gap, *(i for text in texts for i in [*(place.get(letter, -1) for letter in text), *gap])])
    starts = np.cumsum([window, *(len(text) + window for text in texts)])[:-1]
    lengths = [len(text) for text in texts]
    centres = np.arange(sum(lengths)) + np.repeat(starts - np.cumsum([0, *lengths])[:-1], lengths)
    centres = centres if rows is None else centres[rows]
    letters = ids[centres[:, None] + np.arange(-window, window + 1)]
    row, offset = np.nonzero(letters >= 0)
    column = offset * len(alphabet) + letters[row, offset]
    return csr_matrix((np.ones(len(row)), (row, column)), shape=(len(centres), (2 * window + 1) * len(alphabet)))
