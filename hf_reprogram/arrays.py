"""Arrays and tensors of finite numbers, for functions of mathematics; anything else raises an error of one sentence."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from inspect import signature
from numbers import Real
from typing import Any, Concatenate, ParamSpec, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .options import check_whole

P = ParamSpec("P")
Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]
BLOCK = 2**21  # numbers in a block


def array(values: Any, name: str, ndim: int) -> Array:
    """Numbers as an array of their own dtype: anything `np.asarray` takes, and tensors of any dtype and device.

    Args:
        values: the values from the caller.
        name: their name in messages, in the plural.
        ndim: 1 for one number per sample, 2 for one row per sample.

    Raises:
        InputError: not numbers, another number of dimensions, or empty.

    >>> array([1, 2], "scores", 1)
    array([1, 2])
    """
    values = plain(values, name)
    try:
        numbers = np.asarray(values)
    except ValueError as error:
        raise InputError(f"The {name} are not an array ({error}): give rows of equal length.") from None
    if numbers.ndim == ndim and numbers.size == 0:
        raise InputError(f"The {name} are empty, of shape {numbers.shape}: give at least one.")
    if numbers.dtype.kind not in "fiub":
        raise InputError(f"The {name} are of dtype {numbers.dtype}: give real numbers.")
    if numbers.ndim != ndim:
        shape = "one number" if ndim == 1 else "one row of numbers"
        raise InputError(f"The {name} have the shape {numbers.shape}: give {shape} for each sample.")
    return numbers


def plain(values: Any, name: str) -> Any:
    """Tensors as arrays, also in lists, and everything else as it is; torch is not imported.

    Raises:
        InputError: some numbers are masked.

    >>> plain(np.ma.masked_array([1.0, 99.0], mask=[False, True]), "scores")
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: Some of the scores are masked: leave those samples out before.
    """
    if isinstance(values, list | tuple):
        return [plain(value, name) if not isinstance(value, int | float) else value for value in values]
    if np.ma.is_masked(values):
        raise InputError(f"Some of the {name} are masked: leave those samples out before.")
    if not hasattr(values, "detach"):
        return values
    values = values.detach().cpu()
    if str(values.layout) != "torch.strided":
        values = values.to_dense()
    known = str(values.dtype).removeprefix("torch.") in np.sctypeDict or not values.is_floating_point()
    return (values if known else values.float()).numpy()  # NumPy has no bfloat16 and no float8


def finite(values: Array, name: str) -> Array:
    """The same numbers, all of them finite.

    Raises:
        InputError: some are NaN or infinite.

    >>> finite(np.array([1.0, np.nan]), "scores")
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: There is nan among the scores: find out why, or leave that sample out.
    """
    good = np.isfinite(values)
    if not good.all():
        raise InputError(f"There is {values[~good][0]} among the {name}: find out why, or leave that sample out.")
    return values


def matrix(values: Any, name: str) -> Array:
    """Finite float64 numbers (n, width), n and width at least 1.

    >>> matrix([[1, 2]], "logits")
    array([[1., 2.]])
    """
    return finite(array(values, name, 2), name).astype(np.float64, copy=False)


def vector(values: Any, name: str) -> Array:
    """Finite float64 numbers (n,), n at least 1.

    >>> vector([1, 2], "bias")
    array([1., 2.])
    """
    return finite(array(values, name, 1), name).astype(np.float64, copy=False)


def class_indices(values: Any, name: str, classes: int | None = None) -> NDArray[np.int64]:
    """Whole numbers (n,), n at least 1, below the number of classes if it is given.

    Raises:
        InputError: some are fractions, or no index of a class.

    >>> class_indices([0.0, 2.0], "labels", 3)
    array([0, 2])
    """
    numbers = finite(array(values, name, 1), name)
    if (numbers != np.floor(numbers)).any() if numbers.dtype.kind == "f" else False:
        raise InputError(f"The {name} are fractions: give class indices, for example the argmax of the logits.")
    indices = numbers.astype(np.int64)
    if classes is not None and (indices.min() < 0 or indices.max() >= classes):
        wrong = indices.min() if indices.min() < 0 else indices.max()
        raise InputError(f"There is a label {wrong}: give class indices from 0 to {classes - 1}.")
    return indices


def same(length: int, expected: int, name: str, other: str) -> None:
    """Raise `InputError` unless two lengths or widths are equal.

    >>> same(2, 3, "The number of labels", "that of logits")
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The number of labels is 2, and that of logits is 3: both must be the same.
    """
    if length != expected:
        raise InputError(f"{name} is {length}, and {other} is {expected}: both must be the same.")


def number(value: Any, name: str, low: float, high: float = float("inf"), open_low: bool = False) -> float:
    """A real number from `low` to `high`, with `open_low` above `low`.

    Raises:
        InputError: it is not such a number.

    >>> number(1, "temperature", 0, open_low=True)
    1.0
    """
    real = float(value) if isinstance(value, Real) else np.nan
    if not (np.isfinite(real) and low <= real <= high) or (open_low and real == low):
        limit = f"above {low:g}" if open_low else f"from {low:g}"
        upper = f" up to {high:g}" if np.isfinite(high) else ""
        raise InputError(f"{name} is {value!r}: give a number {limit}{upper}.")
    return real


def whole(value: Any, name: str, low: int, high: int | None = None) -> int:
    """A whole number from `low` to `high`.

    Raises:
        InputError: it is not such a number.

    >>> whole(3, "bins", 1)
    3
    """
    check_whole(low, "", high, **{name: value})
    return int(value)


def in_blocks(name: str) -> Callable[[Callable[Concatenate[Any, P], Floats]], Callable[Concatenate[Any, P], Floats]]:
    """Let a function of finite float64 rows take its first argument whole, in any dtype; `name` names it in messages.

    >>> @in_blocks("logits")
    ... def largest(logits):
    ...     return logits.max(1)
    >>> largest([[1, 3], [2, 0]])
    array([3., 2.])
    """

    def of(function: Callable[Concatenate[Any, P], Floats]) -> Callable[Concatenate[Any, P], Floats]:
        bound = signature(function)
        first = next(iter(bound.parameters))

        @wraps(function)
        def score(*args: Any, **kwargs: Any) -> Floats:
            options = bound.bind(*args, **kwargs).arguments
            rows = array(options.pop(first), name, 2)
            call: Callable[..., Floats] = partial(function, **options)
            size = max(1, BLOCK // rows.shape[1])
            blocks = (rows[start : start + size] for start in range(0, len(rows), size))
            return np.concatenate([call(**{first: finite(block, name).astype(np.float64)}) for block in blocks])

        return score

    return of


def linear(features: Array, weight: Any, bias: Any = None) -> Array:
    """Logits W x + b (n, classes) of features (n, width).

    >>> linear(np.array([[1.0, 2.0]]), [[1.0, 1.0]], [0.5])
    array([[3.5]])
    """
    rows = matrix(weight, "weight")
    same(rows.shape[1], features.shape[1], "The width of the weight", "that of features")
    if bias is None:
        logits: Floats = features @ rows.T
        return logits
    offset = vector(bias, "bias")
    same(len(offset), len(rows), "The length of the bias", "the number of rows of the weight")
    shifted: Floats = features @ rows.T + offset
    return shifted


def squarable(rows: Array, name: str) -> Array:
    """The same numbers, whose squares neither overflow nor vanish.

    Raises:
        InputError: the largest of them is so large or so small that they would.

    >>> squarable(np.array([[1e200]]), "features")
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The features go up to 1e+200, and squares of that do not fit into float64: divide by it.
    """
    largest = float(np.abs(rows).max())
    if largest and not 1e-140 < largest < 1e140:
        raise InputError(
            f"The {name} go up to {largest:.3g}, and squares of that do not fit into float64: divide by it."
        )
    return rows


def unit(rows: Array, name: str) -> Array:
    """Rows of norm one.

    >>> unit(np.array([[3.0, 4.0]]), "features")
    array([[0.6, 0.8]])
    """
    largest = np.abs(rows).max(1, keepdims=True)  # so that squares neither overflow nor vanish
    if not largest.all():
        raise InputError(f"There is a row of zeros among the {name}, which has no direction: leave it out.")
    rows = rows / largest
    directions: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return directions
