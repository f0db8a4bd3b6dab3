"""Numbers over seeds, and what stands beside them in `results.json`."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ..methods import METHODS
from ..ood import report as ood_tables
from ..tasks.metrics import METRICS
from ..tasks.task import Task


def summarize(records: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and sample standard deviation (0 for one record) of each metric over the seeds."""
    table = {name: np.array([record[name] for record in records], dtype=float) for name in records[0]}
    return {
        name: {
            "mean": float(values.mean()),
            "std": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
            "n": len(values),
        }
        for name, values in table.items()
    }


def short_name(name: str) -> str:
    """A name for the record: a Hub id as it is, a folder or file by its own name, without where it lay."""
    return Path(name).name if Path(name).exists() else name


def one_class_advice(logits: np.ndarray, learning_rate: float, task: Task) -> str | None:
    """What to try when training ended at predicting one value for everything, else None."""
    predictions = task.decide(logits)
    if task.per_token or predictions.ndim > 1 or len(np.unique(predictions)) > 1:
        return None
    value = predictions[0] if task.regression else repr(task.labels[int(predictions[0])])
    return (
        f"Training ended at one answer: {value} for every validation example. What stands before a frozen source wants large "
        f"steps: try training.learning_rate={10 * learning_rate:g} and more epochs, and see with `hf-reprogram inspect` "
        "whether prompts receive gradient."
    )


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {"python": platform.python_version()}
    for name in ("hf_reprogram", "torch", "transformers", "datasets", "accelerate", "scikit-learn", "peft"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def plus_minus(entry: dict[str, float], metric: str) -> str:
    """A mean and a deviation as text such as "71.2 ± 0.8": percent, or for an error its own unit, as in "0.93 ± 0.04"."""
    factor, digits = (1, 2) if METRICS[metric].lower_is_better else (100, 1)
    spread = f" ± {factor * entry['std']:.{digits}f}" if entry["n"] > 1 else ""
    return f"{factor * entry['mean']:.{digits}f}{spread}"


def rows(results: dict[str, Any]) -> list[dict[str, str]]:
    """The results table: a row for each baseline and one for the method."""
    table = []
    for entry in results["baselines"].values():
        table.append(_row(entry["title"], entry, results["task"]["metrics"], ""))
    name = METHODS[results["method"]["name"]].info.label
    table.append(_row(name, results, results["task"]["metrics"], f"{results['adapter_bytes']:,}"))
    return table


def _row(title: str, entry: dict[str, Any], metrics: list[str], size: str) -> dict[str, str]:
    return {
        "": title,
        **{metric: plus_minus(entry["test"][metric], metric) for metric in metrics},
        "trained numbers": f"{entry['trainable']:,}",
        "seconds": f"{entry['seconds']['mean']:.1f}",
        "bytes": size,
    }


def markdown(table: list[dict[str, str]]) -> str:
    """A Markdown table; columns after the first are aligned to the right."""
    head = list(table[0])
    lines = ["| " + " | ".join(map(_cell, head)) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in head) + " |" for row in table]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text that cannot break out of its table cell."""
    return " ".join(text.split()).replace("|", "\\|")


# ------------------------------------------------------------------------------------------------- out of distribution


def ood_reports(ood: dict[str, Any], label: str) -> dict[str, dict[str, Any]]:
    """An adapter's reports by the title of their row: at its own alpha and, where alphas were swept, at the chosen one."""
    own = ood.get("alpha", 0)
    found = {_blended(label, own): ood["report"]}
    for entry in ood.get("alphas", ()):
        if entry["alpha"] == ood["chosen_alpha"] != own:
            found[_blended(label, entry["alpha"])] = entry["report"]
    return found


def _blended(label: str, alpha: float) -> str:
    """What a method is called with this share of the zero-shot branch."""
    return f"Residual {label}, alpha {alpha:.3g}" if alpha else label


def run_reports(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The reports of a run by the title of their row: baselines, then the method."""
    beside = {entry["title"]: entry["ood"] for entry in results["baselines"].values() if entry.get("ood")}
    return {**beside, **ood_reports(results["ood"], METHODS[results["method"]["name"]].info.label)}


def render_ood(found: dict[str, dict[str, Any]], detailed: dict[str, Any]) -> str:
    """Markdown of a table of reports by title, and of the single sets of one of them."""
    parts = [markdown(ood_tables.rows(found)), ood_tables.note(detailed)]
    for title, table in (
        ("Sets of other classes", ood_tables.semantic_rows(detailed)),
        ("Corruptions", ood_tables.corruption_rows(detailed)),
    ):
        if table:
            parts.append(f"{title}:\n\n{markdown(table)}")
    return "\n\n".join(parts) + "\n"
