"""Forecasts: one series or several, cut into windows that are split by time.

    series    y_0 ... y_N-1               one row per time step, or one list per row
    window    y_i ... y_i+c-1  ->  y_i+c ... y_i+c+h-1          context c, horizon h, at every step i

The first steps are for training, the next for validation, the last fifth for test. A window belongs to the block that holds all
of its targets; windows whose targets lie in two blocks are left out. So no target of validation or test was seen in training,
while the context of a window may reach back into an earlier block, as it does when a forecast is made. Several series are each
divided at the same shares of their length.

The values stay in their own units. MSE and MAE are those of the standardised series, as published results have them: mean and
deviation are those of the steps of the training block. MASE (Hyndman and Koehler 2006) divides the absolute error by that of
the seasonal naive forecast within the training block, `mean |y_t - y_t-m|` with the season m.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, shown, unknown
from ..modalities import MODALITIES
from .metrics import check_metric
from .options import TaskOptions
from .problems import PROBLEMS
from .read import read_splits
from .task import ForecastScale, Task

if TYPE_CHECKING:
    from datasets import Dataset

TEST_SHARE = 0.2
CONTEXT = 4  # horizons of a context, unless the task says how long it is


def forecast_task(options: TaskOptions, steps: Sequence[str] | None = None, takes: str | None = None) -> Task:
    r"""The windows of a task with a horizon.

    Args:
        options: the task section of a recipe.
        steps: the names of an adapter's steps, which are as many as the task's.
        takes: what a model's `forward` calls its examples, which must be series.

    Raises:
        InputError: the series cannot be read, or is too short, or an option does not fit a forecast.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "days.csv")
    ...     size = path.write_text("value\n" + "\n".join(map(str, range(100))))
    ...     task = forecast_task(TaskOptions(str(path), series="value", horizon=2, context=4))
    >>> task.sizes, task.test["series"][0], task.test["label"][0]
    ({'train': 67, 'validation': 7, 'test': 19}, [76.0, 77.0, 78.0, 79.0], [80.0, 81.0])
    """
    _check_options(options)
    modality, horizon, context = MODALITIES["series"], horizon_of(options), context_of(options)
    if takes not in (None, modality.takes):
        raise InputError("A forecast reads time series, and the model takes other examples: leave task.horizon out.")
    names = [f"t+{step + 1}" for step in range(horizon)]
    if steps is not None and list(steps) != names:
        raise InputError(f"The adapter forecasts {len(steps)} steps, and task.horizon is {horizon}: give the same.")
    raw = read_splits(options)
    if len(raw) > 1:
        raise InputError(
            f"A forecast is split by time, and {options.dataset!r} has the splits {', '.join(raw)}: give all time steps in "
            "one file."
        )
    column, series = read_series(next(iter(raw.values())), options)
    blocks = [time_blocks(len(one), options.validation_share) for one in series]
    limits = {"train": options.max_train, "validation": options.validation_max, "test": options.max_test}
    ready, notes = {}, [_note(options, context)]
    for place, (split, most) in enumerate(limits.items()):
        starts = [
            (row, start)
            for row, (one, block) in enumerate(zip(series, blocks, strict=True))
            for start in window_starts(block[place], block[place + 1], context, horizon)
        ]
        if not starts:
            raise InputError(_too_short(series, split, options, context))
        if most is not None and len(starts) > most:
            drawn = np.random.default_rng(options.split_seed).permutation(len(starts))[:most]
            notes.append(f"Of {len(starts):,} {split} windows {most:,} were drawn with seed {options.split_seed}.")
            starts = [starts[index] for index in np.sort(drawn)]
        ready[split] = _windows(series, starts, context, horizon)
    past = [one[: block[1]] for one, block in zip(series, blocks, strict=True)]
    scale = scale_of(past, options.season or 1)
    return Task(
        options=options,
        train=ready["train"],
        test=ready["test"],
        validation=ready["validation"],
        problem_type="forecast",
        labels=names,
        metrics=_metrics(options, scale),
        average="macro",
        test_split=f"the last {TEST_SHARE:.0%} of the time steps",
        columns=[column],
        carve_by="time",
        notes=notes,
        scale=scale,
    )


def horizon_of(options: TaskOptions) -> int:
    """The number of steps that a task forecasts."""
    if options.horizon is None:
        raise InputError("A forecast has a number of steps: give it in task.horizon.")
    return options.horizon


def context_of(options: TaskOptions) -> int:
    """The number of steps that a forecast goes on from; by default four horizons.

    >>> context_of(TaskOptions("days.csv", horizon=24))
    96
    """
    return options.context or CONTEXT * horizon_of(options)


def read_series(rows: Dataset, options: TaskOptions) -> tuple[str, list[np.ndarray]]:
    """The column of a task's series, and the series (steps,) of a raw split.

    Args:
        rows: one row per time step with a column of numbers, or one row per series with a column of lists.
        options: the task section of a recipe.

    Raises:
        InputError: there is no such column or there are several, the rows are not in the order of `task.time`, or a value is
            missing or no number; the message names the row.
    """
    column = _column(rows, options)
    if getattr(rows.features[column], "feature", None) is not None:
        lists = [
            _numbers(one or [], f"Step {{}} of row {row} of {options.dataset!r}", column)
            for row, one in enumerate(rows[column][:])
        ]
        return column, lists
    if options.time is not None:
        _check_order(rows, options.time, options)
    return column, [_numbers(rows[column][:], f"Row {{}} of {options.dataset!r}", column)]


def time_blocks(steps: int, validation_share: float) -> tuple[int, int, int, int]:
    """The first step of the blocks of training, validation and test, and the number of steps.

    >>> time_blocks(100, validation_share=0.1)
    (0, 72, 80, 100)
    """
    test = steps - round(TEST_SHARE * steps)
    return 0, test - round(validation_share * test), test, steps


def window_starts(first: int, end: int, context: int, horizon: int) -> range:
    """The first steps of the windows whose targets all lie in the steps from `first` to before `end`.

    >>> list(window_starts(10, 14, context=4, horizon=2))  # targets 10 and 11, 11 and 12, 12 and 13
    [6, 7, 8]
    """
    return range(max(0, first - context), max(0, end - context - horizon + 1))


def scale_of(past: Sequence[np.ndarray], season: int) -> ForecastScale:
    """The scale of the errors, from the steps of the training blocks.

    Args:
        past: the training block of every series (steps,).
        season: m, the steps after which the series repeats itself.

    >>> scale_of([np.array([1.0, 3.0, 1.0, 3.0])], season=1)
    ForecastScale(mean=2.0, deviation=1.0, naive=2.0)
    """
    steps = np.concatenate(past)
    changes = [np.abs(one[season:] - one[:-season]) for one in past if len(one) > season]
    naive = float(np.concatenate(changes).mean()) if changes else 0.0
    deviation = float(steps.std())
    return ForecastScale(float(steps.mean()), deviation if deviation > 0 else 1.0, naive)


def _windows(series: list[np.ndarray], starts: list[tuple[int, int]], context: int, horizon: int) -> Dataset:
    """A prepared split with the columns `series`, the context, and `label`, the horizon."""
    from datasets import Dataset, Features, List, Value

    places = np.arange(context + horizon)
    rows = np.stack([series[row][start + places] for row, start in starts]).astype(np.float32)
    kinds = Features({"series": List(Value("float32")), "label": List(Value("float32"))})
    return Dataset.from_dict({"series": [*rows[:, :context]], "label": [*rows[:, context:]]}, features=kinds)


def _check_options(options: TaskOptions) -> None:
    """Raise `InputError` for options that a forecast has no use for."""
    for name, value in (("label", options.label), ("labels", options.labels), ("scored", options.scored)):
        if value is not None:
            raise InputError(f"A forecast predicts the series itself: leave task.{name} out.")
    for name in ("few_shot", "split", "train_split", "validation_split", "test_split", "max_length"):
        if getattr(options, name) is not None:
            raise InputError(f"A forecast has windows that are split by time: leave task.{name} out.")
    if options.streaming:
        raise InputError("A forecast is split by time, which a stream does not tell: leave task.streaming out.")
    if options.season is not None and options.season > context_of(options):
        raise InputError(
            f"task.season is {options.season}, and the context has {context_of(options)} steps: give a context of at least one "
            "season."
        )
    for name in options.metrics or ():
        check_metric(name, PROBLEMS["forecast"].takes, "forecast")


def _metrics(options: TaskOptions, scale: ForecastScale) -> list[str]:
    """The metrics of a task; by default without MASE where it is undefined."""
    if options.metrics and "mase" in options.metrics and not scale.naive:
        raise InputError(
            "MASE is undefined, as the naive forecast of the training steps has no error: leave mase out of task.metrics."
        )
    usual = [name for name in PROBLEMS["forecast"].metrics if name != "mase" or scale.naive]
    return list(options.metrics or usual)


def _column(rows: Dataset, options: TaskOptions) -> str:
    """The column that holds the series."""
    named = options.series
    if named is not None and len(named) > 1:
        raise InputError(
            f"task.series names {len(named)} columns, and a forecast is of one series: name one column, and run the recipe "
            "once for each."
        )
    if named is not None:
        if named[0] not in rows.column_names:
            raise unknown(f"column of {options.dataset!r}", named[0], rows.column_names)
        return named[0]
    fitting = [name for name in rows.column_names if name != options.time and _holds_numbers(rows, name)]
    if len(fitting) != 1:
        raise InputError(
            f"The task does not say which column of {options.dataset!r} holds the series: name one of "
            f"{', '.join(map(repr, fitting or rows.column_names))} in task.series."
        )
    return fitting[0]


def _holds_numbers(rows: Dataset, name: str) -> bool:
    """Whether the first values of a column are numbers, or lists of them."""
    kind = rows.features[name]
    kind = getattr(kind, "feature", kind)
    if str(getattr(kind, "dtype", "")).startswith(("int", "uint", "float")):
        return True
    try:
        return bool(np.isfinite(np.asarray(rows[name][:10], dtype=np.float64)).all())
    except (TypeError, ValueError):
        return False


def _numbers(values: Sequence[Any], place: str, column: str) -> np.ndarray:
    """A series (steps,) of finite numbers.

    Args:
        values: of the steps.
        place: how a message names a step, with {} for its number.
        column: the name of the column.

    Raises:
        InputError: a value is missing or no number.
    """
    for step, value in enumerate(values):
        if isinstance(value, list | np.ndarray):
            raise InputError(
                f"{place.format(step)} has {len(value)} channels in the column {column!r}: give series of one channel."
            )
        try:
            number = float("nan" if value in (None, "") or isinstance(value, bool) else value)
        except (TypeError, ValueError):
            number = float("nan")
        if not np.isfinite(number):
            missing = value in (None, "") or value != value
            what = "no value" if missing else shown(value, 40)
            raise InputError(
                f"{place.format(step)} has {what} in the column {column!r}: a forecast needs a number at every step, so fill "
                "it in first."
            )
    return np.asarray(values, dtype=np.float64)


def _check_order(rows: Dataset, time: str, options: TaskOptions) -> None:
    """Raise `InputError` unless the times are in ascending order, each once."""
    from pandas import Series, to_datetime, to_numeric

    if time not in rows.column_names:
        raise unknown(f"column of {options.dataset!r}", time, rows.column_names)
    raw = Series(rows[time][:])
    times = to_numeric(raw, errors="coerce")
    if times.isna().any():
        times = to_datetime(raw, errors="coerce")
    for wrong, why in ((times.isna(), "is no time"), (times <= times.shift(), "")):
        if wrong.any():
            row = int(wrong.idxmax())
            reason = why or f"does not come after {shown(raw[row - 1], 40)}"
            raise InputError(
                f"Row {row} of {options.dataset!r} has {shown(raw[row], 40)} in the column {time!r}, which {reason}: sort the "
                "rows by time, with one row per step."
            )


def _too_short(series: list[np.ndarray], split: str, options: TaskOptions, context: int) -> str:
    longest = max(map(len, series), default=0)
    return (
        f"The longest series of {options.dataset!r} has {longest:,} steps, too few for a {split} window with a context of "
        f"{context} and a horizon of {options.horizon} steps: give a longer series, a shorter context or a shorter horizon."
    )


def _note(options: TaskOptions, context: int) -> str:
    return (
        f"Windows of {context} steps and the {options.horizon} that follow, split by time: the last {TEST_SHARE:.0%} of the "
        f"steps are for test, {options.validation_share:.0%} of those before for validation. MSE and MAE are in units of the "
        f"training steps' deviation, and MASE in those of the naive forecast with a season of {options.season or 1}."
    )


def shown_forecasts(windows: Any, forecasts: np.ndarray, season: int | None = None) -> dict[str, Any]:
    """What a plot of forecasts shows: the first, the middle and the last window of a split, and the error by step.

    Args:
        windows: a split of a task, with the columns `series` and `label`.
        forecasts: (n, horizon) for its n windows.
        season: after how many steps the series repeats itself, if that is known.

    Returns:
        `season` is this number or 1, `windows` has a dictionary of `context`, `truth` and `forecast` per window, and
        `mae_by_step` the mean absolute error of each step over all windows. Values are in the units of the series.

    >>> windows = {"series": [[1.0, 2.0], [2.0, 3.0]], "label": [[3.0], [4.0]]}
    >>> shown = shown_forecasts(windows, np.array([[2.5], [4.5]]))
    >>> len(shown["windows"]), shown["windows"][0], shown["mae_by_step"]
    (2, {'context': [1.0, 2.0], 'truth': [3.0], 'forecast': [2.5]}, [0.5])
    """
    truth = np.asarray(windows["label"][:], np.float64)
    rows = sorted({0, len(truth) // 2, len(truth) - 1})

    def rounded(values: Any) -> list[float]:
        return [float(f"{value:.6g}") for value in values]

    return {
        "windows": [
            {
                "context": rounded(windows["series"][row]),
                "truth": rounded(truth[row]),
                "forecast": rounded(forecasts[row]),
            }
            for row in rows
        ],
        "season": season or 1,
        "mae_by_step": rounded(np.abs(truth - forecasts).mean(0)),
    }


def latest_series(file: str, task: dict[str, Any]) -> Iterator[list[float]]:
    """The last context of every series of a file, from which an adapter goes on.

    Args:
        file: in the format of the data that the adapter was trained on.
        task: the task section of its recipe.
    """
    kept = ("series", "time", "horizon", "context", "sep", "encoding", "columns")
    options = TaskOptions(file, **{name: task[name] for name in kept if task.get(name) is not None})
    for one in read_series(next(iter(read_splits(options).values())), options)[1]:
        yield one[-context_of(options) :].tolist()
