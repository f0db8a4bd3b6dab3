"""The mean loss of a batch, for every kind of problem.

Each is a mean over the sequences of the batch of something that a sequence alone decides, so that accumulating gradients
over equal batches changes nothing:

    a class a sequence     cross-entropy
    a number               squared error
    several labels         binary cross-entropy, averaged over all labels; a missing one (NaN) counts as zero
    a class a token        cross-entropy averaged over the sequence's scored tokens (`IGNORE` is not scored)

A batch without any label has the loss 0 and a gradient of zeros.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE = -100


def target_loss(logits: Tensor, labels: Tensor, problem_type: str | None) -> Tensor:
    """The mean loss of logits (batch, labels) or (batch, tokens, labels) against labels; see the module's docstring.

    Args:
        logits: of the target's labels.
        labels: (batch,) class indices or numbers, (batch, labels) 0, 1 or NaN, or (batch, tokens) class indices.
        problem_type: as in a transformers config.
    """
    logits = logits.float()
    if logits.dim() == 3:
        scored = (labels != IGNORE).sum(1).clamp(min=1)
        entropy = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORE, reduction="none").sum(1)
        return (entropy / scored).mean()
    if problem_type == "regression":
        return F.mse_loss(logits.reshape(-1), labels.to(logits.dtype).reshape(-1))
    if problem_type == "multi_label_classification":
        known = ~torch.isnan(labels)
        target = torch.where(known, labels, torch.zeros_like(labels)).to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits, target, known.to(logits.dtype))
    return F.cross_entropy(logits, labels.long().reshape(-1))
