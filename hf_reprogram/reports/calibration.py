"""The table of a calibration, for a terminal and for the model card."""

from __future__ import annotations

from typing import Any

from .results import markdown

COLUMNS = {"accuracy": "accuracy", "ece": "ECE", "adaptive_ece": "adaptive ECE", "brier": "Brier", "nll": "NLL"}


def render_calibration(calibration: dict[str, Any]) -> str:
    """What was fitted, on what, and the figures before and after, as Markdown.

    Args:
        calibration: as in the config of an adapter that `hf-reprogram calibrate` has calibrated.

    >>> figures = {"accuracy": 0.75, "ece": 0.2, "adaptive_ece": 0.25, "brier": 0.4, "nll": 0.7}
    >>> state = {"examples": 40, "before": figures, "after": {**figures, "ece": 0.05}, "changed": 0}
    >>> record = {"data": "films", "split": "validation", **state}
    >>> shown = render_calibration({"method": "temperature", "temperature": 2.0, "record": record})
    >>> print(shown.splitlines()[3])
    | validation, after | 75.0 | 0.050 | 0.250 | 0.400 | 0.700 |
    >>> shown.splitlines()[5].split(".")[0]
    'Temperature scaling: logits are divided by T = 2, fitted on 40 examples of validation of films'
    """
    record = calibration["record"]
    states = {record["split"]: record, **({"test": record["test"]} if "test" in record else {})}
    table = [
        {"": f"{split}, {when}", **{title: _shown(state[when][key], key) for key, title in COLUMNS.items()}}
        for split, state in states.items()
        for when in ("before", "after")
    ]
    changes = " and ".join(
        f"{state['changed']:,} of {state['examples']:,} labels of {split}"
        for split, state in states.items()
        if state["changed"]
    )
    count, split = f"{record['examples']:,}", record["split"]
    examples = f"all {count} examples" if split == "all" else f"{count} examples of {split}"
    parts = [
        f"{_what(calibration)}, fitted on {examples} of {record['data']}.",
        f"The shift changes {changes}." if changes else "No label changes.",
        "Accuracy is in percent. ECE has 15 bins of equal width, and the adaptive one 15 of equal size.",
    ]
    return f"{markdown(table)}\n\n{' '.join(parts)}"


def _what(calibration: dict[str, Any]) -> str:
    temperature = f"{calibration['temperature']:.4g}"
    if calibration["method"] == "temperature":
        return f"Temperature scaling: logits are divided by T = {temperature}"
    shape = " x ".join(map(str, calibration["shape"]))
    return (
        f"Neural Clamping: one shift of {shape} is added to the source's {calibration['shifted']} and logits are divided by \
T = {temperature}"
    )


def _shown(value: float, key: str) -> str:
    return f"{100 * value:.1f}" if key == "accuracy" else f"{value:.3f}"
