"""The class that is most frequent in train; for a regression its mean."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from .base import Baseline, Outcome, Setting


@dataclass
class MajorityOptions:
    """None."""


class Majority(Baseline):
    """Predicts one value for everything: what a score must beat to mean anything."""

    title = "majority class"
    Options = MajorityOptions

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        started = time.perf_counter()
        labels = np.asarray(setting.splits["train"]["label"])
        value = labels.mean() if setting.task.regression else np.bincount(labels).argmax()
        predicted = {name: np.full(len(setting.splits[name]), value) for name in ("validation", "test")}
        return Outcome(predicted["validation"], predicted["test"], 0, time.perf_counter() - started)
