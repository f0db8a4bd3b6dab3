"""Examples are divided among clients: all of them, each once, and the classes unevenly."""

from __future__ import annotations

import numpy as np
import pytest

from hf_reprogram import InputError
from hf_reprogram.federated.options import FederatedOptions
from hf_reprogram.federated.partition import partition

LABELS = np.arange(400) % 4


@pytest.mark.parametrize("alpha", [0.1, 1.0, 100.0])
def test_every_example_belongs_to_one_client(alpha):
    parts = partition(LABELS, 5, alpha, seed=1)
    assert len(parts) == 5
    assert min(map(len, parts)) > 0
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(400))


def largest_shares(alpha):
    """The share of its most frequent class at each client, on average."""
    return np.mean([np.bincount(LABELS[rows]).max() / len(rows) for rows in partition(LABELS, 5, alpha)])


def test_a_small_alpha_gives_clients_other_classes():
    assert largest_shares(0.1) > 0.6
    assert largest_shares(1000.0) < 0.35


def test_a_seed_draws_the_same_and_another_one_other_parts():
    first, again, other = (partition(LABELS, 3, 0.5, seed) for seed in (0, 0, 1))
    assert all(map(np.array_equal, first, again))
    assert not all(map(np.array_equal, first, other))


def test_more_clients_than_examples_are_refused():
    with pytest.raises(InputError, match=r"3 examples cannot be divided among 4 clients: set federated\.clients lower"):
        partition(np.array([0, 1, 0]), 4, 0.3)


def test_a_draw_that_never_serves_all_is_refused():
    with pytest.raises(InputError, match=r"set federated\.alpha higher"):
        partition(np.zeros(30, int), 20, 1e-3)


@pytest.mark.parametrize(
    "wrong", [{"clients": 0}, {"rounds": 1.5}, {"local_epochs": 0}, {"alpha": 0.0}, {"alpha": True}]
)
def test_options_are_checked(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        FederatedOptions(**wrong)
