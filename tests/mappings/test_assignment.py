"""Deciding which source labels stand for which class: against exhaustive search, naive loops and cases by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_reprogram import InputError
from hf_reprogram.mappings import assignment


def probabilities(seed: int, n: int = 60, width: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(width, 0.3), n)


def labels(seed: int, n: int = 60, classes: int = 3) -> np.ndarray:
    return np.random.default_rng(seed + 1).integers(classes, size=n)


def total(scores, sets) -> float:
    return sum(scores[t, s] for t, chosen in enumerate(sets) for s in chosen)


def test_the_response_is_the_mean_over_a_class():
    found = assignment.response(probabilities(0), labels(0), 4)
    for t in range(3):
        np.testing.assert_allclose(found[t], probabilities(0)[labels(0) == t].mean(0))
    assert not found[3].any()  # a class without examples


@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 3))
def test_sets_never_overlap_and_lie_within_the_source(seed, classes, each):
    scores = np.random.default_rng(seed).random((classes, 16))
    for sets in (
        assignment.random_sets(classes, 16, each, seed),
        assignment.identity_sets(classes, 16, each),
        assignment.frequency_sets(scores, each),
        assignment.optimal_sets(scores, each),
    ):
        assert sets.shape == (classes, each)
        assert len(np.unique(sets)) == classes * each
        assert sets.min() >= 0
        assert sets.max() < 16


@given(st.integers(0, 10_000), st.sampled_from([(3, 5, 1), (2, 5, 2), (2, 6, 3), (3, 6, 2)]))
def test_the_optimal_sets_are_those_of_exhaustive_search(seed, sizes):
    classes, width, each = sizes
    scores = np.random.default_rng(seed).random((classes, width))
    orders = permutations(range(width), classes * each)
    best = max(total(scores, np.reshape(order, (classes, each))) for order in orders)
    found = assignment.optimal_sets(scores, each)
    assert total(scores, found) == pytest.approx(best)
    in_order = np.take_along_axis(scores, found, 1)
    assert (np.diff(in_order) <= 0).all()  # a class's best label stands first


@given(st.integers(0, 10_000), st.integers(1, 3))
def test_optimal_is_at_least_frequency_which_is_at_least_random_on_average(seed, each):
    scores = np.random.default_rng(seed).random((4, 20))
    optimal, frequency = (total(scores, f(scores, each)) for f in (assignment.optimal_sets, assignment.frequency_sets))
    drawn = np.mean([total(scores, assignment.random_sets(4, 20, each, s)) for s in range(50)])
    assert optimal >= frequency - 1e-12
    assert frequency >= drawn


def test_frequency_takes_the_largest_pairs_first():
    scores = np.array([[0.9, 0.8, 0.1], [0.7, 0.85, 0.2]])
    assert assignment.frequency_sets(scores, 1).tolist() == [[0], [1]]
    assert assignment.frequency_sets(np.array([[0.5, 0.4, 0.0], [0.9, 0.1, 0.0]]), 1).tolist() == [[1], [0]]


@given(st.integers(0, 10_000), st.integers(2, 5))
def test_bayesian_weights_are_those_of_a_naive_loop(seed, classes):
    p, y = probabilities(seed), labels(seed, classes=classes)
    joint = np.zeros((classes, p.shape[1]))
    for row, label in zip(p, y, strict=True):
        joint[label, row.argmax()] += 1
    given_source = joint / (joint.sum(0) + 1)
    found = assignment.bayesian_weights(p, y, classes)
    np.testing.assert_allclose(found, given_source / given_source.sum(1, keepdims=True))


def test_bayesian_weights_by_hand():
    given_labels = np.array([0, 0, 0, 1])
    predicted = np.eye(3)[[0, 0, 1, 1]]
    # counts: class 0 has label 0 twice and label 1 once, class 1 has label 1 once; one example is smoothed in a label
    first, second = np.array([2 / 3, 1 / 3, 0]), np.array([0, 1 / 3, 0])
    found = assignment.bayesian_weights(predicted, given_labels, 2)
    np.testing.assert_allclose(found, [first / first.sum(), second / second.sum()])


def naive_bayesian_plus(p, y, classes, share):
    top = max(1, int(share * classes))
    joint = np.zeros((classes, p.shape[1]))
    for row, label in zip(p, y, strict=True):
        for s in sorted(range(len(row)), key=lambda s: -row[s])[:top]:
            joint[label, s] += row[s]
    given_source = joint / (joint.sum(0) + 1)
    return given_source / given_source.sum(1, keepdims=True)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 1.0])
def test_bayesian_plus_weights_are_those_of_a_naive_loop(share):
    p, y = probabilities(3), labels(3, classes=7)
    found = assignment.bayesian_plus_weights(p, y, 7, share)
    np.testing.assert_allclose(found, naive_bayesian_plus(p, y, 7, share))
    np.testing.assert_allclose(found.sum(1), 1)


def test_a_class_that_was_never_seen_weighs_all_labels_alike():
    found = assignment.bayesian_weights(probabilities(0), labels(0), 4)
    np.testing.assert_allclose(found[3], 1 / 12)


def test_every_source_label_joins_its_nearest_class_while_there_is_room():
    target = np.array([[1.0, 0.0], [0.0, 1.0]])
    source = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.1, 0.9]])
    assert assignment.similarity_sets(target, source, most=3) == [[0, 1, 2], [3]]
    assert assignment.similarity_sets(target, source, most=2) == [[0, 1], [2, 3]]


def test_no_class_is_left_without_a_label_by_similarity():
    source = np.array([[1.0, 0.0], [0.9, 0.1], [0.8, 0.3]])
    found = assignment.similarity_sets(np.array([[1.0, 0.0], [-1.0, 0.2]]), source, most=3)
    assert sorted(label for chosen in found for label in chosen) == [0, 1, 2]
    assert all(found)


def test_sets_as_weights_are_the_mean_over_each_set():
    weights = assignment.weights_of([[0, 2], [1]], 4)
    np.testing.assert_allclose(weights, [[0.5, 0, 0.5, 0], [0, 1, 0, 0]])


@pytest.mark.parametrize(("classes", "width", "asked", "each"), [(2, 1000, None, 10), (10, 50, None, 5), (5, 12, 2, 2)])
def test_labels_a_class(classes, width, asked, each):
    assert assignment.labels_per_class(classes, width, asked) == each


@pytest.mark.parametrize(("classes", "width", "asked"), [(5, 3, None), (2, 10, 6)])
def test_more_labels_than_the_source_has_are_refused(classes, width, asked):
    with pytest.raises(InputError, match=f"has {width}"):
        assignment.labels_per_class(classes, width, asked)
