"""Metrics against scikit-learn and scipy, as functions and as `evaluate` modules that need no Hub."""

from __future__ import annotations

import warnings

import evaluate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn

from hf_reprogram import InputError
from hf_reprogram.tasks.metrics import METRICS, load_metric, score

CLASSIFICATION = {
    "accuracy": lambda p, r: sklearn.accuracy_score(r, p),
    "f1": lambda p, r: sklearn.f1_score(r, p, zero_division=0),
    "matthews": lambda p, r: sklearn.matthews_corrcoef(r, p),
}
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


def test_only_one_class_predicted_is_a_number():
    assert score(["accuracy", "f1", "matthews"], [0, 0, 0], [0, 1, 0]) == pytest.approx(
        {"accuracy": 2 / 3, "f1": 0, "matthews": 0}
    )


@pytest.mark.parametrize(
    ("names", "predictions", "references", "sentence"),
    [
        (["pearson"], [0.1, float("nan")], [1.0, 2.0], "NaN or infinities"),
        (["pearson"], [0.1, float("inf")], [1.0, 2.0], "NaN or infinities"),
        (["accuracy"], [], [], "nothing to score"),
        (["accuracy"], [1, 0, 1], [1, 0], "3 predictions for 2 references"),
        (["acuracy"], [1], [1], "'acuracy': did you mean 'accuracy'"),
        (["spearman"], [1.0], [1.0], "at least 2 values, not 1"),
    ],
)
def test_what_cannot_be_scored_is_refused(names, predictions, references, sentence):
    with pytest.raises(InputError) as refused:
        score(names, predictions, references)
    assert sentence in str(refused.value)


@pytest.mark.parametrize("name", METRICS)
def test_evaluate_modules_give_the_functions_values(name):
    predictions, references = [0, 1, 1, 0, 1], [0, 1, 0, 0, 0]
    metric = load_metric(name)
    assert isinstance(metric, evaluate.Metric)
    metric.add_batch(predictions=predictions[:3], references=references[:3])
    metric.add_batch(predictions=predictions[3:], references=references[3:])
    assert metric.compute() == pytest.approx(score([name], predictions, references))
    assert metric.name == name


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


def test_an_unknown_module_is_refused():
    with pytest.raises(InputError, match="did you mean 'matthews'"):
        load_metric("mathews")
