"""A linear model on the raw numbers: the pixels of a small image, or the columns of a table."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ..errors import InputError
from ..methods.images import image_processor
from ..training.encode import encode, labels_of
from .base import Baseline, Outcome, Setting
from .linear import best_linear


@dataclass
class RawLinearOptions:
    """Options of `raw_linear`.

    Attributes:
        side: to which images are resized, in pixels.
        strengths: inverse L2 strengths to choose from on validation, on the first seed.
    """

    side: int = 28
    strengths: list[float] = field(default_factory=lambda: [0.001, 0.01, 0.1, 1.0, 10.0])

    def __post_init__(self):
        if type(self.side) is not int or self.side < 1:
            raise InputError(f"side is {self.side!r}: give a whole number of pixels, 1 or more.")


class RawLinear(Baseline):
    """Logistic (or ridge) regression on standardised pixels or columns."""

    title = "linear on raw"
    Options = RawLinearOptions
    modalities = ("image", "table")

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        started = time.perf_counter()
        task = setting.task
        processor = image_processor((self.options.side,) * 2) if task.modality == "image" else None
        data = encode(setting.splits, processor, None, task.problem_type)
        rows = {name: split.read(range(len(split))) for name, split in data.items()}
        features = {name: {"raw": found.reshape(len(found), -1)} for name, found in rows.items()}
        labels = {name: labels_of(split) for name, split in data.items()}
        strengths = [setting.chosen["strength"]] if setting.chosen else self.options.strengths
        chosen, model = best_linear(task, features, labels, strengths, len(task.labels) or 1)
        logits = {split: model.logits(features[split]["raw"]) for split in ("validation", "test")}
        return Outcome(logits["validation"], logits["test"], model.trainable, time.perf_counter() - started, chosen)
