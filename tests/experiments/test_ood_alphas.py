"""The sweep of alpha, the share of the zero-shot branch: what is reported, and which one is chosen."""

from __future__ import annotations

import numpy as np
import pytest

from hf_reprogram import InputError, reprogram
from hf_reprogram.experiments import ood
from hf_reprogram.experiments.run import train
from hf_reprogram.ood.report import ood_report
from hf_reprogram.reports.results import ood_reports, run_reports
from hf_reprogram.training.encode import encode
from hf_reprogram.training.predict import predict_logits
from tests.support.ood_runs import LABELS, recipe


def test_alphas_without_a_zero_shot_branch_are_refused_before_training(world, tmp_path):
    with pytest.raises(InputError, match=r"ood\.alphas are shares of a zero-shot branch"):
        train(recipe(world, tmp_path / "run", ood={**world.ood, "alphas": [0, 1]}), quiet=True)
    assert not list((tmp_path / "run").rglob("fit.json"))


def test_each_alpha_has_the_report_of_a_model_with_that_alpha(dual):
    validation = dual.task.splits(0)["validation"]
    record = ood.adapter_record(dual.model, dual.processor, dual.task, dual.shifts, validation, quiet=True)
    assert record["alpha"] == 0.25
    assert dual.model.mapping.alpha() == 0.25  # as before
    assert [entry["alpha"] for entry in record["alphas"]] == [0.75, 0, 1]
    distinct = []
    for alpha, report in ((0.25, record["report"]), *((entry["alpha"], entry["report"]) for entry in record["alphas"])):
        dual.model.mapping.set_alpha(alpha)
        logits = {}
        for name, split in {"test": dual.task.test, "validation": validation, **dual.shifts.splits}.items():
            data = encode({name: split}, dual.processor)[name]
            logits[name] = predict_logits(dual.model, dual.processor, data, quiet=True)
        expected = ood.report_of(dual.shifts, logits["test"], dual.task.test["label"], logits)
        assert close(report, expected)
        distinct.append(logits["test"].round(4).tolist())
        for entry in record["alphas"]:
            if entry["alpha"] == alpha:
                assert entry["validation"] == dual.task.score(logits["validation"], validation["label"])
    assert len({*map(str, distinct)}) == 4


def close(found, expected) -> bool:
    """Whether two reports hold the same numbers."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[key], expected[key]) for key in expected)
    return found == (pytest.approx(expected, abs=1e-6) if isinstance(expected, float) else expected)


def test_a_trained_alpha_cannot_be_swept(world, dual):
    model, _ = reprogram(world.clip, method="reprogrammer", labels=LABELS, alpha=0.4, learn_alpha=True)
    ood.check_alphas(model.mapping, [])
    with pytest.raises(InputError, match="alpha was trained"):
        ood.check_alphas(model.mapping, [0.5])
    dual.shifts.options.alphas = []
    record = ood.adapter_record(model.eval(), dual.processor, dual.task, dual.shifts, None, quiet=True)
    assert record["alpha"] == pytest.approx(0.4)
    assert "alphas" not in record


def test_a_run_sweeps_alpha_and_its_card_says_which_was_chosen(dual):
    results = train(dual.recipe, quiet=True)
    found = results["ood"]
    assert (found["alpha"], [entry["alpha"] for entry in found["alphas"]]) == (0.25, [0.75, 0, 1])
    assert found["chosen_alpha"] == 0.75  # 0 and 1 are other rows' models
    folder = dual.recipe.output
    assert list(run_reports(results)) == ["Residual Reprogrammer, alpha 0.25", "Residual Reprogrammer, alpha 0.75"]
    with open(f"{folder}/README.md", encoding="utf-8") as card:
        said = "The values 0.75, 0, 1 of alpha were tried; 0.75 was the best on validation of those between 0 and 1."
        assert said in card.read()
    assert (dual.task.title, results["task"]["title"]) == ("halves", "halves")


REPORT = ood_report(np.eye(2), [0, 1], semantic={"noise": np.zeros((1, 2))})


def swept(validations: dict[float, float], own: float = 0.0, reports: dict[float, dict] | None = None) -> dict:
    """A record of a sweep: the accuracy on validation at each alpha."""
    entries = [
        {"alpha": alpha, "validation": {"accuracy": value}, "report": (reports or {}).get(alpha, REPORT)}
        for alpha, value in validations.items()
    ]
    return {"report": REPORT, "alpha": own, "alphas": entries}


def test_the_mean_on_validation_alone_chooses_and_the_first_of_equals(dual):
    wrong = ood_report(np.eye(2), [1, 0], semantic={"noise": np.ones((1, 2)) * [9, 0]})
    first = swept({0.0: 0.9, 0.2: 0.4, 0.4: 0.7, 0.6: 0.6, 1.0: 0.9}, reports={0.4: wrong})
    second = swept({0.0: 0.9, 0.2: 0.6, 0.4: 0.5, 0.6: 0.6, 1.0: 0.9}, reports={0.4: wrong})
    found = ood.summarize_ood([first, second], dual.shifts, dual.task)
    assert found["chosen_alpha"] == 0.4  # though all else is worse there, and 0 and 1 are better on validation
    assert found["alphas"][2]["validation"]["accuracy"]["mean"] == pytest.approx(0.6)
    assert list(ood_reports(found, "ours")) == ["ours", "Residual ours, alpha 0.4"]
    assert ood_reports(found, "ours")["Residual ours, alpha 0.4"]["id"]["mean"] == 0


@pytest.mark.parametrize(
    ("validations", "own", "chosen", "titles"),
    [
        ({0.0: 0.9, 0.5: 0.1, 1.0: 0.9}, 0.0, 0.5, ["ours", "Residual ours, alpha 0.5"]),
        ({0.0: 0.9, 0.4: 0.5, 0.5: 0.1}, 0.4, 0.4, ["Residual ours, alpha 0.4"]),
        ({0.5: 0.6, 0.6: 0.7}, 0.4, 0.6, ["Residual ours, alpha 0.4", "Residual ours, alpha 0.6"]),
        ({0.0: 0.9, 1.0: 0.1}, 0.0, 1.0, ["ours", "Residual ours, alpha 1"]),
        ({0.0: 0.9, 1.0: 0.1}, 0.4, 0.0, ["Residual ours, alpha 0.4", "ours"]),
        ({0.0: 0.9}, 0.0, 0.0, ["ours"]),
    ],
)
def test_a_residual_row_is_always_there_when_there_is_an_alpha_for_it(validations, own, chosen, titles, dual):
    found = ood.summarize_ood([swept(validations, own)] * 3, dual.shifts, dual.task)
    assert (found["alpha"], found["chosen_alpha"]) == (own, chosen)
    assert list(ood_reports(found, "ours")) == titles


def test_an_alpha_of_its_own_is_told_without_a_sweep(dual):
    record = {"report": REPORT, "alpha": 0.5}
    assert list(ood_reports(ood.summarize_ood([record] * 3, dual.shifts, dual.task), "ours")) == [
        "Residual ours, alpha 0.5"
    ]
    trained = [record, {**record, "alpha": 0.25}]
    assert list(ood_reports(ood.summarize_ood(trained, dual.shifts, dual.task), "ours")) == [
        "Residual ours, alpha 0.375"
    ]
    unblended = ood.summarize_ood([{"report": REPORT}], dual.shifts, dual.task)
    assert list(ood_reports(unblended, "ours")) == ["ours"]
