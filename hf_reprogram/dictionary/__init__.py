"""Sparse coding over a dictionary: every target as a combination of few atoms. Knows nothing of models.

`orthogonal_matching_pursuit` works on torch tensors of any device, for dictionaries as large as a vocabulary.
"""

from __future__ import annotations

from .omp import SparseCodes, orthogonal_matching_pursuit

__all__ = ["SparseCodes", "orthogonal_matching_pursuit"]
