"""Poisson batches: each example by itself, and the same at each step again."""

from __future__ import annotations

import numpy as np
import pytest

from hf_reprogram import InputError
from hf_reprogram.privacy import PoissonBatches


def test_each_example_joins_by_itself_with_the_same_probability():
    batches = PoissonBatches(examples=200, batch_size=20, seed=3)
    joined = np.zeros((4000, 200), bool)
    for step in range(4000):
        joined[step, batches.drawn(step + 1)] = True
    shares, sizes = joined.mean(0), joined.sum(1)
    assert np.abs(shares - 0.1).max() < 5 * np.sqrt(0.09 / 4000)
    assert sizes.mean() == pytest.approx(20, abs=0.4)
    assert sizes.var() == pytest.approx(200 * 0.09, rel=0.1)  # of a binomial: examples do not know of each other


def test_epochs_follow_each_other_and_a_step_has_its_batch():
    batches = PoissonBatches(examples=50, batch_size=20, seed=1)
    first = [*batches]
    batches.set_epoch(1)
    assert [*first, *batches] == [batches.drawn(step) for step in range(1, 7)]
    assert PoissonBatches(50, 20, seed=2).drawn(1) != first[0]


def test_a_batch_of_all_has_all_and_an_empty_one_a_row_in_its_place():
    assert [*PoissonBatches(examples=3, batch_size=9)] == [[0, 1, 2]]
    rare = PoissonBatches(examples=40, batch_size=1, seed=0)
    empty = [step for step in range(1, 41) if not rare.drawn(step)]
    assert empty
    assert [*rare][empty[0] - 1] == [0]


def test_no_examples_are_refused():
    with pytest.raises(InputError, match="examples is 0: give a whole number, 1 or more"):
        PoissonBatches(examples=0, batch_size=2)
