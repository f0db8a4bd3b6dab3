"""The label map: against loops and cases worked out by hand, and what it is fitted to when."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from hf_reprogram import InputError
from hf_reprogram.mappings import assignment
from hf_reprogram.mappings.label_map import AGGREGATES, LabelMap, LabelMapOptions, assign, table
from hf_reprogram.sources import load_source
from hf_reprogram.sources.base import SourceSpec
from tests import tiny_vision

FITTED = ("frequency", "optimal", "iterative", "blm", "blm_plus")


def made(assignment, width, **options):
    return LabelMap(LabelMapOptions(len(assignment), width, assignment, **options))


def found_by(how, classes=3, width=12, **options):
    return LabelMap(LabelMapOptions(classes, width, how=how, **options))


def answers(seed=0, n=60, classes=3, width=12):
    """A source's logits (n, width) that tell the classes apart to some degree, and the classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    liking = 2 * torch.randn(classes, width, generator=generator)
    return 2 * torch.randn(n, width, generator=generator) + liking[labels], labels


def fitted(how, seed=0, **options):
    mapping = found_by(how, **options)
    mapping.fit(*answers(seed))
    return mapping


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
    mapping = found_by("blm", classes=2, width=3)
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
    with pytest.raises(InputError, match="takes 3 source labels to 2 classes, but 2 and 2 names are given"):
        table(weights, ["cat", "dog"], ["x", "y"])


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
        mapping = fitted(how)
        mapping.reset()
        for use in (lambda mapping=mapping: mapping(torch.randn(2, 12), None), mapping.matrix):
            with pytest.raises(
                InputError, match=rf"how='{how}'\) has not been fitted: train with .*Schedule.* call its `fit`"
            ):
                use()


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
        (torch.full((2, 12), torch.nan), torch.tensor([0, 1]), "answers NaN or infinity"),
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

    def reading(reads):
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
    with pytest.raises(InputError, match="compares features, which this module source does not offer"):
        found_by("similarity").check(logits_alone)
    text, _ = load_source(source_folder("bert-classifier"))

    def never(reads):
        raise AssertionError("a pass over the data for nothing")

    with pytest.raises(InputError, match="no labels of its own to compare with"):
        found_by("similarity", 2, 6).begin_epoch(0, never, text)
    vision = tiny_vision.make_source("vit")
    with pytest.raises(InputError, match="The features are 5 wide, but the rows of the source's classifier 32"):
        found_by("similarity").fit(torch.randn(6, 5), torch.arange(6) % 3, vision)
    with pytest.raises(InputError, match="give the source to `fit`"):
        found_by("similarity").fit(torch.randn(6, 32), torch.arange(6) % 3)


def test_a_source_of_other_labels_is_refused():
    def spec(**widths):
        return SourceSpec("classifier", "bert", widths, 8, 10, 64)

    mapping = made([[0], [1]], 4)
    mapping.check(spec(logits=4))
    with pytest.raises(InputError, match="4 wide, but the source's are 5 wide"):
        mapping.check(spec(logits=5))
    with pytest.raises(InputError, match="reads 'logits', which a classifier source does not offer"):
        mapping.check(spec(features=4))


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
        ([[0], [4]], "names 4, a source label outside 0 to 3"),
        ([[0], [-1]], "names -1, a source label outside 0 to 3"),
        ([[0], ["cat"]], "names 'cat', a source label outside 0 to 3"),
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
        ({"how": "optimal", "assignment": [[0], [1]]}, "how='optimal' finds them: leave one of the two out"),
        ({"how": "blm", "labels_per_class": 2}, "labels_per_class is for sets that are found, not for how='blm'"),
        ({"assignment": [[0], [1]], "labels_per_class": 1}, "not for how='given'"),
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
