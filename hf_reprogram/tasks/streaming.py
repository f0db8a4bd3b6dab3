"""Training on rows that are read while training, so that memory does not grow with the data: `task.streaming: true`.

One pass over the training rows counts them and draws with `task.split_seed`: the rows that are held out for validation and for
testing, where the data has no such splits, and a sample. Everything that looks at the training data as a whole sees the sample:
the label names, a method's vocabulary, the defaults by data, the start of omega and the baselines. Theta and omega are then
trained on all rows but those that are held out (`hf_reprogram.training.stream`).

The sample also holds the first row of every value of a label, so that no class is missing, and a label that cannot be used is
found before training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..modalities.folders import split_called
from ..progress import progress
from .prepare import Columns, prepare
from .problems import PROBLEMS
from .stream_files import Rows

if TYPE_CHECKING:
    import pyarrow as pa

    from .options import TaskOptions

SAMPLE = 10_000  # rows that stand for the training data
MOST_TEST = 10_000  # rows that are tested on, unless the task says how many
BYTES = 2**28  # of the rows that are drawn for one purpose
BUFFER = 10_000  # training rows that are in memory to be shuffled
MOST_VALUES = 10_000  # values of a label


@dataclass
class Stream:
    """The training rows of a streamed task.

    Attributes:
        rows: all rows of the training split.
        held_out: the numbers of the rows that are drawn for validation and testing, sorted.
        size: the number of rows to train on.
        columns: the columns of the task; set once the sample has told them.
        options: the task section of the recipe.
    """

    rows: Rows
    held_out: np.ndarray
    size: int
    options: TaskOptions
    columns: Columns | None = None

    def prepared(self) -> Iterator[Any]:
        """The training rows in their order, as prepared data sets of at most `hf_reprogram.tasks.stream_files.ROWS` rows.

        Raises:
            InputError: an example or a label cannot be used. The message says in which rows.
        """
        assert self.columns is not None
        first = 0
        for table in self.rows.tables():
            after = first + table.num_rows
            kept = np.ones(table.num_rows, bool)
            low, high = np.searchsorted(self.held_out, (first, after))
            kept[self.held_out[low:high] - first] = False
            try:
                ready = prepare(self.rows.dataset(table), self.columns, self.options, "train")
            except InputError as error:
                raise InputError(f"In the rows from {first} of {self.options.dataset!r}: {error}") from error
            yield ready if kept.all() else ready.select(np.flatnonzero(kept))
            first = after


@dataclass
class Drawn:
    """What is drawn from streamed splits.

    Attributes:
        raw: raw data sets: the sample as "train", "validation" and "test".
        stream: the training rows.
        notes: sentences for the model card.
    """

    raw: dict[str, Any]
    stream: Stream
    notes: list[str]


def draw_stream(raw: dict[str, Any], options: TaskOptions, labels: Sequence[str], problem: str) -> Drawn:
    """Read all splits once, and draw what is kept in memory.

    Args:
        raw: the splits by purpose, each `Rows`: "train", and "test" and "validation" if the data has them.
        options: the task section of a recipe.
        labels: the raw columns of labels.
        problem: a key of `hf_reprogram.tasks.problems.PROBLEMS`.

    Raises:
        InputError: a split cannot be read or is empty, or a label column has more than `MOST_VALUES` values.
    """
    limits = {"validation": options.validation_max, "test": options.max_test or MOST_TEST}
    shares = {"validation": options.validation_share, "test": 0.2}
    carved = {purpose: most for purpose, most in limits.items() if purpose not in raw}
    rows = raw["train"]
    draw = _drawn(rows, {**carved, "train": SAMPLE}, options, _Values(labels, problem))
    if draw.total < 10:
        raise InputError(
            f"The training split of {options.dataset!r} has {draw.total} rows: leave task.streaming out for so few."
        )
    kept: dict[str, Any] = {}
    notes: list[str] = []
    held_out = np.empty(0, int)
    for purpose, most in limits.items():
        if purpose in carved:
            places, table = draw.take(min(draw.limits[purpose], max(1, round(shares[purpose] * draw.total))))
            held_out = np.concatenate([held_out, places])
            kept[purpose], there = rows.dataset(table), f"{draw.total:,} training rows, which are not trained on"
        else:
            own = _drawn(raw[purpose], {purpose: most}, options, None)
            if not own.total:
                raise InputError(f"The {purpose} split of {options.dataset!r} is empty: give a split with examples.")
            kept[purpose], there = raw[purpose].dataset(own.take(most)[1]), f"{own.total:,} rows of its split"
        notes.append(f"{purpose.capitalize()} has {len(kept[purpose]):,} of {there}.")
    kept["train"] = rows.dataset(draw.take(draw.limits["train"], always=True)[1])
    _check_split_column(kept["train"], options)
    stream = Stream(rows, np.sort(held_out), draw.total - len(held_out), options)
    notes.append(
        f"{stream.size:,} training rows were streamed. A sample of {len(kept['train']):,} gave label names, vocabulary, "
        "defaults, the start and baselines."
    )
    return Drawn(kept, stream, notes)


def check_streaming(options: TaskOptions) -> None:
    """Raise `InputError` if a task asks for what needs all rows at once."""
    for name, value in {
        "few_shot": options.few_shot,
        "train_size": options.train_size,
        "max_train": options.max_train,
        "split: scaffold": options.split == "scaffold" or None,
    }.items():
        if value is not None:
            raise InputError(
                f"task.streaming reads the training rows one after the other, and task.{name} draws from all of them: leave "
                "one of the two out."
            )


def _drawn(rows: Rows, limits: dict[str, int], options: TaskOptions, values: _Values | None) -> _Draw:
    """A draw from all rows of a split."""
    from datasets import is_progress_bar_enabled

    draw = _Draw(limits, options.split_seed)
    for table in progress(rows.tables(), f"Reading {options.dataset}", 0, not is_progress_bar_enabled()):
        draw.add(table, values.first_rows(table) if values else [])
    return draw


class _Draw:
    """Rows drawn without replacement from any number of them, each with the same chance: those with the smallest random keys.

    Args:
        limits: the number of rows by purpose, which is lowered where so many rows would take more than `BYTES`.
        seed: of the keys.

    Attributes:
        total: the number of rows that were added.
    """

    def __init__(self, limits: dict[str, int], seed: int):
        self.limits, self.total = dict(limits), 0
        self._random = np.random.default_rng(seed)
        self._keys, self._places = np.empty(0), np.empty(0, int)
        self._tables: list[Any] = []
        self._always: list[tuple[np.ndarray, Any]] = []
        self._bound, self._next = 1.0, 0

    def add(self, table: pa.Table, always: Sequence[int]) -> None:
        """Add rows; those whose numbers in the table are in `always` are kept beside the draw, and not drawn."""
        if not self.total and table.num_rows:
            most = max(1, BYTES * table.num_rows // max(table.nbytes, 1))
            self.limits = {purpose: min(limit, most) for purpose, limit in self.limits.items()}
        keys = self._random.random(table.num_rows)
        if always:
            self._always.append((self.total + np.asarray(always), table.take(always)))
            keys[always] = np.inf
        chosen = np.flatnonzero(keys < self._bound)
        self._keys = np.concatenate([self._keys, keys[chosen]])
        self._places = np.concatenate([self._places, self.total + chosen])
        self._tables.append(table.take(chosen))
        self.total += table.num_rows
        if len(self._keys) > 2 * sum(self.limits.values()):
            self._cut()

    def _cut(self) -> None:
        """Keep the smallest keys alone, in their order."""
        import pyarrow as pa

        most = sum(self.limits.values())
        order = np.argsort(self._keys, kind="stable")[:most]
        table = pa.concat_tables(self._tables).take(order).combine_chunks()
        self._keys, self._places, self._tables = self._keys[order], self._places[order], [table]
        if len(order) == most:
            self._bound = self._keys[-1]

    def take(self, count: int, always: bool = False) -> tuple[np.ndarray, pa.Table]:
        """The numbers and the rows of the next `count` of the draw, in the order of the data.

        With `always`, the rows that were kept beside the draw are added.
        """
        import pyarrow as pa

        self._cut()
        low, self._next = self._next, min(self._next + count, len(self._places))
        places, tables = [self._places[low : self._next]], [self._tables[0].slice(low, self._next - low)]
        for more, table in self._always if always else ():
            places.append(more)
            tables.append(table)
        numbers = np.concatenate(places)
        order = np.argsort(numbers)
        return numbers[order], pa.concat_tables(tables).take(order).combine_chunks()


class _Values:
    """Finds the first row of every value of a label.

    Args:
        labels: the columns of labels.
        problem: a key of `hf_reprogram.tasks.problems.PROBLEMS`. A number has no values that are looked for, but one that is
            none is found.
    """

    def __init__(self, labels: Sequence[str], problem: str):
        self.labels, self.problem = labels, problem
        self.seen: dict[str, set[Any]] = {label: set() for label in labels}

    def first_rows(self, table: pa.Table) -> list[int]:
        """The numbers of rows in a table with a value that no row had before."""
        rows: set[int] = set()
        for label in self.labels:
            if label not in table.column_names:
                continue  # told when the columns are looked for
            values, seen = table[label].to_pylist(), self.seen[label]
            for row, value in enumerate(values):
                parts = self._parts(value)
                if not seen.issuperset(parts):
                    seen.update(parts)
                    rows.add(row)
            if len(seen) > MOST_VALUES:
                raise InputError(
                    f"The label column {label!r} has more than {MOST_VALUES:,} values: name another column, or set "
                    "task.regression: true if it holds numbers."
                )
        return sorted(rows)

    def _parts(self, value: Any) -> Iterable[Any]:
        """What of a label has a meaning of its own: a name of a list, a letter of a text with a label per letter."""
        if self.problem == "regression":
            try:
                return () if np.isfinite(float(value)) else ("not finite",)
            except (TypeError, ValueError):
                return ("not finite",)
        if isinstance(value, list):
            return value
        if PROBLEMS[self.problem].per_token and isinstance(value, str):
            return value
        return (value,)


def order_note(labels: np.ndarray, size: int) -> str:
    """A warning if rows are sorted by their label, as training then sees one class after the other; empty if they are not.

    Args:
        labels: class indices (n,) of a sample in the order of the data.
        size: the number of training rows.

    >>> order_note(np.repeat([0, 1], 500), size=10**6)[:41]
    'The training rows are sorted by label, an'
    >>> order_note(np.tile([0, 1], 500), size=10**6)
    ''
    """
    shares = np.bincount(labels) / len(labels)
    expected = 1 - (shares**2).sum()
    if size <= BUFFER or (labels[1:] != labels[:-1]).mean() > expected / 10:
        return ""
    return (
        f"The training rows are sorted by label, and only {BUFFER:,} of them at a time are shuffled: shuffle the data first, "
        "or training sees one class after the other."
    )


def _check_split_column(sample: Any, options: TaskOptions) -> None:
    """Raise `InputError` if a column says which split a row belongs to."""
    name = next((name for name in sample.column_names if name.lower() == "split"), None)
    if name is not None and any(isinstance(value, str) and split_called(value) for value in sample[name]):
        raise InputError(
            f"The column {name!r} of {options.dataset!r} says which split a row belongs to, and task.streaming reads a file "
            "per split: write one for each, or leave task.streaming out."
        )
