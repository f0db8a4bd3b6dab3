"""Windows of a series that are split by time, the units of their errors, and what no forecast can be made of."""

from __future__ import annotations

import json

import numpy as np
import pytest
from datasets import Dataset

from hf_reprogram import InputError
from hf_reprogram.tasks.forecast import scale_of, time_blocks, window_starts
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions

STEPS = np.round(np.sin(np.arange(100) / 3) + np.arange(100) / 50, 3)


def task(path, values=STEPS, **options):
    """The task of a csv file with a row per time step."""
    rows = [f"{step},{value}" for step, value in enumerate(values)]
    path = path / "steps.csv"
    path.write_text("\n".join(["day,value", *rows]))
    return load_task(TaskOptions(str(path), **{"series": "value", "horizon": 3, "context": 8, **options}))


def test_every_window_is_the_series_at_its_place_and_no_target_is_in_two_blocks(tmp_path):
    made = task(tmp_path, np.arange(100))
    targets = {}
    for split, rows in made.splits(0).items():
        windows = [[*context, *label] for context, label in zip(rows["series"], rows["label"], strict=True)]
        assert all(np.diff(window).tolist() == [1] * 10 for window in windows)
        targets[split] = {step for label in rows["label"] for step in label}
        assert len(rows) == len(targets[split]) - 2
    assert not targets["train"] & targets["validation"]
    assert not targets["train"] & targets["test"]
    assert not targets["validation"] & targets["test"]
    assert max(targets["train"]) < min(targets["validation"])
    assert max(targets["validation"]) < min(targets["test"])
    assert (min(targets["train"]), max(targets["test"])) == (8, 99)
    assert targets["validation"] == set(range(72, 80))
    assert max(max(row) for row in made.train["series"]) < 72


def test_no_target_of_a_later_block_is_an_input_or_target_of_training_for_any_size():
    for steps in range(30, 60):
        _, validation, test, end = time_blocks(steps, 0.2)
        for context, horizon in ((4, 1), (5, 3)):
            train = window_starts(0, validation, context, horizon)
            assert train[-1] + context + horizon <= validation
            assert window_starts(validation, test, context, horizon)[0] + context == validation
            assert window_starts(test, end, context, horizon)[-1] + context + horizon == end


def test_errors_are_those_of_the_standardised_series_and_mase_is_by_hand(tmp_path):
    made = task(tmp_path, season=4, metrics=["mse", "mae", "mase", "rmse"])
    past = STEPS[:72]
    assert (made.scale.mean, made.scale.deviation) == pytest.approx((past.mean(), past.std()))
    naive = np.mean([abs(past[step] - past[step - 4]) for step in range(4, 72)])
    assert made.scale.naive == pytest.approx(naive)
    labels = np.asarray(made.test["label"][:])
    forecast = labels + np.random.default_rng(0).normal(size=labels.shape)
    error = forecast - labels
    assert made.score(forecast, labels) == pytest.approx(
        {
            "mse": np.mean(error**2) / past.std() ** 2,
            "mae": np.mean(abs(error)) / past.std(),
            "mase": np.mean(abs(error)) / naive,
            "rmse": np.sqrt(np.mean(error**2)) / past.std(),
        },
        rel=1e-6,
    )
    assert made.benefit({"mse": 2.0}) == -2.0


def test_mase_is_left_out_or_refused_where_the_naive_forecast_has_no_error(tmp_path):
    wave = [1, 2, 3, 4] * 25
    assert task(tmp_path, wave, season=4).metrics == ["mse", "mae"]
    with pytest.raises(InputError, match="MASE is undefined"):
        task(tmp_path, wave, season=4, metrics=["mase"])


def test_a_column_of_lists_is_split_series_by_series(tmp_path):
    series = [np.arange(50.0), 1000 + np.arange(80.0)]
    path = tmp_path / "series.parquet"
    Dataset.from_dict({"load": series}).to_parquet(path)
    made = load_task(TaskOptions(str(path), horizon=2, context=5))
    last = [row[-1] for row in made.test["label"]]
    assert (max(step for step in last if step < 500), max(last)) == (49, 1079)
    assert all(
        label[0] == context[-1] + 1 for context, label in zip(made.train["series"], made.train["label"], strict=True)
    )
    assert scale_of([np.arange(36.0), 1000 + np.arange(58.0)], 1) == made.scale


def test_windows_are_drawn_with_the_split_seed_before_they_are_made(tmp_path):
    made = task(tmp_path, max_train=10, max_test=4, validation_max=2)
    assert made.sizes == {"train": 10, "validation": 2, "test": 4}
    again = task(tmp_path, max_train=10, max_test=4, validation_max=2)
    assert made.train["series"][:] == again.train["series"][:]
    assert made.train["series"][:] != task(tmp_path, max_train=10, split_seed=1).train["series"][:]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"horizon": 0}, "task.horizon is 0: give a whole number of time steps, 1 or more."),
        ({"horizon": 30}, "has 100 steps, too few for a validation window with a context of 8 and a horizon of 30"),
        ({"context": 90}, "too few for a train window"),
        ({"series": ["day", "value"]}, "names 2 columns, and a forecast is of one series"),
        ({"series": None}, "name one of 'day', 'value' in task.series"),
        ({"series": "load"}, "'load'"),
        ({"label": "value"}, "predicts the series itself: leave task.label out"),
        ({"season": 9}, "task.season is 9, and the context has 8 steps"),
        ({"metrics": ["pearson"]}, "The metric 'pearson' does not fit the problem 'forecast'"),
        ({"few_shot": 2}, "leave task.few_shot out"),
        ({"horizon": None}, "task.context is for a forecast"),
        ({"regression": True}, "leave task.problem and task.regression out"),
    ],
)
def test_options_that_cannot_work_are_refused_in_a_sentence(tmp_path, options, sentence):
    with pytest.raises(InputError) as error:
        task(tmp_path, **options)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_problem_without_a_horizon_is_refused():
    with pytest.raises(InputError, match=r"give it in task.horizon"):
        TaskOptions("steps.csv", problem="forecast")


@pytest.mark.parametrize(("value", "said"), [("", "no value"), ("nan", "'nan'"), ("warm", "'warm'"), ("inf", "'inf'")])
def test_a_step_without_a_number_is_refused_with_its_row(tmp_path, value, said):
    values = [*STEPS[:50], value, *STEPS[50:]]
    with pytest.raises(InputError, match=f"Row 50 of .* has {said} in the column 'value': a forecast needs a number"):
        task(tmp_path, values)


def test_several_channels_and_splits_are_refused(tmp_path):
    path = tmp_path / "channels.jsonl"
    path.write_text(json.dumps({"load": [[1.0, 2.0]] * 40}) + "\n")
    with pytest.raises(InputError, match="has 2 channels in the column 'load': give series of one channel"):
        load_task(TaskOptions(str(path), series="load", horizon=2))
    both = {"train": Dataset.from_dict({"load": STEPS}), "test": Dataset.from_dict({"load": STEPS})}
    with pytest.raises(InputError, match=r"split by time, and .* has the splits train, test"):
        load_task(TaskOptions(both, series="load", horizon=2))


def test_rows_out_of_the_order_of_time_are_refused(tmp_path):
    assert task(tmp_path, time="day").sizes["test"] == 18
    path = tmp_path / "steps.csv"
    lines = path.read_text().split("\n")
    path.write_text("\n".join([*lines[:40], lines[41], lines[40], *lines[42:]]))
    with pytest.raises(InputError, match=r"Row 40 of .* has '39' in the column 'day', which does not come after '40'"):
        load_task(TaskOptions(str(path), series="value", horizon=2, time="day"))
    path.write_text(
        "\n".join(["day,value", "2020-01-01,1", "yesterday,2", *(f"2020-02-{day:02},3" for day in range(1, 29))])
    )
    with pytest.raises(InputError, match=r"Row 1 of .* has 'yesterday' in the column 'day', which is no time"):
        load_task(TaskOptions(str(path), series="value", horizon=2, time="day"))
