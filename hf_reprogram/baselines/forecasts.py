"""Baselines of forecasts: the last season once more, and a linear model of the context.

    seasonal naive    y_c+k = y_c+k-m, ...                   m the season: the last m steps are repeated
    linear            y_c+k = y_c-1 + W_k (y_0 - y_c-1, ..., y_c-2 - y_c-1) + b_k

Differences from the last step are those of NLinear (Zeng et al. 2023, arXiv 2205.13504, "Are transformers effective for time
series forecasting?"), which is trained by gradient steps. Here W is a ridge regression.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from ..options import check_whole
from .base import Baseline, Outcome, Setting, check_choices
from .linear import best_linear


@dataclass
class SeasonalNaiveOptions:
    """Options of `seasonal_naive`.

    Attributes:
        season: the steps that are repeated; by default that of the task.
    """

    season: int | None = None

    def __post_init__(self) -> None:
        if self.season is not None:
            check_whole(1, " of time steps", season=self.season)


class SeasonalNaive(Baseline):
    """The last season of the context, as often as the horizon needs it. Nothing is trained."""

    title = "seasonal naive"
    Options = SeasonalNaiveOptions
    letters = False
    forecasts_only = True

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        started = time.perf_counter()
        season = self.options.season or setting.task.options.season or 1
        steps = len(setting.task.labels)
        found = {
            split: repeated(np.asarray(setting.splits[split]["series"][:], np.float64), season, steps)
            for split in ("validation", "test")
        }
        return Outcome(found["validation"], found["test"], 0, time.perf_counter() - started)


def repeated(context: np.ndarray, season: int, steps: int) -> np.ndarray:
    """Forecasts (n, steps) that repeat the last `season` steps of contexts (n, c); all of a shorter context.

    >>> repeated(np.array([[1.0, 2.0, 3.0]]), season=2, steps=3).tolist()
    [[2.0, 3.0, 2.0]]
    """
    last = context[:, -season:]
    return last[:, np.arange(steps) % last.shape[1]]


@dataclass
class LinearForecastOptions:
    """Options of `linear_forecast`.

    Attributes:
        strengths: inverse L2 strengths; the first seed chooses one on validation.
    """

    strengths: list[float] = field(default_factory=lambda: [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0])

    def __post_init__(self) -> None:
        check_choices("linear_forecast", strengths=self.strengths)


class LinearForecast(Baseline):
    """Ridge regression of the next steps on the context, as differences from its last step."""

    title = "linear forecast"
    Options = LinearForecastOptions
    letters = False
    forecasts_only = True

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        started = time.perf_counter()
        task, past, last, labels = setting.task, {}, {}, {}
        for split, data in setting.splits.items():
            series = np.asarray(data["series"][:], np.float64)
            last[split] = series[:, -1:]
            past[split] = series[:, :-1] - last[split] if series.shape[1] > 1 else series
            labels[split] = np.asarray(data["label"][:], np.float64) - last[split]
        strengths = [setting.chosen["strength"]] if setting.chosen else self.options.strengths
        features = {split: {"past": rows} for split, rows in past.items()}
        chosen, model = best_linear(task, features, labels, strengths, len(task.labels))
        logits = {split: last[split] + model.logits(past[split]) for split in ("validation", "test")}
        seconds = time.perf_counter() - started
        return Outcome(logits["validation"], logits["test"], model.trainable, seconds, chosen)
