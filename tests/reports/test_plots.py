"""Plots are drawn from results alone."""

from __future__ import annotations

import copy
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.image import imread

from hf_reprogram.reports import plots
from hf_reprogram.reports.plots import plot_run


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


# ---------------------------------------------------------------------------------------------- many classes


@pytest.fixture
def laid_out(monkeypatch):
    """A function from counts and labels to the figure of a confusion matrix and its axis, laid out."""
    from matplotlib import pyplot

    kept = []
    monkeypatch.setattr(plots, "save", lambda figure, path: kept.append(figure))

    def lay_out(counts, labels):
        about = {"method": {"name": "elsayed"}, "source": {"name": "vit"}, "best_seed": 0}
        results = {**about, "task": {"title": "shapes", "labels": labels}}
        plots._confusion_matrix(results, np.asarray(counts).tolist(), "unused")
        kept[-1].canvas.draw()
        return kept[-1], kept[-1].axes[0]

    yield lay_out
    for figure in kept:
        pyplot.close(figure)


def boxes(texts):
    return [text.get_window_extent() for text in texts if text.get_text()]


@pytest.mark.parametrize("classes", [15, 25, 300])
def test_a_matrix_of_many_classes_stays_legible(classes, laid_out):
    counts = np.full((classes, classes), 1234)
    labels = [f"a class of images with a long name, {i}" for i in range(classes)]
    figure, axis = laid_out(counts, labels)
    assert max(figure.get_size_inches()) < 20
    cell = axis.get_window_extent().width / classes
    assert all(box.width < cell and box.height < cell for box in boxes(axis.texts))
    assert len(axis.texts) == (classes**2 if classes <= 40 else 0)
    down = boxes(axis.get_yticklabels())
    assert len(down) >= min(classes, 90)
    assert not any(one.overlaps(other) for one, other in pairwise(down))
    assert all(text.get_fontsize() >= 6 for text in (*axis.texts, *axis.get_xticklabels(), *axis.get_yticklabels()))
    if classes > 15:
        across = boxes(axis.get_xticklabels())
        assert not any(one.overlaps(other) for one, other in pairwise(across))


def test_cells_hold_their_counts(laid_out):
    counts = np.diag(np.arange(20))
    counts[3, 5] = 1
    _, axis = laid_out(counts, list(map(str, range(20))))
    found = {text.get_position(): text.get_text() for text in axis.texts}
    assert found == {(5, 3): "1", **{(i, i): str(i) for i in range(1, 20)}}
    _, axis = laid_out([[3, 1], [0, 0]], ["a", "b"])
    assert [text.get_text() for text in axis.texts] == ["3\n75%", "1\n25%", "0\n0%", "0\n0%"]


def test_a_name_that_looks_like_a_formula_is_drawn_as_it_is(laid_out):
    _, axis = laid_out([[3, 1], [0, 2]], ["$5-$10_", r"$\frac$"])
    assert [text.get_text() for text in axis.get_yticklabels()] == [r"\$5-\$10_", r"\$\frac\$"]
