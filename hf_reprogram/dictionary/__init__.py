"""Sparse coding: every target becomes a combination of few atoms of a dictionary. It does not depend on models.

`orthogonal_matching_pursuit` works on torch tensors of any device, for dictionaries as large as a vocabulary. `OMPCoder`, for
known atoms, and `KSVD`, which learns the atoms, are scikit-learn estimators. scikit-learn is imported when one is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .omp import SparseCodes, orthogonal_matching_pursuit

if TYPE_CHECKING:
    from .coder import OMPCoder as OMPCoder
    from .ksvd import KSVD as KSVD

_HOMES = {"OMPCoder": "coder", "KSVD": "ksvd"}
__all__ = ["KSVD", "OMPCoder", "SparseCodes", "orthogonal_matching_pursuit"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value
