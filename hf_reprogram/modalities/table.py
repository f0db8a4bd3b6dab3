"""Rows of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .base import CardFacts, Modality
from .examples import Examples, labels_in
from .first_recipe import ROW_NUMBERS, FirstRecipe, Guess, plain_values
from .image import SMALL_IMAGE_SOURCE

if TYPE_CHECKING:
    from torch import Tensor


FEW = 4  # columns of numbers; fewer may stand beside examples of another modality


class Table(Modality):
    """Numeric columns, one row per example."""

    name = "table"
    column = "features"
    column_help = "columns of numbers, in the order in which a row is read"
    takes = "table_values"
    noun = "rows of numbers"
    several = True
    on_command_line = "numbers separated by commas"

    def named(self, value: Any) -> list[str] | None:
        """See `Modality.named`; each column may stand there once."""
        names = super().named(value)
        if names is not None and not 1 <= len(names) == len({*names}):
            raise InputError(f"task.features is {names}: give at least one column, and each once.")
        return names

    def candidates(self, rows: Any, labels: Sequence[str]) -> list[str]:
        """The columns of numbers but for the numbers of rows; see `Modality.candidates`."""
        from datasets import Value

        return [
            name
            for name, kind in rows.features.items()
            if name not in labels
            and name.lower() not in ROW_NUMBERS
            and isinstance(kind, Value)
            and kind.dtype.startswith(("int", "uint", "float", "bool"))
        ]

    def guess(self, rows: Any, labels: Sequence[str]) -> Guess | None:
        """All columns of numbers but the labels and the numbers of rows; many columns are surer than few."""
        others = {name: values for name, values in plain_values(rows, len(rows)).items() if name not in labels}
        words = [name for name, values in others.items() if not all(isinstance(value, int | float) for value in values)]
        numbers = [name for name in others if name not in words and name.lower() not in ROW_NUMBERS]
        whole = [
            name
            for name in numbers
            if len(others[name]) == len(rows) and np.isfinite(np.asarray(others[name], float)).all()
        ]
        if all(len({*others[name]}) < 2 for name in whole):  # a constant says nothing of an example
            return None
        doubts = []
        if unread := [name for name in rows.column_names if name not in others and name not in labels]:
            doubts.append(
                f"the columns {', '.join(map(repr, unread))} hold neither numbers nor words and are left out: are they the "
                "examples?"
            )
        if words:
            doubts.append(
                f"the columns {', '.join(map(repr, words))} hold words and are left out: code them as numbers?"
            )
        if gaps := [name for name in numbers if name not in whole]:
            doubts.append(f"the columns {', '.join(map(repr, gaps))} have gaps and are left out: fill them in?")
        why = "Every column of numbers but the label and row numbers."
        return Guess(whole, 0.8 if len(whole) >= FEW else 0.4, why, tuple(doubts))

    def first_recipe(self, rows: Any, columns: Sequence[str], problem: str) -> FirstRecipe:
        """A drawing on the canvas of an image classifier."""
        classes = problem == "single_label_classification"
        return FirstRecipe(
            source=SMALL_IMAGE_SOURCE,
            method={"name": "fraud", **({} if classes else {"mapping": "dense"})},
            why="The numbers are drawn on a canvas with a program around them.",
            baselines=["majority", {"linear_probe": {"tokens": "target"}}, "raw_linear"] if classes else ["majority"],
        )

    def prepare(self, data: Any, columns: list[str], split: str, dataset: str) -> Any:
        """`features`, a list of float32 per row; see `Modality.prepare`."""
        from datasets import Dataset, Features, List, Value
        from pandas import to_numeric
        from pandas.api.types import is_numeric_dtype, is_string_dtype

        frame = data.select_columns(columns).to_pandas()
        table = np.empty((len(frame), len(columns)), np.float32)
        for place, column in enumerate(columns):
            values = frame[column]
            if is_string_dtype(values):  # of a csv file
                flags = {"true": 1, "false": 0}
                if {*values.str.lower()} <= {*flags}:
                    values = values.str.lower().map(flags)
                numbers = to_numeric(values, errors="coerce")
                wrong = np.flatnonzero(~np.isfinite(numbers))
                if len(wrong):
                    raise InputError(
                        f"Row {wrong[0]} of the {split} split has {values[wrong[0]]!r} in the column {column!r}: give a "
                        "finite number "
                        "in every row, or leave the row out."
                    )
                values = numbers
            if not is_numeric_dtype(values):
                row = next((row for row, value in enumerate(values) if not isinstance(value, int | float)), 0)
                raise InputError(
                    f"Row {row} of the {split} split has {values[row]!r} in the column {column!r}: a feature is a number in "
                    "every row."
                )
            with np.errstate(over="ignore"):
                table[:, place] = values
            wrong = np.flatnonzero(~np.isfinite(table[:, place]))
            if len(wrong):
                raise InputError(
                    f"Row {wrong[0]} of the {split} split has {values[wrong[0]]} in the column {column!r}: fill in a finite "
                    "number or leave the row out."
                )
        kind = Features({"features": List(Value("float32"), length=len(columns))})
        return Dataset.from_dict({"features": table}, features=kind)

    def feature_names(self, columns: Sequence[str]) -> list[str]:
        """A column is a number of a row."""
        return list(columns)

    def encode(self, splits: Mapping[str, Any], processor: Any, max_length: int | None, problem_type: str) -> Any:
        """Rows (columns,) as they are; see `Modality.encode`."""
        return {name: table_examples(split) for name, split in splits.items()}

    def for_method(self, train: Any) -> dict[str, Any]:
        """The training rows, by which a method scales its drawing."""
        return {"features": np.asarray(train["features"][:])}

    def parse(self, lines: list[str]) -> list[dict[str, Any]]:
        """A row of numbers per line, separated by commas; see `Modality.parse`."""
        rows: list[list[float]] = []
        for line in lines:
            rows.append(_numbers(line, repr(line)))
            if len(rows[-1]) != len(rows[0]):
                raise InputError(
                    f"There are rows of {len(rows[0])} and of {len(rows[-1])} numbers: give every row as many."
                )
        return [{"features": row} for row in rows]

    def row_of(self, value: Any) -> dict[str, Any]:
        """See `Modality.row_of`: the numbers of a row.

        >>> TABLE.row_of([1, 2.5])
        {'features': [1.0, 2.5]}
        """
        if isinstance(value, str):
            return super().row_of(value)
        try:
            return {"features": [float(number) for number in value]}
        except (TypeError, ValueError) as error:
            raise InputError("The input is no row of numbers, which this adapter takes.") from error

    def example(self, text: str, processor: Any) -> tuple[Tensor, str]:
        """A row (1, columns); see `Modality.example`."""
        import torch

        numbers = _numbers(text, f"The example {text!r}")
        return torch.tensor([numbers]), f"a row of {len(numbers)} numbers"

    def processor_steps(self, processor: Any) -> str:
        """See `Modality.processor_steps`."""
        return "`table_values` (rows, columns), float32: the numbers of a row in the order of the columns in training."

    def card_example(self, facts: CardFacts) -> str:
        """See `Modality.card_example`."""
        names: Sequence[str] = facts.columns
        order = ", ".join(names if len(names) < 8 else [*names[:3], "...", names[-1]])
        activation = {"regression": "", "multi_label_classification": ".sigmoid()"}.get(facts.problem, ".softmax(-1)")
        return (
            "import torch\nfrom hf_reprogram import ReprogrammedModel\n\n"
            f'model = ReprogrammedModel.from_pretrained("{facts.repo_id}")\n'
            f"rows = torch.zeros(1, {len(names)})  # {order}\n"
            f"model({self.takes}=rows).logits{activation}  # {', '.join(facts.labels) or 'the number'}"
        )


def table_examples(split: Any) -> Examples:
    """Rows (columns,) of a prepared split with a column `features`, and its labels."""
    rows = np.asarray(split["features"], np.float32)
    return Examples(TABLE.takes, rows.__getitem__, labels_in(split), len(split))


def _numbers(text: str, called: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise InputError(f"{called} is no row of numbers separated by commas, which this adapter takes.") from error


TABLE = Table()
