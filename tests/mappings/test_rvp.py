"""RVP: the label map of mean logits where it starts, and a naive double loop after that."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_reprogram import InputError
from hf_reprogram.mappings.label_map import LabelMap
from hf_reprogram.mappings.label_map_options import LabelMapOptions
from hf_reprogram.mappings.rvp import ReweightedMap, ReweightedMapOptions
from hf_reprogram.sources.base import SourceSpec
from tests.support.label_maps import answers

SETS = [[3, 4], [0], [1, 5, 2]]


def made(sets=SETS, width=7, trained=True):
    mapping = ReweightedMap(ReweightedMapOptions(len(sets), width, sets))
    mapping.reset()
    if trained:
        torch.nn.init.normal_(mapping.within)
        torch.nn.init.normal_(mapping.between)
    return mapping


def naive(mapping, logits):
    """Soft-max weights within every set, one row and one class after the other, then the classes' answers mixed."""
    found = []
    for row in logits:
        own = []
        for group, raw in zip(mapping.options.assignment, mapping.within, strict=True):
            shares = raw[: len(group)].exp() / raw[: len(group)].exp().sum()
            own.append(sum(share * row[label] for share, label in zip(shares, group, strict=True)))
        found.append(
            torch.stack(
                [own[t] + sum(e * o for e, o in zip(mapping.between[t], own, strict=True)) for t in range(len(own))]
            )
        )
    return torch.stack(found)


@settings(max_examples=30)
@given(st.integers(0, 2**31 - 1), st.lists(st.integers(1, 3), min_size=2, max_size=4))
def test_the_folded_matrix_equals_the_naive_form_with_its_gradients(seed, sizes):
    torch.manual_seed(seed)
    labels = torch.randperm(sum(sizes) + 1).tolist()
    mapping = made([[labels.pop() for _ in range(size)] for size in sizes], sum(sizes) + 1)
    logits = torch.randn(5, sum(sizes) + 1, requires_grad=True)
    wanted = [logits, *mapping.parameters()]
    found, expected = mapping(logits, None), naive(mapping, logits)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad(out.sin().sum(), wanted, retain_graph=True) for out in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_it_maps_in_full_under_autocast():
    mapping, logits = made([[0, 3], [2]], 4), torch.randn(5, 4)
    torch.nn.init.normal_(mapping.within)
    torch.nn.init.normal_(mapping.between)
    expected = mapping(logits, None)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mapping(logits, None), expected)


def test_it_starts_as_the_label_map_of_mean_logits():
    logits = torch.randn(5, 7)
    plain = LabelMap(LabelMapOptions(3, 7, SETS, aggregate="mean_logit"))
    torch.testing.assert_close(made(trained=False)(logits, None), plain(logits, None))
    torch.testing.assert_close(made(trained=False).matrix(), plain.matrix())


def test_the_matrix_is_what_runs_and_is_zero_for_labels_in_no_set():
    mapping, logits = made(), torch.randn(5, 7).to(torch.bfloat16)
    torch.testing.assert_close(mapping(logits, None), logits.float() @ mapping.matrix().T)
    assert not mapping.matrix()[:, 6].any()
    assert mapping.matrix()[:, :6].all()  # every class answers for every other


def test_training_reaches_both_weights_and_starts_again_at_zero():
    torch.manual_seed(0)
    mapping = made(trained=False)
    logits, labels = answers(0, width=7)
    optimizer = torch.optim.Adam(mapping.parameters(), 0.1)
    losses = []
    for _ in range(50):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(mapping(logits, None), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert mapping.within[0].any()
    assert mapping.between.any()
    mapping.reset()
    assert not any(parameter.any() for parameter in mapping.parameters())


def test_sets_are_fitted_before_training_and_never_again():
    mapping = ReweightedMap(ReweightedMapOptions(3, 12, how="frequency", labels_per_class=2))
    with pytest.raises(InputError, match="has not been fitted"):
        mapping(torch.randn(2, 12), None)
    mapping.begin_epoch(0, lambda reads: answers(1), None)
    plain = LabelMap(LabelMapOptions(3, 12, how="frequency", labels_per_class=2))
    plain.fit(*answers(1))
    assert torch.equal(mapping.label_map.sets, plain.sets)
    mapping.begin_epoch(1, lambda reads: answers(2), None)
    assert torch.equal(mapping.label_map.sets, plain.sets)
    again = ReweightedMap(mapping.options)
    again.load_state_dict(mapping.state_dict())
    assert torch.equal(again(answers()[0], None), mapping(answers()[0], None))
    again.fit(*answers(3))
    again.reset()
    with pytest.raises(InputError, match="has not been fitted"):
        again.matrix()


def test_the_table_has_the_weights_of_the_matrix():
    mapping = made([[2, 0], [1]], 3, trained=False)
    with torch.no_grad():
        mapping.within[0] = torch.tensor([3.0, 1.0]).log()
        mapping.between[1, 0] = -1
    rows = mapping.table(["cat", "dog", "car"], ["x", "y"])
    assert [row[:2] for row in rows] == [("x", "car"), ("x", "cat"), ("y", "dog"), ("y", "car"), ("y", "cat")]
    assert [row[2] for row in rows] == pytest.approx([0.75, 0.25, 1, -0.75, -0.25])


def test_a_source_of_other_labels_is_refused():
    with pytest.raises(InputError, match="7 wide, but the source's are 5 wide"):
        made().check(SourceSpec("classifier", "bert", {"logits": 5}))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"how": "iterative"}, "Unknown label mapping of rvp 'iterative'"),
        ({"how": "blm"}, "Unknown label mapping of rvp 'blm'"),
        ({"how": "random", "labels_per_class": 4}, "2 classes with 4 source labels each need 8, but the source has 5"),
        ({"assignment": [[0, 1], [1]]}, "uses the source label 1 twice"),
        ({}, "names source labels for 0 of 2 classes"),
        ({"how": "random", "reads": "features"}, "reads the source's logits, not 'features'"),
    ],
)
def test_options_that_do_not_go_together_are_one_sentence(options, sentence):
    with pytest.raises(InputError) as refused:
        ReweightedMapOptions(**{"num_labels": 2, "width": 5, **options})
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
