"""Calibration error and accuracy under shift, by hand and beside a plain loop."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from hf_reprogram import InputError
from hf_reprogram.ood import accuracy, accuracy_under_shift, adaptive_ece, brier, ece, nll, reliability


def naive_ece(probabilities, labels, bins):
    total, edges = 0.0, np.linspace(0, 1, bins + 1)
    for low, high in pairwise(edges):
        inside = [(max(row), int(np.argmax(row)) == label) for row, label in zip(probabilities, labels, strict=True)]
        inside = [pair for pair in inside if low < pair[0] <= high]
        if inside:
            confidence, right = np.mean(inside, axis=0)
            total += len(inside) / len(labels) * abs(right - confidence)
    return total


@given(st.integers(1, 60), st.integers(2, 5), st.integers(1, 20), st.integers(0, 99))
def test_ece_equals_a_loop(samples, classes, bins, seed):
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(classes) / 2, size=samples).round(1)
    probabilities = probabilities / probabilities.sum(1, keepdims=True)
    labels = random.integers(classes, size=samples)
    assert ece(probabilities, labels, bins) == pytest.approx(naive_ece(probabilities, labels, bins), abs=1e-12)


def test_ece_by_hand():
    probabilities = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.5, 0.5]]
    # two right of confidence 0.9; in (0.4, 0.6] one right of 0.6 and one wrong of 0.5
    assert ece(probabilities, [0, 0, 1, 1], bins=5) == pytest.approx(0.5 * 0.1 + 0.5 * 0.05)


def test_bins_are_closed_on_the_right():
    assert ece([[0.5, 0.5], [0.6, 0.4]], [0, 1], bins=2) == pytest.approx(
        0.5 * 0.5 + 0.5 * 0.6
    )  # not one bin of mean 0.05


def test_sure_and_right_is_calibrated():
    assert ece(torch.eye(3), torch.arange(3)) == 0
    assert ece(torch.eye(3), [1, 2, 0]) == 1


@pytest.mark.parametrize(
    ("message", "probabilities", "labels"),
    [
        ("do not sum to 1: apply a softmax", [[2.0, 1.0]], [0]),
        ("are negative", [[1.5, -0.5]], [0]),
        ("There is a label 2: give class indices from 0 to 1", [[0.5, 0.5]], [2]),
        ("There is a label -1", [[0.5, 0.5]], [-1]),
        ("The number of labels is 2", [[0.5, 0.5]], [0, 1]),
        ("There is nan among the probabilities", [[0.5, np.nan]], [0]),
        ("The probabilities are empty", np.zeros((0, 2)), []),
        ("are fractions", [[0.5, 0.5]], [0.5]),
    ],
)
def test_ece_refuses(message, probabilities, labels):
    with pytest.raises(InputError, match=message):
        ece(probabilities, labels)


def test_ece_refuses_no_bins():
    with pytest.raises(InputError, match="bins is 0: give a whole number"):
        ece([[1.0, 0.0]], [0], bins=0)


def test_accuracy():
    assert accuracy([0, 1, 2, 2], torch.tensor([0, 1, 1, 2])) == 0.75
    assert accuracy([1.0], [True]) == 1
    with pytest.raises(InputError, match="The number of predictions is 1, and that of labels is 2"):
        accuracy([0], [0, 1])
    with pytest.raises(InputError, match="The predictions are empty"):
        accuracy([], [])
    with pytest.raises(InputError, match="There is nan among the predictions"):
        accuracy([np.nan], [0])


def test_a_table_of_drops():
    right, half = ([0, 1], [0, 1]), ([0, 1, 1, 1], [0, 1, 0, 0])
    table = accuracy_under_shift(right, {"noise": half, "blur": right})
    assert list(table) == ["id", "noise", "blur", "mean"]
    assert table["id"] == {"accuracy": 1, "samples": 2, "drop": 0}
    assert table["noise"] == {"accuracy": 0.5, "samples": 4, "drop": 0.5}
    assert table["mean"] == {"accuracy": 0.75, "samples": 6, "drop": 0.25}


def test_a_table_needs_shifts_of_their_own_names():
    with pytest.raises(InputError, match="A shifted data set is named 'mean'"):
        accuracy_under_shift(([0], [0]), {"mean": ([0], [0])})
    with pytest.raises(InputError, match="A shifted data set is missing"):
        accuracy_under_shift(([0], [0]), {})


# ------------------------------------------------------------------------------ further measures of calibration


def drawn(n=200, classes=4, seed=0):
    random = np.random.default_rng(seed)
    rows = random.dirichlet(np.ones(classes), n)
    return rows, random.integers(0, classes, n)


def test_brier_and_nll_are_those_of_scikit_learn():
    rows, labels = drawn()
    onehot = np.eye(4)[labels]
    assert brier(rows, labels) == pytest.approx(((rows - onehot) ** 2).sum(1).mean(), rel=1e-12)
    two = np.stack([1 - rows[:, 0], rows[:, 0]], 1)
    assert brier(two, labels > 1) == pytest.approx(2 * brier_score_loss(labels > 1, two[:, 1]), rel=1e-12)
    assert nll(rows, labels) == pytest.approx(log_loss(labels, rows, labels=range(4)), rel=1e-10)
    assert nll([[0.0, 1.0]], [0]) == float("inf")


def test_adaptive_bins_have_as_many_samples_each():
    rows, labels = drawn(90)
    confidence, right = rows.max(1), rows.argmax(1) == labels
    order = np.argsort(confidence)
    bins = [order[start : start + 10] for start in range(0, 90, 10)]
    expected = sum(abs(right[b].mean() - confidence[b].mean()) * len(b) for b in bins) / 90
    assert adaptive_ece(rows, labels, bins=9) == pytest.approx(expected, rel=1e-10)
    assert adaptive_ece(rows, labels, bins=1) == pytest.approx(ece(rows, labels, bins=1))
    assert adaptive_ece(rows[:3], labels[:3], bins=50) == pytest.approx(np.abs(right[:3] - confidence[:3]).mean())


def test_the_curve_of_reliability_gives_the_calibration_error():
    rows, labels = drawn()
    curve = reliability(rows, labels, bins=10)
    gaps = [s * abs(a - c) for c, a, s in zip(curve["confidence"], curve["accuracy"], curve["share"], strict=True)]
    assert sum(gaps) == pytest.approx(ece(rows, labels, bins=10), rel=1e-10)
    assert sum(curve["share"]) == pytest.approx(1)


@pytest.mark.parametrize("measure", [adaptive_ece, brier, nll, reliability])
def test_rows_that_are_no_distributions_are_refused(measure):
    with pytest.raises(InputError, match="do not sum to 1"):
        measure([[0.5, 0.7]], [0])
    with pytest.raises(InputError, match="There is a label 2"):
        measure([[0.5, 0.5]], [2])
