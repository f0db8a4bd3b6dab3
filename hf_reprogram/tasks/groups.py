"""The groups of a task's examples, such as men and women: the option `task.group`.

They are read in training by objectives, and to report the gaps between groups (`hf_reprogram.tasks.fairness`). No model takes
them, and an adapter predicts without them. A table's column of groups is not among its features unless `task.features` lists
it: other columns may tell the group all the same, as that of husbands tells the sex.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..errors import InputError, unknown
from .labels import number_of, written

if TYPE_CHECKING:
    from .options import TaskOptions

MOST_GROUPS = 20


@dataclass(frozen=True)
class Groups:
    """The groups of a task.

    Attributes:
        column: the raw column that holds them.
        names: by number; each is a value of the column.
    """

    column: str
    names: list[str]

    def of(self, data: Any, split: str) -> list[int]:
        """The number of the group of each row of a raw split.

        Raises:
            InputError: there is no such column, a row has no group, or one that `names` lacks.
        """
        places = {name: place for place, name in enumerate(self.names)}
        numbers = []
        for row, value in enumerate(_values(data, self.column)):
            name = written(value)
            if name not in places:
                where = f"Row {row} of the {split} split"
                raise InputError(
                    f"{where} has no group in the column {self.column!r}: fill it in, or leave the row out."
                    if name is None
                    else f"{where} is of the group {name!r}, which the groups {', '.join(self.names)} lack: leave the row out, "
                    "or read the data without task.streaming."
                )
            numbers.append(places[name])
        return numbers

    def note(self, inputs: Sequence[str]) -> str:
        """A sentence for the model card.

        >>> Groups("sex", ["female", "male"]).note(["age"])
        "Groups by the column 'sex' (female, male), which is no input of the model."
        """
        given = "which is an input of the model too" if self.column in inputs else "which is no input of the model"
        return f"Groups by the column {self.column!r} ({', '.join(self.names)}), {given}."


def check_groups(column: str, problem: str) -> None:
    """Raise `InputError` unless a problem can have groups, and what measures the gaps between them is installed.

    >>> check_groups("sex", "regression")
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: task.group is 'sex', and gaps between groups are those of a classification with one label \
per example, not of a regression: leave task.group out.
    """
    if problem != "single_label_classification":
        raise InputError(
            f"task.group is {column!r}, and gaps between groups are those of a classification with one label per example, "
            f"not of a {problem.replace('_', ' ')}: leave task.group out."
        )
    if find_spec("fairlearn") is None:
        raise InputError(
            "The gaps between groups are measured by fairlearn, which is not installed: pip install 'hf_reprogram[fairness]'."
        )


def find_groups(options: TaskOptions, labels: Sequence[str], raw: Mapping[str, Any]) -> Groups:
    """The groups that occur in a column.

    Args:
        options: the task section of a recipe, with `group`.
        labels: the columns that hold labels.
        raw: the raw splits.

    Raises:
        InputError: there is no such column, it holds labels, or it has fewer than 2 or more than `MOST_GROUPS` values.
    """
    column, seen = str(options.group), set()
    if column in labels:
        raise InputError(f"The column {column!r} is both the group and the label: name another one in task.group.")
    for data in raw.values():
        if column not in data.column_names:
            raise unknown(f"group column of {options.dataset!r}", column, data.column_names)
        seen |= {name for value in _values(data, column) if (name := written(value)) is not None}
    if not 2 <= len(seen) <= MOST_GROUPS:
        raise InputError(
            f"The column {column!r} of {options.dataset!r} has {len(seen)} values, and gaps are measured between 2 to "
            f"{MOST_GROUPS} groups: name another column in task.group, or put its values into classes."
        )
    numbers = {name: number_of(name) for name in seen}
    if None in numbers.values():
        return Groups(column, sorted(seen))
    return Groups(column, sorted(seen, key=lambda name: numbers[name] or 0.0))


def _values(data: Any, column: str) -> list[Any]:
    """The values of a raw column, by name if the data declares names."""
    from datasets import ClassLabel

    kind, values = data.features[column], data[column][:]
    if isinstance(kind, ClassLabel):
        return [None if value is None or value < 0 else kind.names[value] for value in values]
    if not all(value is None or isinstance(value, str | bool | int | float) for value in values):
        raise InputError(
            f"The column {column!r} holds {kind}, which names no groups: name another column in task.group."
        )
    return list(values)
