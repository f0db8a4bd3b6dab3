"""The table and the plots of a diagnosis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..figures import pyplot, save
from .results import markdown

ROWS = {  # key: what it is, and whether it is in percent
    "accuracy": ("accuracy on validation", True),
    "risk": ("risk, from 0 to 1.414", False),
    "w1": ("W1 to the source's own data", False),
    "w1_null": ("W1 between two halves of these (null)", False),
    "sliced": ("sliced W1", False),
    "sliced_null": ("sliced W1 (null)", False),
    "alignment": ("alignment r of gradients", False),
    "unrelated": ("r of unrelated gradients, 1/sqrt(n)", False),
    "alignment_shuffled": ("r with labels exchanged at random", False),
    "ece": ("expected calibration error", True),
    "adaptive_ece": ("the same with bins of equal size", True),
    "brier": ("Brier score", False),
    "nll": ("negative log-likelihood", False),
}


def render_diagnosis(record: dict[str, Any]) -> str:
    """The tables of a diagnosis as Markdown, with a sentence on how to read them.

    Args:
        record: as in `diagnosis.json`.
    """
    states = record["states"]
    rows = [
        {"": title, **{name: _shown(state[key], percent) for name, state in states.items()}}
        for key, (title, percent) in ROWS.items()
        if key in states["trained"]
    ]
    notes = []
    if "w1" in states["trained"]:
        before, after = (states[name]["w1"] - states[name]["w1_null"] for name in ("start", "trained"))
        notes.append(f"W1 minus its null went from {before:.3g} to {after:.3g}.")
    if "bound" in record:
        notes.append(
            f"The source's risk on its own data is {record['source_risk']:.3f}. The bound of Theorem 1 on the target risk is "
            f"{record['bound']:.1f}, and no risk exceeds 1.414: it is vacuous here."
        )
    if "alignment" in states["start"]:
        ratio = states["start"]["alignment"] / states["start"]["unrelated"]
        notes.append(f"Before training, gradients agree {ratio:.1f} times as much as unrelated ones would.")
    return "\n\n".join([markdown(rows), *notes]) + "\n"


def _shown(value: float, percent: bool) -> str:
    return f"{100 * value:.1f}" if percent else f"{value:.3f}"


def plot_calibration(record: dict[str, Any], path: Path) -> Path:
    """The calibration curve of the start and of what was trained, and their confidence.

    Args:
        record: as in `diagnosis.json`.
        path: the PNG to write.
    """
    figure, (curve, shares) = pyplot().subplots(1, 2, figsize=(8.4, 3.8), layout="constrained")
    curve.plot([0, 1], [0, 1], color="0.7", linestyle=":")
    for color, (name, state) in zip(("C1", "C0"), record["states"].items(), strict=True):
        bins = state["reliability"]
        curve.plot(
            bins["confidence"], bins["accuracy"], color=color, marker="o", markersize=4, label=_with_ece(name, state)
        )
        shares.plot(bins["confidence"], bins["share"], color=color, marker="o", markersize=4, label=name)
    curve.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(-0.02, 1.02), title="Calibration")
    shares.set(xlabel="confidence", ylabel="share of the examples", xlim=(0, 1.02), ylim=(0, None), title="Confidence")
    for axis in (curve, shares):
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    return save(figure, path)


def _with_ece(name: str, state: dict[str, Any]) -> str:
    return f"{name} (ECE {100 * state['ece']:.1f} %)"


def plot_projection(points: dict[str, np.ndarray], path: Path) -> Path:
    """The source's outputs in the plane of the first two principal components of all of them.

    Args:
        points: rows (n, width) by name.
        path: the PNG to write.
    """
    from sklearn.decomposition import PCA

    plane = PCA(2).fit(np.concatenate([*points.values()]))
    figure, axis = pyplot().subplots(figsize=(5.6, 4.8), layout="constrained")
    for color, (name, rows) in zip(("0.6", "C1", "C0"), points.items(), strict=True):
        flat = plane.transform(rows)
        axis.scatter(flat[:, 0], flat[:, 1], s=10, alpha=0.6, color=color, label=name, linewidths=0)
    shares = plane.explained_variance_ratio_
    axis.set(xlabel=f"component 1 ({shares[0]:.0%})", ylabel=f"component 2 ({shares[1]:.0%})")
    axis.set_title("Outputs of the source", fontsize=10)
    axis.legend(fontsize=8, markerscale=1.6)
    return save(figure, path)
