"""The label map: what it is fitted to, and when."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from hf_reprogram import InputError
from hf_reprogram.mappings import assignment
from hf_reprogram.sources import load_source
from hf_reprogram.sources.base import SourceSpec
from tests.support import tiny_vision
from tests.support.label_maps import FITTED, answers, fitted, found_by, made

# ------------------------------------------------------------------------------------------------------------ fitting


@given(
    st.sampled_from(["frequency", "optimal", "iterative", "random"]),
    st.integers(2, 4),
    st.integers(1, 3),
    st.integers(0, 999),
)
def test_every_class_has_as_many_labels_as_asked_for_and_none_is_shared(how, classes, each, seed):
    mapping = found_by(how, classes, 12, labels_per_class=each)
    if how != "random":
        mapping.fit(*answers(seed, classes=classes))
    assert mapping.sets.shape == (classes, each)
    assert len(mapping.sets.unique()) == classes * each
    assert 0 <= mapping.sets.min() <= mapping.sets.max() < 12


@given(st.integers(0, 999), st.integers(1, 4))
def test_sets_are_those_of_the_mean_probabilities(seed, each):
    logits, labels = answers(seed)
    scores = torch.stack([logits.softmax(-1)[labels == label].mean(0) for label in range(3)]).double().numpy()

    def total(how):
        sets = fitted(how, seed, labels_per_class=each).sets.long()
        return float(torch.from_numpy(scores).gather(1, sets).sum())

    chosen = fitted("frequency", seed, labels_per_class=each).sets
    assert chosen.tolist() == assignment.frequency_sets(scores, each).tolist()
    assert torch.equal(fitted("iterative", seed, labels_per_class=each).sets, chosen)
    assert total("optimal") == pytest.approx(sum(scores[t, s] for t, s in best_pairs(scores, each)))
    assert total("optimal") >= total("frequency") - 1e-9


def best_pairs(scores, each):
    """Pairs of class and source label with the largest total, by linear programming."""
    from scipy.optimize import linprog

    classes, width = scores.shape
    rows = np.kron(np.eye(classes), np.ones(width))
    columns = np.kron(np.ones(classes), np.eye(width))
    found = linprog(-scores.ravel(), columns, np.ones(width), rows, np.full(classes, each), bounds=(0, 1))
    return [divmod(int(i), width) for i in np.flatnonzero(found.x > 0.5)]


def test_the_optimal_map_beats_the_greedy_one_where_a_label_is_wanted_twice():
    logits, labels = torch.tensor([[0.6, 0.39, 0.01], [0.59, 0.2, 0.21]]).log(), torch.tensor([0, 1])
    for how, sets in (("frequency", [[0], [2]]), ("optimal", [[1], [0]])):  # 0.6 + 0.21, against 0.39 + 0.59
        mapping = found_by(how, 2, 3)
        mapping.fit(logits, labels)
        assert mapping.sets.tolist() == sets


@pytest.mark.parametrize("how", ["blm", "blm_plus"])
def test_weights_are_those_of_the_predictions(how):
    logits, labels = answers(3)
    mapping = found_by(how, share=0.7)
    mapping.fit(logits, labels)
    shares = logits.softmax(-1).numpy()
    expected = {
        "blm": lambda: assignment.bayesian_weights(shares, labels.numpy(), 3),
        "blm_plus": lambda: assignment.bayesian_plus_weights(shares, labels.numpy(), 3, 0.7),
    }[how]()
    np.testing.assert_allclose(mapping.weight, expected, rtol=1e-6)
    torch.testing.assert_close(mapping.weight.sum(1), torch.ones(3))


def test_what_fits_the_classes_predicts_them():
    logits, labels = answers(5, n=400)
    for how in FITTED:
        mapping = found_by(how, labels_per_class=None if how.startswith("blm") else 2)
        mapping.fit(logits[:200], labels[:200])
        accuracy = (mapping(logits[200:], None).argmax(-1) == labels[200:]).float().mean()
        assert accuracy > 0.6, how


def test_a_map_that_is_not_fitted_says_how_to_fit_it():
    for how in FITTED:
        forgotten, loaded = fitted(how), fitted(how)
        for mapping in (forgotten, loaded):
            mapping(torch.randn(2, 12), None)
        forgotten.reset()
        loaded.load_state_dict(forgotten.state_dict())
        for use in (mapped(forgotten), mapped(loaded), forgotten.matrix, loaded.matrix):
            with pytest.raises(
                InputError, match=rf"how='{how}'\) has not been fitted: train with the Trainer.* call its `fit`"
            ):
                use()


def mapped(mapping):
    return lambda: mapping(torch.randn(2, 12), None)


def test_fitted_maps_are_saved_and_the_others_decided_by_their_options():
    for how in ("random", "identity"):
        assert not found_by(how).state_dict()
        assert torch.equal(found_by(how).sets, found_by(how).sets)
    assert not made([[0], [1]], 2).state_dict()
    logits = torch.randn(4, 12)
    for how in FITTED:
        mapping, again = fitted(how), found_by(how)
        assert not list(mapping.parameters())
        stored = save(mapping.state_dict())
        again.load_state_dict(load(stored))
        assert torch.equal(again(logits, None), mapping(logits, None))
    assert len(save(found_by("frequency", 10, 1000).state_dict())) < 1000
    assert len(save(found_by("blm", 10, 1000).state_dict())) < 41_000


class Reader:
    """Answers that change with every reading, which it counts."""

    def __init__(self):
        self.times = 0

    def __call__(self, reads):
        assert reads == "logits"
        self.times += 1
        return answers(self.times)


@pytest.mark.parametrize(
    ("how", "options", "at"),
    [
        ("frequency", {}, [0]),
        ("optimal", {}, [0]),
        ("optimal", {"refit_every": 1}, [0, 1, 2, 3, 4]),
        ("iterative", {}, [0, 1, 2, 3, 4]),
        ("iterative", {"refit_every": 2}, [0, 2, 4]),
        ("blm", {}, [0, 1, 2, 3, 4]),
        ("blm_plus", {"refit_every": 3}, [0, 3]),
        ("random", {}, []),
        ("identity", {}, []),
    ],
)
def test_maps_are_fitted_when_they_are_due(how, options, at):
    mapping, read, seen = found_by(how, **options), Reader(), []
    for epoch in range(5):
        for _ in range(2):  # the second time as by a run that is resumed within the epoch
            before = read.times
            mapping.begin_epoch(epoch, read, None)
            if read.times > before:
                seen.append(epoch)
                current = fitted(how, seed=read.times, **options)
                assert torch.equal(current.weights(), mapping.weights())
    assert seen == at


def test_a_second_training_keeps_a_fixed_map_and_fits_an_iterative_one():
    for how, more in (("frequency", 0), ("iterative", 1)):
        mapping, read = found_by(how), Reader()
        for epoch in range(4):
            mapping.begin_epoch(epoch, read, None)
        before = read.times
        mapping.begin_epoch(0, read, None)
        assert read.times - before == more


@pytest.mark.parametrize(
    ("outputs", "labels", "sentence"),
    [
        (torch.zeros(4, 11), torch.zeros(4).long(), "are 4 x 11: give (examples, 12)"),
        (torch.zeros(4), torch.zeros(4).long(), "are 4: give (examples, 12)"),
        (torch.zeros(4, 12), torch.zeros(3).long(), "are 3 of torch.int64: give one class, a whole number, for each of the 4"),
        (torch.zeros(4, 12), torch.zeros(4, 3), "are 4 x 3 of torch.float32: give one class"),
        (torch.zeros(4, 12), torch.zeros(4), "are 4 of torch.float32: give one class"),
        (torch.zeros(0, 12), torch.zeros(0).long(), "for each of the 0 examples"),
        (torch.zeros(2, 12), torch.tensor([0, 3]), "go from 0 to 3, but the label map has the classes 0 to 2"),
        (torch.zeros(2, 12), torch.tensor([-100, 1]), "go from -100 to 1"),
        (torch.full((2, 12), torch.nan), torch.tensor([0, 1]), "are NaN or infinite"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_fitted_to_are_one_sentence(outputs, labels, sentence):
    mapping = found_by("frequency")
    with pytest.raises(InputError) as refused:
        mapping.fit(outputs, labels)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
    assert mapping.fitted == -1


def test_there_is_nothing_to_fit_in_a_map_that_is_decided():
    with pytest.raises(InputError, match="how='random' is decided by its options: there is nothing to fit"):
        found_by("random").fit(*answers())


# --------------------------------------------------------------------------------------------------------- similarity


def test_similarity_joins_source_labels_to_the_nearest_class_mean_of_features():
    source = tiny_vision.make_source("vit")
    pixels = torch.rand(30, 3, tiny_vision.SIDE, tiny_vision.SIDE, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(30) % 4
    read = []

    def reading(reads, most=None):
        read.append(reads)
        return source({"pixels": pixels}, reads), labels

    mapping = found_by("similarity", 4)
    mapping.check(source.spec)
    mapping.begin_epoch(0, reading, source)
    assert read == ["features"]
    features = source({"pixels": pixels}, "features")
    rows = source.model.classifier.weight
    means = torch.stack([features[labels == label].mean(0) for label in range(4)])
    cosine = torch.nn.functional.cosine_similarity(means[:, None], rows[None], dim=-1)
    sets = [[label for label in row if label >= 0] for row in mapping.sets.tolist()]
    assert all(1 <= len(group) <= 3 for group in sets)
    joined = {label: group for group, chosen in enumerate(sets) for label in chosen}
    best = int(cosine.max(0).values.argmax())  # the label that chooses first has its nearest class
    assert joined[best] == cosine[:, best].argmax()
    assert joined == {s: t for t, chosen in enumerate(naive_similarity(cosine, 3)) for s in chosen}
    assert mapping(source({"pixels": pixels}, "logits"), source).shape == (30, 4)


def naive_similarity(cosine, most):
    """Labels choose one after the other, the nearest class with room."""
    classes, width = cosine.shape
    sets = [[] for _ in range(classes)]
    for label in sorted(range(width), key=lambda s: -cosine[:, s].max()):
        near = sorted((t for t in range(classes) if len(sets[t]) < most), key=lambda t: -cosine[t, label])
        if near:
            sets[near[0]].append(label)
    assert all(sets)  # no class is empty in this case, which has a rule of its own
    return sets


def test_similarity_needs_features_and_rows_to_compare_with(source_folder):
    logits_alone = SourceSpec("module", "Net", {"logits": 12})
    with pytest.raises(InputError, match="compares features, which the module source does not have"):
        found_by("similarity").check(logits_alone)
    text, _ = load_source(source_folder("bert-classifier"))

    def never(reads):
        raise AssertionError("a pass over the data for nothing")

    with pytest.raises(InputError, match="has no labels of its own"):
        found_by("similarity", 2, 6).begin_epoch(0, never, text)
    vision = tiny_vision.make_source("vit")
    with pytest.raises(
        InputError, match="The features are 5 wide, but the rows of the source's classifier are 32 wide"
    ):
        found_by("similarity").fit(torch.randn(6, 5), torch.arange(6) % 3, vision)
    with pytest.raises(InputError, match="pass the source to `fit`"):
        found_by("similarity").fit(torch.randn(6, 32), torch.arange(6) % 3)


def test_a_source_of_other_labels_is_refused():
    def spec(**widths):
        return SourceSpec("classifier", "bert", widths, 8, 10, 64)

    mapping = made([[0], [1]], 4)
    mapping.check(spec(logits=4))
    with pytest.raises(InputError, match="4 wide, but the source's are 5 wide"):
        mapping.check(spec(logits=5))
    with pytest.raises(InputError, match="reads 'logits', which the classifier source does not have"):
        mapping.check(spec(features=4))
