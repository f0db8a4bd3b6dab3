"""For every registered baseline the tiny recipe that it stands beside, and one that it refuses."""

from __future__ import annotations

from typing import Any, NamedTuple


class Beside(NamedTuple):
    """A recipe by its name, the baseline's options there, and the recipe that it refuses; None if it refuses none here."""

    recipe: str
    options: dict[str, Any] = {}
    refused: str | None = None


_RATE: dict[str, Any] = {"learning_rate": [1e-2]}
BASELINE_CASES: dict[str, Beside] = {
    "majority": Beside("texts"),
    "counts": Beside("texts", refused="images"),
    "small_network": Beside("texts", {**_RATE, "channels": [4]}, refused="letters"),
    "linear_probe": Beside("texts", {"strengths": [1.0]}),
    "self_training": Beside("few", {"strengths": [1.0]}, refused="texts"),
    "untrained_probe": Beside("images", {"strengths": [1.0]}),
    "from_scratch": Beside("images", _RATE),
    "fine_tuning": Beside("images", _RATE),
    "prompt_tuning": Beside("texts", _RATE, refused="images"),
    "source_labels": Beside("images", {"label_mapping": ["frequency"], "labels_per_class": [1]}, refused="numbers"),
    "seasonal_naive": Beside("steps", refused="texts"),
    "linear_forecast": Beside("steps", {"strengths": [1.0]}, refused="images"),
    "raw_linear": Beside("images", {"side": 8, "strengths": [1.0]}, refused="texts"),
    "lp_ft": Beside("images", {**_RATE, "strengths": [1.0]}, refused="texts"),
    "l2_sp": Beside("images", {**_RATE, "strength": [1.0]}, refused="texts"),
    "wise_ft": Beside("pairs", _RATE, refused="texts"),
    "zero_shot": Beside("pairs", refused="texts"),
    "coop": Beside("pairs", {**_RATE, "size": 2}, refused="texts"),
}
