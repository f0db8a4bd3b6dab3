"""Orthogonal matching pursuit: each target is approximated by few atoms of a large dictionary.

    r_0 = y;   s_j = argmax_i |<a_i, r_j>| / |a_i|;   r_{j+1} = y - projection of y on span(a_{s_0}, ..., a_{s_j})

Source: Pati, Rezaiifar & Krishnaprasad 1993, "Orthogonal matching pursuit: recursive function approximation with
applications to wavelet decomposition".

All targets advance together, so that a step is one matrix product with every chunk of atoms. The atoms chosen for a target are
orthonormalised one by one (modified Gram-Schmidt, twice). The Gram matrix of the whole dictionary is never computed: for a
vocabulary of 30,522 tokens it would take 3.5 GiB.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..options import check_whole
from .selection import Coarse, Rows, nearest

_BLOCK_ROWS, _BLOCK_NUMBERS = 1024, 2**26  # targets that advance together, and numbers in their orthonormal bases
NOISE = 32  # in units of the dtype's epsilon: smaller numbers count as zero for a target of norm one


class SparseCodes(NamedTuple):
    """The chosen atoms of each target, in the order of choice, and their coefficients.

    A target that needed fewer than k atoms is padded with atom 0 and coefficient 0.0, so that `atoms[support]` always
    works and the padding adds nothing.

    Attributes:
        support: (targets, k) int64, indices of atoms.
        codes: (targets, k), coefficients of the original atoms, which may have any norm.
        errors: (targets,), Euclidean norm of target minus combination.

    >>> sparse = SparseCodes(torch.tensor([[2, 0]]), torch.tensor([[0.5, 3.0]]), torch.zeros(1))
    >>> sparse.dense(3).tolist()
    [[3.0, 0.0, 0.5]]
    >>> sparse.reconstruct(torch.eye(3)).tolist()
    [[3.0, 0.0, 0.5]]
    """

    support: Tensor
    codes: Tensor
    errors: Tensor

    def dense(self, n_atoms: int) -> Tensor:
        """The codes as a (targets, n_atoms) matrix."""
        return self.codes.new_zeros(len(self.codes), n_atoms).scatter_add_(1, self.support, self.codes)

    def reconstruct(self, atoms: Tensor) -> Tensor:
        """The combinations (targets, width), that is `dense(n_atoms) @ atoms` without the dense matrix."""
        return F.embedding_bag(self.support, atoms, per_sample_weights=self.codes, mode="sum")


@torch.no_grad()
def orthogonal_matching_pursuit(
    atoms: Any, targets: Any, n_nonzero_coefs: int | None = None, tol: float | None = None
) -> SparseCodes:
    """Approximate every target by a combination of few atoms, which are chosen greedily.

    For atoms of norm one the supports are those of `sklearn.linear_model.orthogonal_mp`, except for ties. Here atoms may have
    any norm: they are chosen by normalised correlation, and the codes refer to the original atoms. The pursuit of a target
    ends before it has `n_nonzero_coefs` atoms if its residual is only rounding noise, or if the best atom is a combination of
    the atoms that it has.

    Args:
        atoms: (n_atoms, width), float32 or float64, on any device. Atoms of norm zero are never chosen. Arrays and lists are
            taken as tensors.
        targets: (n_targets, width), same dtype and device.
        n_nonzero_coefs: the number of atoms per target, 1 to n_atoms.
        tol: instead of `n_nonzero_coefs`, the *squared* norm of the residual at which the pursuit of a target ends. k is then
            the largest number of atoms of a target, and at least 1.

    Returns:
        Support (n_targets, k), codes (n_targets, k) and errors (n_targets,).

    Raises:
        InputError: shapes, dtypes or devices do not match; the input is empty, NaN or infinite; both or neither of
            `n_nonzero_coefs` and `tol` are set, or one is out of range; or codes are too large for the dtype.

    >>> atoms = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    >>> result = orthogonal_matching_pursuit(atoms, torch.tensor([[0.0, 6.0]]), n_nonzero_coefs=1)
    >>> result.support.tolist(), result.codes.tolist(), result.errors.tolist()
    ([[1]], [[3.0]], [0.0])
    """
    atoms, targets = _tensor(atoms, "atoms"), _tensor(targets, "targets")
    _check(atoms, targets, n_nonzero_coefs, tol)
    dictionary, signals = Rows.of(atoms, "atom"), Rows.of(targets, "target")
    coarse = dictionary.coarse()
    width = atoms.shape[1]
    steps = min(len(atoms), width, n_nonzero_coefs or width)  # more atoms than that are linearly dependent
    rows = max(1, min(_BLOCK_ROWS, _BLOCK_NUMBERS // (steps * width)))
    blocks = [
        _approximate(dictionary, coarse, Rows(*part), steps, tol)
        for part in zip(*(values.split(rows) for values in signals), strict=True)
    ]
    support, codes, errors, used = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    if not (codes.isfinite().all() and errors.isfinite().all()):
        raise InputError(
            f"Codes beyond {torch.finfo(codes.dtype).max:.1e} do not fit into {codes.dtype}: "
            "bring atoms and targets to a similar scale, or use float64."
        )
    k = n_nonzero_coefs or max(1, int(used.max()))
    support, codes = (F.pad(values, (0, k - steps)) for values in (support, codes))  # a negative pad truncates
    return SparseCodes(support, codes, errors)


def _approximate(
    atoms: Rows, coarse: Coarse | None, targets: Rows, steps: int, tol: float | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Support (rows, steps), codes (rows, steps), errors (rows,) and number of atoms used (rows,) of a block of targets."""
    norms = torch.where(targets.inverse_norms > 0, 1 / targets.inverse_norms, 0)
    unit = targets.values * targets.inverse_norms.unsqueeze(1)
    limits = torch.full_like(norms, NOISE * torch.finfo(unit.dtype).eps)
    if tol is not None:
        limits = torch.maximum(limits, math.sqrt(tol) * targets.inverse_norms / targets.scales)
    support, codes, used = _pursue(atoms, coarse, unit, limits, steps)
    codes = codes * atoms.inverse_norms[support]
    errors = torch.linalg.vector_norm(unit - SparseCodes(support, codes, limits).reconstruct(atoms.values), dim=1)
    codes = codes * norms.unsqueeze(1) * targets.scales.unsqueeze(1) / atoms.scales[support]
    return support, codes, errors * norms * targets.scales, used


def _pursue(
    atoms: Rows, coarse: Coarse | None, targets: Tensor, limits: Tensor, steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The pursuit itself, for targets of norm one or zero and atoms of norm one.

    With the chosen atoms as columns of A = Q R and z = Q'y the codes solve R c = z, and a step takes z_j q_j off the
    residual, which therefore cannot grow.

    Args:
        atoms: the dictionary.
        coarse: the same in bfloat16, or None.
        targets: (rows, width).
        limits: (rows,), norm of the residual at which a row is done.
        steps: atoms for each row.

    Returns:
        Support and codes, both (rows, steps), and number of atoms used (rows,).
    """
    count, width = targets.shape
    epsilon = torch.finfo(targets.dtype).eps
    basis = targets.new_zeros(count, steps, width)  # rows of Q'
    factor = targets.new_zeros(count, steps, steps)  # R
    coordinates = targets.new_zeros(count, steps)  # z
    support = torch.zeros(count, steps, dtype=torch.long, device=targets.device)
    used = torch.zeros(count, dtype=torch.long, device=targets.device)
    residual = targets.clone()
    live = (torch.linalg.vector_norm(residual, dim=1) > limits).nonzero().squeeze(1)
    for step in range(steps):
        best, scores = nearest(atoms, coarse, residual if len(live) == count else residual[live])
        fresh = atoms.values[best] * atoms.inverse_norms[best].unsqueeze(1)
        known = basis[:, :step] if len(live) == count else basis[live, :step]
        overlap = targets.new_zeros(len(live), step)
        for _ in range(2):  # the second pass removes what rounding left in the first
            share = (known @ fresh.unsqueeze(2)).squeeze(2)
            fresh = fresh - (share.unsqueeze(1) @ known).squeeze(1)
            overlap = overlap + share
        height = torch.linalg.vector_norm(fresh, dim=1)
        new = (height > math.sqrt(epsilon)) & (scores > NOISE * epsilon)
        live, best, overlap, height = live[new], best[new], overlap[new], height[new]
        if not len(live):
            break
        direction = fresh[new] / height.unsqueeze(1)
        amount = (direction * residual[live]).sum(1)
        basis[live, step], coordinates[live, step], support[live, step] = direction, amount, best
        factor[live, :step, step], factor[live, step, step] = overlap, height
        used[live] += 1
        residual[live] -= amount.unsqueeze(1) * direction
        live = live[torch.linalg.vector_norm(residual[live], dim=1) > limits[live]]
    diagonal = factor.diagonal(dim1=1, dim2=2)
    diagonal.masked_fill_(diagonal == 0, 1)  # not used: z is 0 there, and so is the code
    codes = torch.linalg.solve_triangular(factor, coordinates.unsqueeze(2), upper=True).squeeze(2)
    return support, codes, used


def _tensor(values: Any, name: str) -> Tensor:
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"The {name} are not a matrix of numbers ({reason}): give rows of equal length.") from error


def _check(atoms: Tensor, targets: Tensor, n_nonzero_coefs: int | None, tol: float | None) -> None:
    """Raise `InputError` if shapes, dtypes, devices or limits do not match."""
    for name, rows in (("atoms", atoms), ("targets", targets)):
        if rows.ndim != 2 or not rows.numel():
            raise InputError(
                f"The {name} have the shape {tuple(rows.shape)}: give a matrix with at least one row, and one row for each."
            )
        if rows.dtype not in (torch.float32, torch.float64):
            raise InputError(f"The {name} are {rows.dtype}: convert them to float32 or float64.")
    if atoms.shape[1] != targets.shape[1]:
        raise InputError(f"Targets are {targets.shape[1]} wide and atoms {atoms.shape[1]}: both need the same width.")
    if (atoms.dtype, atoms.device) != (targets.dtype, targets.device):
        raise InputError(
            f"Targets are {targets.dtype} on {targets.device} and atoms {atoms.dtype} on {atoms.device}: "
            "bring both to the same with targets.to(atoms)."
        )
    check_limits(len(atoms), n_nonzero_coefs, tol)


def check_limits(n_atoms: int, n_nonzero_coefs: int | None = None, tol: float | None = None) -> None:
    """Raise `InputError` unless exactly one limit is set and it is in range.

    >>> check_limits(4, n_nonzero_coefs=5)
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: n_nonzero_coefs is 5: give a whole number of atoms from 1 to 4.
    """
    if (n_nonzero_coefs is None) == (tol is None):
        raise InputError(
            f"n_nonzero_coefs is {n_nonzero_coefs} and tol is {tol}: give one of them, the number of atoms per target or the "
            "squared error to stop at."
        )
    if n_nonzero_coefs is not None:
        check_whole(1, " of atoms", n_atoms, n_nonzero_coefs=n_nonzero_coefs)
    if tol is not None and not 0 <= tol < math.inf:
        raise InputError(f"tol is {tol}: give the squared error to stop at, 0 or more.")
