"""Wasserstein distances beside POT and cases computed by hand."""

import numpy as np
import ot
import pytest

from hf_reprogram.alignment import null_distance, sliced_wasserstein, wasserstein
from hf_reprogram.errors import InputError


def samples(n, width, seed=0):
    random = np.random.default_rng(seed)
    return random.standard_normal((n, width)), 3 + 2 * random.standard_normal((n, width))


@pytest.mark.parametrize(("n", "width"), [(1, 1), (7, 2), (40, 36), (150, 10)])
def test_exact_distance_is_that_of_pot(n, width):
    a, b = samples(n, width)
    assert wasserstein(a, b) == pytest.approx(ot.emd2([], [], ot.dist(a, b, "euclidean")), rel=1e-10)


def test_exact_distance_far_from_the_origin_is_that_of_pot():
    a, b = samples(30, 5)
    far = 1e6
    assert wasserstein(a + far, b + far) == pytest.approx(wasserstein(a, b), rel=1e-8)


def test_exact_distance_of_a_sample_and_its_shuffle_is_zero():
    a, _ = samples(50, 8)
    assert wasserstein(a, a[::-1]) == 0


def test_exact_distance_of_a_shift_is_its_length():
    a, _ = samples(50, 3)
    assert wasserstein(a, a + np.array([3, 4, 0])) == pytest.approx(5)


@pytest.mark.parametrize("width", [1, 10])
def test_sliced_distance_is_that_of_pot_along_the_same_directions(width):
    a, b = samples(60, width)
    directions = np.random.default_rng(4).standard_normal((25, width))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    expected = ot.sliced_wasserstein_distance(a, b, projections=directions.T, p=1)
    assert sliced_wasserstein(a, b, projections=25, seed=4) == pytest.approx(expected, rel=1e-10)


def test_sliced_distance_is_at_most_the_exact_one():
    a, b = samples(40, 6)
    assert sliced_wasserstein(a, b) < wasserstein(a, b)
    assert sliced_wasserstein(a[:, :1], b[:, :1]) == pytest.approx(wasserstein(a[:, :1], b[:, :1]))


def test_sliced_distance_is_the_same_in_parts(monkeypatch):
    a, b = samples(40, 6)
    whole = sliced_wasserstein(a, b, projections=30)
    monkeypatch.setattr("hf_reprogram.alignment.distances.DIRECTIONS", 7 * 40)
    assert sliced_wasserstein(a, b, projections=30) == pytest.approx(whole, rel=1e-12)


def test_null_distance_falls_as_the_sample_grows_and_tells_a_shift_apart():
    a, b = samples(400, 4)
    few, many = null_distance(a[:40]), null_distance(a)
    assert 0 < many < few
    assert wasserstein(a[:200], b[:200]) > 3 * many
    assert null_distance(a, sliced_wasserstein) < many


def test_null_distance_has_no_row_in_both_halves():
    rows = np.arange(9.0)[:, None] * 10
    seen = []
    null_distance(rows, lambda a, b: seen.append((a, b)) or 0.0)
    ((first, second),) = seen
    assert len(first) == len(second) == 4
    assert not {*first[:, 0]} & {*second[:, 0]}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wasserstein(np.ones((2, 3)), np.ones((3, 3))), "The number of rows of the first sample is 2"),
        (lambda: sliced_wasserstein(np.ones((2, 3)), np.ones((2, 4))), "The width of the first sample is 3"),
        (lambda: wasserstein(np.full((2, 3), np.nan), np.ones((2, 3))), "There is nan"),
        (lambda: wasserstein(np.ones((10_001, 1)), np.ones((10_001, 1))), "There are 10,001 rows"),
        (lambda: sliced_wasserstein(np.ones((2, 3)), np.ones((2, 3)), projections=0), "projections is 0"),
        (lambda: null_distance(np.ones((1, 3))), "The sample has 1 row"),
    ],
)
def test_wrong_samples_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
