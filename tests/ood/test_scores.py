"""Pure scores: beside the formula of the paper written as a loop, in hard cases, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logsumexp, softmax
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors

from hf_reprogram import InputError
from hf_reprogram import arrays as checked
from hf_reprogram.ood import scores

shapes = st.tuples(st.integers(1, 6), st.integers(2, 7))
some_logits = arrays(np.float64, shapes, elements=st.floats(-20, 20, allow_subnormal=False))


def naive_gen(row, gamma, top):
    p = sorted(softmax(row), reverse=True)
    return sum((p[i] * (sum(p[i + 1 :]) + sum(p[:i]))) ** gamma for i in range(min(top, len(p))))


NAIVE = {
    "msp": lambda row: -max(softmax(row)),
    "max_logit": lambda row: -max(row),
    "energy": lambda row: -logsumexp(row),
    "entropy": lambda row: scipy_entropy(softmax(row)),
    "margin": lambda row: sorted(softmax(row))[-2] - max(softmax(row)),
    "generalized_entropy": lambda row: naive_gen(row, 0.1, 100),
}


@pytest.mark.parametrize("name", NAIVE)
@given(some_logits)
def test_scores_of_logits_equal_their_formula(name, logits):
    found = getattr(scores, name)(logits)
    assert found.shape == (len(logits),)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [NAIVE[name](row) for row in logits], atol=1e-12)


@given(some_logits, st.floats(0.1, 10), st.integers(1, 8))
def test_options_of_scores_of_logits(logits, value, top):
    np.testing.assert_allclose(scores.msp(logits, value), [-max(softmax(row / value)) for row in logits], atol=1e-12)
    expected = [-value * logsumexp(row / value) for row in logits]
    np.testing.assert_allclose(scores.energy(logits, temperature=value), expected, atol=1e-10)
    gamma = value / 10
    expected = [naive_gen(row, gamma, top) for row in logits]
    np.testing.assert_allclose(scores.generalized_entropy(logits, gamma, top), expected, atol=1e-12)


def test_by_hand():
    logits = np.log([[1.0, 2.0, 5.0]])  # probabilities 1/8, 2/8, 5/8
    assert scores.msp(logits) == pytest.approx([-5 / 8])
    assert scores.max_logit(logits) == pytest.approx([-math.log(5)])
    assert scores.energy(logits) == pytest.approx([-math.log(8)])
    assert scores.margin(logits) == pytest.approx([-3 / 8])
    assert scores.entropy(logits) == pytest.approx([3 * math.log(2) - (2 * math.log(2) + 5 * math.log(5)) / 8])
    assert scores.generalized_entropy(logits, gamma=1) == pytest.approx([(7 + 12 + 15) / 64])
    assert scores.generalized_entropy(logits, gamma=1, top=1) == pytest.approx([15 / 64])


def test_arguments_go_by_name_too():
    assert scores.msp(logits=[[0.0, 0.0]], temperature=2.0) == scores.msp([[0.0, 0.0]])
    assert scores.mcm(temperature=1.0, text_features=[[1.0]], image_features=[[2.0]]) == [-1]
    with pytest.raises(TypeError, match="missing a required argument: 'text_features'"):
        scores.mcm([[1.0]])


@pytest.mark.parametrize("name", NAIVE)
def test_unsure_scores_above_sure(name):
    sure, unsure = getattr(scores, name)([[9.0, 0.0, 0.0], [1.0, 0.9, 0.8]])
    assert unsure > sure


@pytest.mark.parametrize("name", NAIVE)
def test_huge_logits_stay_finite(name):
    found = getattr(scores, name)([[1e4, -1e4, 0.0], [-1e300, -1e300, -1e300], [1e300, 0.0, 3.0]])
    assert np.isfinite(found).all()
    if name not in ("energy", "max_logit"):
        np.testing.assert_allclose(found[1], getattr(scores, name)([[0.0, 0.0, 0.0]])[0])


def test_confident_samples_are_told_apart_where_probabilities_round_to_one():
    logits = [[40.0, 0.0, 0.0], [80.0, 0.0, 0.0]]
    for score in (scores.energy, scores.max_logit, scores.entropy, scores.generalized_entropy):
        assert score(logits)[0] > score(logits)[1]
    assert scores.generalized_entropy(logits)[1] == pytest.approx(2**0.1 * math.exp(-8) + 2 * math.exp(-8))


@pytest.mark.parametrize("name", [name for name in NAIVE if name not in ("energy", "max_logit")])
def test_a_constant_added_to_logits_does_not_count(name):
    logits = np.random.default_rng(0).normal(size=(5, 4))
    np.testing.assert_allclose(getattr(scores, name)(logits + 100), getattr(scores, name)(logits), atol=1e-9)


def test_one_class():
    for name in ("msp", "entropy", "generalized_entropy"):
        assert getattr(scores, name)([[3.0]]) == pytest.approx([-1.0 if name == "msp" else 0.0])
    with pytest.raises(InputError, match="A margin is between two classes"):
        scores.margin([[3.0]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64])
@pytest.mark.parametrize("name", NAIVE)
def test_tensors_are_taken_and_counted_in_float64(name, dtype):
    logits = torch.tensor([[1.0, -2.0, 3.0], [0.5, 0.25, 0.0]]).to(dtype)
    expected = getattr(scores, name)(logits.double().numpy())
    np.testing.assert_array_equal(getattr(scores, name)(logits), expected)


# ---------------------------------------------------------------------------------------------------------- features


@pytest.fixture
def random():
    return np.random.default_rng(0)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 0.01])
def test_mcm(random, temperature):
    images, texts = random.normal(size=(6, 5)), random.normal(size=(3, 5)) * 7
    expected = -softmax(unit(images) @ unit(texts).T / temperature, axis=1).max(1)
    np.testing.assert_allclose(scores.mcm(images, texts, temperature), expected, atol=1e-12)


@pytest.mark.parametrize("block", [1, 50, 2**21])
@pytest.mark.parametrize("k", [1, 5, 40])
def test_knn_equals_nearest_neighbours(random, k, block, monkeypatch):
    monkeypatch.setattr(scores, "BLOCK", block)
    points, train = random.normal(size=(30, 8)) * 5, random.normal(size=(40, 8))
    distances, _ = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(unit(train)).kneighbors(unit(points))
    np.testing.assert_allclose(scores.knn(points, train, k), distances[:, -1], atol=1e-12)
    loop = [sorted(np.linalg.norm(unit(train) - point, axis=1))[k - 1] for point in unit(points)]
    np.testing.assert_allclose(scores.knn(points, train, k), loop, atol=1e-12)


def test_knn_of_a_training_sample_is_zero_whatever_its_length(random):
    train = random.normal(size=(50, 16))
    np.testing.assert_allclose(scores.knn(train[:9] * 4, train, k=1), 0, atol=1e-15)
    np.testing.assert_allclose(scores.knn([[1e-200, 0.0]], [[1e200, 1e200]], k=1), 2 * math.sin(math.pi / 8))


def spd(random, width):
    root = random.normal(size=(width, width))
    return root @ root.T + np.eye(width)


def test_mahalanobis(random):
    features, means, precision = random.normal(size=(20, 4)) * 3, random.normal(size=(3, 4)), spd(random, 4)
    loop = [min((x - m) @ precision @ (x - m) for m in means) for x in features]
    np.testing.assert_allclose(scores.mahalanobis(features, means, precision), loop, rtol=1e-10)
    squares = pairwise_distances(features, means, metric="mahalanobis", VI=precision).min(1) ** 2
    np.testing.assert_allclose(scores.mahalanobis(features, means, precision), squares, rtol=1e-10)


def test_mahalanobis_far_from_the_origin_keeps_its_digits(random):
    features, means, precision = random.normal(size=(20, 4)), random.normal(size=(3, 4)), spd(random, 4)
    near = scores.mahalanobis(features, means, precision)
    np.testing.assert_allclose(scores.mahalanobis(features + 1e6, means + 1e6, precision), near, rtol=1e-7)


def test_relative_mahalanobis(random):
    features, means, precision, mean, background = (
        random.normal(size=(20, 4)),
        random.normal(size=(3, 4)),
        spd(random, 4),
        random.normal(size=4),
        spd(random, 4),
    )
    loop = [min((x - m) @ precision @ (x - m) - (x - mean) @ background @ (x - mean) for m in means) for x in features]
    found = scores.relative_mahalanobis(features, means, precision, mean, background)
    np.testing.assert_allclose(found, loop, rtol=1e-9)


def test_vim_is_the_log_odds_of_the_papers_probability(random):
    features, weight, bias, origin = (random.normal(size=size) for size in ((9, 5), (3, 5), 3, 5))
    residual = np.linalg.qr(random.normal(size=(5, 2)))[0]
    logits = features @ weight.T + bias
    virtual = 0.7 * np.linalg.norm((features - origin) @ residual, axis=1, keepdims=True)
    probability = softmax(np.concatenate([logits, virtual], axis=1), axis=1)[:, -1]
    found = scores.vim(features, weight, bias, origin, residual, 0.7)
    np.testing.assert_allclose(1 / (1 + np.exp(-found)), probability, atol=1e-12)


def test_react(random):
    features, weight, bias = random.normal(size=(9, 5)), random.normal(size=(3, 5)), random.normal(size=3)
    clipped = np.where(features > 0.5, 0.5, features)
    expected = -2 * logsumexp((clipped @ weight.T + bias) / 2, axis=1)
    np.testing.assert_allclose(scores.react(features, weight, bias, 0.5, 2), expected, atol=1e-12)
    np.testing.assert_allclose(scores.react(features, weight, None, 99), scores.energy(features @ weight.T), atol=1e-12)


CALLS = {
    "msp": (),
    "max_logit": (),
    "energy": (),
    "entropy": (),
    "margin": (),
    "generalized_entropy": (),
    "mcm": (np.ones((2, 3)),),
    "knn": (np.eye(3), 1),
    "mahalanobis": (np.eye(3), np.eye(3)),
    "relative_mahalanobis": (np.eye(3), np.eye(3), np.ones(3), np.eye(3)),
    "vim": (np.ones((2, 3)), np.zeros(2), np.zeros(3), np.eye(3)[:, :1], 1.0),
    "react": (np.ones((2, 3)), np.zeros(2), 1.0),
}


@pytest.mark.parametrize("name", CALLS)
def test_blocks_do_not_count_and_input_stays_as_it_was(name, random, monkeypatch):
    rows = random.normal(size=(11, 3))
    before = rows.copy()
    whole = getattr(scores, name)(rows, *CALLS[name])
    monkeypatch.setattr(checked, "BLOCK", 6)
    np.testing.assert_allclose(getattr(scores, name)(rows, *CALLS[name]), whole, atol=1e-12)
    np.testing.assert_array_equal(rows, before)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("message", "rows"),
    [
        ("There is nan among the", [[1.0, 2.0, np.nan]]),
        ("There is inf among the", [[1.0, 2.0, np.inf]]),
        ("are empty", np.zeros((0, 3))),
        ("have the shape .3,.: give one row of numbers", [1.0, 2.0, 3.0]),
        ("are not an array", [[1.0, 2.0, 3.0], [1.0]]),
        ("are of dtype", [["a", "b", "c"]]),
    ],
)
def test_what_cannot_be_scored_is_refused(name, message, rows):
    with pytest.raises(InputError, match=message):
        getattr(scores, name)(rows, *CALLS[name])


@pytest.mark.parametrize("name", [name for name, given in CALLS.items() if given])
def test_features_of_another_width_are_refused(name):
    with pytest.raises(InputError, match="both must be the same"):
        getattr(scores, name)(np.ones((2, 4)), *CALLS[name])


ROWS = [[1.0, 2.0]]
OPTIONS = {
    "temperature is 0": lambda: scores.msp(ROWS, 0),
    "temperature is -1": lambda: scores.energy(ROWS, -1),
    "temperature is nan": lambda: scores.mcm(ROWS, ROWS, float("nan")),
    "gamma is 0": lambda: scores.generalized_entropy(ROWS, 0),
    "top is 0": lambda: scores.generalized_entropy(ROWS, top=0),
    "k is 2": lambda: scores.knn(ROWS, ROWS, 2),
    "k is 0": lambda: scores.knn(ROWS, ROWS, 0),
    "alpha is -1": lambda: scores.vim(ROWS, ROWS, None, [0, 0], [[1.0], [0.0]], -1),
    "threshold is inf": lambda: scores.react(ROWS, ROWS, None, float("inf")),
}


@pytest.mark.parametrize("message", OPTIONS)
def test_options_out_of_range_are_refused(message):
    with pytest.raises(InputError, match=f"{message}: give a"):
        OPTIONS[message]()


def test_other_things_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="a row of zeros among the training features"):
        scores.knn(ROWS, [[0.0, 0.0]], 1)
    with pytest.raises(InputError, match=r"The precision has the shape \(1, 2\)"):
        scores.mahalanobis(ROWS, ROWS, ROWS)
    with pytest.raises(InputError, match="The length of the bias is 2, and the number of rows"):
        scores.react(ROWS, ROWS, [0, 0], 1)


@pytest.mark.parametrize("score", [scores.msp, scores.energy])
@pytest.mark.parametrize("temperature", [5e-324, 1e-310, 1e-30, 1e30, 1e300])
def test_no_temperature_makes_nan(score, temperature):
    logits = np.array([[1.0, 2.0], [-3.0, 0.5], [1e308, -1e308]])
    with np.errstate(invalid="raise", divide="raise"):
        found = score(logits, temperature)
    assert not np.isnan(found).any()
    if temperature < 1e-20:  # softmax is a step, and the free energy the largest logit
        np.testing.assert_array_equal(found, -np.ones(3) if score is scores.msp else -logits.max(1))


WEIGHT = torch.tensor([1.0, 2.0], requires_grad=True)
GIVEN = {
    "tensors that need gradients": [WEIGHT * 1, WEIGHT * 2],
    "a sparse tensor": torch.tensor([[1.0, 2.0], [2.0, 4.0]]).to_sparse(),
    "float8": torch.tensor([[1.0, 2.0], [2.0, 4.0]]).to(torch.float8_e4m3fn),
    "rows of numbers of tensors": [list(WEIGHT), list(WEIGHT * 2)],
    "an array with a mask and nothing masked": np.ma.masked_array([[1.0, 2.0], [2.0, 4.0]], mask=False),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_numbers_of_every_kind_are_taken(kind):
    np.testing.assert_array_equal(scores.max_logit(GIVEN[kind]), [-2.0, -4.0])


def test_masked_numbers_are_refused():
    with pytest.raises(InputError, match=r"^Some of the logits are masked: leave those samples out before\.$"):
        scores.msp(np.ma.masked_array([[0.0, 1.0], [2.0, 99.0]], mask=[[0, 0], [0, 1]]))
