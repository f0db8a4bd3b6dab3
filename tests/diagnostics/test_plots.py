"""Plots are drawn from results alone."""

from __future__ import annotations

import copy

from matplotlib.image import imread

from hf_reprogram.diagnostics.plots import plot_run


def test_a_classification_gives_a_curve_and_a_matrix(finished, tmp_path):
    written = plot_run(finished.results, tmp_path)
    assert [path.name for path in written] == ["learning_curve.png", "confusion_matrix.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["confusion_matrix.png", "learning_curve.png"]
    for path in written:
        assert imread(path).std() > 0.05  # not a blank page


def test_a_regression_gives_a_curve_alone(finished, tmp_path):
    results = copy.deepcopy(finished.results)
    for record in results["seeds"].values():
        del record["confusion"]
    assert [path.name for path in plot_run(results, tmp_path)] == ["learning_curve.png"]


def test_a_run_without_history_or_baselines_is_drawn(finished, tmp_path):
    results = copy.deepcopy(finished.results)
    results["baselines"] = {}
    for record in results["seeds"].values():
        record["history"] = []
    assert len(plot_run(results, tmp_path)) == 2
