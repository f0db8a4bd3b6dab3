"""Baselines: right by an independent computation, and choosing on validation alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoModelForMaskedLM, AutoTokenizer

from hf_reprogram import InputError
from hf_reprogram.baselines import BASELINES
from hf_reprogram.baselines.base import Setting
from hf_reprogram.baselines.linear_probe import inputs_for
from hf_reprogram.baselines.token_probe import best_token_probe
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.seed_runs import untrained_model
from hf_reprogram.modalities.text import TEXT
from hf_reprogram.options import from_dict
from hf_reprogram.tasks.load import load_task
from tests.support import runs, tiny_dual, toys, words  # noqa: F401 - toys registers a third-party baseline
from tests.support.tables import write


@pytest.fixture
def setting(source_folder, csv_file, tmp_path):
    """A function that makes the setting of one seed; `changes` are of the recipe."""

    def make(family="bert", chosen=None, num_prompts=3, **changes):
        recipe = runs.recipe(source_folder(family), csv_file, tmp_path / "run", **changes)
        task = load_task(recipe.task_options)
        splits = task.splits(0)
        make = partial(untrained_model, recipe, task, 0, splits)
        return Setting(recipe, task, splits, 0, tmp_path / "scratch", True, num_prompts, make, chosen)

    return make


def run(name: str, setting: Setting, **options):
    kind = BASELINES[name]
    return kind(from_dict(kind.Options, options, f"option of {name}")).run(setting)


def test_the_majority_is_of_train_and_costs_nothing(setting):
    made = setting()
    labels = made.splits["train"]["label"]
    made.splits["train"] = made.splits["train"].select([i for i, label in enumerate(labels) if label == 1][:9])
    outcome = run("majority", made)
    assert set(made.task.decide(outcome.test)) == set(made.task.decide(outcome.validation)) == {1}
    assert (outcome.test.shape, outcome.validation.shape) == ((48, 2), (19, 2))
    assert outcome.trainable == 0


def test_the_majority_of_a_few_shot_task_is_that_of_all_of_train(setting, tmp_path):
    data = write(
        tmp_path / "rare.csv", {"sentence": [f"film {i}" for i in range(60)], "kind": ["bad", "good", "good"] * 20}
    )
    made = setting(task={"dataset": str(data), "few_shot": 4})
    assert np.bincount(made.splits["train"]["label"]).tolist() == [4, 4]
    outcome = run("majority", made)
    assert set(made.task.decide(outcome.test)) == {1}


def test_the_majority_of_a_regression_is_the_mean(setting, tmp_path):
    data = runs.write_csv(tmp_path / "numbers.csv", 40, score=[float(i % 4) for i in range(40)])
    made = setting(task={"dataset": str(data), "label": "score", "regression": True})
    assert np.unique(run("majority", made).test) == np.mean(made.splits["train"]["label"])


def test_the_majority_of_several_labels_is_each_ones_own_and_missing_ones_do_not_count(setting, tmp_path):
    rare = [int(i % 4 == 0) for i in range(40)]
    columns = {"rare": rare, "common": [1 - label for label in rare], "seldom": [None] * 20 + [1] * 19 + [0]}
    data = runs.write_csv(tmp_path / "several.csv", 40, **columns)
    made = setting(task={"dataset": str(data), "label": list(columns)})
    made.splits["train"] = made.task.train
    outcome = run("majority", made)
    assert made.task.decide(outcome.test).tolist() == [[0, 1, 1]] * 8
    assert made.task.score(outcome.test, made.splits["test"]["label"]) == {"roc_auc": 0.5}


def features(name, texts):
    """The mean of the last hidden states, text by text, from the plain model."""
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(name).eval(), AutoTokenizer.from_pretrained(name)
    with torch.no_grad():
        states = [model.base_model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0] for text in texts]
    return np.stack([state.mean(0).numpy() for state in states])


def test_the_probe_is_logistic_regression_on_the_frozen_features(setting):
    made = setting(task={"max_train": 80})
    outcome = run("linear_probe", made, reads="features", strengths=[1.0])
    oracle = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=2000))
    name = made.recipe.source["name"]
    oracle.fit(features(name, made.splits["train"]["text"]), made.splits["train"]["label"])
    expected = oracle.predict(features(name, made.splits["test"]["text"]))
    assert np.mean(made.task.decide(outcome.test) == expected) > 0.97  # the same up to rounding at the boundary
    assert outcome.trainable == 33


def test_the_probe_chooses_on_validation_and_later_seeds_take_its_choice(setting):
    made = setting()
    outcome = run("linear_probe", made)
    assert set(outcome.chosen) == {"features", "strength", "tokens"}
    taken_over = {"features": "first", "strength": 1e-9, "tokens": "source"}  # which no validation split would choose
    assert outcome.chosen != taken_over
    assert run("linear_probe", setting(chosen=taken_over)).chosen == taken_over
    scores = {
        reads: made.task.score(run("linear_probe", made, reads=reads).validation, made.splits["validation"]["label"])[
            "accuracy"
        ]
        for reads in ("features", "first", "last")
    }
    assert max(scores.values()) == scores[outcome.chosen["features"]]


@pytest.mark.parametrize("family", ["gpt2", "albert", "bert-encoder"])
def test_the_probe_reads_other_kinds_of_sources(family, setting):
    assert len(run("linear_probe", setting(family, task={"max_train": 60})).test) == 48


def test_a_probe_of_texts_as_they_are_on_a_dual_encoder_is_refused(tmp_path):
    folder = tiny_dual.save_source(tmp_path / "source", "clip")
    recipe = SimpleNamespace(source={"name": folder}, model_source=folder, source_kwargs={})
    with pytest.raises(
        InputError,
        match="A source of kind 'dual' does not take texts as they are: give the baseline the option tokens: target",
    ):
        inputs_for(SimpleNamespace(recipe=recipe, task=SimpleNamespace(modality=TEXT)), untrained=False)


@pytest.mark.parametrize("name", ["linear_probe", "untrained_probe"])
def test_a_probe_of_what_the_source_does_not_offer_is_refused_by_its_name(setting, name):
    with pytest.raises(InputError, match=f"^{name} reads 'first', and a source of kind 'causal_lm' has no such output"):
        run(name, setting("gpt2"), reads="first")


def test_the_probe_on_the_methods_tokens_reads_through_its_untrained_transform(setting):
    """A prompt of no slots changes nothing but the mask in its template, so that the probe is another one."""
    made = setting(task={"max_train": 60}, method={"num_prompts": 0})
    model, processor = made.make()
    outcome = run("linear_probe", made, tokens="target", reads="features", strengths=[1.0])
    oracle = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=2000))
    rows = {}
    for split in ("train", "test"):
        batch = processor(made.splits[split]["text"][:], padding=True, return_tensors="pt")
        with torch.no_grad():
            rows[split] = model.source(model.transform(dict(batch), model.source), "features").numpy()
    oracle.fit(rows["train"], made.splits["train"]["label"])
    decisions = outcome.test[:, 1] - outcome.test[:, 0]
    np.testing.assert_allclose(decisions, oracle.decision_function(rows["test"]), rtol=1e-2, atol=1e-2)
    same = run("untrained_probe", made, reads="features", strengths=[1.0])
    assert np.array_equal(same.test, outcome.test)
    assert same.chosen == outcome.chosen


# ---------------------------------------------------------------------------------------------------- a label a token


@pytest.fixture
def per_token(source_folder, tmp_path):
    """A function that makes the setting of a task with a label a letter: whether it is one of the vowels."""

    def make(problem, method):
        texts, _ = words.texts(60)
        labels = ["".join(str(int(letter in "aeiou")) for letter in text) for text in texts]
        data = tmp_path / "letters.parquet"
        Dataset.from_dict({"text": texts, "label": labels}).to_parquet(data)
        recipe = make_recipe(
            {
                "source": source_folder("bert"),
                "method": {"name": method, "tokenizer": "characters", "sparsity": None},
                "task": {"dataset": str(data), "text": ["text"], "problem": problem},
                "output": str(tmp_path / "run"),
            }
        )
        task = load_task(recipe.task_options)
        splits = task.splits(0)
        return Setting(
            recipe, task, splits, 0, tmp_path / "scratch", True, 0, partial(untrained_model, recipe, task, 0, splits)
        )

    return make


def letters_of(made, split):
    return [letter for text in made.splits[split]["text"] for letter in text]


def test_the_majority_of_tokens_is_counted_over_letters(per_token):
    made = per_token("token_classification", "r2dl")
    outcome = run("majority", made)
    assert outcome.test.shape == (*outcome.labels["test"].shape, 2)
    consonants = np.mean([letter not in "aeiou" for letter in letters_of(made, "test")])
    assert made.task.score(outcome.test, outcome.labels["test"])["accuracy"] == pytest.approx(consonants)


def test_the_majority_of_hidden_tokens_is_the_share_of_each_in_train(per_token):
    made = per_token("infilling", "reprogbert")
    outcome = run("majority", made)
    counts = Counter(letter for letter in letters_of(made, "train") if letter in "aeiou")
    total = sum(counts.values())
    _, processor = made.make()
    vowels = [letter for letter in letters_of(made, "test") if letter in "aeiou"]
    surprise = [-np.log((counts[letter] + 1) / (total + len(processor))) for letter in vowels]
    found = made.task.score(outcome.test, outcome.labels["test"])
    assert found["perplexity"] == pytest.approx(np.exp(np.mean(surprise)))


@pytest.mark.parametrize("tokens", ["source", "target"])
@pytest.mark.parametrize(("problem", "method"), [("token_classification", "r2dl"), ("infilling", "reprogbert")])
def test_the_probe_reads_every_token_and_beats_the_majority_in_train(tokens, problem, method, per_token):
    """Scored on its own training data, as the tiny source is random and there is little to generalise from."""
    made = per_token(problem, method)
    made.splits["validation"] = made.splits["test"] = made.splits["train"]
    probe = run("linear_probe", made, tokens=tokens, strengths=[1.0, 100.0])
    assert probe.test.shape[:2] == probe.labels["test"].shape
    assert probe.chosen["features"] == "tokens"
    scores = made.task.score(probe.test, probe.labels["test"])
    constant = np.zeros_like(probe.test)
    scored = probe.labels["test"] >= 0
    constant[..., np.bincount(probe.labels["test"][scored]).argmax()] = 1
    first = made.task.metrics[0]
    assert scores[first] > made.task.score(constant, probe.labels["test"])[first]


def test_the_probe_of_a_token_reads_the_neighbours_that_validation_likes(per_token):
    """The label is whether the letter before is a vowel; on scored training data, as in the test above."""
    made = per_token("token_classification", "r2dl")
    before = lambda row: {"label": "0" + "".join(str(int(letter in "aeiou")) for letter in row["text"][:-1])}  # noqa: E731
    made.splits["train"] = made.splits["train"].map(before)
    made.splits["validation"] = made.splits["test"] = made.splits["train"]
    scores = {}
    for context in (0, 1):
        outcome = run("linear_probe", made, strengths=[1.0], context=[context])
        scores[context] = made.task.score(outcome.test, outcome.labels["test"])["accuracy"]
    assert scores[1] > scores[0] + 0.02
    chosen = run("linear_probe", made, strengths=[1.0], context=[0, 1]).chosen
    assert chosen == {"features": "tokens", "context": 1, "strength": 1.0, "tokens": "target"}
    made = replace(made, chosen={**chosen, "context": 0})
    assert run("linear_probe", made, strengths=[1.0], context=[0, 1]).chosen["context"] == 0
    with pytest.raises(InputError, match=r"context is \[-1\]: give a list of whole numbers, each 0 or more"):
        run("linear_probe", made, context=[-1])


def test_the_probe_of_a_token_is_logistic_regression_on_standardised_windows():
    random = np.random.default_rng(0)
    states = {split: random.normal(2, 3, (20, 6, 4)).astype(np.float32) for split in ("train", "validation", "test")}
    labels = {split: random.integers(2, size=(20, 6)) for split in states}
    for split in states:
        states[split][::2, 4:], labels[split][::2, 4:] = 0, -100
    task = SimpleNamespace(
        problem_type="token_classification", score=lambda logits, labels: {"x": 0.0}, benefit=lambda scores: scores["x"]
    )
    chosen, model, logits = best_token_probe(task, states, labels, [0.5], [1], 2)
    seen = states["train"][labels["train"] >= 0].astype(float)

    def windows(split):
        z = (states[split] - seen.mean(0)) / seen.std(0) * (states[split] != 0).any(-1, keepdims=True)
        z = np.pad(z, ((0, 0), (1, 1), (0, 0)))
        return np.concatenate([z[:, :-2], z[:, 1:-1], z[:, 2:]], -1)[labels[split] >= 0]

    oracle = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=2000))
    oracle.fit(windows("train"), labels["train"][labels["train"] >= 0])
    found = logits["test"][labels["test"] >= 0]
    np.testing.assert_allclose(found[:, 1] - found[:, 0], oracle.decision_function(windows("test")), atol=1e-3)
    assert chosen == {"features": "tokens", "context": 1, "strength": 0.5}
    assert model.trainable == 13


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("warp", "source"),
        ({"name": "r2dl", "tokenizer": "characters", "sparsity": 4}, "target"),
        ({"name": "r2dl", "tokenizer": "words", "sparsity": 4}, "source"),
    ],
)
def test_the_probe_reads_the_methods_tokens_where_these_are_letters(method, expected, setting):
    made = setting(task={"max_train": 40})
    recipe = make_recipe({**asdict(made.recipe), "method": method})
    made = replace(made, recipe=recipe, make=partial(untrained_model, recipe, made.task, 0, made.splits))
    outcome = run("linear_probe", made, reads="features", strengths=[1.0])
    assert outcome.chosen["tokens"] == expected
    same = run("linear_probe", made, reads="features", strengths=[1.0], tokens=expected)
    np.testing.assert_array_equal(outcome.test, same.test)
    other = {"source": "target", "target": "source"}[expected]
    assert run("linear_probe", made, reads="features", strengths=[1.0], tokens=other).chosen["tokens"] == other


def test_from_scratch_trains_the_whole_architecture(setting):
    made = setting(training={"num_train_epochs": 1}, task={"max_train": 48})
    outcome = run("from_scratch", made, learning_rate=1e-3)
    plain = AutoModelForMaskedLM.from_pretrained(made.recipe.source["name"])
    assert outcome.trainable > sum(p.numel() for p in plain.base_model.parameters())
    assert outcome.chosen == {"learning_rate": 1e-3}
    assert len(outcome.test) == 48


def test_from_scratch_tries_its_rates_on_the_first_seed_alone(setting, monkeypatch):
    from hf_reprogram.baselines import search

    tried = []
    fit = search.fit
    monkeypatch.setattr(search, "fit", lambda *a, **k: tried.append(a[4]["learning_rate"]) or fit(*a, **k))
    changes = {"training": {"num_train_epochs": 1}, "task": {"max_train": 48}}
    outcome = run("from_scratch", setting(**changes), learning_rate=[1e-4, 1e-3])
    assert tried == [1e-4, 1e-3]
    run("from_scratch", setting(chosen=outcome.chosen, **changes), learning_rate=[1e-4, 1e-3])
    assert tried[2:] == [outcome.chosen["learning_rate"]]


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_prompt_tuning_trains_as_many_prompts_and_a_head(family, setting):
    made = setting(family, training={"num_train_epochs": 1}, task={"max_train": 48})
    outcome = run("prompt_tuning", made, learning_rate=1e-2)
    assert 3 * 32 + 2 * 32 <= outcome.trainable <= 3 * 32 + 2 * 33
    assert len(outcome.test) == 48
    assert outcome.chosen == {"learning_rate": 1e-2}


def test_a_third_party_baseline_is_run_by_its_name(source_folder, csv_file, tmp_path):
    results = runs.run(source_folder("bert"), csv_file, tmp_path / "run", baselines=["toy_always_first"])
    assert results["baselines"]["toy_always_first"]["title"] == "always the first class"
    assert results["baselines"]["toy_always_first"]["test"]["accuracy"]["mean"] == 0.5


def test_the_probe_can_read_all_tokens_concatenated(setting):
    made = setting(task={"max_train": 80, "max_length": 6})
    outcome = run("linear_probe", made, reads="tokens", strengths=[1.0])
    assert outcome.trainable == 6 * 32 + 1
    assert outcome.chosen == {"features": "tokens", "strength": 1.0, "tokens": "source"}
    assert outcome.test.shape == (len(made.splits["test"]), 2)


def test_tokens_concatenated_are_cut_or_filled_to_one_length():
    from hf_reprogram.baselines.linear_probe import _concatenated

    states = np.arange(12.0).reshape(1, 3, 4)
    assert _concatenated(states, 2).tolist() == [list(range(8))]
    assert _concatenated(states, 4).tolist() == [[*range(12), 0, 0, 0, 0]]


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_several_readings_of_one_pass_are_those_of_a_pass_each(family, source_folder):
    from hf_reprogram import reprogram
    from hf_reprogram.baselines.linear_probe import read_all

    model, processor = reprogram(source_folder(family), "r2dl", ["a", "b"], tokenizer="residues")
    batch = processor(["ACDEF", "W"], padding=True, return_tensors="pt")
    inputs = model.transform(batch, model.source)
    which = [reads for reads in ("features", "first", "last") if reads in model.source.spec.widths]
    with torch.no_grad():
        for reads, found in read_all(model.source, inputs, which).items():
            torch.testing.assert_close(found, model.source(inputs, reads), rtol=1e-5, atol=1e-5)
