"""Rows of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .base import CardFacts, Modality
from .examples import Examples, labels_in

if TYPE_CHECKING:
    from torch import Tensor


class Table(Modality):
    """Numeric columns, one row per example."""

    name = "table"
    column = "features"
    column_help = "columns of numbers, in the order in which a row is read"
    takes = "table_values"
    noun = "rows of numbers"

    def named(self, value: Any) -> list[str] | None:
        """See `Modality.named`; each column may stand there once."""
        names = super().named(value)
        if names is not None and not 1 <= len(names) == len({*names}):
            raise InputError(f"task.features is {names}: give at least one column, and each once.")
        return names

    def guess(self, features: Mapping[str, Any], label: str | None) -> list[str]:
        """All columns of numbers but the label."""
        numbers = ("int", "uint", "float")
        return [
            name
            for name, kind in features.items()
            if name != label and str(getattr(kind, "dtype", "")).startswith(numbers) and not hasattr(kind, "names")
        ]

    def prepare(self, data: Any, columns: list[str], split: str, dataset: str) -> Any:
        """`features`, a list of float32 per row; see `Modality.prepare`."""
        from datasets import Dataset, Features, List, Value
        from pandas.api.types import is_numeric_dtype

        frame = data.select_columns(columns).to_pandas()
        table = np.empty((len(frame), len(columns)), np.float32)
        for place, column in enumerate(columns):
            values = frame[column]
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
        return {"features": np.asarray(train["features"])}

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

    def example(self, text: str, processor: Any) -> tuple[Tensor, str]:
        """A row (1, columns); see `Modality.example`."""
        import torch

        numbers = _numbers(text, f"The example {text!r}")
        return torch.tensor([numbers]), f"a row of {len(numbers)} numbers"

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
