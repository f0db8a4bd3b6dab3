"""The mean loss of a batch, for every kind of problem.

Each loss is a per-example loss, averaged over the batch. Gradient accumulation over batches of equal size therefore gives the
gradient of one large batch:

    one class per sequence     cross-entropy; a missing label (`IGNORE`) counts as zero
    one number per sequence    squared error; a missing number (NaN) counts as zero
    several labels             binary cross-entropy, averaged over all labels; a missing label (NaN) counts as zero
    one class per token        cross-entropy, averaged over the sequence's scored tokens (`IGNORE` is not scored)

A batch without any label has the loss 0 and a gradient of zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import InputError

IGNORE = -100


@dataclass(frozen=True)
class Batch:
    """A batch of labelled examples in training, with what the model makes of it.

    Attributes:
        inputs: what the model's `forward` was given, by name.
        labels: as for `target_loss`.
        groups: the group (batch,) of each example; None where the data have none.
        logits: of the target's labels, with their graph.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    groups: Tensor | None
    logits: Tensor


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
        target = labels.to(logits.dtype).reshape(-1)
        known = ~target.isnan()
        return F.mse_loss(torch.where(known, logits.reshape(-1), 0.0), torch.where(known, target, 0.0))
    if problem_type == "multi_label_classification":
        known = ~torch.isnan(labels)
        target = torch.where(known, labels, torch.zeros_like(labels)).to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits, target, known.to(logits.dtype))
    classes = labels.long().reshape(-1)
    return F.cross_entropy(logits, classes, ignore_index=IGNORE, reduction="sum") / classes.shape[0]


def focal_loss(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """The mean of `-(1 - p)^gamma log p`, where p is the probability of an example's class; a missing label counts as zero.

    Args:
        logits: (batch, labels).
        labels: (batch,) class indices.
        gamma: how much less an example counts that is right already; 0 gives the cross-entropy.

    >>> round(float(focal_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1]), gamma=2.0)), 4)  # 0.6931 / 4
    0.1733
    """
    classes = labels.long().reshape(-1)
    known = classes != IGNORE
    surprise = -logits.float().log_softmax(-1).gather(-1, classes.clamp(min=0)[:, None])[:, 0]
    return (torch.where(known, surprise, 0.0) * (1 - (-surprise).exp()) ** gamma).mean()


def check_labels(labels: Tensor, num_labels: int, problem_type: str | None) -> None:
    """Raise `InputError` unless the labels of a batch are what `target_loss` takes.

    Args:
        labels: of a batch, as for `target_loss`.
        num_labels: the number of outputs.
        problem_type: as in a transformers config.

    >>> check_labels(torch.tensor([0, 1, -100]), 2, "single_label_classification")
    >>> check_labels(torch.tensor([0.7, 1.0]), 2, "single_label_classification")
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The label 0.7 is no class: give a whole number from 0 to 1, or -100 for a missing label.
    """
    if problem_type == "regression":
        if labels.isinf().any():
            raise InputError("A target number is infinite: give finite numbers, or NaN for a missing one.")
        return
    if problem_type == "multi_label_classification":
        wrong = labels[~(((labels >= 0) & (labels <= 1)) | labels.isnan())]
        if len(wrong):
            raise InputError(
                f"The label {wrong[0].item():g} is neither 0 nor 1: give 0, 1, or NaN for a missing label."
            )
        return
    wrong = labels[~((labels == IGNORE) | ((labels >= 0) & (labels < num_labels) & (labels == labels.floor())))]
    if len(wrong):
        raise InputError(
            f"The label {wrong[0].item():g} is no class: give a whole number from 0 to {num_labels - 1}, or {IGNORE} for a "
            "missing label."
        )
