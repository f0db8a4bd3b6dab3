"""What a modality is: one kind of target data, and all that the package needs to know of it.

modality   option of `task:`   prepared columns               what the model's `forward` takes
text       text                `text`, `text_pair`            `input_ids` (tokens,)
image      image               `image`, encoded               `pixel_values` (3, height, width), from 0 to 1
table      features            `features`, a list of floats   `table_values` (columns,)
audio      audio               `audio`, encoded or samples    `input_values` (samples,), from -1 to 1
series     series              `series`, a list of floats     `past_values` (length,)
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import InputError
from .first_recipe import FirstRecipe, Guess

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class CardFacts:
    """What the example in a model card depends on.

    Attributes:
        repo_id: where a reader loads the adapter from.
        pipeline_tag: the task as the Hub names it.
        problem: kind of problem.
        labels: names of the outputs; empty for a number.
        columns: names of a table's columns.
        pair: whether examples are pairs.
        tokenizer: the method's target tokenizer; None if it has none.
        transform: name of the input transform.
    """

    repo_id: str
    pipeline_tag: str
    problem: str
    labels: Sequence[str] = ()
    columns: Sequence[str] = ()
    pair: bool = False
    tokenizer: str | None = None
    transform: str = ""

    @property
    def remark(self) -> str:
        """A comment on what a pipeline's answer is, for problems where that is not plain."""
        return _REMARKS.get(self.problem, "")


_REMARKS = {
    "token_classification": "  # a label for every token",
    "multi_label_classification": "  # each label with a probability of its own",
    "regression": "  # the score is the number",
    "forecast": "  # a number for each of the next steps",
}


class Modality(ABC):
    """One kind of target data. Each file of this folder holds one object of a subclass.

    Attributes:
        name: in the registry.
        column: of a prepared split; the key of `task:` that names the raw column has the same name.
        column_help: what that key says, for the documentation.
        takes: what a model's `forward` calls an encoded example.
        noun: what examples are called in a sentence.
        on_command_line: how one example is written on a command line, as a part of a sentence.
        letters: whether an example is a string of letters. Only then can labels stand per letter, can examples be cut at a
            number of tokens, and can molecules be split by scaffold.
        pictures: whether an example is an image, which can be corrupted and compared with images from elsewhere.
        in_time: whether an example is a row of numbers in the order of time.
        several: whether an example is made of all columns that can hold one.
        auto_classes: names of the `AutoModelFor...` classes under which an adapter of this modality is loaded.
        feature_extractor: the address `"module:Class"` of the feature extractor of its adapters, which transformers does not
            know; None where transformers knows the processor, or has no auto class for it.
    """

    name: ClassVar[str]
    column: ClassVar[str]
    column_help: ClassVar[str]
    takes: ClassVar[str]
    noun: ClassVar[str]
    on_command_line: ClassVar[str]
    letters: ClassVar[bool] = False
    pictures: ClassVar[bool] = False
    in_time: ClassVar[bool] = False
    several: ClassVar[bool] = False
    auto_classes: ClassVar[tuple[str, ...]] = ()
    feature_extractor: ClassVar[str | None] = None

    # ---------------------------------------------------------------------------------------------- raw data

    def named(self, value: Any) -> list[str] | None:
        """The raw columns that a task names, from what stands in the recipe: None, a name or a list of names.

        Raises:
            InputError: there are too few or too many of them.
        """
        if value is None:
            return None
        return [value] if isinstance(value, str) else list(value)

    def pick(self, names: Sequence[str], columns: Sequence[str]) -> list[str]:
        """The raw columns to read, of `names` that a task or the catalog gives, where the data has `columns`."""
        return list(names)

    def candidates(self, rows: Any, labels: Sequence[str]) -> list[str]:
        """The raw columns that can hold examples of this modality by the type of their values.

        Args:
            rows: some of the raw rows, a `datasets.Dataset`.
            labels: the columns that hold labels.
        """
        return []

    def guess(self, rows: Any, labels: Sequence[str]) -> Guess | None:
        """The raw columns that could be the examples of data that nobody has described; None if no column could.

        Args:
            rows: some of the raw rows, a `datasets.Dataset`.
            labels: the columns that hold labels, which are no examples.
        """
        return None

    def first_recipe(self, rows: Any, columns: Sequence[str], problem: str) -> FirstRecipe:
        """How to train on such examples at first.

        Args:
            rows: some of the raw rows, a `datasets.Dataset`.
            columns: those that hold the examples; empty where examples are made of several columns by the package.
            problem: a key of `hf_reprogram.tasks.problems.PROBLEMS`.

        Raises:
            InputError: this modality has no first recipe for such a problem.
        """
        raise InputError(f"There is no first recipe for {self.noun}: write one by hand.")

    def read_folder(self, folder: str, named: Sequence[str] = ()) -> Any:
        """The raw splits of a folder by name; None if it holds no examples. See `hf_reprogram.modalities.folders`.

        Args:
            folder: the folder of the data set.
            named: split names of the task, which count as they are.
        """
        return None

    def read_file(self, path: Path) -> Any:
        """The raw rows of a file of a format of this modality's own, a `datasets.Dataset`; None for any other file."""
        return None

    @abstractmethod
    def prepare(self, data: Any, columns: list[str], split: str, dataset: str) -> Any:
        """A prepared split from a raw one: a `datasets.Dataset` with `column` and no label.

        Args:
            data: the raw split, which has all of `columns`.
            columns: of the raw split.
            split: its name, for error messages.
            dataset: where it comes from: a Hub id, a folder or a file.

        Raises:
            InputError: a value is none of this modality's.
        """

    def feature_names(self, columns: Sequence[str]) -> list[str]:
        """What each number of an encoded example is, from the raw columns; empty where numbers have no names."""
        return []

    # ---------------------------------------------------------------------------------------------- encoding

    @abstractmethod
    def encode(self, splits: Mapping[str, Any], processor: Any, max_length: int | None, problem_type: str) -> Any:
        """What a model takes of prepared splits, with their labels, by the name of the split.

        Args:
            splits: prepared splits, with `label` unless it is to be predicted.
            processor: the adapter's; None where examples need none.
            max_length: tokens at most, for examples with `letters`.
            problem_type: a key of `hf_reprogram.tasks.problems.PROBLEMS`.
        """

    def load_processor(self, adapter: str | os.PathLike[str]) -> Any:
        """The processor in an adapter's folder or repository; None where examples need none."""
        return None

    def raw_processor(self, side: int) -> Any:
        """A processor for small raw examples, for baselines without a source; `side` is that of an image in pixels."""
        return None

    def for_method(self, train: Any) -> dict[str, Any]:
        """Arguments of `hf_reprogram.reprogram` that a method may take from the prepared training split."""
        return {}

    # ---------------------------------------------------------------------------------------------- single examples

    @abstractmethod
    def parse(self, lines: list[str]) -> list[dict[str, Any]]:
        """Prepared rows from lines of the command line or a file; several arguments are one line, with tabs between them.

        Raises:
            InputError: a line is no example of this modality.
        """

    def row_of(self, value: Any) -> dict[str, Any]:
        """A prepared row, as `parse` gives it, of one example in memory. A text is read as a line of the command line.

        Raises:
            InputError: it is no example of this modality.
        """
        if isinstance(value, str):
            return self.parse([value])[0]
        raise InputError(f"The input is of type {type(value).__name__}, and this adapter takes {self.noun}.")

    def as_split(self, rows: list[dict[str, Any]]) -> Any:
        """Rows of `parse` as a prepared split."""
        from datasets import Dataset

        return Dataset.from_list(rows)

    @abstractmethod
    def example(self, text: str, processor: Any) -> tuple[Tensor, str]:
        """One encoded example with a batch dimension, read from a command-line option, and what to call it.

        Raises:
            InputError: the text does not stand for an example of this modality.
        """

    # ---------------------------------------------------------------------------------------------- model cards

    def processor_note(self, transform: str) -> str:
        """What lies in an adapter's folder beside the trained numbers, as the end of a sentence; empty for nothing."""
        return ""

    def processor_steps(self, processor: Any) -> str:
        """What an adapter's processor makes of an example, in sentences for those who do it without this package.

        Args:
            processor: the adapter's; None where examples need none.
        """
        return f"`{self.takes}`: the numbers of an example, float32."

    @abstractmethod
    def card_example(self, facts: CardFacts) -> str:
        """Python that applies an adapter to one example."""
