"""Fitted scores: beside scikit-learn and the papers' formulas, on planted data, where a covariance is singular, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logsumexp
from sklearn.covariance import EmpiricalCovariance, ShrunkCovariance
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NearestNeighbors

from hf_reprogram import InputError
from hf_reprogram.ood import KNN, Mahalanobis, ReAct, RelativeMahalanobis, ViM, auroc, fitted, scores

WIDTH, CLASSES = 12, 3


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def train(random):
    """Features around three class means and labels, ID."""
    labels = random.integers(CLASSES, size=300)
    return 4 * np.eye(CLASSES, WIDTH)[labels] + random.normal(size=(300, WIDTH)) * np.linspace(0.3, 1.2, WIDTH), labels


@pytest.fixture
def layer(random):
    return np.eye(CLASSES, WIDTH) * 2 + random.normal(size=(CLASSES, WIDTH)) / 9, random.normal(size=CLASSES)


def detectors(layer):
    return [KNN(5), Mahalanobis(), Mahalanobis(0.2), RelativeMahalanobis(), ViM(*layer), ReAct(*layer)]


def test_planted_samples_score_higher(train, layer, random):
    features, labels = train
    fresh = 4 * np.eye(CLASSES, WIDTH)[random.integers(CLASSES, size=200)]
    fresh = fresh + random.normal(size=fresh.shape) * np.linspace(0.3, 1.2, WIDTH)
    far = random.normal(size=(100, WIDTH))
    far[:, :CLASSES] = -3  # no class
    far[:, 5] += 9
    for detector in detectors(layer):
        assert detector.fit(features, labels) is detector
        assert auroc(detector.score(fresh), detector.score(far)) > 0.98, type(detector).__name__


def test_torch_and_numpy_give_the_same(train, layer):
    features, labels = train
    for one, other in zip(detectors(layer), detectors(tuple(map(torch.from_numpy, layer))), strict=True):
        expected = one.fit(features, labels).score(features[:9])
        found = other.fit(torch.from_numpy(features), torch.from_numpy(labels)).score(torch.from_numpy(features[:9]))
        np.testing.assert_allclose(found, expected, atol=1e-9)
        assert found.dtype == np.float64


def test_knn(train):
    features, _ = train
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = NearestNeighbors(n_neighbors=7).fit(unit).kneighbors(unit)[0][:, -1]
    np.testing.assert_allclose(KNN(7).fit(features).score(features), expected, atol=1e-12)


def test_mahalanobis_without_labels_is_the_empirical_covariance(train):
    features, _ = train
    expected = EmpiricalCovariance().fit(features).mahalanobis(features)
    np.testing.assert_allclose(Mahalanobis().fit(features).score(features), expected, rtol=1e-9)


def test_mahalanobis_with_labels_has_the_covariance_within_classes(train):
    features, labels = train
    expected = LinearDiscriminantAnalysis(solver="lsqr", store_covariance=True).fit(features, labels)
    detector = Mahalanobis().fit(features, [f"class {label}" for label in labels])
    np.testing.assert_allclose(np.linalg.inv(detector.precision_), expected.covariance_, atol=1e-9)
    np.testing.assert_allclose(detector.means_, expected.means_, atol=1e-12)
    loop = [min((x - m) @ detector.precision_ @ (x - m) for m in expected.means_) for x in features[:20]]
    np.testing.assert_allclose(detector.score(features[:20]), loop, rtol=1e-9)


def test_shrinkage_is_scikit_learns(train):
    features, _ = train
    expected = ShrunkCovariance(shrinkage=0.3).fit(features).mahalanobis(features)
    np.testing.assert_allclose(Mahalanobis(0.3).fit(features).score(features), expected, rtol=1e-9)


def test_a_singular_covariance_has_a_pseudo_inverse_and_shrinkage_sees_what_it_leaves_out(train):
    features, labels = train
    features = features.copy()
    features[:, 4] = features[:, 3]
    found = Mahalanobis().fit(features, labels)
    others = [column for column in range(WIDTH) if column != 4]
    without = Mahalanobis().fit(features[:, others], labels)
    np.testing.assert_allclose(found.score(features), without.score(features[:, others]), rtol=1e-7)
    off = features.copy()
    off[:, 3] += 50
    off[:, 4] -= 50
    np.testing.assert_allclose(found.score(off), found.score(features), rtol=1e-6)
    shrunk = Mahalanobis(0.01).fit(features, labels)
    assert (shrunk.score(off) > 100 * shrunk.score(features)).all()


def test_more_features_than_samples(random):
    features = random.normal(size=(5, 20))
    found = Mahalanobis().fit(features)
    assert np.isfinite(found.precision_).all()
    np.testing.assert_allclose(found.score(features), 4, rtol=1e-9)  # n - 1 for each of n points in general position


def test_relative_mahalanobis_is_the_difference(train):
    features, labels = train
    classes = Mahalanobis().fit(features, labels).score(features)
    background = EmpiricalCovariance().fit(features).mahalanobis(features)
    found = RelativeMahalanobis().fit(features, labels).score(features)
    np.testing.assert_allclose(found, classes - background, rtol=1e-7, atol=1e-9)


def test_relative_mahalanobis_does_not_count_where_all_classes_are_alike(train):
    features, labels = train
    found = RelativeMahalanobis(0.0).fit(features, labels)
    odd = features.copy()
    odd[:, 5] += 20
    plain = Mahalanobis().fit(features, labels)
    assert (np.abs(found.score(odd) - found.score(features)) < 0.2 * plain.score(odd)).all()


def test_vim_is_the_papers(train, layer, random):
    features, _ = train
    weight, bias = layer
    detector = ViM(weight, bias, dim=4).fit(features)
    np.testing.assert_allclose(weight @ detector.origin_ + bias, 0, atol=1e-12)
    centred = features - detector.origin_
    _, _, rows = np.linalg.svd(centred)
    norms = np.linalg.norm(centred - centred @ rows[:4].T @ rows[:4], axis=1)
    logits = features @ weight.T + bias
    alpha = logits.max(1).mean() / norms.mean()
    assert detector.alpha_ == pytest.approx(alpha)
    np.testing.assert_allclose(detector.score(features), alpha * norms - logsumexp(logits, axis=1), rtol=1e-9)


def test_vim_without_a_bias_has_the_origin_of_the_space_and_pca_of_centred_features(train, layer):
    features = train[0] - train[0].mean(0)
    detector = ViM(layer[0], dim=4).fit(features)
    np.testing.assert_array_equal(detector.origin_, np.zeros(WIDTH))
    pca = PCA(4).fit(features)
    left = np.linalg.norm(features - pca.inverse_transform(pca.transform(features)), axis=1)
    np.testing.assert_allclose(np.linalg.norm(features @ detector.residual_, axis=1), left, rtol=1e-9)


@pytest.mark.parametrize(("width", "dim"), [(2048, 1000), (2047, 512), (768, 512), (513, 512), (512, 256), (2, 1)])
def test_vim_has_the_usual_dimensions(width, dim):
    assert fitted._usual_dim(width) == dim


def test_react_clips_at_the_percentile(train, layer):
    features, _ = train
    detector = ReAct(*layer).fit(features)
    assert detector.threshold_ == np.percentile(features, 90)
    np.testing.assert_array_equal(detector.score(features), scores.react(features, *layer, detector.threshold_))
    most = ReAct(*layer, percentile=100).fit(features)
    np.testing.assert_allclose(most.score(features), scores.energy(features @ layer[0].T + layer[1]), atol=1e-12)


# ----------------------------------------------------------------------------------------------------------- refusals


def test_scoring_before_fitting_is_refused(layer):
    for detector in detectors(layer):
        with pytest.raises(InputError, match="has not been fitted: call fit"):
            detector.score([[0.0] * WIDTH])


@pytest.mark.parametrize(
    ("message", "features"),
    [("There is nan among the training features", [[np.nan] * WIDTH] * 9), ("are empty", np.zeros((0, WIDTH)))],
)
def test_features_that_cannot_be_fitted_are_refused(message, features, layer):
    for detector in detectors(layer):
        with pytest.raises(InputError, match=message):
            detector.fit(features, [0, 1] * (len(features) // 2) + [0] * (len(features) % 2) or [0, 1])


def test_features_of_another_width_are_refused(train, layer):
    for detector in detectors(layer):
        detector.fit(*train)
        with pytest.raises(InputError, match="both must be the same"):
            detector.score(np.ones((2, WIDTH + 1)))


REFUSED = {
    "k is 4: give a whole number from 1 to 3": lambda rows: KNN(4).fit(rows),
    "shrinkage is 2: give a number": lambda rows: Mahalanobis(2).fit(rows),
    "do not vary within their classes": lambda rows: Mahalanobis().fit(rows, [0, 1, 2]),
    "The number of labels is 2, and that of training features is 3": lambda rows: Mahalanobis().fit(rows, [0, 1]),
    "The label of sample 2 is missing: leave samples without a class out": lambda rows: Mahalanobis().fit(
        rows, [0, 1, np.nan]
    ),
    "give labels of at least two classes": lambda rows: RelativeMahalanobis().fit(rows),
    "compares each class with all data": lambda rows: RelativeMahalanobis().fit(rows, [1, 1, 1]),
    "dim is 2: give a whole number": lambda rows: ViM(np.eye(2), dim=2).fit(rows),
    "ViM needs a positive one": lambda rows: ViM(np.eye(2), [-99, -99]).fit(rows),
    "do not leave a subspace of dim=1": lambda rows: ViM(np.eye(2)).fit(rows * [1, 0]),
    "percentile is 101: give a number": lambda rows: ReAct(np.eye(2), percentile=101).fit(rows),
    "The length of the bias is 3": lambda rows: ReAct(np.eye(2), [1, 2, 3]).fit(rows),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_fitted_is_refused(message):
    with pytest.raises(InputError, match=message):
        REFUSED[message](np.array([[1.0, 2.0], [2.0, 0.5], [3.0, 1.0]]))


MISSING = {
    "None": ["a", "b", None] * 2,
    "NaN": pd.Series(["a", "b", np.nan] * 2),
    "NA": pd.Series(["a", "b", None] * 2, dtype="string"),
    "a number": [0.0, 1.0, np.nan] * 2,
}


@pytest.mark.parametrize("kind", MISSING)
@pytest.mark.parametrize("detector", [Mahalanobis, RelativeMahalanobis])
def test_a_missing_label_is_named_by_its_sample(detector, kind, random):
    with pytest.raises(InputError, match=r"The label of sample 2 is missing: leave samples without a class out\."):
        detector().fit(random.normal(size=(6, 3)), MISSING[kind])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1] * 3).bfloat16(), "dtype torch.bfloat16, which rounds class indices"),
        (np.array([0, "b"] * 3, dtype=object), "several types, int and str"),
        ([[0], [1]] * 3, r"shape \(6, 1\): give one class per sample"),
    ],
)
def test_labels_that_tell_no_classes_apart_are_refused(labels, message, random):
    with pytest.raises(InputError, match=message):
        Mahalanobis().fit(random.normal(size=(6, 3)), labels)


@pytest.mark.parametrize("number", range(6))
def test_a_fitted_detector_does_not_change_with_what_it_was_given(number, train, random):
    features, labels = train
    layer = torch.nn.Linear(WIDTH, CLASSES, dtype=torch.float64)
    detector = detectors((layer.weight, layer.bias))[number]
    test = random.normal(size=(5, WIDTH))
    given = features + 2
    detector.fit(given, labels)
    before = detector.score(test)
    given *= 3
    with torch.no_grad():
        layer.weight.mul_(2)
        layer.bias.add_(1)
    np.testing.assert_array_equal(detector.score(test), before)


def test_knn_refuses_a_row_of_zeros_when_it_is_fitted(random):
    with pytest.raises(InputError, match="There is a row of zeros among the training features"):
        KNN(3).fit(np.vstack([random.normal(size=(5, 8)), np.zeros(8)]))


@pytest.mark.parametrize("scale", [1e-160, 1e160])
@pytest.mark.parametrize("detector", [Mahalanobis(), ViM(np.eye(3), dim=1)])
def test_features_whose_squares_do_not_fit_are_refused(detector, scale, random):
    features = np.abs(random.normal(size=(50, 3)))
    with pytest.raises(InputError, match="squares of that do not fit into float64: divide by it"):
        detector.fit(features * scale)
    with pytest.raises(InputError, match="The features go up to"):
        detector.fit(features).score(features * scale)
