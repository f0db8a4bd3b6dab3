"""Carving and few-shot draws: disjoint, by class, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_reprogram import InputError
from hf_reprogram.tasks.splits import carve, few_shot

pools = st.lists(st.integers(0, 3), min_size=20, max_size=120).map(np.array)
seeds = st.integers(0, 1000)


@given(pools, st.floats(0.05, 0.5), st.integers(1, 60), seeds)
def test_carving_parts_the_pool(labels, share, most, seed):
    train, validation = carve(labels, share, most, seed, stratify=True)
    assert sorted([*train, *validation]) == list(range(len(labels)))
    assert len(validation) == min(most, max(1, round(share * len(labels))))
    assert list(validation) == sorted(validation)


@given(pools, st.floats(0.05, 0.5), seeds)
def test_carving_keeps_the_share_of_every_class(labels, share, seed):
    _, validation = carve(labels, share, 10**9, seed, stratify=True)
    for label in np.unique(labels):
        expected = len(validation) * (labels == label).mean()
        assert abs((labels[validation] == label).sum() - expected) <= 1


@given(pools, seeds, st.booleans())
def test_the_same_seed_carves_the_same(labels, seed, stratify):
    one, other = (carve(labels, 0.3, 10**9, seed, stratify) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_another_seed_carves_another_split():
    labels = np.arange(200) % 2
    splits = {tuple(carve(labels, 0.2, 100, seed, stratify)[1]) for seed in range(5) for stratify in (True, False)}
    assert len(splits) == 10


def test_numbers_are_carved_without_classes():
    labels = np.random.default_rng(0).normal(size=50)
    train, validation = carve(labels, 0.2, 10**9, 0, stratify=False)
    assert sorted([*train, *validation]) == list(range(50))
    assert len(validation) == 10


@pytest.mark.parametrize("stratify", [True, False])
@pytest.mark.parametrize("size", [1, 2])
def test_a_pool_too_small_to_carve_leaves_no_empty_train(size, stratify):
    labels = np.arange(size) % 2
    try:
        train, validation = carve(labels, 0.5, 10, 0, stratify)
    except InputError as error:
        assert str(size) in str(error)  # noqa: PT017 - refusing is fine, an empty split is not
    else:
        assert len(train)
        assert len(validation)


@given(pools, st.integers(1, 20), seeds)
def test_few_shot_draws_are_disjoint_and_hold_as_many_of_every_class(labels, shots, seed):
    counts = {label: int((labels == label).sum()) for label in np.unique(labels)}
    if min(counts.values()) < 2:
        with pytest.raises(InputError, match="needs at least 2"):
            few_shot(labels, shots, seed)
        return
    train, validation = few_shot(labels, shots, seed)
    assert not {*train} & {*validation}
    assert len({*train}) == len(train)
    for label, count in counts.items():
        expected = min(shots, count // 2)
        assert (labels[train] == label).sum() == expected
        assert (labels[validation] == label).sum() == expected


@given(pools.filter(lambda labels: np.bincount(labels)[np.unique(labels)].min() >= 8), seeds)
def test_few_shot_draws_depend_on_the_seed_alone(labels, seed):
    one, other = few_shot(labels, 3, seed), few_shot(labels, 3, seed)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_other_seeds_draw_other_examples_in_another_order():
    labels = np.arange(400) % 2
    draws = [few_shot(labels, 16, seed)[0] for seed in range(4)]
    assert len({tuple(sorted(draw)) for draw in draws}) == 4
    assert any(labels[draw].tolist() != sorted(labels[draw]) for draw in draws)  # not sorted by class


def test_a_class_with_one_example_is_named():
    with pytest.raises(InputError, match="The class 'rare' has 1 example"):
        few_shot(np.array([0, 0, 0, 1]), 1, 0, ["common", "rare"])
