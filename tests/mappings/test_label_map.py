"""The label map against a case worked out by hand and a loop."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_reprogram import InputError
from hf_reprogram.mappings.label_map import LabelMap, LabelMapOptions, assign
from hf_reprogram.sources.base import SourceSpec


def made(assignment, width):
    return LabelMap(LabelMapOptions(len(assignment), width, assignment))


def test_the_mean_probability_by_hand():
    logits = torch.tensor([[1.0, 2.0, 3.0, 4.0]]).log()  # probabilities 0.1, 0.2, 0.3, 0.4
    found = made([[0, 3], [2]], 4)(logits, None)
    torch.testing.assert_close(found.exp(), torch.tensor([[0.25, 0.3]]))


def test_labels_in_no_set_take_their_share_of_the_probability():
    found = made([[0], [1]], 3)(torch.tensor([[0.0, 0.0, 100.0]]), None)
    assert found.exp().sum() < 1e-30
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.softmax(-1), torch.tensor([[0.5, 0.5]]))


@given(st.integers(2, 5), st.integers(1, 4), st.integers(0, 6), st.integers(0, 2**31 - 1))
def test_it_equals_a_loop(classes, each, spare, seed):
    width = classes * each + spare
    groups = assign(classes, width, labels_per_class=each, seed=seed)
    logits = 5 * torch.randn(7, width, generator=torch.Generator().manual_seed(seed))
    found = made(groups, width)(logits, None)
    for row, values in zip(found, logits, strict=True):
        shares = values.exp() / values.exp().sum()
        for label, group in enumerate(groups):
            expected = sum(shares[index] for index in group) / len(group)
            assert float(row[label]) == pytest.approx(float(expected.log()), abs=1e-4)


def test_gradients_are_finite_and_those_of_the_loop():
    logits = torch.randn(3, 6, dtype=torch.float32, requires_grad=True)
    groups = [[0, 4], [2], [1, 3]]
    made(groups, 6)(logits, None).square().sum().backward()
    found, logits.grad = logits.grad, None
    shares = logits.softmax(-1)
    torch.stack([shares[:, group].mean(1).log() for group in groups], 1).square().sum().backward()
    torch.testing.assert_close(found, logits.grad, rtol=1e-4, atol=1e-5)


def test_half_precision_logits_are_mapped_in_full():
    logits = torch.randn(4, 6).to(torch.bfloat16)
    assert torch.equal(made([[0, 1], [2]], 6)(logits, None), made([[0, 1], [2]], 6)(logits.float(), None))


def test_there_is_nothing_to_train_and_nothing_to_save():
    mapping = made([[0], [1]], 2)
    assert not list(mapping.parameters())
    assert not mapping.state_dict()


def test_a_source_of_other_labels_is_refused():
    def spec(**widths):
        return SourceSpec("classifier", "bert", widths, 8, 10, 64)

    mapping = made([[0], [1]], 4)
    mapping.check(spec(logits=4))
    with pytest.raises(InputError, match="4 wide, but the source's are 5 wide"):
        mapping.check(spec(logits=5))
    with pytest.raises(InputError, match="reads 'logits', which a classifier source does not offer"):
        mapping.check(spec(features=4))


# ------------------------------------------------------------------------------------------------- assignments


@given(st.integers(2, 9), st.integers(0, 60), st.sampled_from(["random", "identity"]), st.integers(0, 99))
def test_sets_never_overlap_and_are_equally_large(classes, more, how, seed):
    width = classes + more
    groups = assign(classes, width, how, seed=seed)
    labels = [label for group in groups for label in group]
    assert len(groups) == classes
    assert len(set(labels)) == len(labels)
    assert set(labels) <= set(range(width))
    assert {len(group) for group in groups} == {1 if how == "identity" else min(10, width // classes)}


def test_identity_is_the_class_itself():
    assert assign(3, 7, "identity") == [[0], [1], [2]]


def test_random_depends_on_the_seed_alone():
    torch.manual_seed(1)
    first = assign(3, 50, seed=4)
    torch.manual_seed(2)
    assert assign(3, 50, seed=4) == first
    assert assign(3, 50, seed=5) != first


def test_as_many_labels_as_asked_for():
    assert [len(group) for group in assign(3, 50, labels_per_class=16)] == [16] * 3
    assert [len(group) for group in assign(3, 50)] == [10] * 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((7, 6), "7 classes with 1 source labels each need 7, but the source has 6"),
        ((7, 6, "identity"), "7 classes with 1 source labels each need 7, but the source has 6"),
        ((3, 8, "random", 3), "3 classes with 3 source labels each need 9, but the source has 8"),
        ((3, 8, "random", 0), "labels_per_class is 0: give a whole number, 1 or more"),
        ((3, 8, "rondom"), "label mapping 'rondom': did you mean 'random'"),
    ],
)
def test_an_assignment_that_cannot_be_is_one_sentence(arguments, sentence):
    with pytest.raises(InputError) as refused:
        assign(*arguments)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ([[0], []], "names source labels for 1 of 2 classes"),
        ([[0]], "names source labels for 1 of 2 classes"),
        ([[0, 1], [1]], "uses the source label 1 twice: its sets must not overlap"),
        ([[0, 0], [1]], "uses the source label 0 twice"),
        ([[0], [4]], "a source label outside 0 to 3"),
        ([[0], [-1]], "a source label outside 0 to 3"),
    ],
)
def test_a_map_given_by_hand_is_checked(assignment, sentence):
    with pytest.raises(InputError) as refused:
        LabelMapOptions(2, 4, assignment)
    assert sentence in str(refused.value)
