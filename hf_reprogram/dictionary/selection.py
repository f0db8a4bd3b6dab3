"""The atom that is nearest in direction to each residual: the step of matching pursuit that reads the whole dictionary.

Where the processor multiplies bfloat16 in hardware (AVX512-BF16 or AMX), the correlations of a large dictionary are taken in
bfloat16 first. For an atom a and a residual r of norm one, rounded to a~ and r~, their error is at most

    |<a~, r~> - <a, r>| <= |a~ - a| |r~| + |r~ - r|

plus the rounding of the sum. Only atoms within twice this bound of the largest correlation can be the nearest. The
correlations of these few are computed in full precision, so that the result is the same in a fraction of the time.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError

ATOM_CHUNK = 4096  # atoms correlated with the residuals at a time, a multiple of _GROUP
COARSE_FROM = 2**20  # numbers in a dictionary for which bfloat16 pays
_GROUP = 64  # atoms of which the largest correlation is looked at first
_CANDIDATES = 32  # groups of a chunk that may hold the nearest; with more, a residual is compared in full precision
_ROUNDOFF = torch.finfo(torch.bfloat16).eps / 2


class Rows(NamedTuple):
    """Vectors that are scaled so that their squares neither overflow nor vanish.

    Attributes:
        values: the scaled vectors (rows, width).
        scales: the scale of each (rows,); a vector before scaling is `scales * values`.
        inverse_norms: 1 / norm of each scaled vector (rows,), and 0 for a zero vector.

    >>> Rows.of(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), "atom").inverse_norms.tolist()
    [0.20000000298023224, 0.0]
    """

    values: Tensor
    scales: Tensor
    inverse_norms: Tensor

    @classmethod
    def of(cls, values: Tensor, what: str) -> Rows:
        """The vectors as they are or, if some are very large or small, all of them divided by their largest number.

        Raises:
            InputError: a number is NaN or infinite.
        """
        limits = torch.finfo(values.dtype)
        scales = values.new_ones(len(values))
        norms = torch.linalg.vector_norm(values, dim=1)
        unsure = ~((norms > limits.tiny**0.25) & (norms < limits.max**0.25))
        if unsure.any():
            peaks = scales.masked_scatter(unsure, values[unsure].abs().amax(1))
            finite = peaks.isfinite()
            if not finite.all():
                raise InputError(
                    f"{int((~finite).sum())} of {len(values)} {what}s hold NaN or infinite numbers, the first is "
                    f"{what} {int((~finite).nonzero()[0])}: remove or repair them."
                )
            if (peaks > 0).logical_and(unsure).any():
                scales = torch.where(unsure & (peaks >= limits.tiny), peaks, 1)
                values = values / scales.unsqueeze(1)
                norms = torch.linalg.vector_norm(values, dim=1)
        return cls(values, scales, torch.where(norms >= limits.tiny, 1 / norms, 0))

    def coarse(self) -> Coarse | None:
        """The vectors with norm one in bfloat16, where that makes `nearest` faster."""
        if self.values.numel() < COARSE_FROM or not _multiplies_bfloat16(self.values.device):
            return None
        padded = -(-len(self.values) // _GROUP) * _GROUP
        rounded = self.values.new_zeros(padded, self.values.shape[1], dtype=torch.bfloat16)
        error = 0.0
        for chunk in _chunks(self.values):
            unit = self.values[chunk] * self.inverse_norms[chunk].unsqueeze(1)
            kept = rounded[chunk][: len(unit)].copy_(unit)
            error = max(error, float(torch.linalg.vector_norm(unit.sub_(kept), dim=1).max()))
        return Coarse(rounded, error)


class Coarse(NamedTuple):
    """Vectors of norm one in bfloat16.

    Attributes:
        values: (rows, width), with zero rows at the end to fill a group.
        error: the largest norm of a vector's rounding error.

    >>> coarse = Coarse(torch.eye(2, dtype=torch.bfloat16), error=0.0)
    """

    values: Tensor
    error: float


def nearest(atoms: Rows, coarse: Coarse | None, residuals: Tensor) -> tuple[Tensor, Tensor]:
    """Index and absolute normalised correlation, both (rows,), of the atom nearest in direction to each residual.

    Args:
        atoms: the dictionary.
        coarse: `atoms.coarse()`.
        residuals: (rows, width), none of them zero.

    >>> atoms = Rows.of(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), "atom")
    >>> index, correlation = nearest(atoms, None, torch.tensor([[0.0, -3.0]]))
    >>> index.tolist(), correlation.tolist()
    ([1], [3.0])
    """
    return _exactly(atoms, residuals) if coarse is None else _coarsely_first(atoms, coarse, residuals)


def _exactly(atoms: Rows, residuals: Tensor) -> tuple[Tensor, Tensor]:
    scores = residuals.new_full((len(residuals),), -1.0)
    best = torch.zeros(len(residuals), dtype=torch.long, device=residuals.device)
    for chunk in _chunks(atoms.values):
        correlations = (residuals @ atoms.values[chunk].T).mul_(atoms.inverse_norms[chunk]).abs_()
        values, indices = correlations.max(1)
        better = values > scores
        scores = torch.where(better, values, scores)
        best = torch.where(better, indices + chunk.start, best)
    return best, scores


def _coarsely_first(atoms: Rows, coarse: Coarse, residuals: Tensor) -> tuple[Tensor, Tensor]:
    unit = residuals / torch.linalg.vector_norm(residuals, dim=1, keepdim=True)
    rough = unit.bfloat16()
    error = torch.linalg.vector_norm(unit - rough, dim=1, keepdim=True)
    error = coarse.error * (1 + error) + error + unit.shape[1] * torch.finfo(torch.float32).eps
    top = residuals.new_zeros(len(residuals), 1)
    crowded = torch.zeros(len(residuals), dtype=torch.bool, device=residuals.device)
    candidates = []
    for chunk in _chunks(coarse.values):
        scores = (rough @ coarse.values[chunk].T).abs_()
        groups = scores.unflatten(1, (-1, _GROUP))
        highest = groups.amax(2)
        top = torch.maximum(top, highest.amax(1, keepdim=True))
        floor = top - 2 * error - 3 * _ROUNDOFF * top  # both scores are rounded, and the floor
        row, group = (highest >= floor).nonzero(as_tuple=True)
        crowded |= row.bincount(minlength=len(residuals)) > _CANDIDATES
        if crowded.any():
            row, group = row[~crowded[row]], group[~crowded[row]]
        member = groups[row, group]
        place, column = (member >= floor[row]).nonzero(as_tuple=True)
        candidates.append((row[place], chunk.start + _GROUP * group[place] + column, member[place, column]))
    row, atom, score = (torch.cat(parts) for parts in zip(*candidates, strict=True))
    close = (score >= floor[row, 0]) & (atom < len(atoms.values))
    row, atom = row[close], atom[close]
    correlations = (residuals[row] * atoms.values[atom]).sum(1).abs() * atoms.inverse_norms[atom]
    scores = residuals.new_zeros(len(residuals)).scatter_reduce_(0, row, correlations, "amax")
    first = correlations == scores[row]
    best = row.new_full((len(residuals),), len(atoms.values)).scatter_reduce_(0, row[first], atom[first], "amin")
    if crowded.any():
        best[crowded], scores[crowded] = _exactly(atoms, residuals[crowded])
    return best, scores


def _chunks(atoms: Tensor) -> list[slice]:
    return [slice(start, start + ATOM_CHUNK) for start in range(0, len(atoms), ATOM_CHUNK)]


def _multiplies_bfloat16(device: torch.device) -> bool:
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # no public name yet
    return device.type == "cpu" and supported is not None and bool(supported())
