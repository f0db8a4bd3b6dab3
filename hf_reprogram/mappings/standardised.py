"""Features in the form in which linear models are fitted to them, computed once for all strengths and labels.

Features are standardised. With fewer examples than features, an example is given by its coordinates in the space that the
examples span. The solution of a penalised model lies there, so a fit to the coordinates is the same (a test checks this), and
its cost depends on the number of examples alone. The coordinates come from the eigenvectors of the examples' inner products,
which are summed over blocks of columns, so no standardised copy of wide features is made.
"""

from __future__ import annotations

from typing import Any

import numpy as np

BLOCK = 4096  # columns that are standardised at once
SMALLEST = 1e-12  # of the largest eigenvalue: a direction below it is rounding


class Standardised:
    """Features of mean 0 and deviation 1; sparse ones have the largest size 1, which keeps their zeros.

    Attributes:
        inputs: what a model is fitted to: (n, width), or (n, at most n) coordinates if there are fewer examples than features.
        mean, scale: (width,), of the features as they are given.

    Args:
        features: (n, width), dense or sparse.

    >>> rows = Standardised(np.array([[1.0, 0.0, 5.0], [3.0, 0.0, 5.0]]))  # fewer examples than features
    >>> rows.inputs.shape, rows.own(np.eye(1)).round(3).tolist()
    ((2, 1), [[1.0, 0.0, 0.0]])
    """

    def __init__(self, features: Any) -> None:
        from sklearn.preprocessing import MaxAbsScaler, StandardScaler

        self._features, self._known = features, dict[bytes, Standardised]()
        self._directions: np.ndarray | None = None
        self.mean = np.zeros(features.shape[1])
        self.inputs: Any
        if not isinstance(features, np.ndarray):
            scaler = MaxAbsScaler()
            self.inputs, self.scale = scaler.fit_transform(features), scaler.scale_
        elif features.shape[1] <= features.shape[0]:
            scaler = StandardScaler()
            self.inputs = scaler.fit_transform(features.astype(np.float64, copy=False))
            self.mean, self.scale = scaler.mean_, scaler.scale_
        else:
            self.scale = np.ones(features.shape[1])
            self.inputs, self._directions = self._coordinates()

    def _coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        """The coordinates (n, k), and the matrix (n, k) by which standardised features (n, width) give the k directions."""
        rows, width = self._features.shape
        products = np.zeros((rows, rows))
        for first in range(0, width, BLOCK):
            part = slice(first, first + BLOCK)
            block = self._features[:, part].astype(np.float64)
            mean, deviation = block.mean(0), block.std(0)
            self.mean[part] = mean
            self.scale[part] = np.where(deviation > 10 * np.finfo(np.float64).eps * np.abs(mean), deviation, 1.0)
            block = (block - mean) / self.scale[part]
            products += block @ block.T
        values, vectors = np.linalg.eigh(products)
        kept = values > SMALLEST * max(values[-1], 1e-100)
        if not kept.any():  # all features are constant
            return np.zeros((rows, 1)), np.zeros((rows, 1))
        sizes = np.sqrt(values[kept])
        return vectors[:, kept] * sizes, vectors[:, kept] / sizes

    def of(self, rows: np.ndarray) -> Standardised:
        """Some of the examples, standardised by themselves.

        Args:
            rows: the examples' numbers, in ascending order.
        """
        if len(rows) == self._features.shape[0]:
            return self
        key = rows.tobytes()
        if key not in self._known:
            self._known[key] = Standardised(self._features[rows])
        return self._known[key]

    def own(self, weight: np.ndarray) -> np.ndarray:
        """The weight (outputs, width) of the features as they are given, from that of `inputs`."""
        if self._directions is None:
            return np.asarray(weight / self.scale)
        found, mixed = np.empty((len(weight), len(self.scale))), weight @ self._directions.T
        for first in range(0, len(self.scale), BLOCK):
            part = slice(first, first + BLOCK)
            block = (self._features[:, part].astype(np.float64) - self.mean[part]) / self.scale[part]
            found[:, part] = mixed @ block / self.scale[part]
        return found
