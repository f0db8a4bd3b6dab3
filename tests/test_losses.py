"""Each loss against torch's own, and that accumulating over equal batches changes nothing."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from hf_reprogram import InputError
from hf_reprogram.losses import IGNORE, check_labels, focal_loss, target_loss

KINDS = ["single_label_classification", "regression", "multi_label_classification", "token_classification"]


def example(kind: str, seed: int = 0, batch: int = 6):
    """Logits that want a gradient, and labels of which some are missing where a kind allows it."""
    random = torch.Generator().manual_seed(seed)
    shape = {"regression": (batch, 1), "token_classification": (batch, 5, 3)}.get(kind, (batch, 3))
    logits = torch.randn(shape, generator=random).requires_grad_()
    if kind == "single_label_classification":
        labels = torch.randint(3, (batch,), generator=random)
        labels[torch.rand(batch, generator=random) < 0.2] = IGNORE
    elif kind == "regression":
        labels = torch.randn(batch, generator=random)
        labels[torch.rand(batch, generator=random) < 0.2] = math.nan
    elif kind == "multi_label_classification":
        labels = torch.randint(2, shape, generator=random).float()
        labels[torch.rand(shape, generator=random) < 0.3] = math.nan
    else:
        labels = torch.randint(3, shape[:2], generator=random)
        labels[torch.rand(shape[:2], generator=random) < 0.4] = IGNORE
    return logits, labels


def test_a_class_a_sequence_is_cross_entropy():
    """A missing label costs nothing but is counted."""
    logits, labels = example("single_label_classification")
    known = labels != IGNORE
    expected = F.cross_entropy(logits[known], labels[known]) * known.sum() / len(labels)
    torch.testing.assert_close(target_loss(logits, labels, "single_label_classification"), expected)
    whole = target_loss(logits, labels.clamp(min=0), "single_label_classification")
    assert torch.equal(whole, F.cross_entropy(logits, labels.clamp(min=0)))


def test_the_problem_type_of_a_config_that_has_none_is_a_class_a_sequence():
    logits, labels = example("single_label_classification")
    assert torch.equal(target_loss(logits, labels, None), target_loss(logits, labels, "single_label_classification"))


def test_a_number_is_the_squared_error_by_hand():
    assert float(target_loss(torch.tensor([[1.0], [5.0]]), torch.tensor([2.0, 2.0]), "regression")) == 5.0
    assert float(target_loss(torch.tensor([[1.0], [5.0]]), torch.tensor([[2.0], [2.0]]), "regression")) == 5.0


def test_several_labels_by_hand():
    """At a logit of 0 every known label costs log 2; the missing one costs nothing but is counted."""
    labels = torch.tensor([[0.0, 1.0], [1.0, math.nan]])
    found = target_loss(torch.zeros(2, 2), labels, "multi_label_classification")
    assert float(found) == pytest.approx(3 / 4 * math.log(2))


def test_several_labels_without_a_missing_one_are_torchs_binary_cross_entropy():
    logits, labels = example("multi_label_classification")
    labels = labels.nan_to_num()
    torch.testing.assert_close(
        target_loss(logits, labels, "multi_label_classification"), F.binary_cross_entropy_with_logits(logits, labels)
    )


def test_a_class_a_token_is_a_mean_over_sequences_of_the_mean_over_scored_tokens():
    logits, labels = example("token_classification")
    labels[:, 0] = 1  # so that every row has a scored token
    rows = [F.cross_entropy(row, label, ignore_index=IGNORE) for row, label in zip(logits, labels, strict=True)]
    for kind in ("token_classification", "single_label_classification", "infilling"):  # a config knows but the second
        torch.testing.assert_close(target_loss(logits, labels, kind), torch.stack(rows).mean())


def test_long_and_short_sequences_weigh_alike():
    """One of two sequences is all right, the other all wrong, whatever their lengths."""
    logits = torch.tensor([[30.0, 0.0]]).expand(2, 4, 2)
    labels = torch.tensor([[0, 0, 0, 0], [1, IGNORE, IGNORE, IGNORE]])
    assert float(target_loss(logits, labels, "token_classification")) == pytest.approx(15)


@pytest.mark.parametrize("kind", KINDS)
@given(st.integers(0, 10**6))
def test_what_is_not_labelled_gets_no_gradient(kind, seed):
    logits, labels = example(kind, seed)
    target_loss(logits, labels, kind).backward()
    missing = labels.isnan() if labels.is_floating_point() else labels == IGNORE
    gradient = logits.grad.reshape(*labels.shape, -1)
    assert not gradient[missing].any()
    assert gradient[~missing].any(-1).all()


@pytest.mark.parametrize("kind", KINDS)
@given(st.integers(0, 10**6))
def test_two_equal_halves_give_the_loss_and_the_gradient_of_the_whole(kind, seed):
    """Halves may hold different numbers of labels: a sequence's weight must not depend on its neighbours'."""
    logits, labels = example(kind, seed)
    loss = target_loss(logits, labels, kind)
    (gradient,) = torch.autograd.grad(loss, logits)
    halves = [target_loss(part, label, kind) / 2 for part, label in zip(logits.chunk(2), labels.chunk(2), strict=True)]
    (accumulated,) = torch.autograd.grad(sum(halves), logits)
    torch.testing.assert_close(sum(halves), loss)
    torch.testing.assert_close(accumulated, gradient)


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        ("single_label_classification", IGNORE),
        ("regression", math.nan),
        ("multi_label_classification", math.nan),
        ("token_classification", IGNORE),
    ],
)
def test_a_batch_without_a_label_has_no_loss_and_no_gradient(kind, missing):
    logits, labels = example(kind)
    loss = target_loss(logits, torch.full_like(labels, missing), kind)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().max() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_computed_in_float32(kind):
    logits, labels = example(kind)
    half = logits.detach().bfloat16()
    found = target_loss(half, labels, kind)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, target_loss(half.float(), labels, kind))


@pytest.mark.parametrize(
    ("kind", "labels", "sentence"),
    [
        ("single_label_classification", [0.7, 1.0], r"The label 0\.7 is no class: give a whole number from 0 to 2"),
        ("single_label_classification", [0, -1], "The label -1 is no class"),
        ("single_label_classification", [0, 3], "The label 3 is no class"),
        ("single_label_classification", [0.0, math.nan], "The label nan is no class"),
        ("token_classification", [[0, 5], [1, -100]], "The label 5 is no class"),
        ("multi_label_classification", [[0.0, 2.0, 1.0]], "The label 2 is neither 0 nor 1"),
        ("regression", [math.inf], "A target number is infinite"),
    ],
)
def test_labels_that_are_none_of_the_problem_are_refused(kind, labels, sentence):
    with pytest.raises(InputError, match=sentence):
        check_labels(torch.tensor(labels), 3, kind)


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("single_label_classification", [0.0, 2.0, -100.0]),
        ("multi_label_classification", [[0, 1, 1]]),
        ("multi_label_classification", [[0.1, 0.9, math.nan]]),
        ("regression", [[-3.0], [math.nan]]),
    ],
)
def test_labels_of_the_problem_are_taken_in_every_dtype(kind, labels):
    check_labels(torch.tensor(labels), 3, kind)


def test_focal_loss_by_hand_and_without_a_label():
    logits = torch.tensor([[0.0, 0.0], [3.0, 1.0], [5.0, -5.0]])
    p = 1 / (1 + torch.tensor(2.0).exp())
    expected = (0.25 * torch.tensor(2.0).log() - (1 - p) ** 2 * p.log()) / 3
    labels = torch.tensor([0, 1, IGNORE])
    torch.testing.assert_close(focal_loss(logits, labels, 2.0), expected)
    torch.testing.assert_close(focal_loss(logits, labels, 0.0), target_loss(logits, labels, None))
