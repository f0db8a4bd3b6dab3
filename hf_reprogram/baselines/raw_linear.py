"""A linear model on the raw numbers: the pixels of a small image, or the columns of a table."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..options import check_whole
from ..training.encode import encode, labels_of
from .base import Baseline, Outcome, Setting, check_choices
from .linear import best_linear


@dataclass
class RawLinearOptions:
    """Options of `raw_linear`.

    Attributes:
        side: the side in pixels to which images are resized.
        strengths: inverse L2 strengths; the first seed chooses one on validation.
    """

    side: int = 28
    strengths: list[float] = field(default_factory=lambda: [0.001, 0.01, 0.1, 1.0, 10.0])

    def __post_init__(self):
        check_whole(1, " of pixels", side=self.side)
        check_choices("raw_linear", strengths=self.strengths)


class RawLinear(Baseline):
    """Logistic (or ridge) regression on standardised pixels or columns."""

    title = "linear on raw"
    Options = RawLinearOptions
    letters = False

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        started = time.perf_counter()
        task = setting.task
        processor = task.modality.raw_processor(self.options.side)
        data = encode(setting.splits, processor, None, task.problem_type)
        features = {name: {"raw": _rows(split)} for name, split in data.items()}
        labels = {name: labels_of(split) for name, split in data.items()}
        strengths = [setting.chosen["strength"]] if setting.chosen else self.options.strengths
        chosen, model = best_linear(task, features, labels, strengths, len(task.labels) or 1)
        logits = {split: model.logits(features[split]["raw"]) for split in ("validation", "test")}
        seconds = time.perf_counter() - started
        extra = setting.predict_extra(processor, lambda split: model.logits(_rows(split)))
        return Outcome(logits["validation"], logits["test"], model.trainable, seconds, chosen, extra=extra)


def _rows(split: Any) -> np.ndarray:
    """The pixels or columns of an encoded split, as rows (n, numbers)."""
    return split.read(range(len(split))).reshape(len(split), -1)
