"""Orthogonal matching pursuit, beside scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import orthogonal_mp

from hf_reprogram.dictionary import omp as module
from hf_reprogram.dictionary import orthogonal_matching_pursuit


def unit(rows: torch.Tensor) -> torch.Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("chunk", [4096, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_same_supports_and_codes_as_scikit_learn(dtype, chunk, generator, monkeypatch):
    monkeypatch.setattr(module, "ATOM_CHUNK", chunk)
    monkeypatch.setattr(module, "_BLOCK_ROWS", 16)
    atoms = unit(torch.randn(100, 30, generator=generator, dtype=dtype))
    targets = torch.randn(40, 30, generator=generator, dtype=dtype)
    found = orthogonal_matching_pursuit(atoms, targets, 6)
    expected = orthogonal_mp(atoms.T.numpy(), targets.T.numpy(), n_nonzero_coefs=6, precompute=False).T
    np.testing.assert_allclose(found.dense(100), expected, atol=1e-4 if dtype == torch.float32 else 1e-10)
    assert found.support.shape == found.codes.shape == (40, 6)
    torch.testing.assert_close(found.errors, (targets - found.dense(100) @ atoms).norm(dim=1))
    torch.testing.assert_close(found.reconstruct(atoms), found.dense(100) @ atoms)
