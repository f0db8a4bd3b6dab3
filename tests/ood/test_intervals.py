"""Bootstrap intervals: beside a plain loop over resampled scores, their coverage, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_reprogram import InputError
from hf_reprogram.ood import bootstrap_intervals, detection_metrics, intervals, metrics

lists = st.lists(st.integers(0, 6).map(float), min_size=1, max_size=12)


@pytest.fixture
def scores():
    random = np.random.default_rng(0)
    return random.normal(size=400), random.normal(1, size=150)


@given(lists, lists, st.sampled_from([0.0, 0.5, 0.95, 1.0]), st.integers(0, 99))
def test_resampled_counts_give_the_metrics_of_resampled_scores(inside, outside, tpr, seed):
    random = np.random.default_rng(seed)
    sides = [np.sort(inside), np.sort(outside)]
    drawn = [random.integers(len(side), size=(3, len(side))) for side in sides]
    totals = [
        np.stack([np.concatenate([[0], np.bincount(row, minlength=rows.shape[1]).cumsum()]) for row in rows])
        for rows in drawn
    ]
    found = metrics.every(metrics.count(inside, outside).resampled(*totals), tpr)
    for i in range(3):
        expected = detection_metrics(sides[0][drawn[0][i]], sides[1][drawn[1][i]], tpr)
        assert {name: value[i] for name, value in found.items()} == pytest.approx(expected, abs=1e-12)


def test_drawn_samples_are_as_many_as_there_are_and_equally_likely():
    totals = intervals._totals(np.random.default_rng(0), 4000, 5)
    assert (totals[:, 0] == 0).all()
    assert (totals[:, -1] == 5).all()
    np.testing.assert_allclose(np.diff(totals, axis=1).mean(0), 1, atol=0.06)


def test_the_interval_is_around_the_value_and_grows_with_confidence(scores):
    value = detection_metrics(*scores)
    narrow, wide = (bootstrap_intervals(*scores, confidence=confidence) for confidence in (0.5, 0.95))
    assert list(narrow) == list(value)
    for name in value:
        assert wide[name][0] < narrow[name][0] <= narrow[name][1] < wide[name][1]
        assert wide[name][0] < value[name] < wide[name][1]


def test_the_width_is_that_of_the_known_error_of_auroc():
    random = np.random.default_rng(1)
    inside, outside = random.normal(size=2000), random.normal(1, size=2000)
    area = detection_metrics(inside, outside)["auroc"]
    first, second = area / (2 - area), 2 * area**2 / (1 + area)  # Hanley & McNeil 1982
    error = np.sqrt((area * (1 - area) + 1999 * (first + second - 2 * area**2)) / 2000**2)
    low, high = bootstrap_intervals(inside, outside)["auroc"]
    assert (high - low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.15)


def test_the_seed_decides_and_blocks_do_not(scores, monkeypatch):
    first = bootstrap_intervals(*scores, resamples=50)
    assert bootstrap_intervals(*scores, resamples=50) == first
    assert bootstrap_intervals(*scores, resamples=50, seed=1) != first
    monkeypatch.setattr(intervals, "_BLOCK", 1000)
    assert bootstrap_intervals(*scores, resamples=50) == first


def test_separated_sides_leave_no_doubt():
    found = bootstrap_intervals([0, 1], [2, 3], resamples=20)
    assert found["auroc"] == (1, 1)
    assert found["fpr"] == found["detection_error"] == (0, 0)


@pytest.mark.parametrize(
    ("option", "value"),
    [("confidence", 0), ("confidence", 1.5), ("resamples", 0), ("resamples", 1.5), ("seed", -1), ("tpr", 2)],
)
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(InputError, match=f"{option} is {value}: give a"):
        bootstrap_intervals([0.0], [1.0], **{option: value})
