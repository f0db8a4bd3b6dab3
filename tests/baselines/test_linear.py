"""The linear model: scikit-learn's own fits, also where labels are missing or of one class."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import minimize_scalar
from scipy.special import logit
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

from hf_reprogram.baselines.linear import best_linear
from hf_reprogram.mappings import standardised
from hf_reprogram.mappings.linear_fit import STRENGTHS, LinearModel, best_strength, mean_loss, rescaled_loss
from hf_reprogram.tasks.problems import score_logits

METRIC = {"regression": "rmse", "multi_label_classification": "roc_auc"}


def task(problem: str):
    """What the linear model asks a task for."""
    metric = METRIC.get(problem, "accuracy")
    return SimpleNamespace(
        problem_type=problem,
        loss_type=problem,
        regression=problem == "regression",
        score=lambda logits, labels: score_logits([metric], logits, labels, problem),
        benefit=lambda scores: -scores[metric] if metric == "rmse" else scores[metric],
    )


def data(classes: int, count: int = 90, seed: int = 0):
    """Features of unlike scales that tell the classes apart to some degree."""
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=count)
    return (random.normal(size=(count, 5)) + np.eye(classes, 5)[labels]) * [1, 10, 100, 0.1, 1], labels


def logistic(scaler=StandardScaler, strength=0.5):
    return make_pipeline(scaler(), LogisticRegression(C=strength, max_iter=2000))


@pytest.mark.parametrize("classes", [2, 4])
def test_classes_are_logistic_regression_on_standardised_features(classes):
    features, labels = data(classes)
    model = LinearModel("single_label_classification", 0.5, classes).fit(features, labels)
    oracle = logistic().fit(features, labels)
    logits = model.logits(features)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities, oracle.predict_proba(features), atol=1e-9)
    assert model.trainable == (6 if classes == 2 else 24)


def test_far_examples_stay_ordered():
    """Their probabilities are all 1 in floating point, and an area under the curve needs their order."""
    features, labels = data(2)
    model = LinearModel("single_label_classification", 1e4, 2).fit(features, labels)
    far = features[labels == 1][:1] * np.array([[0], [1e3], [2e3], [3e3]])
    decisions = np.diff(model.logits(far), axis=1).ravel()
    assert len(set(decisions)) == 4
    assert np.isfinite(decisions).all()


@pytest.mark.parametrize(("kept", "outputs"), [([0, 2], 3), ([1, 2], 3), ([0, 1, 3], 5)])
def test_a_class_that_training_lacked_never_wins(kept, outputs):
    features, labels = data(4)
    rows = np.isin(labels, kept)
    model = LinearModel("single_label_classification", 1.0, outputs).fit(features[rows], labels[rows])
    logits = model.logits(features)
    assert logits.shape == (90, outputs)
    assert np.array_equal(logits.argmax(1), logistic(strength=1.0).fit(features[rows], labels[rows]).predict(features))
    assert set(logits.argmax(1)) == set(kept)


@pytest.mark.parametrize("label", [0, 2])
def test_the_only_class_of_training_always_wins(label):
    features, _ = data(3)
    model = LinearModel("single_label_classification", 1.0, 3).fit(features, np.full(90, label))
    assert set(model.logits(features).argmax(1)) == {label}
    assert model.trainable == 0


@pytest.mark.parametrize("problem", ["single_label_classification", "regression", "multi_label_classification"])
@pytest.mark.parametrize("classes", [1, 2, 4])
def test_the_model_is_a_linear_layer(problem, classes):
    features, labels = data(classes)
    if problem == "multi_label_classification":
        labels = np.eye(classes + 1)[labels]  # the last one is constant
    outputs = 1 if problem == "regression" else classes + 1  # a class more than training has
    model = LinearModel(problem, 0.5, outputs).fit(features, labels)
    assert model.weight.shape == (outputs, 5)
    np.testing.assert_allclose(features @ model.weight.T + model.bias, model.logits(features), atol=1e-8)


@pytest.mark.parametrize("problem", ["single_label_classification", "regression", "multi_label_classification"])
def test_more_features_than_examples_give_the_fit_of_scikit_learn(problem):
    """The fit runs in the space of the examples, which must not change it."""
    features, labels = np.random.default_rng(0).normal(size=(30, 200)) * np.logspace(-2, 2, 200), np.arange(30) % 3
    if problem == "multi_label_classification":
        labels = np.eye(3)[labels]
    model = LinearModel(problem, 1.0, 3).fit(features, labels)
    if problem == "regression":
        expected = make_pipeline(StandardScaler(), Ridge()).fit(features, labels).predict(features)[:, None]
    elif problem == "single_label_classification":
        expected = logistic(strength=1.0).fit(features, labels).decision_function(features)
    else:
        expected = np.stack([logistic(strength=1.0).fit(features, c).decision_function(features) for c in labels.T], 1)
    np.testing.assert_allclose(model.logits(features), expected, atol=2e-2)  # both stop at a tolerance


@pytest.mark.parametrize("width", [5, 60])
def test_several_numbers_are_a_ridge_regression_each_also_where_some_are_missing(width):
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(40, width)), random.normal(size=(40, 3))
    together = LinearModel("regression", 0.5, 3).fit(features, labels)
    assert together.trainable == 3 * (width + 1)
    expected = make_pipeline(StandardScaler(), Ridge(alpha=2.0)).fit(features, labels).predict(features)
    np.testing.assert_allclose(together.logits(features), expected, atol=1e-6)
    labels[::4, 1] = np.nan
    apart = LinearModel("regression", 0.5, 3).fit(features, labels)
    known = ~np.isnan(labels[:, 1])
    alone = make_pipeline(StandardScaler(), Ridge(alpha=2.0)).fit(features[known], labels[known, 1])
    np.testing.assert_allclose(apart.logits(features)[:, 1], alone.predict(features), atol=1e-6)
    np.testing.assert_allclose(apart.logits(features)[:, [0, 2]], expected[:, [0, 2]], atol=1e-6)


def test_folds_of_several_numbers_are_blocks_as_their_windows_overlap():
    """Each label stands beside its own copy: shuffled folds would find the weakest penalty best."""
    random = np.random.default_rng(0)
    features = np.repeat(random.normal(size=(10, 30)), 10, axis=0)
    labels = np.repeat(random.normal(size=(10, 2)), 10, axis=0)
    assert best_strength((features, labels), None, "regression", 2).strength == 1e-4
    assert best_strength((features, labels[:, 0]), None, "regression", 1).strength > 1


def test_the_best_strength_is_that_of_the_smallest_loss_on_validation():
    features, labels = data(3, 200)
    train, validation = (features[:100], labels[:100]), (features[100:], labels[100:])
    losses = {
        strength: log_loss(validation[1], logistic(strength=strength).fit(*train).predict_proba(validation[0]))
        for strength in STRENGTHS
    }
    found = best_strength(train, validation, "single_label_classification", 3)
    assert found.strength == min(losses, key=losses.get)
    folded = best_strength(train, None, "single_label_classification", 3)
    assert losses[folded.strength] < min(losses.values()) + 0.1  # five folds of the training data come close


def test_the_strength_of_several_labels_does_not_depend_on_how_large_the_logits_are():
    """The loss is that of the best factor of the logits, which scipy finds too."""
    random = np.random.default_rng(0)
    features = random.normal(size=(160, 40))
    labels = (features[:, :6] + random.normal(size=(160, 6)) > 2).astype(float)
    train, held = (features[:80], labels[:80]), (features[80:], labels[80:])
    problem, losses = "multi_label_classification", {}
    for strength in STRENGTHS:
        logits = LinearModel(problem, strength, 6).fit(*train).logits(held[0])
        odds, deviations = logit(held[1].mean(0)), logits - logits.mean(0)
        best = minimize_scalar(
            lambda log, odds=odds, deviations=deviations: mean_loss(odds + np.exp(log) * deviations, held[1], problem),
            bounds=(-7, 7),
            method="bounded",
        ).fun
        losses[strength] = rescaled_loss(logits, held[1])
        assert best - 1e-6 <= losses[strength] <= best * 1.01
        assert rescaled_loss(logits * 0.5 - 3, held[1]) == pytest.approx(losses[strength], rel=0.01)
    assert best_strength(train, held, problem, 6).strength == min(losses, key=losses.get)


def test_numbers_are_ridge_regression():
    features, labels = data(4)
    values = features @ np.arange(5) + labels
    model = LinearModel("regression", 0.25, 1).fit(features, values)
    oracle = make_pipeline(StandardScaler(), Ridge(alpha=4)).fit(features, values)
    assert model.logits(features).shape == (90, 1)
    np.testing.assert_allclose(model.logits(features)[:, 0], oracle.predict(features))
    assert model.trainable == 6


def test_features_are_prepared_once_for_all_strengths_and_labels(monkeypatch):
    """Two labels are known for the same rows: two sets of rows in all, however many fits there are."""
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(20, 300)).astype(np.float32), random.integers(0, 2, (20, 3)).astype(float)
    labels[::4, 1:] = np.nan
    calls, eigh = [], np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda matrix: calls.append(len(matrix)) or eigh(matrix))
    best_strength((features, labels), (features, labels), "multi_label_classification", 3)
    assert calls == [20, 15]


def test_constant_features_leave_the_frequencies_of_the_classes():
    model = LinearModel("single_label_classification", 1.0, 2).fit(np.full((5, 9), 3.0), np.array([0, 1, 0, 1, 0]))
    assert np.diff(model.logits(np.full((2, 9), 3.0))).ravel() == pytest.approx(np.log(2 / 3), abs=1e-4)


def test_wide_features_are_standardised_in_blocks(monkeypatch):
    """A far mean in float32 and a last block of another size change nothing; nor does the order of the columns."""
    features = np.random.default_rng(0).normal(100, 1e-2, size=(12, 50)).astype(np.float32)
    features[:, 7] = 100  # constant
    labels = np.arange(12) % 2
    whole = LinearModel("single_label_classification", 1.0, 2).fit(features, labels).logits(features)
    monkeypatch.setattr(standardised, "BLOCK", 7)
    blocks = LinearModel("single_label_classification", 1.0, 2).fit(features, labels)
    np.testing.assert_allclose(blocks.logits(features), whole, rtol=1e-5, atol=1e-7)
    assert np.abs(blocks.weight[:, 7]).max() < 1e-9
    oracle = logistic(strength=1.0).fit(features.astype(float), labels)
    np.testing.assert_allclose(np.diff(whole).ravel(), oracle.decision_function(features.astype(float)), atol=2e-3)


@pytest.fixture
def several():
    """Four labels: one known throughout, one missing in half of the rows, one constant, one never given."""
    features, labels = data(3)
    columns = np.stack([labels == 0, labels == 1, np.ones(90), np.full(90, np.nan)], 1)
    columns[::2, 1] = np.nan
    return features, columns


def test_several_labels_are_a_logistic_regression_each_on_their_labelled_rows(several):
    features, labels = several
    model = LinearModel("multi_label_classification", 0.5, 4).fit(features, labels)
    logits = model.logits(features)
    assert logits.shape == (90, 4)
    np.testing.assert_allclose(logits[:, 0], logistic().fit(features, labels[:, 0]).decision_function(features))
    known = logistic().fit(features[1::2], labels[1::2, 1])
    np.testing.assert_allclose(logits[:, 1], known.decision_function(features))
    assert model.trainable == 12


def test_a_constant_or_missing_label_gets_a_constant_logit(several):
    features, labels = several
    logits = LinearModel("multi_label_classification", 0.5, 4).fit(features, labels).logits(features)
    assert np.ptp(logits[:, 2:], axis=0).tolist() == [0, 0]
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification", "regression"])
def test_sparse_features_stay_sparse_and_are_scaled_by_their_largest(problem):
    features, labels = data(3)
    counts = np.abs(features).round(1) * (np.abs(features) > 1)
    if problem == "multi_label_classification":
        labels = np.eye(3)[labels]
        labels[::3, 0] = np.nan
    found = LinearModel(problem, 0.5, 3).fit(sparse.csr_matrix(counts), labels).logits(sparse.csr_matrix(counts))
    if problem == "regression":
        oracle = make_pipeline(MaxAbsScaler(), Ridge(alpha=2)).fit(counts, labels)
        np.testing.assert_allclose(found[:, 0], oracle.predict(counts), rtol=1e-3)
    elif problem == "single_label_classification":
        expected = logistic(MaxAbsScaler).fit(counts, labels).decision_function(counts)
        np.testing.assert_allclose(found, expected, atol=1e-3)
    else:
        rows = ~np.isnan(labels[:, 0])
        expected = logistic(MaxAbsScaler).fit(counts[rows], labels[rows, 0]).decision_function(counts)
        np.testing.assert_allclose(found[:, 0], expected, atol=1e-3)


@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification", "regression"])
def test_features_and_strength_are_those_that_validation_likes_best(problem):
    features, labels = data(3, 200)
    noise = np.random.default_rng(1).normal(size=features.shape)
    if problem == "multi_label_classification":
        labels = np.eye(3)[labels]
    split = {"train": slice(100), "validation": slice(100, None)}
    given = {name: {"noise": noise[rows], "states": features[rows]} for name, rows in split.items()}
    labels = {name: labels[rows] for name, rows in split.items()}
    strengths = [1e-6, 1e-2, 1.0]
    asked = task(problem)
    chosen, model = best_linear(asked, given, labels, strengths, 3)
    scores = {}
    for which in ("noise", "states"):
        for strength in strengths:
            fitted = LinearModel(asked.loss_type, strength, 3).fit(given["train"][which], labels["train"])
            found = asked.score(fitted.logits(given["validation"][which]), labels["validation"])
            scores[which, strength] = asked.benefit(found)
    assert chosen["features"] == "states"
    assert scores[chosen["features"], chosen["strength"]] == max(scores.values())
    again = asked.score(model.logits(given["validation"]["states"]), labels["validation"])
    assert asked.benefit(again) == max(scores.values())
