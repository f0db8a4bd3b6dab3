"""Linear models on counts: the counts by hand, the models by an independent fit, choices on validation alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from sklearn.linear_model import LogisticRegression

from hf_reprogram import InputError
from hf_reprogram.baselines import BASELINES
from hf_reprogram.baselines.base import Setting
from hf_reprogram.baselines.counts import (
    Counts,
    CountsOptions,
    kmer_counts,
    letter_windows,
    morgan_counts,
    position_letters,
    word_weights,
)
from hf_reprogram.options import from_dict
from hf_reprogram.tasks.options import TaskOptions
from hf_reprogram.tasks.problems import IGNORE, PROBLEMS
from hf_reprogram.tasks.task import Task
from tests.support import runs


def task_of(problem: str, labels: list[str], max_length: int | None = None) -> Task:
    """A task without data."""
    options = TaskOptions(dataset="none", max_length=max_length)
    metrics = list(PROBLEMS[problem].metrics)
    empty = Dataset.from_dict({"text": [], "label": []})
    return Task(options, empty, empty, None, problem, labels, metrics, "macro", "test")


def sequences(count: int, seed: int, length: int = 12) -> list[str]:
    """Random DNA, in which every second has one G more than chance gives."""
    random = np.random.default_rng(seed)
    found = ["".join(random.choice([*"ACGT"], length)) for _ in range(count)]
    return [text + "GGGG" if i % 2 else text + "ACAT" for i, text in enumerate(found)]


def run(problem: str, labels: list[str], label_of, chosen=None, max_length=None, texts=sequences, **options):
    """The outcome of `counts`, and the splits; `label_of` takes an index and a text."""
    splits = DatasetDict()
    for seed, (name, count) in enumerate((("train", 60), ("validation", 30), ("test", 20))):
        found = texts(count, seed)
        rows = [label_of(i, text) for i, text in enumerate(found)]
        splits[name] = Dataset.from_dict({"text": found, "label": rows})
    task = task_of(problem, labels, max_length)
    setting = Setting(None, task, splits, 0, None, True, 0, None, chosen)
    kind = BASELINES["counts"]
    return kind(from_dict(kind.Options, options, "option of counts")).run(setting), splits, task


def score(outcome, splits, task, split="test"):
    labels = outcome.labels[split] if outcome.labels else np.asarray(splits[split]["label"])
    return task.score(getattr(outcome, split), labels)


# ------------------------------------------------------------------------------------------------------- the counts


@pytest.mark.parametrize("k", [1, 2, 3])
def test_kmers_are_counted_as_by_hand_and_those_that_train_lacks_are_not(k):
    texts = {"train": ["ACGACG", "aCg", ""], "test": ["ACGT", "TTTT", ""]}
    counts = kmer_counts(texts, k)
    columns = sorted({text[i : i + k] for text in texts["train"] for i in range(len(text) - k + 1)})
    for split, found in texts.items():
        by_hand = [Counter(text[i : i + k] for i in range(len(text) - k + 1)) for text in found]
        assert counts[split].toarray().tolist() == [[row[column] for column in columns] for row in by_hand]


def test_positions_are_counted_from_the_start():
    found = position_letters({"train": ["AC", "C"], "test": ["CAC", "TA", ""]})
    assert found["train"].toarray().tolist() == [[1, 0, 0, 1], [0, 1, 0, 0]]
    assert found["test"].toarray().tolist() == [[0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("window", [0, 1, 3])
def test_windows_stop_at_the_ends_of_a_text(window):
    texts, alphabet = ["ACA", "", "CN", "A"], ["A", "C"]
    found = letter_windows(texts, alphabet, window)
    rows = []
    for text in texts:
        for centre in range(len(text)):
            near = [text[i] if 0 <= i < len(text) else "-" for i in range(centre - window, centre + window + 1)]
            rows.append([int(letter == other) for letter in near for other in alphabet])
    assert found.toarray().tolist() == rows
    assert letter_windows(texts, alphabet, window, np.array([1, 4])).toarray().tolist() == [rows[1], rows[4]]


def test_fingerprints_count_substructures_and_what_is_no_molecule_is_zero():
    pytest.importorskip("rdkit")
    counts = morgan_counts(["CCO", "OCC", "this is none", "c1ccccc1", "CC.CC", ""], radius=0).toarray()
    assert counts.shape == (6, 2048)
    assert counts.sum(1).tolist() == [3, 3, 0, 6, 4, 0]  # one substructure of radius 0 an atom
    assert counts[0].tolist() == counts[1].tolist()
    assert sorted(counts[0][counts[0] > 0]) == [1, 1, 1]  # CH3, CH2 and OH
    assert (counts[3] > 0).sum() == (counts[4] > 0).sum() == 1
    assert morgan_counts(["CCO"]).sum() > 3
    assert morgan_counts(["CCO"], bits=16).shape == (1, 16)


# -------------------------------------------------------------------------------------------------- kinds of problems


def test_two_classes_are_a_logistic_regression_on_the_counts():
    outcome, splits, task = run(
        "single_label_classification", ["no", "yes"], lambda i, _: i % 2, k=[1], strengths=[1.0]
    )
    counts = {name: np.array([[text.count(c) for c in "ACGT"] for text in splits[name]["text"]]) for name in splits}
    scale = counts["train"].max(0)
    oracle = LogisticRegression(C=1.0, max_iter=2000).fit(counts["train"] / scale, splits["train"]["label"])
    expected = oracle.decision_function(counts["test"] / scale)
    assert outcome.test[:, 1] - outcome.test[:, 0] == pytest.approx(expected, abs=1e-3)
    assert outcome.trainable == 5
    assert outcome.chosen == {"features": 1, "strength": 1.0}
    assert score(outcome, splits, task)["accuracy"] > 0.8


def test_three_classes():
    ends = ("AAA", "CCC", "GTG")

    def texts(count, seed):
        return [text + ends[i % 3] for i, text in enumerate(sequences(count, seed))]

    outcome, splits, task = run("single_label_classification", [*"abc"], lambda i, _: i % 3, texts=texts)
    assert outcome.test.shape == (20, 3)
    assert score(outcome, splits, task)["accuracy"] > 0.6


def test_several_labels_of_which_some_are_missing():
    def label(i, text):
        return [i % 2, float("nan") if i % 5 == 0 else int(text.count("A") > 4), 1]

    outcome, splits, task = run("multi_label_classification", ["g", "a", "always"], label)
    assert outcome.test.shape == (20, 3)
    assert score(outcome, splits, task)["roc_auc"] > 0.9


def test_a_number():
    outcome, splits, task = run("regression", [], lambda _, text: 2.0 * text.count("A") - text.count("G"))
    assert outcome.test.shape == (20, 1)
    assert score(outcome, splits, task)["pearson"] > 0.99


def test_aligned_texts_are_told_apart_by_position():
    def texts(count, seed):
        return ["".join(np.random.default_rng(10 * seed + i).permutation([*"AAACCCGGGTTT"])) for i in range(count)]

    def label(_, text):
        return int(text[6] in "AC")

    by_place, splits, task = run("single_label_classification", ["no", "yes"], label, texts=texts, features="positions")
    by_count, _, _ = run("single_label_classification", ["no", "yes"], label, texts=texts, k=[1])
    assert score(by_place, splits, task)["accuracy"] > score(by_count, splits, task)["accuracy"] + 0.2
    assert by_place.chosen["features"] == "positions"


def test_molecules_by_their_fingerprints():
    pytest.importorskip("rdkit")

    def texts(count, seed):
        return ["C" * (i % 7 + 1) + ("O" if i % 2 else "N") if i else "no molecule" for i in range(count)]

    outcome, splits, task = run("single_label_classification", ["no", "yes"], lambda i, _: i % 2, texts=texts,
                                features="morgan", bits=256)  # fmt: skip
    assert score(outcome, splits, task)["accuracy"] == 1
    assert outcome.chosen["features"] == "morgan"
    assert outcome.trainable == 257


def test_letters_are_told_apart_by_their_neighbours():
    def label(_, text):
        classes = [int(i > 0 and text[i - 1] == "A") for i in range(len(text))]
        return [IGNORE if letter == "T" else found for letter, found in zip(text, classes, strict=True)]

    def texts(count, seed):
        return [text[: 5 + i % 9] for i, text in enumerate(sequences(count, seed))]

    outcome, splits, task = run("token_classification", ["no", "yes"], label, texts=texts, window=1)
    assert outcome.test.shape == (20, 13, 2)
    for row, found in zip(outcome.labels["test"], splits["test"]["label"], strict=True):
        assert row.tolist() == found + [IGNORE] * (13 - len(found))
    assert score(outcome, splits, task) == {"accuracy": 1.0}
    without, _, _ = run("token_classification", ["no", "yes"], label, texts=texts, window=0)
    assert score(without, splits, task)["accuracy"] < 1
    cut, _, _ = run("token_classification", ["no", "yes"], label, texts=texts, window=1, max_length=6)
    assert cut.labels["test"].shape == (20, 6)
    assert cut.labels["test"].tolist() == outcome.labels["test"][:, :6].tolist()


def test_no_more_letters_are_fitted_than_there_are_to_be(monkeypatch):
    monkeypatch.setattr("hf_reprogram.baselines.counts.MOST_EXAMPLES", 30)
    fitted = []
    monkeypatch.setattr(
        "hf_reprogram.baselines.counts.best_linear",
        lambda task, features, labels, *rest: fitted.append((features["train"]["window"].shape, labels["train"].shape)),
    )
    with pytest.raises(TypeError):
        run("token_classification", ["no", "yes"], lambda _, text: [0] * len(text))
    assert fitted == [((30, 17 * 4), (30,))]


def test_the_two_texts_of_a_pair_are_counted_apart():
    splits = {name: Dataset.from_dict({"text": ["AB", "B"], "text_pair": ["B", "BBB"]}) for name in ("train", "test")}
    found = Counts(CountsOptions())._features(splits, [1])
    assert found["test"][1].toarray().tolist() == [[1, 1, 1], [0, 1, 3]]


# ----------------------------------------------------------------------------------------------- choices and refusals


def test_the_choice_is_made_on_validation_and_later_seeds_take_it_over():
    problem = "single_label_classification"
    outcome, splits, task = run(problem, ["no", "yes"], lambda i, _: i % 2, strengths=[0.01, 1.0])
    scores = {
        (k, strength): score(
            run(problem, ["no", "yes"], lambda i, _: i % 2, k=[k], strengths=[strength])[0], splits, task, "validation"
        )["accuracy"]
        for k in (1, 2, 3)
        for strength in (0.01, 1.0)
    }
    assert scores[outcome.chosen["features"], outcome.chosen["strength"]] == max(scores.values())
    taken_over = {"features": 2, "strength": 1e-6}  # which no validation split would choose
    assert run(problem, ["no", "yes"], lambda i, _: i % 2, chosen=taken_over)[0].chosen == taken_over


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"features": "kmer"}, "Unknown features 'kmer': did you mean 'kmers'"),
        ({"k": []}, r"k is \[\]: give a list of whole numbers, each 1 or more"),
        ({"k": 3}, "k is 3: give a list"),
        ({"k": [0]}, r"k is \[0\]"),
        ({"window": -1}, "window is -1: give a whole number, 0 or more"),
        ({"bits": 0}, "bits is 0: give a whole number, 1 or more"),
        ({"strengths": [0]}, r"strengths is \[0\]: give a list of numbers above 0"),
        ({"strengths": ["much"]}, r"strengths is \['much'\]"),
    ],
)
def test_options_that_cannot_work_are_refused(options, sentence):
    with pytest.raises(InputError, match=sentence):
        CountsOptions(**options)


def test_texts_shorter_than_k_are_refused():
    with pytest.raises(InputError, match="k of counts is 20, and every training text is shorter"):
        run("single_label_classification", ["no", "yes"], lambda i, _: i % 2, k=[20])


@pytest.mark.parametrize(
    ("task", "options", "sentence"),
    [
        ({"problem": "infilling"}, {}, "counts cannot predict hidden letters"),
        ({"dataset": "antibodies", "name": "hcdr3"}, {}, "counts cannot predict hidden letters"),
        ({"problem": "token_classification"}, {"features": "morgan"}, "features: morgan describes a whole text"),
        (
            {"dataset": "proteins", "name": "secondary_structure"},
            {"features": "positions"},
            "features: positions describes a whole text",
        ),
    ],
)
def test_what_it_cannot_do_is_refused_before_anything_is_trained(task, options, sentence, tmp_path):
    values = {"dataset": "data.csv", "text": None, "label": None, **task}
    with pytest.raises(InputError, match=sentence):
        runs.recipe("source", "data.csv", tmp_path, task=values, baselines=[{"counts": options}])


def test_without_rdkit_fingerprints_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("hf_reprogram.baselines.counts.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs rdkit: pip install 'hf_reprogram\[molecules\]'"):
        runs.recipe("source", "data.csv", tmp_path, baselines=[{"counts": {"features": "morgan"}}])
    runs.recipe("source", "data.csv", tmp_path, baselines=["counts"])


def test_it_stands_beside_a_run(source_folder, csv_file, tmp_path):
    results = runs.run(source_folder("bert"), csv_file, tmp_path / "run", seeds=[0, 1], baselines=["counts"])
    entry = results["baselines"]["counts"]
    assert entry["title"] == "k-mer regression"
    assert entry["test"]["accuracy"]["mean"] > 0.8
    assert entry["chosen"][0] == entry["chosen"][1]
    assert Counts(CountsOptions(features="morgan")).title == "Morgan fingerprint regression"


def test_word_weights_are_tf_idf_of_words_and_pairs_of_words():
    texts = {"train": ["Good film", "bad film"], "test": ["film film unseen"]}
    found = {split: weights.toarray() for split, weights in word_weights(texts).items()}
    rare, common = np.log(3 / 2) + 1, 1.0  # of two texts one, or both, have it
    length = np.sqrt(2 * rare**2 + common**2)
    # bad, bad film, film, good, good film
    expected = np.array([[0, 0, common, rare, rare], [rare, rare, common, 0, 0]]) / length
    np.testing.assert_allclose(found["train"], expected)
    np.testing.assert_allclose(found["test"], [[0, 0, 1, 0, 0]])


def test_words_are_classified():
    def films(count, seed):
        random = np.random.default_rng(seed)
        return [f"a {'good' if i % 2 else 'bad'} film {random.integers(9)} times" for i in range(count)]

    outcome, splits, task = run("single_label_classification", ["bad", "good"], lambda i, _: i % 2, texts=films,
                                features="words")  # fmt: skip
    assert score(outcome, splits, task)["accuracy"] == 1
    assert Counts(CountsOptions(features="words")).title == "TF-IDF regression"


def test_texts_without_words_are_refused():
    with pytest.raises(InputError, match="have no word"):
        word_weights({"train": ["!", "?"]})
