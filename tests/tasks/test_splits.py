"""Carving, draws and scaffold splits: disjoint, by class or scaffold, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_reprogram import InputError
from hf_reprogram.tasks.splits import carve, draw, few_shot, scaffold_split

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


# -------------------------------------------------------------------------------------------- so many examples in all


@given(pools, st.integers(1, 20), seeds)
def test_a_draw_has_its_size_and_keeps_the_share_of_every_class(labels, size, seed):
    drawn = draw(labels, size, seed)
    assert len({*drawn}) == len(drawn) == size
    for label in np.unique(labels):
        assert abs((labels[drawn] == label).sum() - size * (labels == label).mean()) <= 1


@given(pools, st.data(), seeds)
def test_a_larger_draw_with_the_same_seed_holds_the_smaller_one(labels, data, seed):
    small, large = sorted(data.draw(st.integers(1, len(labels))) for _ in range(2))
    assert {*draw(labels, small, seed)} <= {*draw(labels, large, seed)}


@given(pools, seeds)
def test_everything_can_be_drawn_and_comes_in_another_order(labels, seed):
    drawn = draw(labels, len(labels), seed)
    assert sorted(drawn) == list(range(len(labels)))
    assert not np.array_equal(drawn, np.arange(len(labels)))


def test_draws_depend_on_the_seed_alone():
    labels = np.arange(100) % 2
    assert np.array_equal(draw(labels, 10, 3), draw(labels, 10, 3))
    assert len({tuple(sorted(draw(labels, 10, seed))) for seed in range(5)}) == 5
    unsorted = [labels[draw(labels, 10, seed)].tolist() for seed in range(5)]
    assert any(drawn != sorted(drawn) for drawn in unsorted)  # not by class


@pytest.mark.parametrize("labels", [np.zeros(7), np.arange(7) % 2])
def test_more_than_there_are_cannot_be_drawn(labels):
    with pytest.raises(InputError, match="There are 7 examples, too few to draw 8"):
        draw(labels, 8, 0)


# --------------------------------------------------------------------------------------------------- molecules

MOLECULES = {  # by what is left when side chains are cut off
    "c1ccccc1": ["Cc1ccccc1", "CCc1ccccc1", "Oc1ccccc1", "Nc1ccccc1C", "OC(=O)c1ccccc1", "Clc1ccccc1"],
    "": ["CCO", "CC(=O)O", "CCN", "OCC(O)CO"],
    "C1CCCCC1": ["CC1CCCCC1", "OC1CCCCC1", "NC1CCCCC1"],
    "c1ccncc1": ["Cc1ccncc1", "Nc1ccncc1"],
    "c1ccoc1": ["Cc1ccco1"],
    "c1ccsc1": ["Cc1cccs1"],
}


@pytest.fixture
def molecules():
    """Seventeen molecules in an order that has nothing to do with their scaffolds."""
    pytest.importorskip("rdkit")
    every = [smiles for group in MOLECULES.values() for smiles in group]
    return [every[i] for i in np.random.default_rng(0).permutation(len(every))]


def scaffolds(smiles):
    core_of = {text: core for core, group in MOLECULES.items() for text in group}
    return {core_of[text] for text in smiles}


@pytest.mark.parametrize("size", [1, 2, 4, 8, 12])
def test_no_scaffold_is_on_both_sides(size, molecules):
    kept, held_out = scaffold_split(molecules, size)
    assert sorted([*kept, *held_out]) == list(range(17))
    assert kept.tolist() == sorted(kept)
    assert held_out.tolist() == sorted(held_out)
    assert not scaffolds(molecules[i] for i in kept) & scaffolds(molecules[i] for i in held_out)
    assert len(held_out) >= size


def test_the_largest_groups_are_kept_while_they_fit_and_smaller_ones_fill_up(molecules):
    """13 may be kept: 6 + 4 + 3 fit, then there is room for none; 14: 6 + 4 + 3, not 2, and one of 1."""
    assert scaffolds(molecules[i] for i in scaffold_split(molecules, 4)[0]) == {"c1ccccc1", "", "C1CCCCC1"}
    kept, held_out = scaffold_split(molecules, 3)
    assert (len(kept), len(held_out)) == (14, 3)
    assert "c1ccncc1" in scaffolds(molecules[i] for i in held_out)


def test_groups_of_one_size_are_taken_in_a_seeded_order_and_not_in_that_of_the_file():
    """A file may be sorted by its label: the last of many lonely molecules must not all be held out."""
    pytest.importorskip("rdkit")
    lonely = [f"C1{'C' * n}C1" for n in range(2, 22)]  # rings of every size, each a scaffold of its own
    splits = {seed: scaffold_split(lonely, 6, seed)[1].tolist() for seed in range(5)}
    assert all(len(held_out) == 6 for held_out in splits.values())
    assert list(range(14, 20)) not in splits.values()
    assert len({tuple(held_out) for held_out in splits.values()}) == 5
    assert scaffold_split(lonely, 6, 3)[1].tolist() == splits[3]


def test_what_is_no_molecule_is_a_group_of_its_own(molecules, capfd):
    odd = ["C1CC", "not a molecule", "C1CC"]
    kept, held_out = scaffold_split([*molecules, *odd], 5)
    assert len(kept) + len(held_out) == 20
    same = {17, 19}
    assert same <= {*kept} or same <= {*held_out}
    assert capfd.readouterr().err == ""


def test_molecules_of_one_scaffold_cannot_be_split(molecules):
    with pytest.raises(
        InputError, match=r"6 molecules of 1 scaffolds cannot be split by scaffold: use task\.split: seeded"
    ):
        scaffold_split(MOLECULES["c1ccccc1"], 2)
