"""Membership inference: does the loss of an example tell whether it was trained on?"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError


def membership_auc(member_losses: Any, other_losses: Any, member_start: Any = None, other_start: Any = None) -> float:
    """The ROC-AUC of the attack that takes examples with a small loss for members (Yeom et al. 2018, arXiv 1709.01604).

    0.5 is a guess, and 1 tells every member of training from every other example. With the losses of the untrained start, the
    attack looks at how much training has lowered the loss instead, so that examples that are easy for anyone do not count
    (calibration by a reference model; Watson et al. 2022, arXiv 2111.08440, here without shadow models).

    Args:
        member_losses: losses (n,) of examples of the training split.
        other_losses: losses (m,) of examples from elsewhere, such as the test split.
        member_start, other_start: the losses of the same examples before training; both or none.

    Raises:
        InputError: there are no losses, or one is not finite, or the start is that of other examples.

    >>> membership_auc([0.1, 0.2], [0.2, 0.9])  # 3 of 4 pairs are in order, and one is a tie
    0.875
    >>> membership_auc([0.1, 0.2], [0.2, 0.9], [1.0, 1.0], [0.3, 0.95])
    1.0
    """
    from sklearn.metrics import roc_auc_score

    members, others = _scores(member_losses, member_start), _scores(other_losses, other_start)
    if (member_start is None) != (other_start is None):
        raise InputError("The losses of the start are given for one of the two groups: give them for both or for none.")
    return float(roc_auc_score([1] * len(members) + [0] * len(others), np.concatenate([members, others])))


def _scores(losses: Any, start: Any) -> np.ndarray:
    """How much an example looks like a member (n,): the fall of its loss, or its negative loss."""
    values = -np.asarray(losses, dtype=float).reshape(-1)
    if start is not None:
        before = np.asarray(start, dtype=float).reshape(-1)
        if before.shape != values.shape:
            raise InputError(
                f"There are {len(values)} losses and {len(before)} of the start: give one each for every example."
            )
        values = before + values
    if not len(values) or not np.isfinite(values).all():
        raise InputError(
            "Membership is told by losses, and these are none or not finite: give at least one for each group."
        )
    return values
