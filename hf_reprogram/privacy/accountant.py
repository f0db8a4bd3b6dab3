"""What steps of noise on random batches cost: the Rényi accountant of the subsampled Gaussian mechanism.

A step adds N(0, (sigma C)^2) to a sum of gradients that are clipped to the norm C, over a batch that each example joins by
itself with probability q. One example then changes N(0, sigma^2) into (1 - q) N(0, sigma^2) + q N(1, sigma^2) at worst, and the
Rényi divergence of order a between the two is (Mironov, Talwar and Zhang 2019, arXiv 1908.10530, theorems 4 and 5)

    D_a = log(A_a) / (a - 1)      A_a = E[ ((1 - q) + q exp((2 z - 1) / (2 sigma^2)))^a ]      z of N(0, sigma^2)

The mean is computed on a grid: the rule of trapezoids has an error far below rounding, for the integrand is analytic in a strip
of half-width pi sigma^2 and falls as a Gaussian. Divergences of steps add up, and become epsilon by (Canonne, Kamath and
Steinke 2020, arXiv 2004.00010, proposition 12)

    epsilon = min over a of   steps D_a + log((a - 1) / a) - (log(delta) + log(a)) / (a - 1)

These are the formulas of `RDPAccountant` in opacus, whose numbers the tests hold, as functions without that package's training.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, inf, log
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp

from ..errors import InputError, shown

ORDERS = np.array([*np.arange(1.1, 11, 0.1), *range(11, 65), 80, 96, 128, 192, 256, 384, 512, 1024])
LEAST_NOISE, MOST_NOISE = (
    0.1,
    1e4,
)  # noise multipliers that `noise_multiplier` looks for, and the least that is accounted for


def renyi_divergences(noise_multiplier: float, rate: float, orders: np.ndarray = ORDERS) -> np.ndarray:
    """The Rényi divergence of one step for each order, in nats.

    Args:
        noise_multiplier: sigma, the deviation of the noise over the norm to which gradients are clipped.
        rate: q, the probability that an example is in the batch.
        orders: numbers above 1.

    >>> renyi_divergences(2.0, 1.0, np.array([3.0])).round(6)  # without subsampling it is a / (2 sigma^2)
    array([0.375])
    """
    sigma = float(noise_multiplier)
    step = min(sigma / 2, sigma**2 / 2)  # an error below exp(-34) of the mean
    with np.errstate(divide="ignore"):
        outside, inside = np.log1p(-rate), log(rate)
    found = []
    for order in orders:
        z = np.arange(-14 * sigma, order + 14 * sigma, step)
        density = -0.5 * (z / sigma) ** 2 - log(sigma * np.sqrt(2 * np.pi))
        ratio = np.logaddexp(outside, inside + (2 * z - 1) / (2 * sigma**2))
        found.append(max(0.0, float(logsumexp(density + order * ratio)) + log(step)) / (order - 1))
    return np.array(found)


def epsilon(noise_multiplier: float, rate: float, steps: int, delta: float) -> float:
    """The epsilon of a training at `delta`; infinite without noise.

    Args:
        noise_multiplier: sigma, 0 or more; below 0.1 the noise is counted as none.
        rate: the probability from 0 to 1 that an example is in a batch.
        steps: how many batches were drawn.
        delta: the probability, above 0 and below 1, with which the bound may fail.

    Raises:
        InputError: a number is out of its range.

    >>> round(epsilon(1.1, rate=0.01, steps=1000, delta=1e-5), 3)
    1.712
    """
    if not 0 <= rate <= 1:
        raise InputError(f"rate is {shown(rate)}: give a probability from 0 to 1.")
    if not 0 < delta < 1:
        raise InputError(f"delta is {shown(delta)}: give a number above 0 and below 1.")
    if not noise_multiplier >= 0:
        raise InputError(f"noise_multiplier is {shown(noise_multiplier)}: give 0 or more.")
    if steps <= 0 or rate == 0:
        return 0.0
    if noise_multiplier < LEAST_NOISE:
        return inf
    spent = steps * renyi_divergences(noise_multiplier, rate)
    each = spent + np.log((ORDERS - 1) / ORDERS) - (log(delta) + np.log(ORDERS)) / (ORDERS - 1)
    return max(0.0, float(each.min()))


def noise_multiplier(target: float, rate: float, steps: int, delta: float) -> float:
    """The least noise multiplier, to 4 digits and rounded up, whose `epsilon` is at most `target`.

    Raises:
        InputError: no noise gives so small an epsilon.

    >>> noise_multiplier(3.0, rate=0.01, steps=1000, delta=1e-5)
    0.8647
    """

    def excess(noise: float) -> float:
        return epsilon(noise, rate, steps, delta) - target

    most = 1.0
    while excess(most) > 0:
        most *= 2
        if most > MOST_NOISE:
            raise InputError(
                f"No noise gives epsilon {shown(target)} at delta {delta:g} in {steps:,} steps: give a larger epsilon or delta."
            )
    least = most / 2
    while excess(least) <= 0:
        if least <= LEAST_NOISE:
            return LEAST_NOISE
        most, least = least, max(LEAST_NOISE, least / 2)
    found = brentq(excess, least, most, xtol=1e-6, rtol=1e-6)
    digits = 10 ** (4 - ceil(np.log10(found)))
    rounded = ceil(found * digits) / digits
    return float(rounded if excess(rounded) <= 0 else (ceil(found * digits) + 1) / digits)


def together(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What several trainings of one recipe, with other seeds, cost each and all together.

    An adapter that is chosen among them tells of all of them, and so do results that hold them all.

    Args:
        records: as from `hf_reprogram.gradients.private.Private.record`; of different numbers of steps, if at all.

    Returns:
        The record of the longest training, with `seeds`, their number, and `epsilon_of_all`.

    >>> record = {"epsilon": 1.712, "noise_multiplier": 1.1, "sampling_rate": 0.01, "steps": 1000, "delta": 1e-5}
    >>> both = together([record, record])
    >>> both["seeds"], round(both["epsilon_of_all"], 3)
    (2, 2.381)
    """
    longest = max(records, key=lambda record: record["steps"])
    steps = sum(record["steps"] for record in records)
    spent = epsilon(longest["noise_multiplier"], longest["sampling_rate"], steps, longest["delta"])
    return {**longest, "seeds": len(records), "epsilon_of_all": None if spent == inf else spent}
