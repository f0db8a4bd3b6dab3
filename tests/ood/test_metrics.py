"""Detection metrics: beside scikit-learn with every kind of tie, by hand, under what must not change them, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from hf_reprogram import InputError, ood
from hf_reprogram.ood import detection_metrics

TOLERANCE = 1e-12
ties = st.integers(-3, 3).map(float)
spread = st.floats(-1e6, 1e6, allow_subnormal=False)
same = st.just(0.0)
sides = st.one_of(
    *(
        st.tuples(st.lists(kind, min_size=1, max_size=40), st.lists(kind, min_size=1, max_size=40))
        for kind in (ties, spread)
    ),
    st.tuples(st.lists(same, min_size=1, max_size=9), st.lists(same, min_size=1, max_size=9)),
    st.tuples(st.lists(ties, min_size=1, max_size=30), st.lists(spread, min_size=1, max_size=3)),
)
rates = st.one_of(st.sampled_from([0.0, 0.5, 0.8, 0.9, 0.95, 1.0]), st.floats(0, 1))


def oracle(inside, outside, tpr: float) -> dict[str, float]:
    """All metrics by scikit-learn."""
    scores, labels = np.concatenate([inside, outside]), np.repeat([0, 1], [len(inside), len(outside)])
    fpr, found, _ = sklearn.roc_curve(labels, scores, drop_intermediate=False)
    return {
        "auroc": sklearn.roc_auc_score(labels, scores),
        "aupr_in": sklearn.average_precision_score(1 - labels, -scores),
        "aupr_out": sklearn.average_precision_score(labels, scores),
        "fpr": fpr[found >= tpr].min(),
        "detection_error": ((1 - found + fpr) / 2).min(),
    }


@settings(max_examples=400)
@given(sides, rates)
def test_equal_to_scikit_learn(scores, tpr):
    assert detection_metrics(*scores, tpr) == pytest.approx(oracle(*scores, tpr), abs=TOLERANCE, rel=0)


@pytest.mark.parametrize("decimals", [0, 1, 3, 15])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_equal_to_scikit_learn_on_many_scores(dtype, decimals):
    random = np.random.default_rng(0)
    inside, outside = (
        random.normal(mean, size=size).round(decimals).astype(dtype) for mean, size in ((0, 30000), (1, 7001))
    )
    for tpr in (0.5, 0.95, 1):
        expected = oracle(inside, outside, tpr)
        assert detection_metrics(inside, outside, tpr) == pytest.approx(expected, abs=TOLERANCE, rel=0)


@given(sides, rates)
def test_each_function_gives_its_metric(scores, tpr):
    found = detection_metrics(*scores, tpr)
    assert list(found) == ["auroc", "aupr_in", "aupr_out", "fpr", "detection_error"]
    for name in ("auroc", "aupr_in", "aupr_out", "detection_error"):
        assert getattr(ood, name)(*scores) == found[name]
    assert ood.fpr_at_tpr(*scores, tpr=tpr) == found["fpr"]
    assert all(type(value) is float and 0 <= value <= 1 for value in found.values())


@given(sides)
def test_the_curve_is_scikit_learns(scores):
    inside, outside = map(np.array, scores)
    labels = np.repeat([0, 1], [len(inside), len(outside)])
    expected = sklearn.roc_curve(labels, np.concatenate([inside, outside]), drop_intermediate=False)
    for found, part in zip(ood.roc_curve(inside, outside), expected, strict=True):
        np.testing.assert_allclose(found, part, atol=TOLERANCE)


# -------------------------------------------------------------------------------------------------------------- hand


def test_by_hand():
    # in order: ID 1, OOD 2, ID 2, OOD 3, ID 4, OOD 5; the two scores of 2 tie
    found = detection_metrics([1, 2, 4], [2, 3, 5], tpr=0.6)
    assert found["auroc"] == pytest.approx((1.5 + 2 + 3) / 9)
    assert found["aupr_out"] == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 3)
    assert found["aupr_in"] == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 3)
    assert found["fpr"] == pytest.approx(1 / 3)  # at 3, where 2 of 3 OOD are detected
    assert found["detection_error"] == pytest.approx(1 / 3)  # at 5 (2/3 missed) and at 3 (1/3 missed, 1/3 alarms)


def test_one_of_each():
    assert detection_metrics([0], [1]) == {
        "auroc": 1,
        "aupr_in": 1,
        "aupr_out": 1,
        "fpr": 0,
        "detection_error": 0,
    }
    assert detection_metrics([1], [0]) == {
        "auroc": 0,
        "aupr_in": 0.5,
        "aupr_out": 0.5,
        "fpr": 1,
        "detection_error": 0.5,
    }


def test_all_equal_is_guessing():
    expected = {"auroc": 0.5, "aupr_in": 0.75, "aupr_out": 0.25, "fpr": 1, "detection_error": 0.5}
    assert detection_metrics([7.0] * 6, [7.0] * 2) == pytest.approx(expected)


def test_the_rate_is_reached_and_not_interpolated():
    inside, outside = np.arange(100) + 0.5, np.arange(100)
    assert ood.fpr_at_tpr(inside, outside, 0.95) == 0.95
    assert ood.fpr_at_tpr(inside, outside, 0.951) == 0.96
    assert ood.fpr_at_tpr(inside, outside, 0.07) == 0.07  # 0.07 * 100 is a little more than 7 in float64
    assert ood.fpr_at_tpr(inside, outside, 0) == 0
    assert ood.fpr_at_tpr([9, 1], [5, 5], 0.01) == 0.5


def test_zeros_of_either_sign_tie():
    assert ood.auroc([0.0], [-0.0]) == 0.5


def test_sides_of_different_dtypes_are_compared_exactly():
    inside, outside = np.float32([0.1, 1]), np.array([0.1, 1])  # float32's 0.1 is larger than float64's
    assert detection_metrics(inside, outside) == oracle(inside.astype(float), outside, 0.95)


# -------------------------------------------------------------------------------------------------------- invariances


@given(sides, rates)
def test_only_the_order_counts(scores, tpr):
    values = np.concatenate(scores)
    ranks = np.unique(values, return_inverse=True)[1]
    cut = len(scores[0])
    found = detection_metrics(ranks[:cut] ** 3 - 5, ranks[cut:] ** 3 - 5, tpr)
    assert found == pytest.approx(detection_metrics(*scores, tpr), abs=TOLERANCE)


@given(sides, st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_count(scores, random):
    shuffled = [random.sample(side, len(side)) for side in scores]
    assert detection_metrics(*shuffled) == detection_metrics(*scores)


@given(sides)
def test_swapped_sides(scores):
    inside, outside = map(np.array, scores)
    there, back, mirrored = (
        detection_metrics(inside, outside),
        detection_metrics(outside, inside),
        detection_metrics(-outside, -inside),
    )
    assert back["auroc"] == pytest.approx(1 - there["auroc"], abs=TOLERANCE)
    assert mirrored["auroc"] == pytest.approx(there["auroc"], abs=TOLERANCE)
    assert mirrored["aupr_in"] == pytest.approx(there["aupr_out"], abs=TOLERANCE)
    assert mirrored["aupr_out"] == pytest.approx(there["aupr_in"], abs=TOLERANCE)
    assert mirrored["detection_error"] == pytest.approx(there["detection_error"], abs=TOLERANCE)


def test_given_scores_are_not_changed():
    inside, outside = np.array([3.0, 1.0]), np.array([2.0, 0.0])
    detection_metrics(inside, outside)
    assert inside.tolist() == [3, 1]
    assert outside.tolist() == [2, 0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64])
def test_tensors_are_taken(dtype):
    inside, outside = torch.tensor([0, 1, 2]).to(dtype), torch.tensor([1, 3]).to(dtype)
    if dtype.is_floating_point:
        inside.requires_grad_()
    assert detection_metrics(inside, outside) == detection_metrics([0, 1, 2], [1, 3])


# ----------------------------------------------------------------------------------------------------------- refusals

REFUSED = {
    "There is nan among the ID scores": ([0.0, np.nan], [1.0]),
    "There is nan among the OOD scores": ([0.0], [1.0, np.nan, 2.0]),
    "There is inf among the OOD scores": ([0.0], [np.inf, 1.0]),
    "There is -inf among the ID scores": ([-np.inf, 0.0], [1.0]),
    "The ID scores are empty": ([], [1.0]),
    "The OOD scores are empty": ([1.0], np.zeros(0)),
    "The OOD scores have the shape": ([1.0], [[1.0]]),
    "The ID scores have the shape": (1.0, [1.0]),
    "The ID scores are of dtype": (["a"], [1.0]),
    "The ID scores are not an array": ([[1.0], [1.0, 2.0]], [1.0]),
}


@pytest.mark.parametrize("message", REFUSED)
@pytest.mark.parametrize("function", [detection_metrics, ood.auroc, ood.roc_curve, ood.bootstrap_intervals])
def test_what_cannot_be_scored_is_refused(message, function):
    with pytest.raises(InputError, match=message):
        function(*REFUSED[message])


@pytest.mark.parametrize("tpr", [-0.1, 1.1, np.nan, "0.95", None])
def test_a_rate_out_of_range_is_refused(tpr):
    with pytest.raises(InputError, match=r"tpr is .*: give a number from 0 up to 1"):
        detection_metrics([0.0], [1.0], tpr)
