"""Batch OMP: the same pursuit for a small dictionary and many samples, on correlations alone.

Source: Rubinstein, Zibulevsky & Elad 2008, "Efficient implementation of the K-SVD algorithm using batch orthogonal
matching pursuit", Technion CS-2008-08. They keep a Cholesky factor of the chosen atoms' Gram matrix for each sample and
solve two triangular systems per step. Here the orthonormalised rows of the Gram matrix are kept instead, so that a step is a
few operations on all samples at once. With c_i = <a_i, r> and, for the atom s chosen at step j, h_i = <q_i, a_s>:

    height = sqrt(1 - sum_i h_i^2);   row_j = (G_s - sum_i h_i row_i) / height;   z_j = c_s / height;   c <- c - z_j row_j

row_j holds <q_j, a_i> for all atoms i. A Gram matrix has n_atoms^2 numbers and loses half of the digits if atoms are nearly
dependent. Therefore only the iterations of K-SVD use it, and `orthogonal_matching_pursuit` does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .omp import NOISE

_BLOCK_NUMBERS = 2**20  # of orthonormalised rows at a time, so that they stay in the cache


def batch_omp(atoms: Tensor, samples: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Support and codes, both (n_samples, k) and padded with 0, over atoms of norm one.

    Args:
        atoms: (n_atoms, width), each of norm one.
        samples: (n_samples, width).
        k: atoms for each sample.

    >>> support, codes = batch_omp(torch.eye(3), torch.tensor([[0.0, 5.0, 1.0]]), k=2)
    >>> support.tolist(), codes.tolist()
    ([[1, 2]], [[5.0, 1.0]])
    """
    gram = atoms @ atoms.T
    rows = max(1, _BLOCK_NUMBERS // (k * len(atoms)))
    blocks = [
        _pursue(gram, block @ atoms.T, torch.linalg.vector_norm(block, dim=1), k) for block in samples.split(rows)
    ]
    support, codes = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    return support, codes


def _pursue(gram: Tensor, correlations: Tensor, norms: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The steps of the module's docstring, from correlations (samples, n_atoms) and the norms (samples,) of the samples."""
    count = len(correlations)
    epsilon = torch.finfo(gram.dtype).eps
    projected = gram.new_empty(count, k, len(gram))
    factor = torch.eye(k, dtype=gram.dtype, device=gram.device).repeat(count, 1, 1)
    coordinates = gram.new_zeros(count, k)
    support = torch.zeros(count, k, dtype=torch.long, device=gram.device)
    live = norms > 0
    for step in range(k):
        best = correlations.abs().argmax(1, keepdim=True)
        score = correlations.gather(1, best).squeeze(1)
        known = projected[:, :step]
        overlap = known.gather(2, best.unsqueeze(1).expand(-1, step, -1)).squeeze(2)
        square = 1 - overlap.square().sum(1)
        live = live & (score.abs() > NOISE * epsilon * norms) & (square > NOISE * epsilon)
        if not live.any():
            break
        inverse = torch.where(live, square.clamp_min(epsilon).rsqrt(), 0).unsqueeze(1)
        amount = score.unsqueeze(1) * inverse
        row = projected[:, step]
        torch.sub(gram[best.squeeze(1)], (overlap.unsqueeze(1) @ known).squeeze(1), out=row)
        row *= inverse
        coordinates[:, step : step + 1] = amount
        support[:, step] = torch.where(live, best.squeeze(1), 0)
        factor[:, :step, step] = torch.where(live.unsqueeze(1), overlap, 0)
        factor[:, step, step] = torch.where(live, square.clamp_min(epsilon).sqrt(), 1)
        correlations.addcmul_(amount, row, value=-1)
    return support, torch.linalg.solve_triangular(factor, coordinates.unsqueeze(2), upper=True).squeeze(2)
