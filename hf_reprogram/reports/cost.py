"""The cost of a program in a table and in one sentence, from the section `cost` of `results.json`."""

from __future__ import annotations

from typing import Any

from ..methods import METHODS
from .results import plus_minus


def cost_rows(results: dict[str, Any]) -> list[dict[str, str]]:
    """The table of costs: one row per baseline and one for the method, without columns that are empty in all rows.

    `memory` is that of the accelerator, or of the process where there is none.

    Args:
        results: the content of `results.json`.

    Returns:
        Rows of cells by the name of their column; none for results without the section.

    >>> score, seconds = {"accuracy": {"mean": 0.8, "std": 0.0, "n": 1}}, {"train": {"mean": 9.0}, "prediction": None}
    >>> cost = {"flops": {"forward": 3e7, "training": 6.1e7}, "shipped_bytes": 2048, "seconds": seconds}
    >>> method = {"name": "warp"}
    >>> results = {"task": {"metrics": ["accuracy"]}, "baselines": {}, "method": method, "test": score, "trainable": 500}
    >>> for name, cell in cost_rows({**results, "seconds": seconds["train"], "cost": cost})[0].items():
    ...     print(f"{name}: {cell}")
    : WARP
    accuracy: 80.0
    trained numbers: 500
    bytes shipped: 2,048
    FLOPs of a training example: 61 M
    FLOPs of a prediction: 30 M
    seconds: 9.0
    """
    if "cost" not in results:
        return []
    metric = results["task"]["metrics"][0]
    name = METHODS[results["method"]["name"]].info.label
    entries = [*((entry["title"], entry) for entry in results["baselines"].values()), (name, results)]
    table = [{"": title, **_cells(entry, metric)} for title, entry in entries]
    shown = [column for column in table[0] if any(row[column] for row in table)]
    return [{column: row[column] for column in shown} for row in table]


def _cells(entry: dict[str, Any], metric: str) -> dict[str, str]:
    """The cells of a row."""
    cost = entry.get("cost", {})
    flops, memory = cost.get("flops") or {}, cost.get("memory") or {}
    prediction = _mean(cost.get("seconds", {}).get("prediction"))
    most = _mean(memory.get("accelerator")) or _mean(memory.get("process"))
    shipped, joules = cost.get("shipped_bytes"), _mean(cost.get("joules"))
    return {
        metric: plus_minus(entry["test"][metric], metric),
        "trained numbers": f"{entry['trainable']:,}",
        "bytes shipped": "" if shipped is None else f"{shipped:,}",
        "FLOPs of a training example": _amount(flops.get("training")),
        "FLOPs of a prediction": _amount(flops.get("forward")),
        "seconds": f"{entry['seconds']['mean']:.1f}",
        "ms of a prediction": "" if prediction is None else f"{1000 * prediction:.2g}",
        "memory": "" if most is None else f"{_amount(most)}B",
        "joules": "" if joules is None else f"{joules:,.0f}",
    }


def cost_note(results: dict[str, Any]) -> str:
    """The cost of a program in one sentence; empty for results without the section.

    >>> numbers = {"theta": 434, "omega": 66, "tuned": 0, "frozen": 4_000_000}
    >>> cost = {"numbers": numbers, "flops": {"forward": 3e7, "training": 6.1e7}, "rows_sent": 1, "joules": None}
    >>> cost_note({"cost": cost, "trainable": 500, "adapter_bytes": 2048})
    'The 2,048 bytes of the adapter hold 500 numbers beside the 4,000,000 frozen ones of the source, a training example takes \
61 M FLOPs, and a prediction 30 M.'
    """
    if (cost := results.get("cost")) is None:
        return ""
    numbers, flops = cost["numbers"] or {}, cost["flops"] or {}
    frozen = numbers.get("frozen")
    beside = "" if frozen is None else f" beside the {frozen:,} frozen ones of the source"
    parts = [f"the {results['adapter_bytes']:,} bytes of the adapter hold {results['trainable']:,} numbers{beside}"]
    rows = cost["rows_sent"] or 1
    if flops.get("training") is not None:
        sent = f", sent {rows:,} times a step," if rows > 1 else ""
        parts.append(f"a training example{sent} takes {_amount(flops['training'])} FLOPs")
        parts.append(f"a prediction {_amount(flops['forward'])}")
    elif rows > 1:
        parts.append(f"a training example is sent {rows:,} times a step")
    if (joules := _mean(cost["joules"])) is not None:
        parts.append(f"training took {joules:,.0f} joules")
    *first, last = parts
    sentence = f"{', '.join(first)}, and {last}." if first else f"{last}."
    return sentence[0].upper() + sentence[1:]


def _mean(summary: dict[str, float] | None) -> float | None:
    """The mean of a summary over seeds; None if there is none."""
    return None if summary is None else summary["mean"]


def _amount(number: float | None) -> str:
    """A number in three digits with a prefix of the SI; empty for None.

    >>> _amount(61_234_567), _amount(950), _amount(None)
    ('61.2 M', '950', '')
    """
    if number is None:
        return ""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if number < 999.5 or prefix == "P":
            break
        number /= 1000
    return f"{number:.3g} {prefix}".rstrip()
