"""The tables and the plot of time series: Voice2Series beside its peers on UCR sets, and mean ranks over the sets.

Reads `SET.json` and `SET_random.json`, which `tools/measure.py` writes, and `peers/series.json` of `tools/series_peers.py`.
Only sets that have all three are shown.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tables import start_and_gain

from hf_reprogram.figures import pyplot, save
from hf_reprogram.reports.results import markdown, plus_minus

PEERS = {
    "euclidean": "1-NN Euclidean",
    "dtw": "1-NN DTW",
    "dtw_window": "1-NN DTW, window",
    "linear": "logistic regression",
    "rocket": "MiniRocket",
}
OURS = {"reprogrammed": "Voice2Series", "start": "its start", "random": "random source"}
LEVEL = 0.05  # of the test behind the critical difference


def series(folder: Path) -> dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, float]]]:
    """Per set the result, the result with random weights, and the peers' accuracies."""
    peers = json.loads((folder.parent / "peers" / "series.json").read_text(encoding="utf-8"))
    found = {}
    for name, rows in sorted(peers.items()):
        paths = folder / f"{name}.json", folder / f"{name}_random.json"
        if all(path.exists() for path in paths):
            found[name] = (*(json.loads(path.read_text(encoding="utf-8")) for path in paths), rows)
    return found


def accuracies(folder: Path) -> dict[str, dict[str, float]]:
    """Per set the mean accuracy of every row by its title."""
    return {
        name: {
            OURS["reprogrammed"]: result["test"]["accuracy"]["mean"],
            OURS["start"]: result["start"]["test"]["accuracy"]["mean"],
            OURS["random"]: random["test"]["accuracy"]["mean"],
            **{title: rows[peer] for peer, title in PEERS.items()},
        }
        for name, (result, random, rows) in series(folder).items()
        if all(peer in rows for peer in PEERS)
    }


def series_table(folder: Path) -> str:
    """A row per set."""
    rows = []
    for name, (result, random, peers) in series(folder).items():
        sizes, classes = result["task"]["sizes"], len(result["task"]["labels"])
        entry = {"set": name, "train": f"{sizes['train'] + sizes['validation']:,}", "classes": str(classes)}
        entry |= start_and_gain(result)
        entry["Voice2Series"] = plus_minus(result["test"]["accuracy"], "accuracy")
        entry["random source"] = plus_minus(random["test"]["accuracy"], "accuracy")
        entry |= {title: f"{100 * peers[peer]:.1f}" if peer in peers else "" for peer, title in PEERS.items()}
        rows.append(entry)
    return markdown(rows)


def mean_ranks(scores: dict[str, dict[str, float]]) -> dict[str, float]:
    """The mean rank of each row over the sets, 1 for the best; rows with equal accuracies share the mean of their ranks.

    >>> mean_ranks({"one": {"a": 0.9, "b": 0.8}, "two": {"a": 0.5, "b": 0.5}})
    {'a': 1.25, 'b': 1.75}
    """
    from scipy.stats import rankdata

    names = list(next(iter(scores.values())))
    ranks = rankdata([[-row[name] for name in names] for row in scores.values()], axis=1).mean(0)
    return dict(zip(names, ranks.tolist(), strict=True))


def critical_difference(rows: int, sets: int) -> float:
    """The difference of two mean ranks that Nemenyi's test calls significant (Demsar 2006, JMLR 7, section 3.2.2).

    >>> round(critical_difference(rows=5, sets=14), 2)
    1.63
    """
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(1 - LEVEL, rows, np.inf) / 2**0.5 * (rows * (rows + 1) / (6 * sets)) ** 0.5)


def rank_table(folder: Path) -> str:
    """A row per method: its mean rank, its mean accuracy, and the sets on which it is at or above DTW and its start."""
    scores = accuracies(folder)
    rows = []
    for title, rank in sorted(mean_ranks(scores).items(), key=lambda item: item[1]):
        values = np.array([row[title] for row in scores.values()])
        dtw = np.array([row[PEERS["dtw_window"]] for row in scores.values()])
        rows.append(
            {
                "row": title,
                "mean rank": f"{rank:.2f}",
                "mean accuracy": f"{100 * values.mean():.1f}",
                f"at or above DTW with a window, of {len(scores)} sets": str(int((values >= dtw - 1e-9).sum())),
            }
        )
    return markdown(rows)


def groups(ranks: list[float], width: float) -> list[tuple[float, float]]:
    """The longest runs of sorted mean ranks that lie within `width`, by their ends; a rank alone is none.

    >>> groups([1.0, 1.5, 3.0, 3.2], width=1.0)
    [(1.0, 1.5), (3.0, 3.2)]
    """
    found: list[tuple[float, float]] = []
    for low in sorted(ranks):
        high = max(rank for rank in ranks if low <= rank <= low + width)
        if high > low and (not found or high > found[-1][1]):
            found.append((low, high))
    return found


def plot_ranks(folder: Path, path: Path) -> None:
    """Write a critical-difference diagram: rows by mean rank, and bars over those that do not differ significantly."""
    scores = accuracies(folder)
    ranks = sorted(mean_ranks(scores).items(), key=lambda item: item[1])
    width = critical_difference(len(ranks), len(scores))
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
    half = (len(ranks) + 1) // 2
    axis.hlines(0, 1, len(ranks), color="black", linewidth=1)
    for tick in range(1, len(ranks) + 1):
        axis.vlines(tick, 0, 0.15, color="black", linewidth=1)
        axis.text(tick, 0.25, str(tick), ha="center", va="bottom", fontsize=9)
    bars = groups([rank for _, rank in ranks], width)
    for place, (low, high) in enumerate(bars):
        axis.hlines(-0.25 - 0.22 * place, low - 0.04, high + 0.04, color="black", linewidth=3)
    below = -0.5 - 0.22 * len(bars)
    for place, (title, rank) in enumerate(ranks):
        left = place < half
        depth = below - 0.5 * (place if left else len(ranks) - 1 - place)
        end = 0.7 if left else len(ranks) + 0.3
        axis.plot(
            [rank, rank, end], [0, depth, depth], color="tab:blue" if title in OURS.values() else "0.4", linewidth=1
        )
        text = f"{title}  {rank:.2f}" if left else f"{rank:.2f}  {title}"
        axis.text(
            end, depth, f"{text} " if left else f" {text}", ha="right" if left else "left", va="center", fontsize=9
        )
    axis.hlines(0.9, 1, 1 + width, color="black", linewidth=2)
    axis.text(
        1 + width / 2, 1.0, f"critical difference {width:.2f}, {len(scores)} sets", ha="center", va="bottom", fontsize=9
    )
    axis.set(xlim=(-1.2, len(ranks) + 2.2), ylim=(below - 0.5 * half - 0.1, 1.6))
    axis.axis("off")
    save(figure, path)
