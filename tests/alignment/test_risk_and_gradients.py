"""The risk of Theorem 1, and the alignment of gradients, beside cases computed by hand."""

import numpy as np
import pytest
import torch

from hf_reprogram.alignment import expected_decrease, gradient_alignment, mean_risk, risk_bound, unrelated_alignment
from hf_reprogram.errors import InputError


def test_risk_is_that_of_a_naive_loop():
    random = np.random.default_rng(0)
    logits, labels = random.standard_normal((20, 5)) * 4, random.integers(0, 5, 20)
    expected = []
    for z, y in zip(torch.from_numpy(logits), labels, strict=True):
        gap = z.softmax(0)
        gap[y] -= 1
        expected.append(float(gap.norm()))
    assert mean_risk(logits, labels) == pytest.approx(np.mean(expected), rel=1e-12)


def test_risk_goes_from_zero_to_the_square_root_of_two():
    assert mean_risk([[1000.0, 0.0]], [0]) == 0
    assert mean_risk([[1000.0, 0.0]], [1]) == pytest.approx(2**0.5)


def test_bound_is_above_the_risk_of_samples_where_it_can_be_checked():
    """Two samples with the same conditional labels: the risk of one is bounded by that of the other."""
    random = np.random.default_rng(1)
    source, labels = random.standard_normal((50, 3)), random.integers(0, 3, 50)
    shift = np.array([0.2, -0.1, 0.3])
    bound = risk_bound(mean_risk(source, labels), float(np.linalg.norm(shift)), 3)
    assert mean_risk(source + shift, labels) < bound


def test_gradients_that_agree_have_one_and_opposed_ones_zero():
    row = np.array([1.0, -2.0, 0.5])
    assert gradient_alignment([row, 3 * row]) == pytest.approx(1)
    assert gradient_alignment([row, -row]) == 0


def test_alignment_is_that_of_the_equation():
    random = np.random.default_rng(2)
    gradients = random.standard_normal((12, 7))
    expected = sum(abs(gradients[:, j].sum()) for j in range(7)) / sum(np.abs(row).sum() for row in gradients)
    assert gradient_alignment(gradients) == pytest.approx(expected, rel=1e-12)
    assert gradient_alignment(torch.from_numpy(gradients)) == pytest.approx(expected, rel=1e-12)


def test_unrelated_gradients_have_nearly_the_line():
    gradients = np.random.default_rng(3).standard_normal((100, 4000))
    assert gradient_alignment(gradients) == pytest.approx(unrelated_alignment(100), rel=0.05)


def test_expected_decrease_is_that_of_a_small_sign_step():
    """On a quadratic, whose gradient is known."""
    points = np.random.default_rng(4).standard_normal((30, 6))
    theta, step = np.zeros(6), 1e-5
    loss = lambda theta: 0.5 * ((theta - points) ** 2).sum(1).mean()  # noqa: E731
    gradients = theta - points
    moved = theta - step * np.sign(gradients.mean(0))
    assert expected_decrease(gradients, step) == pytest.approx(loss(theta) - loss(moved), rel=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_risk([[0.0, 1.0]], [2]), "There is a label 2"),
        (lambda: mean_risk([[0.0, 1.0]], [0, 1]), "The number of labels is 2"),
        (lambda: risk_bound(-1, 2, 3), "source_risk is -1"),
        (lambda: gradient_alignment([[0.0, 0.0]]), "All gradients are 0"),
        (lambda: unrelated_alignment(0), "examples is 0"),
        (lambda: expected_decrease([[1.0]], 0), "step is 0"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
