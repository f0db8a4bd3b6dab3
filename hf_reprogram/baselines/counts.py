"""A linear model on counts of words, k-mers or molecular substructures, or on the letters at each position.

It shows what a linear model can read from a sequence of letters without any pretrained model.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, unknown
from ..mappings.linear import MOST_EXAMPLES
from ..options import check_whole, check_whole_list
from ..tasks.labels import problem_of
from ..tasks.problems import IGNORE
from .base import Baseline, Outcome, Run, Setting
from .linear import best_linear

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
        features: "words" weighs the words and pairs of words of a text by TF-IDF. "kmers" counts each string of k letters.
            "positions" reads the letter at each position, for texts that are aligned, such as DNA around a site. "morgan"
            counts the hashed circular substructures of a molecule (Rogers and Hahn 2010; needs rdkit). Words and k-mers
            that train lacks are ignored.
        k: lengths of k-mers; the first seed chooses one on validation.
        radius: the radius of Morgan's substructures, in bonds.
        bits: the length of a fingerprint.
        window: with one label per token, the number of letters that are read on each side.
        strengths: inverse L2 strengths; the first seed chooses one on validation.
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
        numbers = isinstance(self.strengths, list) and all(isinstance(value, int | float) for value in self.strengths)
        if not numbers or not self.strengths or any(not strength > 0 for strength in self.strengths):
            raise InputError(f"strengths is {self.strengths!r}: give a list of numbers above 0.")


class Counts(Baseline):
    """Logistic (or ridge) regression on counts; with one label per letter, on the letters around each letter."""

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
            raise InputError(
                "The baseline counts cannot predict hidden letters: use linear_probe or majority for infilling."
            )
        if problem == "token_classification" and self.options.features != "kmers":
            raise InputError(
                f"features: {self.options.features} describes a whole text, and in this task each letter has a label: leave "
                "features out, so that the letters around each letter are read."
            )

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        started = time.perf_counter()
        task, splits = setting.task, setting.splits
        self._check_problem(task.problem_type)
        strengths = [setting.chosen["strength"]] if setting.chosen else self.options.strengths
        if task.problem_type == "token_classification":
            chosen, model, logits, token_labels = self._per_letter(setting, strengths)
        else:
            which = [setting.chosen["features"]] if setting.chosen else self._names()
            features = self._features(splits, which)
            labels = {split: np.asarray(splits[split]["label"]) for split in splits}
            chosen, model = best_linear(task, features, labels, strengths, len(task.labels) or 1)
            logits = {split: model.logits(features[split][chosen["features"]]) for split in ("validation", "test")}
            token_labels = None
        seconds = time.perf_counter() - started
        return Outcome(logits["validation"], logits["test"], model.trainable, seconds, chosen, token_labels)

    def _names(self) -> list[Any]:
        """The choices of validation: the lengths k, or the one kind of features."""
        return list(self.options.k) if self.options.features == "kmers" else [self.options.features]

    def _features(self, splits: Any, which: Sequence[Any]) -> dict[str, dict[Any, csr_matrix]]:
        """Counts (n, columns) by split and by choice; the counts of a text and its pair are concatenated."""
        from scipy.sparse import hstack

        columns = [name for name in ("text", "text_pair") if name in splits["train"].column_names]
        features: dict[str, dict[Any, csr_matrix]] = {split: {} for split in splits}
        for name in which:
            parts: dict[str, list[csr_matrix]] = {split: [] for split in splits}
            for column in columns:
                texts = {split: splits[split][column][:] for split in splits}
                for split, counts in self._count(texts, name).items():
                    parts[split].append(counts)
            for split in splits:
                features[split][name] = hstack(parts[split], format="csr")
        return features

    def _count(self, texts: dict[str, list[str]], name: Any) -> dict[str, csr_matrix]:
        if name == "morgan":
            return {split: morgan_counts(rows, self.options.radius, self.options.bits) for split, rows in texts.items()}
        if name == "words":
            return word_weights(texts)
        return position_letters(texts) if name == "positions" else kmer_counts(texts, name)

    def _per_letter(self, setting: Setting, strengths: Sequence[float]) -> Any:
        """Classify each letter from the letters around it; the model is fitted to at most `MOST_EXAMPLES` scored letters."""
        task, splits, window = setting.task, setting.splits, self.options.window
        cut = task.options.max_length
        texts = {split: [text[:cut] for text in splits[split]["text"]] for split in splits}
        labels = {split: [row[:cut] for row in splits[split]["label"]] for split in splits}
        alphabet = sorted({letter for text in texts["train"] for letter in text})
        flat = {split: np.concatenate([np.asarray(row, int) for row in labels[split]]) for split in labels}
        fitted = np.flatnonzero(flat["train"] != IGNORE)
        fitted = np.sort(np.random.default_rng(0).permutation(fitted)[:MOST_EXAMPLES])
        flat["train"] = flat["train"][fitted]
        rows = {"train": fitted, "validation": None, "test": None}
        windows = {split: {"window": letter_windows(texts[split], alphabet, window, rows[split])} for split in texts}
        chosen, model = best_linear(task, windows, flat, strengths, len(task.labels))
        logits, padded = {}, {}
        for split in ("validation", "test"):
            present = np.arange(max(map(len, labels[split]))) < np.array([[len(row)] for row in labels[split]])
            padded[split] = np.full(present.shape, IGNORE)
            padded[split][present] = flat[split]
            logits[split] = np.zeros((*present.shape, len(task.labels)))
            logits[split][present] = model.logits(windows[split]["window"])
        return chosen, model, logits, padded


def kmer_counts(texts: dict[str, list[str]], k: int) -> dict[str, csr_matrix]:
    """The number of times that each k-mer of train occurs in each text.

    Args:
        texts: the texts by split. The k-mers of "train" are the columns, in alphabetical order.
        k: the length of a k-mer.

    Returns:
        Counts (n, k-mers) by split.

    Raises:
        InputError: every training text is shorter than k letters.

    >>> kmer_counts({"train": ["ACA"], "test": ["CAC"]}, k=1)["test"].toarray().tolist()
    [[1.0, 2.0]]
    """
    from sklearn.feature_extraction.text import CountVectorizer

    if max(map(len, texts["train"])) < k:
        raise InputError(f"k of counts is {k}, and every training text is shorter: give a smaller k.")
    vectorizer = CountVectorizer(analyzer="char", lowercase=False, ngram_range=(k, k)).fit(texts["train"])
    return {split: vectorizer.transform(rows).astype(np.float64) for split, rows in texts.items()}


def word_weights(texts: dict[str, list[str]]) -> dict[str, csr_matrix]:
    """TF-IDF weights of the words and pairs of words of train: lower case, logarithmic counts, rows of norm one.

    Args:
        texts: the texts by split. The words and pairs of words of "train" are the columns.

    Returns:
        Weights (n, words and pairs) by split.

    Raises:
        InputError: the training texts have no word.

    >>> word_weights({"train": ["a good film"], "test": ["good", "bad"]})["test"].toarray().round(1).tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(texts["train"])
    except ValueError as error:
        raise InputError("The training texts have no word for counts to read: use features: kmers.") from error
    return {split: vectorizer.transform(rows) for split, rows in texts.items()}


def position_letters(texts: dict[str, list[str]]) -> dict[str, csr_matrix]:
    """One-hot letters at every position.

    Args:
        texts: the texts by split. Each letter of "train" has a column at each position up to its longest text; other
            letters and positions are ignored.

    Returns:
        Zeros and ones (n, longest text x letters) by split.

    >>> position_letters({"train": ["AC"], "test": ["CC"]})["test"].toarray().tolist()
    [[0.0, 1.0, 0.0, 1.0]]
    """
    from scipy.sparse import csr_matrix

    place = {letter: index for index, letter in enumerate(sorted({c for text in texts["train"] for c in text}))}
    longest = max(map(len, texts["train"]))
    letters = {}
    for split, rows in texts.items():
        ids = [[i * len(place) + place[c] for i, c in enumerate(text[:longest]) if c in place] for text in rows]
        ends = np.cumsum([0, *map(len, ids)])
        columns = np.array([column for row in ids for column in row], int)
        letters[split] = csr_matrix((np.ones(len(columns)), columns, ends), shape=(len(rows), longest * len(place)))
    return letters


def morgan_counts(smiles: Sequence[str], radius: int = 2, bits: int = 2048) -> csr_matrix:
    """Counts (n, bits) of Morgan fingerprints; a string that is no molecule has a row of zeros.

    Args:
        smiles: the molecules as SMILES strings.
        radius: the radius of the substructures, in bonds.
        bits: the length of a fingerprint.

    >>> morgan_counts(["CCO", "no molecule"]).sum(1).tolist()
    [[6.0], [0.0]]
    """
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
    """One-hot letters at every offset from `-window` to `window` around each letter of each text.

    Args:
        texts: strings of letters. Letters outside the alphabet, and positions beyond the ends of a text, are zeros.
        alphabet: the letters that have a column.
        window: the number of letters on each side.
        rows: the letters to return, as indices into all texts one after another; None for all letters.

    Returns:
        Zeros and ones (letters, (2 window + 1) len(alphabet)), the texts one after another.

    >>> letter_windows(["AC"], "AC", window=1).toarray().tolist()
    [[0.0, 0.0, 1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]]
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
