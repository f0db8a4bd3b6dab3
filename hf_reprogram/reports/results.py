"""Tables of results: means over seeds, rows of the tables, and versions, all from `results.json`."""

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
    """The mean, the sample standard deviation (0 for one record) and the number of records, per metric.

    Args:
        records: one record per seed, with the same metrics.

    >>> summarize([{"accuracy": 0.5}, {"accuracy": 0.7}])["accuracy"]["mean"]
    0.6
    """
    table = {name: np.array([record[name] for record in records], dtype=float) for name in records[0]}
    return {
        name: {
            "mean": float(values.mean()),
            "std": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
            "n": len(values),
        }
        for name, values in table.items()
    }


def gain(final: list[dict[str, float]], start: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Theta's gain: the final score minus that of the start, per metric.

    Args:
        final, start: one record per seed, in the same order.

    Returns:
        The mean of the differences, their standard error (0 for one seed) and their number, by metric.

    >>> gain([{"accuracy": 0.75}, {"accuracy": 0.75}], [{"accuracy": 0.5}, {"accuracy": 0.75}])
    {'accuracy': {'mean': 0.125, 'error': 0.125, 'n': 2}}
    """
    summary = summarize(
        [{name: after[name] - before[name] for name in after} for after, before in zip(final, start, strict=True)]
    )
    return {
        name: {"mean": entry["mean"], "error": entry["std"] / entry["n"] ** 0.5, "n": entry["n"]}
        for name, entry in summary.items()
    }


def short_name(name: str) -> str:
    """A name without its folder: a Hub id stays as it is, and a local folder or file becomes its last part.

    >>> short_name("owner/model")
    'owner/model'
    """
    return Path(name).name if Path(name).exists() else name


def one_class_advice(logits: np.ndarray, learning_rate: float, task: Task) -> str | None:
    """Advice for training that ended at the same prediction for every example; None if the predictions differ.

    Args:
        logits: logits of the validation split.
        learning_rate: the learning rate of the training.
        task: the task.
    """
    predictions = task.decide(logits)
    if task.per_token or predictions.ndim > 1 or len(np.unique(predictions)) > 1:
        return None
    value = predictions[0] if task.regression else repr(task.labels[int(predictions[0])])
    return (
        f"Training ended at one answer: {value} for every validation example. An input transform before a frozen source needs "
        f"large steps: try training.learning_rate={10 * learning_rate:g} and more epochs, and run `hf-reprogram inspect` to "
        "see whether prompts receive gradient."
    )


def versions() -> dict[str, str]:
    """The versions of Python and of the packages on which results depend.

    >>> "torch" in versions()
    True
    """
    installed = {"python": platform.python_version()}
    for name in ("hf_reprogram", "torch", "transformers", "datasets", "accelerate", "scikit-learn", "peft"):
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed


def plus_minus(entry: dict[str, float], metric: str) -> str:
    """A mean and a deviation as text: in percent, or for an error in its own unit.

    Args:
        entry: a summary {"mean": ..., "std": ..., "n": ...}.
        metric: a key of `hf_reprogram.tasks.metrics.METRICS`.

    >>> plus_minus({"mean": 0.712, "std": 0.008, "n": 3}, "accuracy"), plus_minus({"mean": 0.93, "std": 0, "n": 1}, "rmse")
    ('71.2 ± 0.8', '0.93')
    """
    factor, digits = (1, METRICS[metric].digits) if METRICS[metric].lower_is_better else (100, 1)
    spread = f" ± {factor * entry['std']:.{digits}f}" if entry["n"] > 1 else ""
    return f"{factor * entry['mean']:.{digits}f}{spread}"


def rows(results: dict[str, Any]) -> list[dict[str, str]]:
    """The results table: one row per baseline, one for the start of the method, one for the method, and its federated training.

    Args:
        results: the content of `results.json`.

    Returns:
        Rows of cells by the name of their column.

    >>> results = {"task": {"metrics": ["accuracy"]}, "baselines": {}, "method": {"name": "warp"}, "adapter_bytes": 2048}
    >>> score = {"test": {"accuracy": {"mean": 0.8, "std": 0.0, "n": 1}}, "trainable": 500, "seconds": {"mean": 9.0}}
    >>> rows({**results, **score})
    [{'': 'WARP', 'accuracy': '80.0', 'trained numbers': '500', 'seconds': '9.0', 'bytes': '2,048'}]
    """
    table = []
    for entry in results["baselines"].values():
        table.append(_row(entry["title"], entry, results["task"]["metrics"], ""))
    name = METHODS[results["method"]["name"]].info.label
    if "start" in results:
        scores = {metric: plus_minus(results["start"]["test"][metric], metric) for metric in results["task"]["metrics"]}
        table.append({"": f"{name}, untrained start", **scores, "trained numbers": "", "seconds": "", "bytes": ""})
    table.append(_row(name, results, results["task"]["metrics"], f"{results['adapter_bytes']:,}"))
    if federated := results.get("federated"):
        clients = federated["clients"]
        table.append(_row(f"{name}, federated ({clients} clients)", federated, results["task"]["metrics"], ""))
        scores = {metric: plus_minus(federated["alone"][metric], metric) for metric in results["task"]["metrics"]}
        alone = f"{name}, one client alone (mean of {clients})"
        table.append(
            {"": alone, **scores, "trained numbers": f"{federated['trainable']:,}", "seconds": "", "bytes": ""}
        )
    return table


def federated_note(results: dict[str, Any]) -> str:
    """What federated training sends, in one sentence; empty for results without it.

    >>> federated_note({"federated": {"bytes_down": 2048.0, "bytes_up": 1024.0, "source_bytes": 4096000, "rounds": 10}})
    'A client receives 2,048 bytes and sends 1,024 in each of 10 rounds; the source has 4,096,000 bytes and is never sent.'
    """
    if (found := results.get("federated")) is None:
        return ""
    return (
        f"A client receives {found['bytes_down']:,.0f} bytes and sends {found['bytes_up']:,.0f} in each of {found['rounds']} "
        f"rounds; the source has {found['source_bytes']:,} bytes and is never sent."
    )


def privacy_note(results: dict[str, Any]) -> str:
    """What training with DP-SGD promises, in one sentence, and what the losses tell; empty for results without both.

    >>> spent = {"epsilon": 7.996, "delta": 1e-5, "noise_multiplier": 1.1, "max_grad_norm": 1.0, "steps": 300}
    >>> print(privacy_note({"privacy": {**spent, "sampling_rate": 0.064, "seeds": 1, "epsilon_of_all": 7.996}, "seeds": {}}))
    Theta and omega are (epsilon 8.00, delta 1e-05)-private for one training example, by 300 steps of DP-SGD (noise \
multiplier 1.1, norm 1, Poisson batches of rate 0.064); validation data, losses and scores are not protected.
    """
    parts, spent = [], results.get("privacy")
    if spent and spent["epsilon"] is None:
        parts.append("Gradients were clipped for each example, and without noise nothing is private.")
    elif spent:
        several = spent["seeds"] > 1
        among = f", and epsilon {spent['epsilon_of_all']:.2f} with all {spent['seeds']} seeds" if several else ""
        parts.append(
            f"Theta and omega are (epsilon {spent['epsilon']:.2f}, delta {spent['delta']:g})-private for one training example"
            f"{among}, by {spent['steps']:,} steps of DP-SGD (noise multiplier {spent['noise_multiplier']:g}, norm "
            f"{spent['max_grad_norm']:g}, Poisson batches of rate {spent['sampling_rate']:.3g}); validation data, losses and "
            "scores are not protected."
        )
    found = [record["membership"] for record in results["seeds"].values() if "membership" in record]
    if found:
        start, trained = (sum(each[key] for each in found) / len(found) for key in ("start", "trained"))
        parts.append(
            f"The losses tell training from test examples with a ROC-AUC of {trained:.3f}, and those of the start with "
            f"{start:.3f}."
        )
    return " ".join(parts)


def gain_note(results: dict[str, Any]) -> str:
    """Theta's gain in one sentence; empty for results without a start.

    >>> entry = {"mean": 0.125, "error": 0.01, "n": 3}
    >>> gain_note({"task": {"metrics": ["accuracy"]}, "gain": {"accuracy": entry}, "best_epochs": [2.0, 3.0, 3.0]})
    'Training adds 12.5 ± 1.0 accuracy to the untrained start (standard error over 3 seeds).'
    >>> gain_note({"task": {"metrics": ["accuracy"]}, "gain": {"accuracy": entry}, "best_epochs": [0.0]})
    'No epoch was better than the untrained start on validation, so the adapter is its start.'
    """
    if "gain" not in results:
        return ""
    if not any(results["best_epochs"]):
        return "No epoch was better than the untrained start on validation, so the adapter is its start."
    metric = results["task"]["metrics"][0]
    factor, digits = (1, METRICS[metric].digits) if METRICS[metric].lower_is_better else (100, 1)
    entry, seeds = results["gain"][metric], len(results["best_epochs"])
    spread = f" ± {factor * entry['error']:.{digits}f}" if seeds > 1 else ""
    how = f"(standard error over {seeds} seeds)" if seeds > 1 else "(one seed)"
    stayed = sum(not epoch for epoch in results["best_epochs"])
    seldom = f" For {stayed} of the seeds the start was the best epoch." if stayed else ""
    return f"Training adds {factor * entry['mean']:.{digits}f}{spread} {metric} to the untrained start {how}.{seldom}"


def usage_note(results: dict[str, Any]) -> str:
    """What a source that is paid for was asked, and what its budget left out, in one line; empty for any other source.

    >>> usage = {"sent": 1200, "cached": 300, "failed": 2, "cost": 1.8, "left": 0}
    >>> usage_note({"usage": usage, "seeds": {"0": {"stopped": True}}, "not_run": {"1": "The budget is 1,200 samples."}})
    'The source was sent 1,200 samples (2 failed, cost 1.80, 0 left of the budget); 300 more answers were known. The budget \
ended seed 0 early, and left out 1.'
    """
    if "usage" not in results:
        return ""
    usage = results["usage"]
    details = [
        f"{usage['failed']:,} failed" if usage["failed"] else "",
        f"cost {usage['cost']:,.2f}" if usage["cost"] else "",
        "" if usage["left"] is None else f"{usage['left']:,} left of the budget",
    ]
    listed = f" ({', '.join(filter(None, details))})" if any(details) else ""
    sent = f"The source was sent {usage['sent']:,} samples{listed}; {usage['cached']:,} more answers were known."
    early = [seed for seed, record in results["seeds"].items() if record.get("stopped")]
    ends = [f"ended seed {', '.join(early)} early"] if early else []
    ends += [f"left out {', '.join(results['not_run'])}"] if results.get("not_run") else []
    return f"{sent} The budget {', and '.join(ends)}." if ends else sent


def _row(title: str, entry: dict[str, Any], metrics: list[str], size: str) -> dict[str, str]:
    return {
        "": title,
        **{metric: plus_minus(entry["test"][metric], metric) for metric in metrics},
        "trained numbers": f"{entry['trainable']:,}",
        "seconds": f"{entry['seconds']['mean']:.1f}",
        "bytes": size,
    }


def markdown(table: list[dict[str, str]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right.

    >>> print(markdown([{"task": "films", "accuracy": "80.0"}]))
    | task | accuracy |
    |---|---:|
    | films | 80.0 |
    """
    head = list(table[0])
    lines = ["| " + " | ".join(map(_cell, head)) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in head) + " |" for row in table]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """The text of a table cell, without line breaks and with bars escaped."""
    return " ".join(text.split()).replace("|", "\\|")


# ------------------------------------------------------------------------------------------------- out of distribution


def ood_reports(ood: dict[str, Any], label: str) -> dict[str, dict[str, Any]]:
    """The OOD reports of an adapter by the title of their row.

    Args:
        ood: the summary from `hf_reprogram.experiments.ood.summarize_ood`.
        label: the name of the method.

    Returns:
        The report at the adapter's own alpha and, if alphas were swept, the report at the chosen alpha.
    """
    own = ood.get("alpha", 0)
    reports = {_blended(label, own): ood["report"]}
    for entry in ood.get("alphas", ()):
        if entry["alpha"] == ood["chosen_alpha"] != own:
            reports[_blended(label, entry["alpha"])] = entry["report"]
    return reports


def _blended(label: str, alpha: float) -> str:
    """The name of a method with this share of the zero-shot branch."""
    return f"Residual {label}, alpha {alpha:.3g}" if alpha else label


def run_reports(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The OOD reports of a run by the title of their row: those of the baselines, then those of the method."""
    baselines = {entry["title"]: entry["ood"] for entry in results["baselines"].values() if entry.get("ood")}
    return {**baselines, **ood_reports(results["ood"], METHODS[results["method"]["name"]].info.label)}


def render_ood(reports: dict[str, dict[str, Any]], detailed: dict[str, Any]) -> str:
    """Markdown tables of OOD reports.

    Args:
        reports: the reports by the title of their row in the first table.
        detailed: the report whose sets and corruptions have tables of their own.
    """
    parts = [markdown(ood_tables.rows(reports)), ood_tables.note(detailed)]
    for title, table in (
        ("Sets of other classes", ood_tables.semantic_rows(detailed)),
        ("Corruptions", ood_tables.corruption_rows(detailed)),
    ):
        if table:
            parts.append(f"{title}:\n\n{markdown(table)}")
    return "\n\n".join(parts) + "\n"
