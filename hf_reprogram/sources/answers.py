"""What a black box answers, in every form, as logits; and the fixed inputs by whose answers it is recognised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import InputError, shown

ANSWERS = ("probabilities", "logits")
LEAST = 1e-8  # of a probability, before its logarithm
FIXED = 8  # inputs by whose answers a model is recognised
FIXED_TEXTS = (
    "The film was a quiet joy from its first minute to its last.",
    "I waited for an hour, and nobody came to help.",
    "The train to the coast leaves at nine in the morning.",
    "Who wrote this letter, and when?",
    "one two three four five six seven eight",
    "red",
    "A C G T T G C A",
    "CC(=O)O.OCC>>CC(=O)OCC",
)


def fixed_inputs(shape: tuple[int, ...]) -> np.ndarray:
    """The 8 inputs by whose answers a model is recognised: images of coarse squares, or tones.

    >>> fixed_inputs((3, 8, 8)).shape, fixed_inputs((1600,)).shape
    ((8, 3, 8, 8), (8, 1600))
    """
    if len(shape) == 1:
        turns = np.outer(2.0 ** np.arange(FIXED), np.linspace(0, 40 * np.pi, shape[0]))
        return (0.3 * np.sin(turns)).astype(np.float32)
    coarse = np.random.default_rng(0).random((FIXED, 3, 4, 4))
    rows, columns = (np.arange(side) * 4 // side for side in shape[1:])
    return coarse[:, :, rows][..., columns].astype(np.float32)


def to_logits(answer: Any, count: int, labels: Sequence[str], answers: str) -> np.ndarray:
    """The answer to some rows as logits (count, labels).

    Args:
        answer: numbers (count, labels), or a list of pairs for each row.
        count: the number of rows.
        labels: the names of the labels.
        answers: the meaning of numbers, "probabilities" or "logits".

    Raises:
        InputError: the answer is none of these.

    >>> np.exp(to_logits([[("cat", 0.7), ("dog", 0.1)]], 1, ["cat", "cow", "dog", "eel"], "probabilities")).round(3)
    array([[0.7, 0.1, 0.1, 0.1]])
    """
    if not isinstance(answer, Tensor | np.ndarray) and len(answer) and _is_pairs(answer[0]):
        values = np.array([spread(row, labels) for row in answer])
        answers = "probabilities"
    else:
        plain = answer.detach().cpu().numpy() if isinstance(answer, Tensor) else answer
        try:
            values = np.asarray(plain, dtype=np.float64)
        except (ValueError, TypeError) as error:
            raise InputError(
                "The model's answer is neither numbers nor pairs: return (batch, labels) numbers, or (label, score) pairs."
            ) from error
    if values.shape != (count, len(labels)):
        raise InputError(
            f"The model's answer is {' x '.join(map(str, values.shape))} for {count} inputs and {len(labels)} labels: return "
            "(batch, labels) numbers."
        )
    if not np.isfinite(values).all():
        raise InputError("The model's answer holds NaN or infinite numbers: check the inputs that it takes.")
    if answers == "logits":
        return values
    if values.min() < -1e-6 or np.abs(values.sum(1) - 1).max() > 0.02:
        raise InputError(
            f"The model's answer has rows with sums of {values.sum(1).min():.3g} to {values.sum(1).max():.3g} and numbers from "
            f"{values.min():.3g}, which are no probabilities: set answers='logits'."
        )
    logits: np.ndarray = np.log(values.clip(LEAST))
    return logits


def _is_pairs(row: Any) -> bool:
    """Whether a row of an answer is a list of (label, score) pairs, as tuples or as mappings."""
    if not isinstance(row, list | tuple) or not row:
        return False
    return isinstance(row[0], Mapping) or (isinstance(row[0], list | tuple) and isinstance(row[0][0], str))


def spread(pairs: Iterable[Any], labels: Sequence[str]) -> np.ndarray:
    """Probabilities (labels,) from (label, score) pairs; what they leave of 1 is spread evenly over the other labels.

    Raises:
        InputError: a label is unknown or stands twice, or the scores are no probabilities.

    >>> spread([{"label": "dog", "score": 0.5}], ["cat", "cow", "dog"])
    array([0.25, 0.25, 0.5 ])
    """
    found: dict[str, float] = {}
    for pair in pairs:
        label, score = (pair["label"], pair["score"]) if isinstance(pair, Mapping) else pair
        if label not in labels or label in found:
            problem = "twice" if label in found else "which is none of the source's labels"
            raise InputError(
                f"The model's answer names {shown(label)}, {problem}: give all of its labels, as it writes them."
            )
        found[label] = float(score)
    total = sum(found.values())
    if min(found.values()) < 0 or total > 1.02:
        raise InputError(
            f"The model's scores have a sum of {total:.3g}, which are no probabilities: have it use soft-max."
        )
    others = len(labels) - len(found)
    values: np.ndarray = np.full(len(labels), max(0.0, 1 - total) / others if others else 0.0)
    for label, score in found.items():
        values[list(labels).index(label)] = score
    normalised: np.ndarray = values / values.sum()
    return normalised
