"""Whether the gradients of single examples agree (Zheng et al. 2021, arXiv 2108.11673)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import matrix, number, whole
from ..errors import InputError


def gradient_alignment(gradients: Any) -> float:
    """The alignment r = ||sum_i g_i||_1 / sum_i ||g_i||_1 of the gradients of n examples, from 0 to 1.

    With r = 1 every step that helps one example helps all, and with r = 0 the examples cancel out. A program that is added to
    all inputs can only reach what they agree on. Unrelated gradients have about `unrelated_alignment(n)`.

    Args:
        gradients: of the loss of each example with respect to the program (n, numbers).

    Raises:
        InputError: all gradients are 0, or the input is empty or not finite.

    >>> gradient_alignment([[1.0, 1.0], [1.0, -1.0]])
    0.5
    """
    rows = matrix(gradients, "gradients")
    whole_length = float(np.abs(rows).sum())
    if whole_length == 0:
        raise InputError("All gradients are 0, which have no direction: check that the program reaches the output.")
    return float(np.abs(rows.sum(0)).sum() / whole_length)


def unrelated_alignment(examples: int) -> float:
    """About the alignment that n unrelated gradients have by chance: 1 / sqrt(n).

    The sum of n numbers with random signs has a length of about sqrt(n) times theirs; it is 0.8 times that if they are normal.

    >>> unrelated_alignment(100)
    0.1
    """
    return float(whole(examples, "examples", 1) ** -0.5)


def expected_decrease(gradients: Any, step: float) -> float:
    """The decrease of the mean loss that a step of the same size in every number would bring if the loss were linear.

    It is step * ||mean_i g_i||_1, for the step against the sign of the mean gradient.

    Args:
        gradients: of the loss of each example (n, numbers).
        step: the size of the change of each number, above 0.

    >>> expected_decrease([[1.0, 1.0], [1.0, -1.0]], step=0.1)
    0.1
    """
    return float(number(step, "step", 0, open_low=True) * np.abs(matrix(gradients, "gradients").mean(0)).sum())
