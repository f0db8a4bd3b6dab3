"""Plots of OOD detection and of a sweep of alpha, drawn from the records of `hf_reprogram.experiments.ood`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..figures import cut, drawable, pyplot, save


def plot_ood(record: dict[str, Any], folder: str | Path, swept: list[dict[str, Any]] | None = None) -> list[Path]:
    """Write `ood_roc.png` and `ood_scores.png` if there are semantic sets, and `ood_alpha.png` if alphas were swept.

    Args:
        record: the record of one adapter, as in `ood.json`.
        folder: the folder for the plots.
        swept: the `alphas` of a run's summary, which are drawn as means over the seeds with their deviation; by default
            those of the record.

    Returns:
        The paths of the plots.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    folder, written = Path(folder), []
    if record["report"]["semantic"]:
        written.append(_roc(record["report"], record["curves"]["roc"], folder / "ood_roc.png"))
        written.append(_scores(record["report"], record["curves"]["scores"], folder / "ood_scores.png"))
    swept = record.get("alphas", []) if swept is None else swept
    if len(swept) > 1:
        written.append(plot_alphas(swept, folder / "ood_alpha.png"))
    return written


def _roc(report: dict[str, Any], roc: dict[str, Any], path: Path) -> Path:
    """One ROC curve per semantic set, and the line at which FPR is read."""
    from matplotlib import pyplot as plt

    draw = drawable()
    figure, axis = plt.subplots(figsize=(5, 4.6), layout="constrained")
    for name, curve in roc.items():
        axis.plot(curve["fpr"], curve["tpr"], label=f"{draw(cut(name, 24))} ({report['semantic'][name]['auroc']:.3f})")
    axis.plot([0, 1], [0, 1], color="0.7", linestyle=":")
    axis.axhline(report["tpr"], color="0.5", linestyle="--", linewidth=1)
    axis.set(xlabel="share of ID images taken for OOD (FPR)", ylabel="share of OOD images detected (TPR)")
    axis.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axis.grid(alpha=0.3)
    axis.legend(title="AUROC", fontsize=8, title_fontsize=8, loc="lower right")
    figure.suptitle(f"OOD detection by {report['score']}; dashed: TPR {report['tpr']:g}", fontsize=10)
    return save(figure, path)


def _scores(report: dict[str, Any], scores: dict[str, Any], path: Path) -> Path:
    """One panel per semantic set: the histogram of its scores over that of the ID images."""
    from matplotlib import pyplot as plt

    draw, names = drawable(), [name for name in scores["shares"] if name != "id"]
    columns = 2 if len(names) == 4 else min(len(names), 3)
    rows = -(-len(names) // columns)
    size = (0.6 + 3.1 * columns, 0.6 + 2.3 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for axis, name in zip(axes.flat, names, strict=False):
        for key, color, label in (("id", "C0", "ID"), (name, "C1", "OOD")):
            shares = np.array(scores["shares"][key])
            axis.stairs(shares, scores["edges"], fill=True, alpha=0.35, color=color)
            axis.stairs(shares, scores["edges"], color=color, label=label)
        axis.set_title(f"{draw(cut(name, 24))}, AUROC {report['semantic'][name]['auroc']:.3f}", fontsize=9)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    figure.supxlabel(f"{report['score']}, larger if OOD is more likely", fontsize=9)
    figure.supylabel("share of images", fontsize=9)
    return save(figure, path)


def plot_alphas(swept: list[dict[str, Any]], path: Path) -> Path:
    """Plot accuracies (left) and OOD detection (right) over alpha, the share of the zero-shot branch; bands are deviations.

    Args:
        swept: the `alphas` of a record or of a run's summary.
        path: the path of the PNG.

    Raises:
        InputError: matplotlib is not installed.
    """
    plt = pyplot()
    entries = sorted(swept, key=lambda entry: entry["alpha"])
    alphas, reports = [entry["alpha"] for entry in entries], [entry["report"] for entry in entries]
    metric = next(iter(entries[0]["validation"]))
    lines: list[tuple[int, str, list[Any]]] = [
        (0, f"validation ({metric}), which chooses", [entry["validation"][metric] for entry in entries]),
        (0, "ID", [report["id"] for report in reports]),
    ]
    for panel, key, label in (
        (0, "covariate", "covariate shift"),
        (0, "corruptions", "corruptions"),
        (1, "fpr", f"FPR at TPR {reports[0]['tpr']:g}"),
        (1, "auroc", "AUROC"),
        (1, "aupr_out", "AUPR"),
    ):
        if key in reports[0]["mean"]:
            lines.append((panel, label, [report["mean"][key] for report in reports]))
    panels = 1 + bool(reports[0]["semantic"])
    figure, axes = plt.subplots(1, panels, figsize=(0.6 + 4.2 * panels, 4), layout="constrained", squeeze=False)
    seeds = 1
    for panel, label, values in lines:
        means, deviations, seeds = _means(values)
        style = "--" if "chooses" in label else "-"
        (line,) = axes[0, panel].plot(alphas, means, marker=".", linestyle=style, label=label)
        if seeds > 1:
            low, high = means - deviations, means + deviations
            axes[0, panel].fill_between(alphas, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    for axis, quantity in zip(axes[0], ("accuracy", f"detection by {reports[0]['score']}"), strict=False):
        axis.set(xlabel="alpha, the share of the zero-shot branch", ylabel=quantity)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.16))  # lines may be anywhere
    if seeds > 1:
        figure.suptitle(f"mean of {seeds} seeds, band: standard deviation", fontsize=9)
    return save(figure, path)


def _means(values: list[Any]) -> tuple[np.ndarray, np.ndarray, int]:
    """Means (n,), deviations (n,) and the number of seeds, from numbers or from summaries {"mean", "std", "n"}."""
    entries = [value if isinstance(value, dict) else {"mean": value, "std": 0.0, "n": 1} for value in values]
    means, deviations = (np.array([entry[key] for entry in entries]) for key in ("mean", "std"))
    return means, deviations, entries[0]["n"]
