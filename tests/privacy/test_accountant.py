"""The accountant against the binomial sum, an integral by scipy, and the accountants of two other libraries."""

from __future__ import annotations

from math import comb, exp, inf, log, pi, sqrt

import numpy as np
import pytest
from scipy.integrate import quad

from hf_reprogram import InputError
from hf_reprogram.privacy import epsilon, noise_multiplier, renyi_divergences


def by_binomial(sigma, rate, order):
    """Mironov, Talwar and Zhang 2019, section 3.3: a sum for whole orders."""
    terms = (
        comb(order, k) * (1 - rate) ** (order - k) * rate**k * exp((k * k - k) / (2 * sigma**2))
        for k in range(order + 1)
    )
    return log(sum(terms)) / (order - 1)


@pytest.mark.parametrize(("sigma", "rate"), [(0.7, 0.3), (1.1, 0.01), (4.0, 0.1), (20.0, 0.5)])
def test_whole_orders_are_the_binomial_sum(sigma, rate):
    orders = [2, 3, 8, 20]
    expected = [by_binomial(sigma, rate, order) for order in orders]
    np.testing.assert_allclose(renyi_divergences(sigma, rate, np.array(orders)), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("sigma", "rate", "order"), [(0.5, 0.2, 1.5), (1.1, 0.01, 2.7), (3.0, 0.9, 10.3)])
def test_other_orders_are_the_integral(sigma, rate, order):
    def integrand(z):
        density = exp(-0.5 * (z / sigma) ** 2) / (sigma * sqrt(2 * pi))
        return density * (1 - rate + rate * exp((2 * z - 1) / (2 * sigma**2))) ** order

    mean, _ = quad(integrand, -12 * sigma, order + 12 * sigma, points=[0, order], limit=500, epsabs=0, epsrel=1e-12)
    assert renyi_divergences(sigma, rate, np.array([order]))[0] == pytest.approx(log(mean) / (order - 1), rel=1e-6)


@pytest.mark.parametrize(
    ("sigma", "rate", "steps", "expected", "tight"),
    [  # `RDPAccountant` of opacus 1.6.0, and `PLDAccountant` of dp-accounting 0.6.0, which has no slack
        (1.1, 0.01, 1000, 1.7117700912203435, 1.5153702482034066),
        (0.8, 0.064, 300, 13.370961370, 12.014182029420981),
        (2.0, 0.02, 5000, 3.4833999403110209, 3.2087764773913263),
        (1.0, 1.0, 10, 19.05359753163139, 17.85658684900323),
    ],
)
def test_epsilon_is_that_of_other_libraries(sigma, rate, steps, expected, tight):
    found = epsilon(sigma, rate, steps, delta=1e-5)
    assert found == pytest.approx(expected, rel=1e-6)
    assert tight < found < 1.15 * tight


def test_the_noise_for_an_epsilon_is_the_least_that_keeps_it():
    noise = noise_multiplier(3.0, rate=0.01, steps=1000, delta=1e-5)
    assert noise == pytest.approx(0.865478515625, abs=1e-3)  # `get_noise_multiplier` of opacus 1.6.0, to its tolerance
    assert epsilon(noise, 0.01, 1000, 1e-5) <= 3.0 < epsilon(noise - 2e-4, 0.01, 1000, 1e-5)


def test_no_noise_is_no_privacy_and_no_step_costs_nothing():
    assert epsilon(0.0, 0.01, 1, 1e-5) == inf
    assert epsilon(1.0, 0.01, 0, 1e-5) == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": 1.5}, "rate is 1.5: give a probability from 0 to 1."),
        ({"delta": 0.0}, "delta is 0.0: give a number above 0 and below 1."),
        ({"noise_multiplier": -1.0}, "noise_multiplier is -1.0: give 0 or more."),
    ],
)
def test_numbers_out_of_range_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        epsilon(**{"noise_multiplier": 1.0, "rate": 0.1, "steps": 10, "delta": 1e-5, **change})


def test_an_epsilon_that_no_noise_gives_is_refused():
    with pytest.raises(InputError, match=r"No noise gives epsilon 0\.001 at delta 1e-05 in 10 steps"):
        noise_multiplier(1e-3, rate=1.0, steps=10, delta=1e-5)
