"""The mean loss of a batch, for every kind of problem.

Each loss is a per-example loss, averaged over the batch. Gradient accumulation over batches of equal size therefore gives the
gradient of one large batch:

    one class per sequence     cross-entropy
    one number per sequence    squared error
    several labels             binary cross-entropy, averaged over all labels; a missing label (NaN) counts as zero
    one class per token        cross-entropy, averaged over the sequence's scored tokens (`IGNORE` is not scored)

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

    >>> logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    >>> round(float(target_loss(logits, torch.tensor([0, 1]), "single_label_classification")), 4)
    0.6931
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
