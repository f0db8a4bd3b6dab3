"""How data that nobody has described become a first recipe: the columns that could be examples, and a method for them.

`hf-reprogram init` asks every modality for a `Guess` and takes the surest one. That modality then gives a `FirstRecipe`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ROW_NUMBERS = ("id", "idx", "index", "row", "unnamed: 0", "")  # names of columns that number the rows, in lower case
LOOKED_AT = 200  # rows whose values are read to guess what a column holds


@dataclass(frozen=True)
class Guess:
    """Raw columns that could be the examples of a data set, as one modality sees them.

    Attributes:
        columns: names of raw columns, in the order in which the modality reads them.
        sureness: from 0 to 1. It is 1 where the data declares such examples, or the values can be nothing else; 0.9 where the
            values are typical; 0.6 and less where they could as well be something else.
        why: one sentence for the reader of the recipe.
        doubts: questions that only the reader of the recipe can answer, each with a small first letter.
    """

    columns: list[str]
    sureness: float
    why: str
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class FirstRecipe:
    """Everything but the task in a recipe for data that nobody has described. Names are those of the recipe's own keys.

    Steps and learning rates are not among them: they follow from the method and the data when the recipe runs.

    Attributes:
        source: the section `source:`, a name or its options; a small source that suits most data of this kind.
        method: the section `method:`, with `name` and options.
        why: one sentence that says why the method fits.
        baselines: the section `baselines:`.
    """

    source: str | Mapping[str, Any]
    method: Mapping[str, Any]
    why: str
    baselines: Sequence[str | Mapping[str, Any]]


def plain_values(rows: Any, most: int = LOOKED_AT) -> dict[str, list[Any]]:
    """The first values of the columns that hold texts, numbers or truth values; missing values are left out.

    Args:
        rows: a `datasets.Dataset` of raw rows.
        most: rows to read.

    Returns:
        The values by column. A column without any value is left out.

    >>> from datasets import Dataset
    >>> plain_values(Dataset.from_dict({"a": [1, None], "b": [None, None], "c": [[1], [2]]}))
    {'a': [1]}
    """
    from datasets import Value

    head = rows.select(range(min(most, len(rows))))
    found = {
        name: [value for value in head[name][:] if value is not None]
        for name, kind in rows.features.items()
        if isinstance(kind, Value) and kind.dtype not in ("binary", "large_binary")
    }
    return {name: values for name, values in found.items() if values}


def holds_files(rows: Any, name: str, endings: Sequence[str], nameless: bool) -> bool:
    """Whether a column holds encoded files, `{"bytes": ..., "path": ...}`, whose names end as they should.

    Args:
        rows: a `datasets.Dataset` of raw rows.
        name: of the column.
        endings: of the files, in lower case.
        nameless: the answer for files without names.
    """
    kind = rows.features[name]
    if not isinstance(kind, dict) or {*kind} != {"bytes", "path"}:
        return False
    values = rows.select(range(min(LOOKED_AT, len(rows))))[name][:]
    paths = [value["path"] for value in values if value and value["path"]]
    return all(path.lower().endswith(tuple(endings)) for path in paths) if paths else nameless
