"""Plots of shifts are drawn from a record alone, with its numbers."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.image import imread

from hf_reprogram.ood import scores
from hf_reprogram.ood.report import average, curves, ood_report
from hf_reprogram.reports import ood_plots as ood
from hf_reprogram.reports.ood_plots import plot_ood


def record_of(sets: int = 2, alphas: tuple[float, ...] = (), covariate: bool = True) -> dict:
    """A record of random logits, with so many semantic sets."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 60)

    def logits(sure: float, count: int = 60) -> np.ndarray:
        return sure * np.eye(3)[labels[:count]] + random.normal(size=(count, 3))

    def report(sure: float) -> dict:
        shifted = {"large": (logits(sure / 2), labels)} if covariate else {}
        return ood_report(inside, labels, shifted, {"jpeg": {1: (logits(sure / 2), labels)}}, semantic)

    inside = logits(4)
    semantic = {f"set {place}$_{{1}}": logits(place, 30) for place in range(sets)}
    outside = {name: scores.msp(found) for name, found in semantic.items()}
    record = {"report": report(3), "curves": curves(scores.msp(inside), outside)}
    if alphas:
        record["alpha"] = 0.0
        record["alphas"] = [
            {"alpha": alpha, "validation": {"accuracy": 0.5 + alpha / 4}, "report": report(3 - alpha)}
            for alpha in alphas
        ]
    return record


@pytest.fixture
def figures(monkeypatch):
    """Figures in place of files, by the name of the file."""
    kept: dict = {}
    monkeypatch.setattr(ood, "save", lambda figure, path: kept.setdefault(path.name, figure))
    yield kept
    for figure in kept.values():
        pyplot.close(figure)


def test_files_are_written_for_what_there_is(tmp_path):
    assert [path.name for path in plot_ood(record_of(), tmp_path)] == ["ood_roc.png", "ood_scores.png"]
    written = plot_ood(record_of(4, alphas=(0.0, 1.0)), tmp_path / "more")
    assert [path.name for path in written] == ["ood_roc.png", "ood_scores.png", "ood_alpha.png"]
    for path in written:
        assert imread(path).std() > 0.05  # not a blank page


def test_without_semantic_sets_there_is_only_the_sweep(tmp_path):
    assert plot_ood(record_of(0), tmp_path) == []
    assert [path.name for path in plot_ood(record_of(0, alphas=(0.0, 1.0)), tmp_path)] == ["ood_alpha.png"]
    assert plot_ood(record_of(0, alphas=(0.5,)), tmp_path) == []


def test_curves_stand_on_their_rates(figures):
    record = record_of(3)
    plot_ood(record, "unused")
    lines = figures["ood_roc.png"].axes[0].lines
    for line, curve in zip(lines, record["curves"]["roc"].values(), strict=False):
        assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == (curve["fpr"], curve["tpr"])
    assert len(lines) == 3 + 2  # and the diagonal, and the rate at which FPR is read off
    names = [text.get_text() for text in figures["ood_roc.png"].axes[0].get_legend().get_texts()]
    aurocs = [f"{found['auroc']:.3f}" for found in record["report"]["semantic"].values()]
    assert names == [rf"set {place}\$_{{1}} ({auroc})" for place, auroc in enumerate(aurocs)]


@pytest.mark.parametrize(("sets", "shown", "hidden"), [(1, 1, 0), (2, 2, 0), (4, 4, 0), (5, 5, 1)])
def test_every_set_has_a_panel_of_scores(sets, shown, hidden, figures):
    record = record_of(sets)
    plot_ood(record, "unused")
    axes = figures["ood_scores.png"].axes
    assert [sum(axis.get_visible() == seen for axis in axes) for seen in (True, False)] == [shown, hidden]
    inside = axes[0].patches[0].get_data()
    assert inside.values.tolist() == record["curves"]["scores"]["shares"]["id"]
    assert inside.edges.tolist() == record["curves"]["scores"]["edges"]


def test_a_sweep_is_drawn_in_the_order_of_alpha(figures):
    record = record_of(alphas=(1.0, 0.0, 0.5), covariate=False)
    plot_ood(record, "unused")
    left, right = figures["ood_alpha.png"].axes
    lines = {line.get_label(): line for axis in (left, right) for line in axis.lines}
    assert list(lines) == [
        "validation (accuracy), which chooses", "ID", "corruptions", "FPR at TPR 0.95", "AUROC", "AUPR",
    ]  # fmt: skip
    for line in lines.values():
        assert line.get_xdata().tolist() == [0.0, 0.5, 1.0]
    assert lines["validation (accuracy), which chooses"].get_ydata().tolist() == [0.5, 0.625, 0.75]
    expected = [record["alphas"][place]["report"]["mean"]["fpr"] for place in (1, 2, 0)]
    assert lines["FPR at TPR 0.95"].get_ydata().tolist() == expected


def test_a_run_is_drawn_as_means_over_seeds_with_their_deviation(figures):
    records = [record_of(alphas=(0.0, 0.5, 1.0)) for _ in range(2)]
    reports = [
        [record["alphas"][(place + shift) % 3]["report"] for place in range(3)] for shift, record in enumerate(records)
    ]
    swept = [
        {
            "alpha": alpha,
            "validation": {"accuracy": {"mean": 0.5 + alpha / 4, "std": alpha / 10, "n": 2}},
            "report": average([reports[0][place], reports[1][place]]),
        }
        for place, alpha in enumerate((0.0, 0.5, 1.0))
    ]
    plot_ood(records[0], "unused", swept)
    assert figures["ood_alpha.png"].get_suptitle() == "mean of 2 seeds, band: standard deviation"
    left, right = figures["ood_alpha.png"].axes
    for axis, label, key in ((left, "corruptions", "corruptions"), (right, "AUROC", "auroc")):
        values = [[report["mean"][key] for report in seed] for seed in reports]
        (line,) = (line for line in axis.lines if line.get_label() == label)
        band = axis.collections[list(axis.lines).index(line)].get_paths()[0].vertices
        means, deviations = np.mean(values, 0), np.std(values, 0, ddof=1)
        np.testing.assert_allclose(line.get_ydata(), means)
        for alpha, mean, deviation in zip((0.0, 0.5, 1.0), means, deviations, strict=True):
            heights = band[band[:, 0] == alpha, 1]
            np.testing.assert_allclose([heights.min(), heights.max()], [mean - deviation, mean + deviation])
        assert label == "AUROC" or max(deviations) > 0.01  # the semantic sets are the same at every alpha here


def test_a_single_seed_has_no_band(figures):
    plot_ood(record_of(alphas=(0.0, 1.0)), "unused")
    assert not any(axis.collections for axis in figures["ood_alpha.png"].axes)
    assert figures["ood_alpha.png"].get_suptitle() == ""
