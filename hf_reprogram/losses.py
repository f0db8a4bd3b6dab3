"""The mean loss of a batch, for every kind of problem.

Each loss is a per-example loss, averaged over the batch. Gradient accumulation over batches of equal size therefore gives the
gradient of one large batch:

    one class per example      cross-entropy
    one number per example     squared error
    several labels             binary cross-entropy, averaged over all labels; the term of a missing label (NaN) is zero
    one class per token        cross-entropy, averaged over the scored tokens, whose label is not `IGNORE`

A batch without any label has the loss 0 and a gradient of zeros.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE = -100


def target_loss(logits: Tensor, labels: Tensor, problem_type: str | None) -> Tensor:
    """The mean loss of a batch; the module's docstring lists the losses.

    Args:
        logits: (batch, labels), or (batch, tokens, labels) with one class per token.
        labels: class indices or numbers (batch,); 0, 1 or NaN (batch, labels); or class indices (batch, tokens).
        problem_type: as in a transformers config. It does not matter with one class per token.

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
