"""Orthogonal matching pursuit: beside scikit-learn's, on wide and awkward input, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import orthogonal_mp

from hf_reprogram import InputError
from hf_reprogram.dictionary import gram, orthogonal_matching_pursuit, selection
from hf_reprogram.dictionary import omp as module


def unit(rows: torch.Tensor) -> torch.Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def atoms(generator):
    return unit(torch.randn(100, 30, generator=generator, dtype=torch.float64))


@pytest.fixture
def targets(generator):
    return torch.randn(40, 30, generator=generator, dtype=torch.float64)


@contextmanager
def in_chunks(chunk: int, coarsely: bool) -> Iterator[None]:
    """Correlate with so few atoms at a time, in bfloat16 first or not, whatever the processor does best."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "ATOM_CHUNK", chunk)
        patch.setattr(selection, "COARSE_FROM", 0)
        patch.setattr(selection, "_multiplies_bfloat16", lambda device: coarsely)
        yield


# ------------------------------------------------------------------------------------------------------ scikit-learn


@pytest.mark.parametrize(("chunk", "coarsely"), [(4096, False), (7, False), (4096, True), (64, True)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_same_codes_as_scikit_learn(dtype, chunk, coarsely, atoms, targets, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_ROWS", 16)
    atoms, targets = atoms.to(dtype), targets.to(dtype)
    with in_chunks(chunk, coarsely):
        found = orthogonal_matching_pursuit(atoms, targets, 6)
    expected = orthogonal_mp(atoms.T.numpy(), targets.T.numpy(), n_nonzero_coefs=6, precompute=False).T
    np.testing.assert_allclose(found.dense(100), expected, atol=1e-4 if dtype == torch.float32 else 1e-10)
    assert found.support.shape == found.codes.shape == (40, 6)
    torch.testing.assert_close(found.errors, (targets - found.dense(100) @ atoms).norm(dim=1))
    torch.testing.assert_close(found.reconstruct(atoms), found.dense(100) @ atoms)


def test_same_codes_as_scikit_learn_to_a_squared_error(atoms, targets):
    found = orthogonal_matching_pursuit(atoms, targets, tol=4.0)
    expected = orthogonal_mp(atoms.T.numpy(), targets.T.numpy(), tol=4.0, precompute=False).T
    np.testing.assert_allclose(found.dense(100), expected, atol=1e-10)
    assert (found.errors <= 2).all()
    assert found.support.shape[1] == (expected != 0).sum(1).max()


def test_batch_omp_on_the_gram_matrix_gives_the_same(atoms, targets, monkeypatch):
    monkeypatch.setattr(gram, "_BLOCK_NUMBERS", 5000)
    support, codes = gram.batch_omp(atoms, targets, 6)
    expected = orthogonal_matching_pursuit(atoms, targets, 6)
    assert torch.equal(support, expected.support)
    torch.testing.assert_close(codes, expected.codes)


def test_codes_refer_to_the_atoms_as_given(atoms, targets):
    norms = torch.logspace(-3, 3, 100, dtype=torch.float64).unsqueeze(1)
    found, plain = (orthogonal_matching_pursuit(given, targets, 4) for given in (atoms * norms, atoms))
    assert torch.equal(found.support, plain.support)
    torch.testing.assert_close(found.codes * norms[found.support, 0], plain.codes)


@pytest.mark.parametrize("candidates", [32, 1])
@pytest.mark.parametrize("spread", [1.0, 0.05, 1e-4])
def test_bfloat16_first_changes_no_choice(spread, candidates, generator, monkeypatch):
    monkeypatch.setattr(selection, "_CANDIDATES", candidates)
    centres = torch.randn(20, 48, generator=generator)
    atoms = centres.repeat(50, 1) + spread * torch.randn(
        1000, 48, generator=generator
    )  # many almost as good as the best
    targets = torch.randn(30, 48, generator=generator)
    found = []
    for coarsely in (True, False):
        with in_chunks(256, coarsely):
            found.append(orthogonal_matching_pursuit(atoms, targets, 8))
    assert torch.equal(found[0].support, found[1].support)
    torch.testing.assert_close(found[0].codes, found[1].codes)


# ------------------------------------------------------------------------------------------------- when a row is done


def test_a_target_that_needs_fewer_atoms_is_padded_with_atom_0_and_code_0(atoms):
    found = orthogonal_matching_pursuit(atoms, torch.stack([2 * atoms[7] - 3 * atoms[9], 0 * atoms[0]]), 5)
    assert set(found.support[0, :2].tolist()) == {7, 9}
    assert found.support[0, 2:].tolist() == [0, 0, 0]
    assert found.codes[0, 2:].tolist() == [0, 0, 0]
    assert found.support[1].tolist() == [0] * 5
    assert found.codes[1].tolist() == [0] * 5
    assert found.errors.max() < 1e-12


def test_more_atoms_than_the_rank_allows(generator):
    basis = torch.randn(3, 30, generator=generator, dtype=torch.float64)
    atoms = torch.randn(50, 3, generator=generator, dtype=torch.float64) @ basis
    target = torch.randn(1, 30, generator=generator, dtype=torch.float64)
    found = orthogonal_matching_pursuit(atoms, target, 50)
    assert int((found.codes != 0).sum()) == 3
    best = torch.linalg.lstsq(basis.T, target.T).solution
    torch.testing.assert_close(found.reconstruct(atoms), (basis.T @ best).T)


def test_a_small_target_needs_no_atom_to_come_within_tol(atoms):
    found = orthogonal_matching_pursuit(atoms, 0.1 * atoms[:3], tol=0.5)
    assert found.codes.tolist() == [[0], [0], [0]]
    torch.testing.assert_close(found.errors, torch.full((3,), 0.1, dtype=torch.float64))


def test_of_equal_atoms_one_is_chosen(atoms, targets):
    found = orthogonal_matching_pursuit(torch.cat([atoms, atoms, -2 * atoms]), targets, 30)
    chosen = found.support % 100
    assert all(len(set(row.tolist())) == 30 for row in chosen)


# ---------------------------------------------------------------------------------------------------------- wide input


@st.composite
def problems(draw) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Atoms that repeat, vanish, depend on one another and differ in scale by many orders; targets likewise."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    width, count, rows = draw(st.integers(1, 12)), draw(st.integers(1, 24)), draw(st.integers(1, 5))

    def numbers(*shape: int) -> torch.Tensor:
        values = torch.randn(*shape, generator=generator, dtype=dtype)
        return values.round() if whole else values

    whole = draw(st.booleans())  # small whole numbers: ties, repeated and zero rows
    rank = draw(st.integers(1, width))
    atoms, targets = numbers(count, rank) @ numbers(rank, width), numbers(rows, width)
    copies = torch.randint(0, count, (count,), generator=generator)
    if draw(st.booleans()):
        atoms = atoms[copies]
    if draw(st.booleans()):
        nearly = draw(st.sampled_from([1e-3, 1e-6, 1e-9]))
        atoms = torch.cat([atoms, atoms + nearly * numbers(count, width)])
    spread = draw(st.sampled_from([0, 3, 12] if dtype == torch.float32 else [0, 3, 12, 100]))
    atoms = atoms * 10.0 ** (spread * (2 * torch.rand(len(atoms), 1, generator=generator, dtype=dtype) - 1))
    targets = targets * 10.0 ** draw(st.integers(-6, 6))
    if draw(st.booleans()):
        targets[0] = 0
    return atoms, targets, draw(st.integers(1, len(atoms)))


@settings(max_examples=200, deadline=None)
@given(problems())
def test_residuals_never_grow_and_nothing_is_nan(problem):
    atoms, targets, k = problem
    norms = targets.norm(dim=1)
    before = norms
    for count in sorted({1, 2, 3, k // 2, k} - {0}):
        if count > k:
            break
        found = orthogonal_matching_pursuit(atoms, targets, count)
        assert found.support.shape == found.codes.shape == (len(targets), count)
        assert found.codes.isfinite().all()
        assert 0 <= found.support.min() <= found.support.max() < len(atoms)
        terms = (found.codes * atoms.norm(dim=1)[found.support]).abs().sum(1)  # nearly equal atoms: large, and opposite
        assert (found.errors <= before + 100 * torch.finfo(atoms.dtype).eps * (norms + terms)).all()
        before = found.errors
        for support, codes in zip(found.support, found.codes, strict=True):
            used = support[codes != 0].tolist()
            assert len(set(used)) == len(used)


@settings(max_examples=100, deadline=None)
@given(problems(), st.sampled_from([(4096, False), (5, False), (64, True)]))
def test_every_choice_is_the_best_one_or_a_tie(problem, how):
    atoms, targets, k = problem
    targets = targets + 0.1 * targets.norm(dim=1, keepdim=True) * torch.rand_like(targets)  # no code is zero by chance
    with in_chunks(*how):
        found = orthogonal_matching_pursuit(atoms, targets, k)
    slack = 10 * torch.finfo(atoms.dtype).eps ** 0.5
    norms = atoms.double().norm(dim=1, keepdim=True)
    directions = torch.where(norms > 0, atoms.double() / norms, 0)
    for target, support, codes in zip(targets.double(), found.support, found.codes, strict=True):
        chosen = support[codes != 0]
        for count, atom in enumerate(chosen):
            before = directions[chosen[:count]].T
            residual = target - before @ torch.linalg.lstsq(before, target[:, None], driver="gelsd").solution[:, 0]
            scores = (directions @ residual).abs()
            assert scores[atom] >= scores.max() - slack * target.norm()


@settings(max_examples=100, deadline=None)
@given(problems(), st.floats(0, 1))
def test_the_squared_error_asked_for_is_reached_where_it_can_be(problem, share):
    atoms, targets, _ = problem
    tol = share * float(targets.norm(dim=1).max()) ** 2
    found = orthogonal_matching_pursuit(atoms, targets, tol=tol)
    full = orthogonal_matching_pursuit(atoms, targets, len(atoms))
    terms = (full.codes * atoms.norm(dim=1)[full.support]).abs().sum(1)
    slack = 100 * torch.finfo(atoms.dtype).eps * (targets.norm(dim=1) + terms)
    assert (found.errors <= full.errors.clamp_min(tol**0.5) + slack).all()
    assert found.codes.shape[1] >= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_near_the_limits_of_the_dtype(dtype, generator):
    limits = torch.finfo(dtype)
    atoms = unit(torch.randn(20, 8, generator=generator, dtype=dtype))
    targets = torch.randn(5, 8, generator=generator, dtype=dtype)
    plain = orthogonal_matching_pursuit(atoms, targets, 3)
    for scale in (limits.max / 16, limits.tiny * 16):
        found = orthogonal_matching_pursuit(atoms * scale, targets * scale, 3)
        assert torch.equal(found.support, plain.support)
        torch.testing.assert_close(found.codes, plain.codes, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(found.errors / scale, plain.errors, rtol=1e-3, atol=1e-3)


# ----------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_nonzero_coefs": 0}, "n_nonzero_coefs is 0: .* from 1 to 100"),
        ({"n_nonzero_coefs": 101}, "n_nonzero_coefs is 101: .* from 1 to 100"),
        ({"n_nonzero_coefs": 2.5}, "n_nonzero_coefs is 2.5: give a whole number"),
        ({"n_nonzero_coefs": None}, "n_nonzero_coefs is None and tol is None: give one"),
        ({"tol": 1.0}, "n_nonzero_coefs is 3 and tol is 1.0: give one"),
        ({"n_nonzero_coefs": None, "tol": -1.0}, "tol is -1.0"),
        ({"n_nonzero_coefs": None, "tol": float("nan")}, "tol is nan"),
        ({"targets": torch.ones(2, 29, dtype=torch.float64)}, "29 wide and atoms 30"),
        ({"targets": torch.ones(30, dtype=torch.float64)}, r"shape \(30,\)"),
        ({"targets": torch.ones(0, 30, dtype=torch.float64)}, r"shape \(0, 30\)"),
        ({"atoms": torch.ones(0, 30, dtype=torch.float64)}, r"shape \(0, 30\)"),
        ({"targets": torch.ones(2, 30)}, "float32 .* atoms torch.float64"),
        ({"targets": torch.ones(2, 30, dtype=torch.bfloat16)}, "bfloat16: convert"),
    ],
)
def test_what_does_not_fit_is_refused(change, message, atoms, targets):
    with pytest.raises(InputError, match=message):
        orthogonal_matching_pursuit(**{"atoms": atoms, "targets": targets, "n_nonzero_coefs": 3, **change})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["atom", "target"])
def test_nan_and_infinity_are_refused(value, where, atoms, targets):
    (atoms if where == "atom" else targets)[3, 1] = value
    with pytest.raises(InputError, match=f"1 of .*the first is {where} 3"):
        orthogonal_matching_pursuit(atoms, targets, 3)


def test_codes_that_overflow_are_refused():
    with pytest.raises(InputError, match="similar scale"):
        orthogonal_matching_pursuit(1e-30 * torch.eye(3), 1e30 * torch.eye(3), 1)


def test_arrays_and_lists_are_taken_as_tensors(atoms, targets):
    codes = orthogonal_matching_pursuit(atoms.numpy(), targets.numpy(), 2).codes
    assert torch.equal(codes, orthogonal_matching_pursuit(atoms, targets, 2).codes)
    assert orthogonal_matching_pursuit([[1.0, 0.0]], [[1.0, 2.0]], 1).codes.tolist() == [[1.0]]


@pytest.mark.parametrize("wrong", [[[1.0], [1.0, 2.0]], [["a"]], None, np.array([["a"]])])
def test_what_is_no_matrix_of_numbers_is_refused(wrong):
    with pytest.raises(InputError, match="The atoms are not a matrix of numbers"):
        orthogonal_matching_pursuit(wrong, [[1.0]], 1)
