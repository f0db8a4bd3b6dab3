"""Metrics against scikit-learn and scipy, as functions and as `evaluate` modules that need no Hub."""

from __future__ import annotations

import warnings

import evaluate
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn

from hf_reprogram import InputError
from hf_reprogram.ood import adaptive_ece, brier, ece, nll
from hf_reprogram.tasks.metric_modules import load_metric
from hf_reprogram.tasks.metrics import METRICS, average_precision, perplexity, recovery, roc_auc, score
from hf_reprogram.tasks.problems import score_logits

CLASSIFICATION = {
    "accuracy": lambda p, r: sklearn.accuracy_score(r, p),
    "f1": lambda p, r: sklearn.f1_score(r, p, zero_division=0),
    "matthews": lambda p, r: sklearn.matthews_corrcoef(r, p),
}
CALIBRATION = {"ece": ece, "adaptive_ece": adaptive_ece, "brier": brier, "nll": nll}
REGRESSION = {"pearson": lambda p, r: stats.pearsonr(p, r)[0], "spearman": lambda p, r: stats.spearmanr(p, r)[0]}


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=40))
def test_classification_metrics_equal_scikit_learns(pairs):
    predictions, references = (np.array(side) for side in zip(*pairs, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {name: oracle(predictions, references) for name, oracle in CLASSIFICATION.items()}
        assert score(list(CLASSIFICATION), predictions, references) == pytest.approx(expected)


def test_f1_can_be_averaged_over_classes():
    predictions, references = [0, 1, 2, 2, 1], [0, 2, 2, 2, 1]
    expected = sklearn.f1_score(references, predictions, average="macro")
    assert score(["f1"], predictions, references, average="macro")["f1"] == pytest.approx(expected)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=2, max_size=30))
def test_correlations_equal_scipys_and_are_zero_where_a_side_is_constant(pairs):
    predictions, references = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    constant = min(len(set(predictions)), len(set(references))) == 1
    found = score(list(REGRESSION), predictions, references)
    for name, oracle in REGRESSION.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert found[name] == pytest.approx(0.0 if constant else oracle(predictions, references), abs=1e-9)


numbers = st.floats(-1e3, 1e3, allow_subnormal=False)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=30))
def test_errors_equal_scikit_learns(pairs):
    predictions, references = (np.array(side) for side in zip(*pairs, strict=True))
    found = score(["mse", "rmse", "mae"], predictions, references)
    assert found["mse"] == pytest.approx(sklearn.mean_squared_error(references, predictions), abs=1e-9)
    assert found["rmse"] == pytest.approx(sklearn.root_mean_squared_error(references, predictions), abs=1e-9)
    assert found["mae"] == pytest.approx(sklearn.mean_absolute_error(references, predictions), abs=1e-9)


def test_errors_are_in_the_labels_unit():
    assert score(["rmse", "mae"], [1.0, 5.0], [1.0, 1.0]) == pytest.approx({"rmse": 8**0.5, "mae": 2.0})


def test_selection_takes_the_largest_benefit_which_is_the_smallest_error():
    better = {name: metric.benefit(0.1) > metric.benefit(0.9) for name, metric in METRICS.items()}
    errors = {"mse", "rmse", "mae", "mase", "perplexity"} | {*CALIBRATION}
    assert {name for name, lower in better.items() if lower} == errors


AREAS = {
    "ROC-AUC": (roc_auc, sklearn.roc_auc_score),
    "Average precision": (average_precision, sklearn.average_precision_score),
}


@pytest.mark.parametrize("name", AREAS)
@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 1)), min_size=2, max_size=40))
def test_areas_equal_scikit_learns_with_ties(name, pairs):
    area, oracle = AREAS[name]
    scores, references = (np.array(side) for side in zip(*pairs, strict=True))
    if len(set(references)) == 1:
        with pytest.raises(InputError, match=f"{name} is undefined"):
            area(scores, references)
        return
    assert area(scores, references) == pytest.approx(oracle(references, scores))


@pytest.mark.parametrize("name", AREAS)
def test_areas_of_many_classes_leave_out_those_that_no_reference_has(name):
    area, oracle = AREAS[name]
    random = np.random.default_rng(0)
    probabilities, references = random.dirichlet(np.ones(4), size=50), random.integers(3, size=50)
    areas = [oracle(references == i, probabilities[:, i]) for i in range(3)]
    assert area(probabilities, references) == pytest.approx(np.mean(areas))


@pytest.mark.parametrize("name", AREAS)
@given(st.integers(0, 10**6), st.floats(0, 0.9))
def test_areas_of_many_labels_equal_the_mean_of_scikit_learns_over_labelled_rows(name, seed, share):
    area, oracle = AREAS[name]
    random = np.random.default_rng(seed)
    references = random.integers(2, size=(30, 5)).astype(float)
    references[random.random(references.shape) < share] = np.nan
    scores, areas = random.normal(size=references.shape), []
    for column, labels in zip(scores.T, references.T, strict=True):
        known = ~np.isnan(labels)
        if len(set(labels[known])) == 2:
            areas.append(oracle(labels[known], column[known]))
    if areas:
        assert area(scores, references) == pytest.approx(np.mean(areas))
    else:
        with pytest.raises(InputError, match=f"{name} is undefined"):
            area(scores, references)


# Two rows of three tokens over a vocabulary of four; -1 and -100 both say that nothing was hidden.
HIDDEN = np.array([[3, -1, 0], [-100, -100, 2]])


def test_recovery_is_a_mean_over_sequences():
    guesses = np.array([[3, 1, 1], [0, 0, 2]])
    assert recovery(np.eye(4)[guesses], HIDDEN) == pytest.approx((1 / 2 + 1) / 2)


def test_perplexity_by_hand():
    """The hidden tokens have the probabilities 1/2, 1/4 and 1/8: the geometric mean of 2, 4 and 8 is 4."""
    probabilities = np.full((2, 3, 4), 0.25)
    probabilities[0, 0] = [0.2, 0.2, 0.1, 0.5]
    probabilities[1, 2] = [0.5, 0.25, 0.125, 0.125]
    assert perplexity(np.log(probabilities), HIDDEN) == pytest.approx(4)
    assert perplexity(np.log(probabilities) + 7, HIDDEN) == pytest.approx(4)  # logits need not be normalised


def test_perplexity_of_a_uniform_guess_is_the_size_of_the_vocabulary_however_large_the_logits():
    for value in (0.0, 5e3, -5e3):
        assert perplexity(np.full((2, 3, 4), value), HIDDEN) == pytest.approx(4)


@given(st.integers(0, 10**6))
def test_perplexity_is_the_exponential_of_torchs_cross_entropy(seed):
    random = np.random.default_rng(seed)
    logits, references = random.normal(size=(3, 6, 5)), random.integers(-1, 5, size=(3, 6))
    references[0, 0] = 2
    known = torch.tensor(references >= 0)
    entropy = torch.nn.functional.cross_entropy(torch.tensor(logits)[known], torch.tensor(references)[known])
    assert perplexity(logits, references) == pytest.approx(float(entropy.exp()))


@pytest.mark.parametrize("function", [recovery, perplexity])
def test_without_a_hidden_token_there_is_nothing_to_score(function):
    with pytest.raises(InputError, match="No token is hidden"):
        function(np.zeros((2, 3, 4)), np.full((2, 3), -100))


def test_only_one_class_predicted_is_a_number():
    assert score(["accuracy", "f1", "matthews"], [0, 0, 0], [0, 1, 0]) == pytest.approx(
        {"accuracy": 2 / 3, "f1": 0, "matthews": 0}
    )


@pytest.mark.parametrize(
    ("names", "predictions", "references", "sentence"),
    [
        (["pearson"], [0.1, float("nan")], [1.0, 2.0], "NaN or infinities"),
        (["pearson"], [0.1, float("inf")], [1.0, 2.0], "NaN or infinities"),
        (["accuracy"], [], [], "no predictions to score"),
        (["accuracy"], [1, 0, 1], [1, 0], "3 predictions and 2 references"),
        (["accuracy"], [[0.2, 0.8]], [1], "Predictions have the shape (1, 2) and references (1,)"),
        (["mae"], [[0.2]], [1], "Predictions have the shape (1, 1) and references (1,)"),
        (["roc_auc"], [0.1, float("nan")], [0, 1], "NaN or infinities"),
        (["acuracy"], [1], [1], "'acuracy': did you mean 'accuracy'"),
        (["spearman"], [1.0], [1.0], "at least 2 values, not 1"),
    ],
)
def test_what_cannot_be_scored_is_refused(names, predictions, references, sentence):
    with pytest.raises(InputError) as refused:
        score(names, predictions, references)
    assert sentence in str(refused.value)


@pytest.mark.parametrize("name", sorted({*METRICS} - {"recovery", "perplexity", "mase", *CALIBRATION}))
def test_evaluate_modules_give_the_functions_values(name):
    predictions, references = [0, 1, 1, 0, 1], [0, 1, 0, 0, 0]
    metric = load_metric(name)
    assert isinstance(metric, evaluate.Metric)
    metric.add_batch(predictions=predictions[:3], references=references[:3])
    metric.add_batch(predictions=predictions[3:], references=references[3:])
    assert metric.compute() == pytest.approx(score([name], predictions, references))
    assert metric.name == name


@pytest.mark.parametrize("name", ["recovery", "perplexity", "mase", *CALIBRATION])
def test_metrics_of_several_positions_steps_or_classes_have_no_evaluate_module(name):
    with pytest.raises(InputError, match=f"call hf_reprogram.tasks.metrics.{name}"):
        load_metric(name)


def test_evaluate_combines_them():
    combined = evaluate.combine([load_metric(name) for name in ("accuracy", "f1", "matthews")])
    predictions, references = [0, 1, 1, 0], [0, 1, 0, 0]
    found = combined.compute(predictions=predictions, references=references)
    assert found == pytest.approx(score(["accuracy", "f1", "matthews"], predictions, references))


def test_evaluate_modules_take_the_average_of_f1_and_no_other_option():
    predictions, references = [0, 1, 2], [0, 2, 2]
    macro = load_metric("f1").compute(predictions=predictions, references=references, average="macro")
    assert macro == pytest.approx(score(["f1"], predictions, references, average="macro"))
    with pytest.raises(InputError, match="'accuracy' takes no option 'average'"):
        load_metric("accuracy").compute(predictions=[0], references=[0], average="macro")


def test_measures_of_calibration_are_those_of_ood_on_the_softmax():
    logits, labels = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 3
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = score_logits([*CALIBRATION], logits, labels, "single_label_classification")
    assert found == pytest.approx({name: function(shares, labels) for name, function in CALIBRATION.items()})
    wrong = score_logits(["nll"], [[0.0, 1e6]], [0], "single_label_classification")["nll"]
    assert wrong == pytest.approx(708.4, abs=0.1)  # finite, so that it can be kept as JSON


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification", "token_classification"])
def test_measures_of_calibration_need_one_class_per_example(problem):
    with pytest.raises(InputError, match=f"'ece' does not fit the problem '{problem}'"):
        score_logits(["ece"], np.zeros((2, 1)), np.zeros(2), problem)


def test_an_unknown_module_is_refused():
    with pytest.raises(InputError, match="did you mean 'matthews'"):
        load_metric("mathews")
