"""The label map: against loops and cases worked out by hand, and its options."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_reprogram import InputError
from hf_reprogram.mappings.label_map import assign
from hf_reprogram.mappings.label_map_options import AGGREGATES, LabelMapOptions
from hf_reprogram.mappings.label_table import table
from tests.support.label_maps import fitted, found_by, made


def naive(logits, sets, aggregate):
    """One class of one row after the other, in float64."""
    rows = []
    for values in logits.double():
        shares = values.softmax(-1)
        of = {
            "mean_probability": lambda group, shares=shares: (sum(shares[s] for s in group) / len(group)).log(),
            "sum_probability": lambda group, shares=shares: sum(shares[s] for s in group).log(),
            "max_logit": lambda group, values=values: torch.stack([values[s] for s in group]).max(),
            "mean_logit": lambda group, values=values: sum(values[s] for s in group) / len(group),
        }[aggregate]
        rows.append(torch.stack([of(group) for group in sets]))
    return torch.stack(rows)


def test_the_mean_probability_by_hand():
    logits = torch.tensor([[1.0, 2.0, 3.0, 4.0]]).log()  # probabilities 0.1, 0.2, 0.3, 0.4
    found = made([[0, 3], [2]], 4)(logits, None)
    torch.testing.assert_close(found.exp(), torch.tensor([[0.25, 0.3]]))


def test_labels_in_no_set_take_their_share_of_the_probability():
    found = made([[0], [1]], 3)(torch.tensor([[0.0, 0.0, 100.0]]), None)
    assert found.exp().sum() < 1e-30
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.softmax(-1), torch.tensor([[0.5, 0.5]]))


@given(
    st.lists(st.integers(1, 4), min_size=2, max_size=5),
    st.integers(0, 6),
    st.sampled_from(AGGREGATES),
    st.integers(0, 2**31 - 1),
)
def test_sets_of_any_sizes_equal_a_loop_with_its_gradients(sizes, spare, aggregate, seed):
    generator = torch.Generator().manual_seed(seed)
    width = sum(sizes) + spare
    labels = torch.randperm(width, generator=generator).tolist()
    sets = [[labels.pop() for _ in range(size)] for size in sizes]
    logits = (5 * torch.randn(7, width, generator=generator)).requires_grad_()
    found = made(sets, width, aggregate=aggregate)(logits, None)
    found.sin().sum().backward()
    gradient, logits.grad = logits.grad, None
    expected = naive(logits, sets, aggregate)
    expected.sin().sum().backward()
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradient, logits.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_probabilities_below_float32_have_exact_logits_and_finite_gradients(aggregate):
    logits = torch.tensor([[0.0, -300.0, -310.0, -1000.0, -1000.0]], requires_grad=True)
    sets = [[1, 2], [3, 4], [0]]
    found = made(sets, 5, aggregate=aggregate)(logits, None)
    expected = {
        "mean_probability": [-300 + np.log1p(np.exp(-10)) - np.log(2), -1000, 0],
        "sum_probability": [-300 + np.log1p(np.exp(-10)), -1000 + np.log(2), 0],
        "max_logit": [-300, -1000, 0],
        "mean_logit": [-305, -1000, 0],
    }[aggregate]
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float32))
    found.sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, 3] > 0


def test_half_precision_logits_are_mapped_in_full():
    logits = torch.randn(4, 6).to(torch.bfloat16)
    for mapping in (made([[0, 1], [2]], 6), made([[0, 1], [2]], 6, aggregate="mean_logit")):
        assert torch.equal(mapping(logits, None), mapping(logits.float(), None))


@pytest.mark.parametrize("aggregate", ["mean_probability", "mean_logit"])
def test_weights_map_in_full_under_autocast_and_after_a_cast_of_the_model(aggregate):
    mapping, logits = fitted("blm", aggregate=aggregate), torch.randn(4, 12)
    expected = mapping(logits, None)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mapping(logits, None), expected)
    found = mapping.bfloat16()(logits, None)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)


# ----------------------------------------------------------------------------------------------------- BLM's weights


@pytest.mark.parametrize("how", ["blm", "blm_plus"])
@pytest.mark.parametrize("aggregate", ["mean_probability", "mean_logit"])
def test_weights_mix_all_labels_as_a_loop_does(how, aggregate):
    mapping = fitted(how, aggregate=aggregate, share=0.7)
    logits = (3 * torch.randn(5, 12)).requires_grad_()
    found = mapping(logits, None)
    found.sin().sum().backward()
    gradient, logits.grad = logits.grad, None
    values = logits.double().softmax(-1) if aggregate == "mean_probability" else logits.double()
    rows = [[sum(w * v for w, v in zip(row, value, strict=True)) for row in mapping.weight] for value in values]
    expected = torch.stack([torch.stack(row) for row in rows])
    if aggregate == "mean_probability":
        expected = expected.log()
    expected.sin().sum().backward()
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradient, logits.grad, rtol=1e-3, atol=1e-5)


def test_weights_of_probabilities_below_float32_do_not_underflow():
    mapping = found_by("blm", classes=2, width=3, aggregate="mean_probability")
    mapping.fit(
        torch.eye(3)[[1, 2]] * 5, torch.tensor([0, 1])
    )  # class 0 is label 1, class 1 is label 2; label 0 is none
    logits = torch.tensor([[0.0, -300.0, -900.0]], requires_grad=True)
    found = mapping(logits, None)
    torch.testing.assert_close(found, torch.tensor([[-300.0, -900.0]]))
    found.sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[-2.0, 1.0, 1.0]]))


# --------------------------------------------------------------------------------------------------------- as a matrix


@pytest.mark.parametrize(
    ("how", "aggregate"),
    [
        *[(how, a) for how in ("given", "frequency") for a in ("mean_probability", "sum_probability", "mean_logit")],
        *[("blm_plus", a) for a in ("mean_probability", "mean_logit")],
    ],
)
def test_what_is_linear_folds_to_one_matrix(how, aggregate):
    options = {"aggregate": aggregate}
    mapping = made([[3, 4], [0], [1, 5, 2]], 12, **options) if how == "given" else fitted(how, **options)
    logits = 2 * torch.randn(6, 12)
    of_logits = aggregate == "mean_logit"
    folded = (logits if of_logits else logits.softmax(-1)) @ mapping.matrix().T
    folded = folded if of_logits else folded.log()
    torch.testing.assert_close(mapping(logits, None), folded, rtol=1e-5, atol=1e-5)


def test_the_largest_logit_has_no_matrix():
    mapping = made([[0, 2], [1]], 3, aggregate="max_logit")
    with pytest.raises(InputError, match="aggregate='max_logit' is not linear and has no matrix"):
        mapping.matrix()
    torch.testing.assert_close(mapping.weights(), torch.tensor([[0.5, 0, 0.5], [0, 1, 0]]))


def test_the_table_names_the_labels_of_every_class_by_weight():
    assert made([[2, 0], [1]], 3).table(["cat", "dog", "car"], ["x", "y"]) == [
        ("x", "cat", 0.5), ("x", "car", 0.5), ("y", "dog", 1.0)
    ]  # fmt: skip
    weights = torch.tensor([[0.2, 0.3, 0.5], [0.0, -1.0, 0.5]])
    assert table(weights, (), ["x", "y"], most=2) == [
        ("x", "2", 0.5), ("x", "1", pytest.approx(0.3)), ("y", "1", -1.0), ("y", "2", 0.5)
    ]  # fmt: skip
    with pytest.raises(InputError, match="takes 3 source labels to 2 classes, but there are 2 and 2 names"):
        table(weights, ["cat", "dog"], ["x", "y"])


# ------------------------------------------------------------------------------------------------------------ options


@given(st.integers(2, 9), st.integers(0, 60), st.sampled_from(["random", "identity"]), st.integers(0, 99))
def test_sets_never_overlap_and_are_equally_large(classes, more, how, seed):
    width = classes + more
    groups = assign(classes, width, how, seed=seed)
    labels = [label for group in groups for label in group]
    assert len(groups) == classes
    assert len(set(labels)) == len(labels)
    assert set(labels) <= set(range(width))
    assert {len(group) for group in groups} == {1 if how == "identity" else min(10, width // classes)}
    assert found_by(how, classes, width, seed=seed).sets.tolist() == groups


def test_identity_is_the_class_itself_or_labels_in_blocks():
    assert assign(3, 7, "identity") == [[0], [1], [2]]
    assert assign(3, 7, "identity", 2) == [[0, 1], [2, 3], [4, 5]]


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
        ([], "names source labels for 0 of 2 classes"),
        ([[0], []], "names source labels for 1 of 2 classes"),
        ([[0]], "names source labels for 1 of 2 classes"),
        ([[0, 1], [1]], "uses the source label 1 twice: its sets must not overlap"),
        ([[0, 0], [1]], "uses the source label 0 twice"),
        ([[0], [4]], "names 4, which is no source label: give labels from 0 to 3"),
        ([[0], [-1]], "names -1, which is no source label: give labels from 0 to 3"),
        ([[0], ["cat"]], "names 'cat', which is no source label: give labels from 0 to 3"),
    ],
)
def test_a_map_given_by_hand_is_checked(assignment, sentence):
    with pytest.raises(InputError) as refused:
        LabelMapOptions(2, 4, assignment)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"how": "frequancy"}, "Unknown label mapping 'frequancy': did you mean 'frequency'?"),
        ({"how": "random", "aggregate": "mean"}, "Unknown aggregate of how='random' 'mean': did you mean 'mean_logit'?"),
        ({"how": "blm", "aggregate": "max_logit"}, "Unknown aggregate of how='blm' 'max_logit'"),
        ({"how": "random", "reads": "features"}, "reads the source's logits, not 'features'"),
        ({"how": "optimal", "assignment": [[0], [1]]}, "how='optimal' would choose them: leave one of the two out"),
        ({"how": "blm", "labels_per_class": 2}, "labels_per_class does not apply to how='blm'"),
        ({"assignment": [[0], [1]], "labels_per_class": 1}, "does not apply to how='given'"),
        ({"how": "random", "refit_every": 1}, "refit_every is for maps that are fitted, not for how='random'"),
        ({"how": "blm", "refit_every": 0}, "refit_every is 0: give a whole number of epochs, 1 or more"),
        ({"how": "iterative", "refit_every": 1.5}, "refit_every is 1.5"),
        ({"how": "blm_plus", "share": 0}, "share is 0: give more than 0 and at most 1"),
        ({"how": "frequency", "labels_per_class": 3}, "2 classes with 3 source labels each need 6, but the source has 5"),
        ({"how": "optimal", "labels_per_class": 0}, "labels_per_class is 0"),
        ({"how": "similarity", "labels_per_class": 0}, "labels_per_class is 0"),
        *[({"num_labels": 6, "how": how}, "6 classes with 1 source labels each need 6, but the source has 5")
          for how in ("identity", "frequency", "iterative", "blm", "blm_plus", "similarity")],
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_one_sentence(options, sentence):
    with pytest.raises(InputError) as refused:
        LabelMapOptions(**{"num_labels": 2, "width": 5, **options})
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
