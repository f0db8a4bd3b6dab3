"""The labels of a task: the problem type, the columns that hold them, and their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, shown, unknown
from ..label_names import label_list
from .catalog import CATALOG, KnownTask, on_hub
from .memory import InMemory
from .problems import PROBLEMS

if TYPE_CHECKING:
    from .options import TaskOptions


def known_task(options: TaskOptions) -> KnownTask | None:
    """The catalog's entry for a task; None if it has none, or if a file or folder has the data set's name.

    >>> from hf_reprogram.tasks.options import TaskOptions
    >>> known_task(TaskOptions("glue", "rte")).metrics
    ('accuracy',)
    """
    if not isinstance(options.dataset, InMemory) and Path(options.dataset).exists():
        return None
    address, name = on_hub(options.dataset, options.name)
    return CATALOG.get((address, name or ""))


def problem_of(options: TaskOptions) -> str:
    """The problem type of a task before its data is read; see `TaskOptions.problem`.

    >>> from hf_reprogram.tasks.options import TaskOptions
    >>> problem_of(TaskOptions("molecules.csv", text="smiles", label=["toxic", "soluble"]))
    'multi_label_classification'
    """
    known = known_task(options)
    if options.horizon is not None:
        return "forecast"
    if options.problem is not None:
        return options.problem
    if options.regression is not None:
        return "regression" if options.regression else "single_label_classification"
    columns = options.label or (known.label if known else None)
    if known is not None and columns in (known.label, list(known.label)):
        return known.problem
    several = isinstance(options.label, list) and len(options.label) > 1
    return "multi_label_classification" if several else "single_label_classification"


def named_labels(options: TaskOptions, known: KnownTask | None) -> list[str]:
    """The names of the label columns that a task or the catalog gives; by default `label`."""
    columns = options.label or (known.label if known else "label")
    return [columns] if isinstance(columns, str) else list(columns)


def label_columns(options: TaskOptions, known: KnownTask | None, train: Any) -> list[str]:
    """The names of the label columns in the raw training split; a multi-label problem has several.

    Raises:
        InputError: the split lacks a column.
    """
    columns = named_labels(options, known)
    for column in columns:
        if column not in train.column_names:
            raise unknown(f"label column of {options.dataset!r}", column, train.column_names)
    return columns


@dataclass(frozen=True)
class Classes:
    """The classes of a task, or its several labels.

    Attributes:
        names: by index.
        places: the index of each value that the data holds, by the value as `written` writes it.
    """

    names: list[str]
    places: dict[str, int]

    @cached_property
    def _numbers(self) -> dict[float, int]:
        """The index of each value by its number; empty unless every value is one."""
        numbers = [number_of(value) for value in self.places]
        return {} if None in numbers else dict(zip(numbers, self.places.values(), strict=True))  # type: ignore[arg-type]

    def place(self, value: Any) -> int | None:
        """The index of a raw value, or None if it is none of these classes; 1.0 is the class 1.

        >>> Classes(["no", "yes"], {"0": 0, "1": 1}).place(1.0)
        1
        """
        name = written(value)
        if name is None or name in self.places:
            return self.places.get(name or "")
        return self._numbers.get(number_of(name))  # type: ignore[arg-type]

    def ordered(self, names: Sequence[str]) -> Classes:
        """The same classes among `names`, which may hold others too and in another order."""
        return Classes(list(names), {value: names.index(self.names[place]) for value, place in self.places.items()})


def written(value: Any) -> str | None:
    """A raw label as a text: `true`, `3` (of 3.0 too), or a text as it is; None where there is no label.

    >>> [written(value) for value in (True, 3.0, "03", None)]
    ['true', '3', '03', None]
    """
    if value is None or value == "" or value != value:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def number_of(text: str) -> float | None:
    """The number that a text writes, or None.

    >>> number_of("-1"), number_of("01"), number_of("one")
    (-1.0, 1.0, None)
    """
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number - number == 0 and "_" not in text else None


def label_classes(
    options: TaskOptions,
    known: KnownTask | None,
    problem: str,
    columns: list[str],
    train: Any,
    expected: Sequence[str] | None = None,
) -> Classes:
    """The classes of a problem, or its several labels; none for a number and for infilling.

    Args:
        options, known: the task, and its entry in the catalog.
        problem: a key of `hf_reprogram.tasks.problems.PROBLEMS`.
        columns: of the labels.
        train: the raw training split.
        expected: the labels of an adapter, of which the data may lack some. They decide the order.

    Raises:
        InputError: a name stands for no value, a value has no name, or there are fewer than two classes.
    """
    from datasets import ClassLabel

    _check_lists(train, columns, problem)
    if problem in ("regression", "infilling"):
        return Classes([], {})
    column = columns[0]
    kind = train.features[column]
    declared: list[str] | None = None
    if problem == "multi_label_classification":
        values = several_values(columns, train)
    elif problem == "token_classification":
        values = sorted({letter for text in train[column][:] if isinstance(text, str) for letter in text})
    elif isinstance(kind, ClassLabel):
        declared = values = list(kind.names)
    else:
        values = _values(column, train)
    what = f"the column {column!r} holds" if len(columns) == 1 else "the label columns are"
    if options.labels:
        named = _named(options.labels, values, what, lacks=expected is not None, ordered=len(columns) > 1)
    elif known is not None and known.labels:
        named = _of_catalog(list(known.labels), values, declared)
    elif expected is not None:
        named = _named(list(expected), values, what, lacks=True)
    else:
        named = Classes(values, {value: place for place, value in enumerate(values)})
    if expected is not None:
        if problem == "multi_label_classification" and {*named.names} != {*expected}:
            raise _others(named.names, expected)
        if strangers := [name for name in named.names if name not in expected]:
            raise _others(strangers, expected)
        named = named.ordered(expected)
    if len(named.names) < (1 if problem == "multi_label_classification" else 2):
        raise InputError(
            f"The column {column!r} has fewer than 2 classes ({', '.join(named.names)}): name another label column, or give "
            "data with at least 2 classes."
        )
    return named


def _check_lists(data: Any, labels: list[str], problem: str) -> None:
    """Refuse values that are no labels, and lists in a column that has one label per example."""
    for column in labels:
        if isinstance(data.features[column], dict) or getattr(data.features[column], "dtype", "") in ("binary", "dict"):
            raise InputError(
                f"The column {column!r} holds {shown(data.features[column], 60)}, which is no label: give texts or numbers."
            )
        if not hasattr(data.features[column], "feature") or (
            problem == "multi_label_classification" and len(labels) == 1
        ):
            continue
        remedy = "a text with one letter per letter" if PROBLEMS[problem].per_token else "one value per example"
        raise InputError(
            f"The column {column!r} holds lists, and a {problem.replace('_', ' ')} needs {remedy}: for several labels per "
            "example set task.problem: multi_label_classification, with this column alone in task.label."
        )


def _others(names: Sequence[str], expected: Sequence[str]) -> InputError:
    return InputError(
        f"The data has the labels {_list(names)}, and the adapter's labels are {_list(expected)}: say in task.labels which is "
        "which, as {value: name}."
    )


def _values(column: str, train: Any) -> list[str]:
    """The values of a column of classes, as `written` writes them: numbers in their order, texts by the alphabet."""
    raw = {value for value in train[column][:] if written(value) is not None}
    values = {name for value in raw if (name := written(value)) is not None}
    numbers = {name: number_of(name) for name in values}
    if None in numbers.values():
        return sorted(values)
    ordered = sorted(values, key=lambda name: (numbers[name], name))
    if fraction := next((name for name in ordered if numbers[name] % 1), None):  # type: ignore[operator]
        raise InputError(
            f"The column {column!r} holds numbers such as {fraction}: to predict numbers, set task.regression: true."
        )
    for one, other in pairwise(ordered):
        if numbers[one] == numbers[other]:
            raise InputError(
                f"The column {column!r} writes one number as {one!r} and {other!r}: write each class one way."
            )
    return ordered


def lists_of(columns: list[str], train: Any) -> str:
    """Whether one label column holds lists of "names", or of "marks", 0 or 1 for each label; empty if it holds no lists."""
    from datasets import ClassLabel

    inner = getattr(train.features[columns[0]], "feature", None)
    if len(columns) > 1 or inner is None:
        return ""
    named = isinstance(inner, ClassLabel) or getattr(inner, "dtype", "") in ("string", "large_string")
    return "names" if named else "marks"


def several_values(columns: list[str], train: Any) -> list[str]:
    """The several labels of an example: the columns, or of one column of lists what the lists hold.

    Raises:
        InputError: the lists are neither names of labels nor 0 and 1 for each label.
    """
    column, lists = columns[0], lists_of(columns, train)
    if not lists:
        return columns
    declared = getattr(train.features[column].feature, "names", None)
    if declared:
        return list(declared)
    rows = [row for row in train[column][:] if row is not None]
    if lists == "names":
        return sorted({name for row in rows for name in row if name})
    lengths = {len(row) if isinstance(row, list) else -1 for row in rows}
    if len(lengths) != 1 or any(value not in (0, 1, None) and value == value for row in rows for value in row):
        raise InputError(
            f"The column {column!r} holds lists such as {rows[:1]!r:.60}: give lists of the names of an example's labels, or "
            "lists with 0 or 1 for every label."
        )
    return [str(place) for place in range(lengths.pop())]


def _named(given: Any, values: list[str], what: str, lacks: bool, ordered: bool = False) -> Classes:
    """Classes with the names that a user gave.

    Args:
        given: `{value: name}`, or a list. Of a list each name is a value; or, where all values are numbers and no name is one
            of them, the names are in the order of the values.
        values: of the data, in their order.
        what: the column or columns with a verb, for the error message.
        lacks: whether the data may lack values that have a name.
        ordered: whether the user gave the order of the values too, as that of several label columns.
    """
    if isinstance(given, Mapping):
        keys = [written(key) or "" for key in given]
        names = label_list(list(given.values()), "task.labels")
    else:
        names = label_list(given, "task.labels")
        in_order = ordered and len(names) == len(values) and not {*names} & {*values}
        keys = values if in_order else _as_values(names, values, lacks)
    unknown_keys, missing = [key for key in keys if key not in values], [value for value in values if value not in keys]
    if missing or (unknown_keys and not lacks) or len({*keys}) < len(keys):
        raise InputError(
            f"task.labels gives {_list(names)}, and {what} {_list(values)}: give each of these one name, or write "
            "{value: name} to call them otherwise."
        )
    return Classes(names, {key: place for place, key in enumerate(keys)})


def _as_values(names: list[str], values: list[str], lacks: bool) -> list[str]:
    """The value that each name stands for; a name that stands for none is returned as it is."""
    if {*names} >= {*values}:
        return names
    numbers = [number_of(value) for value in values]
    if {*values} == {"false", "true"} and len(names) == 2:  # truth values are written in more than one way
        for spelling in ({"False": "false", "True": "true"}, {"0": "false", "1": "true"}):
            if {*names} == {*spelling}:
                return [spelling[name] for name in names]
    if None in numbers:
        return names
    by_number = dict(zip(numbers, values, strict=True))
    if {number_of(name) for name in names} & {*numbers}:  # the names are these numbers, written in another way
        return [by_number.get(number_of(name), name) for name in names]
    if len(names) == len(values):
        return list(values)
    if lacks and 0 in numbers and all(0 <= number < len(names) for number in numbers):  # type: ignore[operator]
        return [by_number.get(float(place), str(place)) for place in range(len(names))]
    return names


def _of_catalog(names: list[str], values: list[str], declared: list[str] | None) -> Classes:
    """Classes with the catalog's names, which are in the order of the values or are the values."""
    if {*names} >= {*values}:
        return Classes(names, {name: place for place, name in enumerate(names)})
    if declared is not None:
        return Classes(names, {value: place for place, value in enumerate(declared) if place < len(names)})
    places = {str(place): place for place in range(len(names))}
    return Classes(names, {**places, **{name: place for place, name in enumerate(names)}})


def _list(names: Sequence[str], most: int = 12) -> str:
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])]) or "none"
