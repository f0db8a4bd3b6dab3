"""From logits to predictions and scores, for each kind of problem, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from hf_reprogram import InputError
from hf_reprogram.tasks.metrics import METRICS
from hf_reprogram.tasks.problems import IGNORE, PROBLEMS, Diverged, decide, score_logits

EXAMPLES = {  # logits, labels and what is decided
    "single_label_classification": ([[0.1, 0.2, -1.0], [3.0, -1.0, 2.9]], [1, 2], [1, 0]),
    "regression": ([[0.5], [-2.0]], [0.4, -1.0], [0.5, -2.0]),
    "forecast": ([[0.5, 1.5], [-2.0, 0.0]], [[0.4, 1.0], [-1.0, 0.5]], [[0.5, 1.5], [-2.0, 0.0]]),
    "multi_label_classification": ([[0.1, -0.1], [-5.0, 2.0]], [[1.0, 0.0], [0.0, np.nan]], [[1, 0], [0, 1]]),
    "token_classification": ([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 2.0], [9.0, 0.0]]], [[0, 1], [IGNORE, 1]], [[0, 1], [1, 0]]),
    "infilling": ([[[1.0, 0.0, 0.5], [0.0, 0.0, 1.0], [0.0, 1.0, 0.5]]], [[IGNORE, 2, 0]], [[0, 2, 1]]),
}  # fmt: skip


def logits_and_labels(classes: int, count: int = 60, seed: int = 0):
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=count)
    return random.normal(size=(count, classes)) + np.eye(classes)[labels], labels


def test_every_problem_is_tried_here():
    assert set(EXAMPLES) == set(PROBLEMS)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_logits_become_predictions(problem):
    logits, _, expected = EXAMPLES[problem]
    assert decide(logits, problem).tolist() == expected


@pytest.mark.parametrize("problem", PROBLEMS)
def test_of_several_outputs_the_first_is_the_logits(problem):
    logits, _, expected = EXAMPLES[problem]
    assert decide((np.asarray(logits, np.float32), "hidden states"), problem).tolist() == expected


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_logits_that_are_not_finite_say_that_training_diverged(problem, value):
    logits, labels, _ = EXAMPLES[problem]
    broken = np.array(logits)
    broken.flat[-1] = value
    with pytest.raises(Diverged, match=r"lower training\.learning_rate"):
        decide(broken, problem)
    with pytest.raises(Diverged, match=r"lower training\.learning_rate"):
        score_logits(PROBLEMS[problem].metrics, broken, labels, problem)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_default_metrics_fit_and_every_metric_that_fits_gives_a_number(problem):
    logits, labels, _ = EXAMPLES[problem]
    fit = [name for name, metric in METRICS.items() if metric.takes in PROBLEMS[problem].takes]
    assert set(PROBLEMS[problem].metrics) <= set(fit)
    if problem == "single_label_classification":
        logits, labels = logits_and_labels(3)
    found = score_logits(fit, logits, labels, problem, average="macro")
    assert list(found) == fit
    assert all(np.isfinite(list(found.values())))


@pytest.mark.parametrize(
    ("problem", "name", "others"),
    [
        (
            "single_label_classification",
            "rmse",
            "accuracy, adaptive_ece, average_precision, brier, ece, f1, matthews, nll, roc_auc",
        ),
        ("regression", "accuracy", "mae, mse, pearson, rmse, spearman"),
        ("forecast", "pearson", "mae, mase, mse, rmse"),
        ("multi_label_classification", "accuracy", "average_precision, bit_accuracy, roc_auc"),
        ("token_classification", "roc_auc", "accuracy, f1, matthews"),
        ("infilling", "pearson", "accuracy, f1, matthews, perplexity, recovery"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused_with_those_that_do(problem, name, others):
    logits, labels, _ = EXAMPLES[problem]
    with pytest.raises(InputError) as refused:
        score_logits([name], logits, labels, problem)
    expected = f"The metric {name!r} does not fit the problem {problem!r}: choose one of {others}."
    assert str(refused.value) == expected


def test_an_unknown_metric_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="'roc': did you mean 'roc_auc'"):
        score_logits(["roc"], [[0.0, 1.0]], [1], "single_label_classification")


@pytest.mark.parametrize("problem", PROBLEMS)
def test_as_many_labels_as_logits_are_needed(problem):
    logits, labels, _ = EXAMPLES[problem]
    with pytest.raises(InputError, match=f"{len(logits)} predictions and {len(labels) + 1} references"):
        score_logits(PROBLEMS[problem].metrics, logits, [*labels, labels[0]], problem)


# ------------------------------------------------------------------------------------------------ a class a sequence


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_classes_are_scored_on_the_largest_logit(classes):
    logits, labels = logits_and_labels(classes)
    average = "binary" if classes == 2 else "macro"
    predictions = logits.argmax(1)
    assert score_logits(["accuracy", "f1", "matthews"], logits, labels, "single_label_classification", average) == {
        "accuracy": pytest.approx(sklearn.accuracy_score(labels, predictions)),
        "f1": pytest.approx(sklearn.f1_score(labels, predictions, average=average)),
        "matthews": pytest.approx(sklearn.matthews_corrcoef(labels, predictions)),
    }


@given(st.integers(0, 10**6), st.floats(-5, 5))
def test_roc_auc_of_two_classes_is_that_of_the_probability_of_class_1(seed, shift):
    """A number added to both logits of an example changes nothing: only their difference orders."""
    logits, labels = logits_and_labels(2, seed=seed)
    moved = logits + shift * np.arange(len(logits))[:, None]
    probability = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    found = score_logits(["roc_auc"], moved, labels, "single_label_classification")
    assert found["roc_auc"] == pytest.approx(sklearn.roc_auc_score(labels, probability), abs=1e-9)


def test_roc_auc_tells_saturated_examples_apart():
    """Their probabilities are all 1 in floating point, their logits are not."""
    logits = np.array([[0.0, 900.0], [0.0, 800.0], [0.0, 700.0], [0.0, 600.0]])
    assert score_logits(["roc_auc"], logits, [1, 1, 0, 0], "single_label_classification")["roc_auc"] == 1


@pytest.mark.parametrize("classes", [3, 5])
def test_roc_auc_of_more_classes_is_the_mean_of_each_against_the_rest(classes):
    logits, labels = logits_and_labels(classes)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = score_logits(["roc_auc"], logits + 50, labels, "single_label_classification")
    assert found["roc_auc"] == pytest.approx(sklearn.roc_auc_score(labels, probabilities, multi_class="ovr"))


# ------------------------------------------------------------------------------------------------------- a number


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_numbers_are_scored_as_they_are_in_either_shape(shape):
    random = np.random.default_rng(0)
    labels = random.normal(size=30)
    logits = labels + random.normal(size=30)
    found = score_logits(["pearson", "rmse", "mae"], logits.reshape(shape), labels, "regression")
    assert found["pearson"] == pytest.approx(np.corrcoef(logits, labels)[0, 1])
    assert found["rmse"] == pytest.approx(sklearn.root_mean_squared_error(labels, logits))
    assert found["mae"] == pytest.approx(sklearn.mean_absolute_error(labels, logits))


# -------------------------------------------------------------------------------------------------- several labels


@pytest.fixture
def several():
    """Logits of four labels, of which a third are missing and the last is always 1 where it is known."""
    random = np.random.default_rng(0)
    labels = random.integers(2, size=(80, 4)).astype(float)
    logits = labels + random.normal(size=labels.shape)
    labels[:, 3] = 1
    labels[random.random(labels.shape) < 1 / 3] = np.nan
    return logits, labels


def test_roc_auc_of_several_labels_is_the_mean_over_those_with_both_classes_on_what_is_labelled(several):
    logits, labels = several
    known = ~np.isnan(labels)
    areas = [sklearn.roc_auc_score(labels[known[:, i], i], logits[known[:, i], i]) for i in range(3)]
    found = score_logits(["roc_auc"], logits, labels, "multi_label_classification")
    assert found["roc_auc"] == pytest.approx(np.mean(areas))
    without_the_last = score_logits(["roc_auc"], logits[:, :3], labels[:, :3], "multi_label_classification")
    assert without_the_last == found


def test_missing_labels_are_not_scored_whatever_their_logits_are(several):
    logits, labels = several
    wild = np.where(np.isnan(labels), 1e6, logits)
    assert score_logits(["roc_auc"], wild, labels, "multi_label_classification") == score_logits(
        ["roc_auc"], logits, labels, "multi_label_classification"
    )


@pytest.mark.parametrize("fill", [0.0, 1.0, np.nan])
def test_several_labels_of_one_class_only_have_no_roc_auc(fill, several):
    logits, labels = several
    labels[:, :3] = fill
    with pytest.raises(InputError, match="all labels are of one class: use the metric accuracy"):
        score_logits(["roc_auc"], logits, labels, "multi_label_classification")


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_of_two_has_no_roc_auc(label):
    with pytest.raises(InputError, match="all labels are of one class"):
        score_logits(
            ["roc_auc"], np.random.default_rng(0).normal(size=(6, 2)), [label] * 6, "single_label_classification"
        )


# ---------------------------------------------------------------------------------------------------- a class a token


@given(st.integers(0, 10**6))
def test_tokens_are_scored_one_by_one_and_ignored_ones_not_at_all(seed):
    random = np.random.default_rng(seed)
    logits, labels = random.normal(size=(4, 7, 3)), random.integers(3, size=(4, 7))
    scored = random.random(labels.shape) < 0.6
    scored[0, 0] = True
    found = score_logits(
        ["accuracy", "matthews"], logits, np.where(scored, labels, IGNORE), "token_classification", "macro"
    )
    predictions = logits.argmax(-1)
    assert found["accuracy"] == pytest.approx(np.mean((predictions == labels)[scored]))
    assert found["matthews"] == pytest.approx(sklearn.matthews_corrcoef(labels[scored], predictions[scored]), abs=1e-9)


def test_tokens_weigh_alike_whatever_their_sequence():
    """One right token in a short row and one of three in a long one: 2 of 4, not the mean of 1 and 1/3."""
    logits = np.zeros((2, 3, 2))
    logits[..., 0] = 1
    labels = [[0, IGNORE, IGNORE], [0, 1, 1]]
    assert score_logits(["accuracy"], logits, labels, "token_classification") == {"accuracy": 0.5}


@pytest.mark.parametrize(
    ("problem", "metric"),
    [
        ("token_classification", "accuracy"),
        ("infilling", "recovery"),
        ("infilling", "perplexity"),
        ("infilling", "accuracy"),
    ],
)
def test_without_a_scored_token_there_is_nothing_to_score(problem, metric):
    with pytest.raises(InputError, match="to score: "):
        score_logits([metric], np.zeros((2, 3, 2)), np.full((2, 3), IGNORE), problem)


def test_infilling_by_hand():
    """Two of three hidden tokens are right in one row and none in the other; rows without hidden tokens do not count."""
    labels = np.array([[2, 0, 1], [IGNORE, 1, IGNORE], [IGNORE, IGNORE, IGNORE]])
    guesses = np.array([[2, 0, 0], [2, 2, 2], [1, 1, 1]])
    logits = np.log(np.where(np.eye(3)[guesses] == 1, 0.5, 0.25))
    found = score_logits(["recovery", "perplexity", "accuracy"], logits, labels, "infilling")
    assert found["recovery"] == pytest.approx((2 / 3 + 0) / 2)
    assert found["perplexity"] == pytest.approx((2 * 2 * 4 * 4) ** (1 / 4))
    assert found["accuracy"] == pytest.approx(2 / 4)
