"""One table from logits: every number by hand or by the functions it is made of."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hf_reprogram import InputError
from hf_reprogram.ood import detection_metrics, scores
from hf_reprogram.ood.report import (
    LOGIT_SCORES,
    average,
    corruption_rows,
    curves,
    note,
    ood_report,
    rows,
    semantic_rows,
)


def says(*classes: int, sure: float = 2.0) -> np.ndarray:
    """Logits (n, 3) for these classes."""
    return sure * np.eye(3)[list(classes)]


# In distribution 3 of 4 are right, and the model is sure of all but the last.
ID = np.concatenate([says(0, 1, 2), says(0, sure=0.5)])
LABELS = [0, 1, 2, 2]
COVARIATE = {"sketches": (says(0, 0), [0, 1]), "cartoons": (says(1, 1, 2, 0), [1, 1, 2, 2])}  # 1/2 and 3/4
CORRUPTIONS = {
    "jpeg": {1: (says(0, 1), [0, 1]), 5: (says(0, 1), [0, 2])},  # 1 and 1/2
    "contrast": {2: (says(2, 2), [0, 1])},  # 0
}
# Of four noises two are told from all of ID, one from three of four, and one from none.
SEMANTIC = {
    "noise": np.concatenate([says(0, 1, sure=0.1), says(2, sure=1.0), says(0, sure=9.0)]),
    "void": says(1, sure=0),
}


@pytest.fixture(scope="module")
def report():
    return ood_report(ID, LABELS, COVARIATE, CORRUPTIONS, SEMANTIC)


def test_accuracies_by_hand(report):
    assert report["id"] == 0.75
    assert report["covariate"] == {"sketches": 0.5, "cartoons": 0.75}
    assert report["corruptions"] == {"jpeg": {"1": 1.0, "5": 0.5}, "contrast": {"2": 0.0}}
    assert report["mean"]["covariate"] == 0.625
    assert report["mean"]["corruptions"] == 0.375  # kinds weigh alike, whatever levels they have
    assert report["images"] == {
        "id": 4,
        "covariate": {"sketches": 2, "cartoons": 4},
        "corruptions": {"jpeg": {"1": 2, "5": 2}, "contrast": {"2": 2}},
        "semantic": {"noise": 4, "void": 1},
    }


def test_detection_by_hand(report):
    assert report["semantic"]["noise"]["auroc"] == pytest.approx((4 + 4 + 3 + 0) / 16)
    assert report["semantic"]["noise"]["fpr"] == 1.0  # the last is less OOD than all of ID
    assert report["semantic"]["void"] == {
        "auroc": 1.0, "aupr_in": 1.0, "aupr_out": 1.0, "fpr": 0.0, "detection_error": 0.0,
    }  # fmt: skip
    assert report["mean"]["auroc"] == pytest.approx((11 / 16 + 1) / 2)
    assert report["mean"]["fpr"] == 0.5
    assert ood_report(ID, LABELS, semantic=SEMANTIC, tpr=0.75)["semantic"]["noise"]["fpr"] == 0.25


def test_the_aggregate_is_the_mean_of_six(report):
    mean = report["mean"]
    assert report["aggregate"] == pytest.approx((0.75 + 0.625 + 0.375 + 0.5 + mean["auroc"] + mean["aupr_out"]) / 6)


def test_the_aggregate_of_what_there_is():
    assert ood_report(ID, LABELS, COVARIATE)["aggregate"] == pytest.approx((0.75 + 0.625) / 2)
    assert ood_report(ID, LABELS, corruptions=CORRUPTIONS)["aggregate"] == pytest.approx((0.75 + 0.375) / 2)
    found = ood_report(ID, LABELS, semantic={"void": SEMANTIC["void"]})
    assert found["aggregate"] == pytest.approx((0.75 + 1 + 1 + 1) / 4)
    assert found["covariate"] == found["corruptions"] == {}


@pytest.mark.parametrize("score", LOGIT_SCORES)
def test_any_score_of_logits(score):
    random = np.random.default_rng(0)
    inside, outside = random.normal(scale=2, size=(30, 4)), random.normal(size=(20, 4))
    found = ood_report(inside, random.integers(0, 4, 30), semantic={"other": outside}, score=score, tpr=0.8)
    of = getattr(scores, score)
    assert found["semantic"]["other"] == detection_metrics(of(inside), of(outside), 0.8)
    assert (found["score"], found["tpr"]) == (score, 0.8)


def test_msp_at_the_scale_of_an_encoder_is_mcm():
    random = np.random.default_rng(0)
    texts, inside, outside = (random.normal(size=(n, 8)) for n in (4, 30, 20))
    cosines = [
        (x / np.linalg.norm(x, axis=1, keepdims=True)) @ (texts / np.linalg.norm(texts, axis=1)[:, None]).T
        for x in (inside, outside)
    ]
    found = ood_report(
        100 * cosines[0], random.integers(0, 4, 30), semantic={"other": 100 * cosines[1]}, temperature=100
    )
    expected = detection_metrics(scores.mcm(inside, texts), scores.mcm(outside, texts))
    assert found["semantic"]["other"] == pytest.approx(expected, abs=1e-12)
    assert "The OOD score is msp at temperature 100," in note(found)


NAN = np.array([[np.nan, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "nothing to compare with"),
        ({"semantic": SEMANTIC, "score": "mps"}, "Unknown score 'mps': did you mean 'msp'"),
        ({"semantic": SEMANTIC, "score": "mcm"}, "MCM of logits is msp with a temperature"),
        ({"semantic": SEMANTIC, "score": "knn"}, "'knn' needs features and training images.*choose one of msp, "),
        (
            {"semantic": SEMANTIC, "score": "entropy", "temperature": 2},
            "'entropy' has no temperature: leave temperature=2 out",
        ),
        ({"semantic": SEMANTIC, "temperature": 0}, "temperature is 0: give a number above 0"),
        ({"semantic": SEMANTIC, "tpr": 1.5}, r"tpr is 1\.5: give a number"),
        ({"semantic": {"a": NAN}}, "There is nan among the logits"),
        ({"semantic": {"a": np.empty((0, 3))}}, "empty"),
        ({"covariate": {"a": (says(0, 1), [0])}}, "number of predictions is 2, and that of labels is 1"),
        ({"covariate": {"a": ([1.0, 2.0], [0, 1])}}, "one row of numbers"),
    ],
)
def test_what_cannot_be_reported_is_refused(given, said):
    with pytest.raises(InputError, match=said):
        ood_report(ID, LABELS, **given)


# ------------------------------------------------------------------------------------------------- seeds and curves


def test_several_reports_become_means_and_deviations(report):
    other = ood_report(says(0, 1, 0, 0), LABELS, COVARIATE, CORRUPTIONS, SEMANTIC)  # 2 of 4 right
    both = average([report, other])
    assert both["id"] == {"mean": 0.625, "std": pytest.approx(np.std([0.75, 0.5], ddof=1)), "n": 2}
    assert both["corruptions"]["jpeg"]["5"] == {"mean": 0.5, "std": 0.0, "n": 2}
    for part in ("images", "score", "tpr"):
        assert both[part] == report[part]
    assert average([report])["aggregate"] == {"mean": report["aggregate"], "std": 0.0, "n": 1}
    assert json.loads(json.dumps(both)) == both


def test_curves_are_those_of_the_scores():
    random = np.random.default_rng(1)
    inside, outside = random.normal(scale=3, size=(400, 5)), random.normal(size=(300, 5))
    found = curves(scores.energy(inside), {"other": scores.energy(outside)}, points=50, bins=7)
    roc = found["roc"]["other"]
    assert (roc["fpr"][0], roc["tpr"][0], roc["fpr"][-1], roc["tpr"][-1]) == (0, 0, 1, 1)
    assert len(roc["fpr"]) == 50
    area = (np.diff(roc["fpr"]) * (np.array(roc["tpr"][1:]) + roc["tpr"][:-1]) / 2).sum()
    metrics = detection_metrics(scores.energy(inside), scores.energy(outside))
    assert area == pytest.approx(metrics["auroc"], abs=0.01)
    edges, shares = found["scores"]["edges"], found["scores"]["shares"]
    assert len(edges) == 8
    assert {name: sum(values) for name, values in shares.items()} == pytest.approx({"id": 1, "other": 1})
    below = (scores.energy(inside) < edges[3]).mean()
    assert sum(shares["id"][:3]) == pytest.approx(below)
    assert json.loads(json.dumps(found)) == found


# ------------------------------------------------------------------------------------------------------------- tables


def test_a_row_holds_percent(report):
    (row,) = rows({"probe": report})
    assert row == {
        "": "probe",
        "ID": "75.0",
        "sketches": "50.0",
        "cartoons": "75.0",
        "covariate mean": "62.5",
        "corruptions": "37.5",
        "FPR95": "50.0",
        "AUROC": "84.4",
        "AUPR": f"{100 * report['mean']['aupr_out']:.1f}",
        "aggregate": f"{100 * report['aggregate']:.1f}",
    }


def test_rows_of_means_have_deviations_and_only_the_columns_there_are(report):
    alone = ood_report(ID, LABELS, {"sketches": COVARIATE["sketches"]}, tpr=0.8)
    (row,) = rows({"probe": alone})
    assert list(row) == ["", "ID", "sketches", "aggregate"]
    both = average([report, ood_report(says(0, 1, 0, 0), LABELS, COVARIATE, CORRUPTIONS, SEMANTIC)])
    assert rows({"probe": both})[0]["ID"] == "62.5 ± 17.7"


def test_tables_of_single_sets(report):
    table = semantic_rows(report)
    assert [row[""] for row in table] == ["noise", "void", "mean"]
    assert [row["FPR95"] for row in table] == ["100.0", "0.0", "50.0"]
    assert corruption_rows(report) == [
        {"": "jpeg", "level 1": "100.0", "level 2": "", "level 5": "50.0"},
        {"": "contrast", "level 1": "", "level 2": "0.0", "level 5": ""},
    ]
    alone = ood_report(ID, LABELS, COVARIATE)
    assert semantic_rows(alone) == corruption_rows(alone) == []


def test_the_note_says_what_the_aggregate_is_made_of(report):
    assert "The OOD score is msp" in note(report)
    assert (
        "FPR95 is the share of ID images that are classified as OOD at the threshold that detects 95 % of the OOD images"
        in note(report)
    )
    assert note(report).endswith(
        "The aggregate is the mean of ID accuracy, accuracy under covariate shift, accuracy on corruptions, 100 - FPR95, "
        "AUROC and AUPR."
    )
    alone = note(ood_report(ID, LABELS, COVARIATE))
    assert alone == "In percent. The aggregate is the mean of ID accuracy and accuracy under covariate shift."


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_of_no_class_is_refused(label):
    with pytest.raises(InputError, match=rf"There is a label {label}, and the logits are of 3 classes"):
        ood_report(ID, [0, 1, label, 0], semantic={"textures": says(0)})


@pytest.mark.parametrize(
    "sets",
    [
        {"covariate": {"sketches": (np.eye(4), [0, 1, 2, 3])}},
        {"semantic": {"textures": np.eye(4)}},
        {"corruptions": {"noise": {1: (np.eye(4), [0, 1, 2, 3])}}},
    ],
)
def test_sets_of_another_number_of_classes_are_refused(sets):
    with pytest.raises(InputError, match="is 4, and that in distribution is 3: both must be the same"):
        ood_report(ID, [0, 1, 2, 0], **sets)
