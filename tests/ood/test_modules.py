"""The `evaluate` modules: the same numbers as the functions, in pieces and combined, without the Hub."""

from __future__ import annotations

import subprocess
import sys

import evaluate
import numpy as np
import pytest
import torch

from hf_reprogram import InputError
from hf_reprogram.ood import detection_metrics, ece, load_metric
from hf_reprogram.ood.metrics import METRICS
from hf_reprogram.ood.modules import labelled_metrics


@pytest.fixture
def scores():
    random = np.random.default_rng(0)
    return random.normal(size=60).round(1), random.normal(1, size=40).round(1)


@pytest.fixture
def labelled(scores):
    """Scores and references of both sides, mixed."""
    order = np.random.default_rng(1).permutation(100)
    return np.concatenate(scores)[order], np.repeat([0, 1], [60, 40])[order]


def test_all_at_once(scores, labelled):
    predictions, references = labelled
    found = load_metric("ood_detection").compute(predictions=predictions, references=references)
    assert found == detection_metrics(*scores)


@pytest.mark.parametrize("name", METRICS)
def test_one_in_pieces(name, scores, labelled):
    metric = load_metric(name)
    for start in range(0, 100, 30):
        metric.add_batch(predictions=labelled[0][start : start + 30], references=labelled[1][start : start + 30])
    assert metric.compute() == {name: detection_metrics(*scores)[name]}


def test_tensors_and_single_samples():
    metric = load_metric("auroc")
    metric.add_batch(predictions=torch.tensor([0.0, 1.0]), references=torch.tensor([0, 0]))
    metric.add(prediction=0.5, reference=1)
    assert metric.compute() == {"auroc": 0.5}


def test_combined(scores, labelled):
    both = evaluate.combine([load_metric("auroc"), load_metric("fpr"), load_metric("aupr_in")])
    both.add_batch(predictions=labelled[0][:50], references=labelled[1][:50])
    both.add_batch(predictions=labelled[0][50:], references=labelled[1][50:])
    expected = detection_metrics(*scores, tpr=0.8)
    assert both.compute(tpr=0.8) == {name: expected[name] for name in ("auroc", "fpr", "aupr_in")}


def test_combined_under_names_of_their_own(labelled):
    both = evaluate.combine({"a": load_metric("auroc"), "b": load_metric("ood_detection")}, force_prefix=True)
    found = both.compute(predictions=labelled[0], references=labelled[1])
    assert found["a_auroc"] == found["b_auroc"]


def test_a_module_can_be_used_again():
    metric = load_metric("auroc")
    assert metric.compute(predictions=[0, 1], references=[0, 1]) == {"auroc": 1.0}
    assert metric.compute(predictions=[1, 0], references=[0, 1]) == {"auroc": 0.0}


def test_calibration_and_accuracy():
    rows = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]])
    metric = load_metric("ece")
    metric.add_batch(predictions=rows[:2], references=[0, 1])
    metric.add_batch(predictions=rows[2:], references=[1])
    assert metric.compute(bins=5) == {"ece": ece(rows, [0, 1, 1], 5)}
    assert load_metric("accuracy").compute(predictions=[0, 1], references=[0, 0]) == {"accuracy": 0.5}


@pytest.mark.parametrize(
    ("message", "predictions", "references"),
    [
        ("No reference is 1, so there are no OOD samples", [0.0, 1.0], [0, 0]),
        ("No reference is 0, so there are no ID samples", [0.0, 1.0], [1, 1]),
        ("There is a reference -1: give 1 for OOD", [0.0, 1.0], [0, -1]),
        ("There is nan among the OOD scores", [0.0, np.nan], [0, 1]),
        ("There is inf among the ID scores", [np.inf, 1.0], [0, 1]),
        ("The number of scores is 1, and that of references is 2", [0.0], [0, 1]),
        ("The scores are empty", [], []),
    ],
)
def test_what_cannot_be_scored_is_refused(message, predictions, references):
    with pytest.raises(InputError, match=message):
        labelled_metrics(predictions, references)


def test_a_module_refuses_the_same():
    with pytest.raises(InputError, match="There is nan among the OOD scores"):
        load_metric("aupr_out").compute(predictions=[0.0, float("nan")], references=[0, 1])


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="Unknown metric 'aurok': did you mean 'auroc'"):
        load_metric("aurok")


def test_importing_is_cheap():
    heavy = "{'torch', 'sklearn', 'scipy', 'evaluate'} & set(sys.modules)"
    code = f"import sys; from hf_reprogram.ood import KNN, detection_metrics; print({heavy})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_the_public_names_are_there():
    from hf_reprogram import ood

    assert all(hasattr(ood, name) for name in ood.__all__)
    with pytest.raises(AttributeError, match="no attribute 'knn'"):
        ood.knn  # noqa: B018
