"""Sparse coding as scikit-learn estimators: their common base class, and `OMPCoder` for known atoms."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from ..errors import InputError
from .omp import check_limits, orthogonal_matching_pursuit

Array: TypeAlias = NDArray[Any]
FLOATS = [np.float64, np.float32]  # dtypes of the computation; other dtypes become float64


class SparseTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """`transform` and `inverse_transform` of an estimator whose `fit` sets `components_` (n_atoms, n_features).

    >>> codes = OMPCoder(1).fit([[0.0, 2.0], [1.0, 0.0]]).transform([[0.0, 6.0]])
    >>> codes
    array([[3., 0.]])
    """

    n_nonzero_coefs: int | None
    components_: Array
    n_features_in_: int

    def transform(self, X: Any) -> Array:
        """Codes (n_samples, n_atoms) of the samples (n_samples, n_features), zero except at the chosen atoms.

        For a dictionary of many thousand atoms, `orthogonal_matching_pursuit` computes the same without storing zeros.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=self.components_.dtype, order="C", reset=False)
        sparse = orthogonal_matching_pursuit(tensor(self.components_), tensor(X), **self._limits(len(self.components_)))
        return sparse.dense(len(self.components_)).numpy()

    def inverse_transform(self, X: Any) -> Array:
        """The combinations (n_samples, n_features) of atoms with the codes (n_samples, n_atoms).

        Raises:
            InputError: the number of codes per sample is not the number of atoms.
            ValueError: the codes are no finite numbers, or no matrix.
        """
        check_is_fitted(self)
        if getattr(X, "dtype", np.asarray(X).dtype).kind in "US":
            raise InputError("The codes are texts: give numbers.")
        codes = check_array(X, accept_sparse=True, dtype=self.components_.dtype, input_name="X")
        if codes.shape[1] != len(self.components_):
            raise InputError(
                f"There are {codes.shape[1]} codes per sample and {len(self.components_)} atoms: give one code per atom."
            )
        samples: Array = codes @ self.components_
        return samples

    def _limits(self, n_atoms: int) -> dict[str, Any]:
        """The limits of the pursuit; by default the number of atoms is a tenth of the number of features."""
        k = self.n_nonzero_coefs
        limits: dict[str, Any] = {
            "n_nonzero_coefs": min(max(1, self.n_features_in_ // 10), n_atoms) if k is None else k
        }
        check_limits(n_atoms, **limits)
        return limits

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class OMPCoder(SparseTransformer):
    """Codes over known atoms by orthogonal matching pursuit.

    The atoms are the rows of `dictionary`; `fit` then only checks its samples, as a step of a `Pipeline` needs. Without a
    dictionary, the rows of `fit` are the atoms: `OMPCoder(16).fit(atoms).transform(targets)`. Use a coder that was fitted to
    its atoms in a `Pipeline` as `sklearn.frozen.FrozenEstimator(coder)`.

    Source: Pati, Rezaiifar & Krishnaprasad 1993. scikit-learn's `SparseCoder` computes the same for atoms of norm one, and
    forms the Gram matrix of the whole dictionary.

    Args:
        n_nonzero_coefs: the number of atoms per sample, 1 to n_atoms; by default a tenth of n_features, and at least one.
        tol: instead of `n_nonzero_coefs`, the squared error at which the pursuit of a sample ends.
        dictionary: the atoms (n_atoms, n_features), of any norm; None to take the rows of `fit`.

    Attributes:
        components_: a copy of the atoms (n_atoms, n_features).
        n_features_in_: the width of the atoms.

    Raises:
        InputError: (in `fit`) both limits are set, a limit is out of range, or samples and atoms differ in width.

    >>> coder = OMPCoder(n_nonzero_coefs=1).fit([[1.0, 0.0], [0.0, 2.0]])
    >>> codes = coder.transform([[0.0, 6.0]])
    >>> codes.tolist()
    [[0.0, 3.0]]
    >>> coder.inverse_transform(codes).tolist()
    [[0.0, 6.0]]
    >>> OMPCoder(1, dictionary=[[1.0, 0.0], [0.0, 2.0]]).fit_transform([[0.0, 6.0]]).tolist()
    [[0.0, 3.0]]
    """

    def __init__(self, n_nonzero_coefs: int | None = None, *, tol: float | None = None, dictionary: Any = None):
        self.n_nonzero_coefs = n_nonzero_coefs
        self.tol = tol
        self.dictionary = dictionary

    def fit(self, X: Any, y: Any = None) -> OMPCoder:
        """Check the samples X (n_samples, n_features), or without a dictionary take their rows as atoms. y is ignored."""
        rows = validate_data(self, X, dtype=FLOATS, order="C", copy=True)
        if self.dictionary is not None:
            rows = check_array(self.dictionary, dtype=FLOATS, order="C", copy=True, input_name="dictionary")
            if rows.shape[1] != self.n_features_in_:
                raise InputError(
                    f"The samples are {self.n_features_in_} wide and the atoms {rows.shape[1]}: both need the same width."
                )
        self.components_ = rows
        self._limits(len(self.components_))
        return self

    def _limits(self, n_atoms: int) -> dict[str, Any]:
        if self.tol is None:
            return super()._limits(n_atoms)
        limits: dict[str, Any] = {"n_nonzero_coefs": self.n_nonzero_coefs, "tol": self.tol}
        check_limits(n_atoms, **limits)
        return limits


def tensor(rows: Array) -> torch.Tensor:
    """A tensor of the same memory, or of a copy if the array is read-only.

    >>> tensor(np.ones(2)).tolist()
    [1.0, 1.0]
    """
    return torch.from_numpy(rows if rows.flags.writeable else rows.copy())
