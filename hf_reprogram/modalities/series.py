"""Time series: one number after another, such as an electrocardiogram or the power that a house takes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .base import CardFacts, Modality
from .examples import Examples, labels_in
from .first_recipe import FirstRecipe, Guess
from .folders import RawSplits, files_in

if TYPE_CHECKING:
    from torch import Tensor

_UCR = re.compile(r"(?P<name>.+)_(?P<split>TRAIN|TEST)\.(ts|tsv)$", re.IGNORECASE)
SMALL_SERIES_SOURCE = "MIT/ast-finetuned-speech-commands-v2"  # for first recipes


class Series(Modality):
    """One series of numbers per example: a list in one column, or one column per point in time."""

    name = "series"
    column = "series"
    column_help = "the column of series, each a list of numbers, or the columns of their points in time"
    takes = "past_values"
    in_time = True
    noun = "time series"
    on_command_line = "numbers separated by commas"

    def candidates(self, rows: Any, labels: Sequence[str]) -> list[str]:
        """The columns that hold lists of numbers, unless a sampling rate beside them says that they are sounds."""
        if "sampling_rate" in rows.column_names:
            return []
        return [name for name, kind in rows.features.items() if name not in labels and _listed(kind)]

    def guess(self, rows: Any, labels: Sequence[str]) -> Guess | None:
        """The first column of lists of numbers."""
        names = self.candidates(rows, labels)
        return Guess(names[:1], 0.9, "The column holds lists of numbers.") if names else None

    def first_recipe(self, rows: Any, columns: Sequence[str], problem: str) -> FirstRecipe:
        """Voice2Series on a model of speech commands."""
        classes = problem == "single_label_classification"
        return FirstRecipe(
            source=SMALL_SERIES_SOURCE,
            method={"name": "voice2series", **({} if classes else {"mapping": "dense"})},
            why="A series is placed in a second of sound, with a trained wave around it; validation chooses how.",
            baselines=["majority", "raw_linear", {"linear_probe": {"tokens": "target"}}] if classes else ["majority"],
        )

    def read_folder(self, folder: str, named: Sequence[str] = ()) -> Any:
        """The splits of a folder of the UCR archive, which holds NAME_TRAIN.tsv and NAME_TEST.tsv, or .ts of both."""
        found: dict[str, Path] = {}
        for path in files_in(folder):
            if (match := _UCR.match(path.name)) is not None:
                found.setdefault(match["split"].lower(), path)
        if "train" not in found:
            return None
        return RawSplits({split: _rows_of(path) for split, path in found.items()})

    def read_file(self, path: Path) -> Any:
        """The rows of a .ts file, or of a .tsv of the UCR archive; None for any other file."""
        return _rows_of(path) if path.suffix.lower() == ".ts" or _UCR.match(path.name) else None

    def prepare(self, data: Any, columns: list[str], split: str, dataset: str) -> Any:
        """`series`, a list of float32 per row, in which NaN stands for a gap; see `Modality.prepare`."""
        from datasets import Dataset, Features, List, Value

        if len(columns) == 1 and not _listed(data.features[columns[0]]):
            raise InputError(
                f"The column {columns[0]!r} of {dataset!r} holds {data.features[columns[0]]}: name a column of lists of "
                "numbers in task.series, or the columns of all points in time."
            )
        if len(columns) == 1:
            rows = data[columns[0]][:]
        else:
            table = data.select_columns(columns).to_pandas()
            rows = [*table.to_numpy(dtype=object)]
        made = [_checked(row, f"Row {place} of the {split} split") for place, row in enumerate(rows)]
        return Dataset.from_dict({"series": made}, features=Features({"series": List(Value("float32"))}))

    def encode(self, splits: Mapping[str, Any], processor: Any, max_length: int | None, problem_type: str) -> Any:
        """Series (length,) as the processor makes them; see `Modality.encode`."""
        if processor is None:
            from .series_extractor import SeriesExtractor

            longest = max(map(len, (splits.get("train") or next(iter(splits.values())))["series"][:]))
            processor = SeriesExtractor(length=longest, standardize=False)
        return {name: series_examples(split, processor) for name, split in splits.items()}

    def load_processor(self, adapter: str | os.PathLike[str]) -> Any:
        """The processor, which knows the length of a series."""
        from .series_extractor import SeriesExtractor

        return SeriesExtractor.from_pretrained(adapter)

    def raw_processor(self, side: int) -> Any:
        """None: series are stretched to the longest of the training data, and keep their values."""
        return None

    def for_method(self, train: Any) -> dict[str, Any]:
        """The training series, at the length of the longest, in which gaps are filled in."""
        return {"features": whole_series(train)}

    def parse(self, lines: list[str]) -> list[dict[str, Any]]:
        """A series per line, of numbers separated by commas; a field may be empty. See `Modality.parse`."""
        return [{"series": _numbers(line, repr(line))} for line in lines]

    def row_of(self, value: Any) -> dict[str, Any]:
        """See `Modality.row_of`: the numbers of a series, in their order; None is a gap."""
        if isinstance(value, str):
            return super().row_of(value)
        if not isinstance(value, Sequence | np.ndarray):
            raise InputError("The input is no series of numbers, which this adapter takes.")
        return {"series": _checked(value, "The input").tolist()}

    def example(self, text: str, processor: Any) -> tuple[Tensor, str]:
        """A series (1, length); see `Modality.example`."""
        numbers = _numbers(text, f"The example {text!r}")
        made: Tensor = processor([numbers], return_tensors="pt")["past_values"]
        return made, f"a series of {len(numbers)} numbers"

    def processor_note(self, transform: str) -> str:
        """See `Modality.processor_note`."""
        return " and the processor that brings series to their length"

    def processor_steps(self, processor: Any) -> str:
        """See `Modality.processor_steps`."""
        length = (
            f"Take the last {processor.length:,} numbers."
            if processor.latest
            else f"Stretch the series to {processor.length:,} numbers by linear interpolation between its ends."
        )
        scale = " Bring it to mean 0 and deviation 1." if processor.standardize else ""
        return (
            "`past_values` (series, length), float32: Fill gaps on the line between their neighbours. " + length + scale
        )

    def card_example(self, facts: CardFacts) -> str:
        """See `Modality.card_example`."""
        plain = {"regression": "", "forecast": "", "multi_label_classification": ".sigmoid()"}
        activation = plain.get(facts.problem, ".softmax(-1)")
        series = "[0.1, 0.4, 0.2, 0.9]", "a series of any length"
        if facts.problem == "forecast":
            series = "[0.1] * processor.length", "the last numbers of a series, in its own units"
        return (
            "from hf_reprogram import ReprogrammedModel\n"
            "from hf_reprogram.modalities.series_extractor import SeriesExtractor\n\n"
            f'model = ReprogrammedModel.from_pretrained("{facts.repo_id}")\n'
            f'processor = SeriesExtractor.from_pretrained("{facts.repo_id}")\n'
            f'batch = processor([{series[0]}], return_tensors="pt")  # {series[1]}\n'
            f"model(**batch).logits{activation}  # {', '.join(facts.labels) or 'the number'}"
        )


def series_examples(split: Any, processor: Any) -> Examples:
    """Series (length,) of a prepared split as a processor makes them, and its labels."""
    rows = np.asarray(processor(split["series"][:], return_tensors="np")["past_values"], np.float32)
    return Examples(SERIES.takes, rows.__getitem__, labels_in(split), len(split))


def whole_series(split: Any) -> np.ndarray:
    """The series of a prepared split (n, length), without gaps, each stretched to the longest."""
    from .series_extractor import filled, stretched

    rows = [filled(np.asarray(row, np.float64)) for row in split["series"][:]]
    longest = max(map(len, rows))
    return np.stack([stretched(row, longest) for row in rows])


def _checked(row: Any, called: str) -> np.ndarray:
    """A series (n,) of numbers, with NaN for what is missing.

    Raises:
        InputError: it has several channels, nothing but gaps, or a value that is no number.
    """
    values = [] if row is None else list(row)
    if any(isinstance(value, list | np.ndarray) for value in values):
        raise InputError(
            f"{called} has a series of {len(values)} parts, each with numbers of its own: give one channel, as one list of "
            "numbers."
        )
    try:
        numbers = np.asarray([np.nan if value in (None, "") else value for value in values], np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{called} has a series with a value that is no number: {error}.") from error
    if not np.isfinite(numbers).any():
        raise InputError(f"{called} has a series without any number: leave the row out.")
    if np.isinf(numbers).any():
        raise InputError(f"{called} has a series with an infinite number: give finite numbers, or leave gaps empty.")
    return numbers.astype(np.float32)


def _numbers(text: str, called: str) -> list[float]:
    try:
        numbers = [float(number) if number.strip() else float("nan") for number in text.split(",")]
    except ValueError as error:
        raise InputError(f"{called} is no series of numbers separated by commas, which this adapter takes.") from error
    return [float(number) for number in _checked(numbers, called)]


def _listed(kind: Any) -> bool:
    """Whether a column holds lists of numbers."""
    inner = getattr(kind, "feature", None)
    return inner is not None and str(getattr(inner, "dtype", "")).startswith(("int", "uint", "float"))


def _rows_of(path: Path) -> Any:
    """A file of the UCR archive as columns `series` and `label`.

    Raises:
        InputError: aeon is missing, which reads .ts files, or the file cannot be read.
    """
    from datasets import Dataset

    try:
        if path.suffix.lower() == ".tsv":
            table = np.loadtxt(path, delimiter="\t", ndmin=2)
            labels = [format(label, "g") for label in table[:, 0]]
            return Dataset.from_dict({"series": [*table[:, 1:]], "label": labels})
        from aeon.datasets import load_from_ts_file

        series, labels = load_from_ts_file(str(path))
    except ImportError as error:
        raise InputError(f"The file {str(path)!r} is read by aeon: run pip install 'hf_reprogram[series]'.") from error
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise InputError(f"The file {str(path)!r} cannot be read: {' '.join(str(error).split())}.") from error
    rows = [np.asarray(row) for row in series]
    if any(row.ndim > 1 and len(row) > 1 for row in rows):
        raise InputError(f"The file {str(path)!r} has series of {len(rows[0])} channels: give series of one channel.")
    return Dataset.from_dict({"series": [row.reshape(-1) for row in rows], "label": [str(label) for label in labels]})


SERIES = Series()
