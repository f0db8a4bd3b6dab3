"""The linear probe of one label per token, which may read the states of a token's neighbours as well.

Token states are standardised first. The states beyond a text are then 0, which is the mean state, as in
`hf_reprogram.mappings.window`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..mappings.linear_fit import LinearModel, mean_loss
from ..mappings.standardised import Standardised
from ..mappings.window import drawn_tokens, most_tokens, side_by_side, window_logits
from ..tasks.task import Task

AT_ONCE = 256  # texts whose states are standardised at once


def best_token_probe(
    task: Task,
    states: dict[str, np.ndarray],
    labels: dict[str, np.ndarray],
    strengths: Sequence[float],
    contexts: Sequence[int],
    outputs: int,
) -> tuple[dict[str, Any], LinearModel, dict[str, np.ndarray]]:
    """Choose the number of neighbours and the strength on validation, and predict every token.

    Strengths are tried from the smallest, up to where the loss rose twice in a row without a better metric.

    Args:
        task: the task whose labels are predicted.
        states: for "train", "validation" and "test" the states (n, tokens, width), with zeros at padding.
        labels: the labels (n, tokens) of the same splits, `IGNORE` where there is none.
        strengths: the inverse L2 strengths to try.
        contexts: the numbers of neighbours on either side to try.
        outputs: the number of logits.

    Returns:
        The choice as {"features": "tokens", "context": number, "strength": strength}; the `LinearModel` that was fitted with it
        to at most `hf_reprogram.mappings.window.most_tokens` tokens; and the logits (n, tokens, outputs) of validation and
        test.
    """
    train, wanted = torch.from_numpy(states["train"]), torch.from_numpy(labels["train"])
    standard = standardised_by(train, drawn_tokens(wanted, most_tokens(train.shape[2])))
    best: tuple[tuple[float, float], dict[str, Any], LinearModel, np.ndarray] | None = None
    for context in contexts:
        places = drawn_tokens(wanted, most_tokens((2 * context + 1) * train.shape[2]))
        rows = Standardised(standard(side_by_side(train, places, context)).flatten(1).numpy())
        targets = wanted[places[:, 0], places[:, 1]].numpy()
        smallest, value_there, rises = float("inf"), -float("inf"), 0
        for strength in sorted(strengths):
            model = LinearModel(task.problem_type, strength, outputs).fit(rows, targets)
            logits = _logits(states["validation"], standard, model)
            value = task.benefit(task.score(logits, labels["validation"]))
            loss = mean_loss(logits.reshape(-1, outputs), labels["validation"].ravel(), task.problem_type)
            if best is None or (value, -loss) > best[0]:
                best = ((value, -loss), {"features": "tokens", "context": context, "strength": strength}, model, logits)
            rises = 0 if loss < smallest or value > value_there else rises + 1
            smallest, value_there = min(smallest, loss), max(value_there, value)
            if rises == 2:
                break
    assert best is not None
    return best[1], best[2], {"validation": best[3], "test": _logits(states["test"], standard, best[2])}


def standardised_by(states: Tensor, places: Tensor) -> Callable[[Tensor], Tensor]:
    """A function that standardises states (..., width) by the mean and the deviation of some of them, and keeps zeros.

    Args:
        states: (texts, tokens, width), with zeros at padding.
        places: the text and the token of each of these, (n, 2).

    >>> standard = standardised_by(torch.tensor([[[1.0], [3.0], [0.0]]]), torch.tensor([[0, 0], [0, 1]]))
    >>> standard(torch.tensor([[3.0], [5.0], [0.0]])).flatten().tolist()  # the last is padding
    [1.0, 3.0, 0.0]
    """
    rows = states[places[:, 0], places[:, 1]].double()
    mean, deviation = rows.mean(0), rows.std(0, correction=0)
    deviation = torch.where(deviation > 0, deviation, 1.0)
    return lambda given: torch.where(given.ne(0).any(-1, keepdim=True), (given.double() - mean) / deviation, 0.0)


def _logits(states: np.ndarray, standard: Callable[[Tensor], Tensor], model: LinearModel) -> np.ndarray:
    """The logits (n, tokens, outputs) of a linear model on windows of standardised states (n, tokens, width)."""
    weight, bias = torch.from_numpy(model.weight), torch.from_numpy(model.bias)
    chunks = torch.from_numpy(states).split(AT_ONCE)
    return np.concatenate([window_logits(standard(chunk), weight, bias).numpy() for chunk in chunks])
