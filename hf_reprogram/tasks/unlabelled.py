"""The `unlabelled:` section of a recipe: more inputs of the same kind, without labels.

    unlabelled: {from_train: 2000}                                # training rows of the task that are in no split
    unlabelled: {dataset: reviews.csv, inputs: text, max: 2000}   # any other data

Labels are removed before anything else is done with these rows. A row that is also in the training, validation or test split of
the run is left out: the first would be there twice, and no method may prepare itself for the very examples that judge it. Two
rows are the same if their inputs are, byte for byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, unknown
from ..options import check_whole
from .inputs import input_columns, prepare_inputs
from .labels import known_task, problem_of
from .memory import held
from .options import TaskOptions
from .problems import PROBLEMS
from .read import read_splits
from .splits import at_most, selected

if TYPE_CHECKING:
    from .task import Task


@dataclass
class UnlabelledOptions:
    """The `unlabelled:` section of a recipe.

    Attributes:
        from_train: the number of rows to draw, with the run's seed, from the training rows of the task that are in none of the
            run's splits; all of them where there are fewer.
        dataset, name, revision, sep, encoding, columns: the address of other data; see
            `hf_reprogram.tasks.options.TaskOptions`.
        inputs: the raw columns of the inputs; by default those of the task, or what the data allows.
        split: the split to read; by default `train`, or the only one.
        max: the largest number of rows of other data, drawn with the run's seed.

    >>> UnlabelledOptions(from_train=2000).max
    2000
    """

    from_train: int | None = None
    dataset: str | None = None
    name: str | None = None
    revision: str | None = None
    sep: str | None = None
    encoding: str | None = None
    columns: list[str] | None = None
    inputs: str | list[str] | None = None
    split: str | None = None
    max: int = 2000

    def __post_init__(self):
        self.dataset = held(self.dataset)
        if (self.from_train is None) == (self.dataset is None):
            raise InputError("unlabelled needs one of from_train and dataset: write unlabelled: {from_train: 2000}.")
        if self.from_train is not None:
            check_whole(1, " of rows", **{"unlabelled.from_train": self.from_train})
            given = [key for key in ("name", "revision", "inputs", "split") if getattr(self, key) is not None]
            if given:
                raise InputError(
                    f"unlabelled.{given[0]} is for other data, and from_train reads the task's: leave it out."
                )
        check_whole(1, " of rows", **{"unlabelled.max": self.max})


@dataclass(frozen=True)
class Unlabelled:
    """Inputs without labels.

    Attributes:
        rows: prepared, with the columns of the task's modality alone.
        left_out: how many rows of the data are also in a split of the run.
    """

    rows: Any
    left_out: int


def check_unlabelled(options: UnlabelledOptions, task: TaskOptions) -> None:
    """Refuse a task that unlabelled rows cannot be prepared for, before anything is loaded.

    Raises:
        InputError: its labels are a part of its inputs, or its training rows are a stream.
    """
    problem = problem_of(task)
    if PROBLEMS[problem].per_token or problem == "forecast":
        raise InputError(
            f"unlabelled is for problems with one label per example, and this one is {problem!r}: leave it out."
        )
    if options.from_train is not None and task.streaming:
        raise InputError(
            "unlabelled.from_train draws from all training rows, and task.streaming reads one after the other."
        )


def unlabelled_rows(options: UnlabelledOptions, task: Task, splits: Any, seed: int) -> Unlabelled:
    """The unlabelled rows of a run.

    Args:
        options: the section of the recipe.
        task: the loaded task.
        splits: its prepared splits for this seed.
        seed: of the draw.

    Raises:
        InputError: the data cannot be read, hold other inputs than the task, or have no row that is not in the splits.
    """
    columns = [name for name in task.train.column_names if name != "label"]
    if options.from_train is not None:
        rows, most = task.train.select_columns(columns), options.from_train
    else:
        rows, most = _other_rows(options, task), options.max
    if sorted(rows.column_names) != sorted(columns):
        raise InputError(
            f"The unlabelled rows have {', '.join(rows.column_names)}, and the task has {', '.join(columns)}."
        )
    taken = {digest for split in splits.values() for digest in _digests(split.select_columns(columns))}
    kept = [place for place, digest in enumerate(_digests(rows)) if digest not in taken]
    if not kept:
        raise InputError(
            f"None of the {len(rows):,} unlabelled rows is left, since all are in a split of this run: label fewer with "
            "task.train_size or task.few_shot, or name other data."
        )
    return Unlabelled(at_most(selected(rows, np.asarray(kept)), most, seed), len(rows) - len(kept))


def _other_rows(options: UnlabelledOptions, task: Task) -> Any:
    """The prepared rows of other data; a label never leaves this function's first lines."""
    modality = task.modality
    given: dict[str, Any] = {key: getattr(options, key) for key in ("name", "revision", "sep", "encoding", "columns")}
    given[modality.column] = options.inputs
    address = TaskOptions(dataset=options.dataset or "", **given)
    raw, known = read_splits(address), known_task(address)
    split = options.split or (known.train_split if known else next(iter(raw)) if len(raw) == 1 else "train")
    if split not in raw:
        raise unknown(f"split of {options.dataset!r}", split, raw)
    data = raw[split]
    if options.inputs is None and not known and {*task.columns} <= {*data.column_names}:
        inputs = task.columns
    else:
        found, inputs, _ = input_columns(address, data, modality.takes)
        if found is not modality:
            raise InputError(f"The unlabelled rows are {found.noun}, and the task's examples are {modality.noun}.")
    if missing := [name for name in inputs if name not in data.column_names]:
        raise unknown(f"column of {options.dataset!r}", missing[0], data.column_names)
    return prepare_inputs(data.select_columns(inputs), modality, inputs, "unlabelled", address)


def _digests(rows: Any) -> Iterator[bytes]:
    """A digest of the inputs of each prepared row; encoded images and sounds are not decoded."""
    from datasets import Audio, Image

    for name, kind in rows.features.items():
        if isinstance(kind, Image | Audio):
            rows = rows.cast_column(name, type(kind)(decode=False))
    for start in range(0, len(rows), 1000):
        values = rows[start : start + 1000].values()
        for row in zip(*values, strict=True):
            yield hashlib.blake2b(b"\0".join(map(_bytes, row)), digest_size=16).digest()


def _bytes(value: Any) -> bytes:
    """The content of an input.

    >>> _bytes("film") == _bytes({"bytes": b"film", "path": None})
    True
    """
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    if isinstance(value, dict) and {"bytes", "path"} <= {*value}:
        if value["bytes"] is not None:
            return bytes(value["bytes"])
        return Path(value["path"]).read_bytes() if value["path"] and Path(value["path"]).is_file() else b""
    if isinstance(value, dict):
        return b"".join(map(_bytes, value.values()))
    return b"" if value is None else np.asarray(value, np.float64).tobytes()
