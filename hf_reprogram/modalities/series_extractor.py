"""The processor of an adapter for time series: series of any length, with gaps, become numbers of one length and scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from transformers.feature_extraction_utils import BatchFeature, FeatureExtractionMixin

from ..errors import InputError

MOST = 2**22  # numbers of a series


class SeriesExtractor(FeatureExtractionMixin):
    """Fills gaps, stretches a series to one length, and brings it to mean 0 and deviation 1.

    Args:
        length: the numbers of a series.
        standardize: whether each series gets mean 0 and deviation 1. A constant one becomes zeros.
        latest: whether the last `length` numbers are taken as they are, as for a forecast, in place of stretching the series.
        kwargs: as for `FeatureExtractionMixin`.

    >>> SeriesExtractor(length=3)([[1.0, float("nan"), 3.0]], return_tensors="np")["past_values"].round(2).tolist()
    [[-1.22, 0.0, 1.22]]
    >>> SeriesExtractor(length=2, standardize=False, latest=True)([[1.0, 2.0, 3.0]])["past_values"][0].tolist()
    [2.0, 3.0]
    """

    model_input_names = ["past_values"]

    def __init__(self, length: int = 1, standardize: bool = True, latest: bool = False, **kwargs: Any):
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        if type(length) is not int or not 0 < length <= MOST:
            raise InputError(f"length of the processor is {length!r}: give a whole number from 1 to {MOST:,}.")
        self.length, self.standardize, self.latest = length, bool(standardize), bool(latest)

    def __call__(self, series: Any, return_tensors: str | None = None) -> BatchFeature:
        """Series as `past_values` (batch, length).

        Args:
            series: several series (n,), of any lengths; NaN is a gap.
            return_tensors: "pt" or "np"; by default lists of arrays.
        """
        made = BatchFeature({"past_values": [self.one(row) for row in series]})
        return made.convert_to_tensors(return_tensors) if return_tensors else made

    def one(self, row: Any) -> np.ndarray:
        """One series (length,) from one of any length (n,)."""
        numbers = filled(np.asarray(row, np.float64))
        if self.latest and len(numbers) < self.length:
            raise InputError(
                f"A series has {len(numbers)} numbers, and a forecast goes on from the last {self.length}: give a longer "
                "series."
            )
        numbers = numbers[-self.length :] if self.latest else stretched(numbers, self.length)
        if self.standardize:
            deviation = numbers.std()
            numbers = (numbers - numbers.mean()) / (deviation if deviation > 1e-12 else 1.0)
        return numbers.astype(np.float32)


def filled(row: np.ndarray) -> np.ndarray:
    """A series (n,) whose gaps are on the line between their neighbours; at the ends they are as the nearest number.

    >>> filled(np.array([np.nan, 1.0, np.nan, 3.0])).tolist()
    [1.0, 1.0, 2.0, 3.0]
    """
    known = np.isfinite(row)
    if known.all() and len(row):
        return row
    if not known.any():
        raise InputError("A series has no number: leave it out.")
    places = np.arange(len(row))
    made: np.ndarray = np.interp(places, places[known], row[known])
    return made


def stretched(row: np.ndarray, length: int) -> np.ndarray:
    """A series (n,) at another length, by linear interpolation between its first and its last number.

    >>> stretched(np.array([0.0, 1.0]), 3).tolist()
    [0.0, 0.5, 1.0]
    """
    if len(row) == length:
        return row
    made: np.ndarray = np.interp(np.linspace(0, len(row) - 1, length), np.arange(len(row)), row)
    return made
