"""What goes in: arrays or tensors of finite numbers, refused with one sentence otherwise."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from inspect import signature
from numbers import Integral, Real
from typing import Any, ParamSpec, cast

import numpy as np

from ..errors import InputError

P = ParamSpec("P")
BLOCK = 2**21  # numbers in a block


def array(values: Any, what: str, ndim: int) -> np.ndarray:
    """Numbers as an array of their own dtype: anything `np.asarray` takes, and tensors of any dtype and device.

    Args:
        values: what the caller gave.
        what: its name in messages, in the plural.
        ndim: 1 for one number a sample, 2 for one row a sample.

    Raises:
        InputError: not numbers, another number of dimensions, or empty.
    """
    if hasattr(values, "detach"):  # a torch tensor, without importing torch
        values = values.detach().cpu()
        values = (values.float() if str(values.dtype) == "torch.bfloat16" else values).numpy()
    try:
        found = np.asarray(values)
    except ValueError as error:
        raise InputError(f"The {what} are no array ({error}): give rows of equal length.") from None
    if found.ndim == ndim and found.size == 0:
        raise InputError(f"The {what} are empty, of shape {found.shape}: give at least one.")
    if found.dtype.kind not in "fiub":
        raise InputError(f"The {what} are of dtype {found.dtype}: give real numbers.")
    if found.ndim != ndim:
        shape = "one number" if ndim == 1 else "one row of numbers"
        raise InputError(f"The {what} have the shape {found.shape}: give {shape} for each sample.")
    return found


def finite(values: np.ndarray, what: str) -> np.ndarray:
    """The same numbers, all of them finite.

    Raises:
        InputError: some are NaN or infinite.
    """
    good = np.isfinite(values)
    if not good.all():
        raise InputError(f"There is {values[~good][0]} among the {what}: find out why, or leave that sample out.")
    return values


def matrix(values: Any, what: str) -> np.ndarray:
    """Finite float64 numbers (n, width), n and width at least 1."""
    return finite(array(values, what, 2), what).astype(np.float64, copy=False)


def vector(values: Any, what: str) -> np.ndarray:
    """Finite float64 numbers (n,), n at least 1."""
    return finite(array(values, what, 1), what).astype(np.float64, copy=False)


def same(found: int, expected: int, what: str, like: str) -> None:
    """Raise unless two lengths or widths agree."""
    if found != expected:
        raise InputError(f"{what} is {found} but {like} is {expected}: both must be the same.")


def number(value: Any, what: str, low: float, high: float = float("inf"), open_low: bool = False) -> float:
    """A real number from `low` to `high`, with `open_low` above `low`.

    Raises:
        InputError: it is something else.
    """
    found = float(value) if isinstance(value, Real) else np.nan
    if not (np.isfinite(found) and low <= found <= high) or (open_low and found == low):
        limit = f"above {low:g}" if open_low else f"from {low:g}"
        upper = f" up to {high:g}" if np.isfinite(high) else ""
        raise InputError(f"{what}={value!r} is out of range: give a number {limit}{upper}.")
    return found


def whole(value: Any, what: str, low: int, high: int | None = None) -> int:
    """A whole number from `low` to `high`.

    Raises:
        InputError: it is something else.
    """
    found = int(value) if isinstance(value, Integral) else low - 1
    if found < low or (high is not None and found > high):
        upper = f" to {high}" if high is not None else ""
        raise InputError(f"{what}={value!r} is out of range: give a whole number from {low}{upper}.")
    return found


def in_blocks(what: str) -> Callable[[Callable[P, np.ndarray]], Callable[P, np.ndarray]]:
    """Let a function of finite float64 rows take its first argument whole, in any dtype; `what` names it in messages."""

    def of(function: Callable[P, np.ndarray]) -> Callable[P, np.ndarray]:
        bound = signature(function)
        first = next(iter(bound.parameters))

        @wraps(function)
        def score(*args: P.args, **kwargs: P.kwargs) -> np.ndarray:
            given = bound.bind(*args, **kwargs).arguments
            rows = array(given.pop(first), what, 2)
            call = partial(cast("Callable[..., np.ndarray]", function), **given)
            size = max(1, BLOCK // rows.shape[1])
            blocks = (rows[start : start + size] for start in range(0, len(rows), size))
            return np.concatenate([call(**{first: finite(block, what).astype(np.float64)}) for block in blocks])

        return score

    return of


def linear(features: np.ndarray, weight: Any, bias: Any = None) -> np.ndarray:
    """Logits W x + b (n, classes) of features (n, width)."""
    rows = matrix(weight, "weight")
    same(rows.shape[1], features.shape[1], "The width of the weight", "that of features")
    if bias is None:
        return features @ rows.T
    offset = vector(bias, "bias")
    same(len(offset), len(rows), "The length of the bias", "the number of rows of the weight")
    return features @ rows.T + offset


def unit(rows: np.ndarray, what: str) -> np.ndarray:
    """Rows of norm one."""
    largest = np.abs(rows).max(1, keepdims=True)  # so that squares neither overflow nor vanish
    if not largest.all():
        raise InputError(f"There is a row of zeros among the {what}, which has no direction: leave it out.")
    rows = rows / largest
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
