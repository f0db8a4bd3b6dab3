"""Plots of a run, drawn from its `results.json`."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from ..baselines.forecasts import repeated
from ..figures import cut, drawable, save


def plot_run(results: dict[str, Any], folder: str | Path) -> list[Path]:
    """Write `learning_curve.png` and, for a classification, `confusion_matrix.png`, or, for a forecast, `forecasts.png`.

    Args:
        results: the content of `results.json`.
        folder: the folder for the plots.

    Returns:
        The paths of the plots.

    Raises:
        ImportError: matplotlib is not installed.

    >>> from tempfile import TemporaryDirectory
    >>> task = {"title": "films", "metrics": ["accuracy"], "labels": ["bad", "good"]}
    >>> curve = [{"epoch": 1, "loss": 0.7, "eval_loss": 0.6, "accuracy": 0.8}]
    >>> results = {"task": task, "method": {"name": "warp"}, "source": {"name": "bert"}, "baselines": {}, "best_seed": 0}
    >>> with TemporaryDirectory() as folder:
    ...     paths = plot_run({**results, "seeds": {"0": {"history": curve}}}, folder)
    >>> [path.name for path in paths]
    ['learning_curve.png']
    """
    import matplotlib

    matplotlib.use("Agg")
    folder = Path(folder)
    written = [_learning_curve(results, folder / "learning_curve.png")]
    best = results["seeds"][str(results["best_seed"])]
    if "confusion" in best:
        written.append(_confusion_matrix(results, best["confusion"], folder / "confusion_matrix.png"))
    if "forecasts" in best:
        written.append(_forecasts(results, best["forecasts"], folder / "forecasts.png"))
    return written


def _learning_curve(results: dict[str, Any], path: Path) -> Path:
    """Plot training and validation loss (left) and the first metric on validation (right), with one line per seed."""
    from matplotlib import pyplot as plt
    from matplotlib.ticker import MaxNLocator

    metric = results["task"]["metrics"][0]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for index, (seed, record) in enumerate(results["seeds"].items()):
        color = f"C{index % 10}"
        for axis, key, style, label in (
            (left, "loss", "--", f"train, seed {seed}"),
            (left, "eval_loss", "-", f"validation, seed {seed}"),
            (right, metric, "-", f"seed {seed}"),
        ):
            points = [(entry["epoch"], entry[key]) for entry in record["history"] if key in entry]
            if points:
                axis.plot(
                    *zip(*points, strict=True), style, color=color, label=label, marker="." if len(points) < 12 else ""
                )
    for baseline, style in (("majority", ":"), ("linear_probe", "-.")):
        if baseline in results["baselines"]:
            entry = results["baselines"][baseline]
            right.axhline(entry["validation"][metric]["mean"], color="0.4", linestyle=style, label=entry["title"])
    left.set(xlabel="epoch", ylabel="loss")
    right.set(xlabel="epoch", ylabel=f"{metric} on validation")
    for axis in (left, right):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize=7)
    figure.suptitle(_title(results), fontsize=10)
    return save(figure, path)


def _confusion_matrix(results: dict[str, Any], counts: list[list[int]], path: Path) -> Path:
    """Plot the confusion matrix on test of the best seed; colours are shares of the true class.

    With up to 15 classes the cells show counts and shares, with up to 40 classes counts, and with more classes only colours.
    Names shrink with the cells; if the smallest size does not fit, only every second, third, ... name is shown.
    """
    from matplotlib import pyplot as plt

    matrix, labels = np.array(counts), results["task"]["labels"]
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    shares, numbers = len(labels) <= 15, len(labels) <= 40
    cell = 0.7 if shares else 0.4 if numbers else max(0.05, 14 / len(labels))  # inches
    side = 2.2 + cell * len(labels)
    figure, axis = plt.subplots(figsize=(side + 1, side), layout="constrained")
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(np.ones_like(matrix) if shares else matrix) if numbers else ():
        axis.text(
            column,
            row,
            f"{matrix[row, column]}\n{share[row, column]:.0%}" if shares else f"{matrix[row, column]}",
            ha="center",
            va="center",
            fontsize=8 if shares else 7,
            color="white" if share[row, column] > 0.55 else "black",
        )
    size = min(10.0 if shares else 8.0, max(6.0, 72 * 0.8 * cell))  # in points, of which an inch has 72
    named = range(0, len(labels), ceil(size / (72 * cell)))
    draw = drawable()
    names = [draw(cut(labels[i], 24)) for i in named]
    steep = {"rotation": 30, "ha": "right"} if shares else {"rotation": 90}
    axis.set_xticks(named, names, fontsize=size, **steep)
    axis.set_yticks(named, names, fontsize=size)
    axis.set(xlabel="predicted", ylabel="true")
    figure.colorbar(image, ax=axis, shrink=0.8, label="share of the true class")
    figure.suptitle(f"{_title(results)}, test, seed {results['best_seed']}", fontsize=10)
    return save(figure, path)


def _forecasts(results: dict[str, Any], shown: dict[str, Any], path: Path) -> Path:
    """Plot windows of test of the best seed with what followed and its forecast, and the error by step."""
    from matplotlib import pyplot as plt
    from matplotlib.ticker import MaxNLocator

    windows, season = shown["windows"], shown["season"]
    figure, axes = plt.subplots(2, 2, figsize=(10, 5.6), layout="constrained")
    for axis, window in zip(axes.flat, windows, strict=False):
        past, truth = window["context"], window["truth"]
        steps = np.arange(1, len(truth) + 1)
        axis.plot(np.arange(1 - len(past), 1), past, color="0.6", label="context")
        axis.plot(steps, truth, color="black", label="truth")
        axis.plot(steps, window["forecast"], color="C0", label="forecast")
        naive = repeated(np.array([past]), season, len(truth))[0]
        axis.plot(steps, naive, ":", color="C1", label="the last season again")
        axis.axvline(0.5, color="0.8", linewidth=1)
        axis.set(xlabel="step, from the first that is forecast", ylabel="value")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    axes.flat[0].legend(fontsize=7)
    for axis in axes.flat[len(windows) : 3]:
        axis.set_axis_off()
    errors = shown["mae_by_step"]
    last = axes.flat[3]
    last.plot(np.arange(1, len(errors) + 1), errors, marker="." if len(errors) < 50 else "", color="C0")
    last.set(xlabel="step ahead", ylabel="mean absolute error on test", ylim=(0, None))
    last.xaxis.set_major_locator(MaxNLocator(integer=True))
    last.grid(alpha=0.3)
    figure.suptitle(f"{_title(results)}, test, seed {results['best_seed']}", fontsize=10)
    return save(figure, path)


def _title(results: dict[str, Any]) -> str:
    return drawable()(f"{results['method']['name']} on {results['source']['name']}: {results['task']['title']}")
