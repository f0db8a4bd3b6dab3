"""The seasonal naive forecast by a loop, and a linear model that finds a linear series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from datasets import Dataset

from hf_reprogram.baselines.base import Setting
from hf_reprogram.baselines.forecasts import (
    LinearForecast,
    LinearForecastOptions,
    SeasonalNaive,
    SeasonalNaiveOptions,
    repeated,
)
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions


def setting(values, **options):
    """What a baseline needs of a forecast."""
    task = load_task(TaskOptions(Dataset.from_dict({"y": values}), series="y", **options))
    made: Setting = Setting(None, task, task.splits(0), 0, Path(), True, 0, lambda: None)
    return made


def test_the_last_season_is_repeated():
    context = np.random.default_rng(0).normal(size=(3, 10))
    for season, steps in ((1, 4), (4, 9), (10, 3)):
        for row, forecast in zip(context, repeated(context, season, steps), strict=True):
            longer = [*row]
            for _ in range(steps):
                longer.append(longer[len(longer) - season])
            assert forecast.tolist() == longer[10:]


def test_a_periodic_series_has_no_error_at_its_season():
    wave = np.tile([1.0, 5.0, 2.0], 60)
    made = setting(wave, horizon=4, context=9, season=3)
    outcome = SeasonalNaive(SeasonalNaiveOptions()).run(made)
    assert made.task.score(outcome.test, made.splits["test"]["label"][:])["mse"] == 0
    plain = SeasonalNaive(SeasonalNaiveOptions(season=1)).run(made)
    assert made.task.score(plain.test, made.splits["test"]["label"][:])["mse"] > 1


def test_ridge_on_the_context_follows_a_linear_recurrence_beyond_the_levels_of_training():
    steps = np.arange(300)
    made = setting(0.1 * steps + np.sin(steps / 2), horizon=5, context=12)
    outcome = LinearForecast(LinearForecastOptions()).run(made)
    scores = made.task.score(outcome.test, made.splits["test"]["label"][:])
    assert scores["mse"] < 1e-3
    assert outcome.trainable == 5 * (11 + 1)
    assert outcome.chosen["strength"] in LinearForecastOptions().strengths
