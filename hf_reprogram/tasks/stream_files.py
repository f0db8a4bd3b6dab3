"""Opening data sets whose rows are read while training: csv, tsv, JSON lines and parquet files, and data sets of the Hub."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..modalities.folders import RawSplits, files_in
from .builtin import builtin
from .catalog import in_mirror, on_hub
from .files import FORMATS, csv_tables, ending, format_of, unreadable
from .json_lines import json_tables
from .memory import InMemory

if TYPE_CHECKING:
    import pyarrow as pa

    from .options import TaskOptions

ROWS = 1000  # rows of a table, at most


@dataclass(frozen=True)
class Rows:
    """The rows of a split, which are read anew whenever they are asked for.

    Attributes:
        read: gives the rows from the first to the last, in tables.
        features: the columns and their types, as `datasets` describes them.
    """

    read: Callable[[], Iterator[pa.Table]]
    features: Any

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""
        return list(self.features)

    def tables(self) -> Iterator[pa.Table]:
        """The rows in tables of at most `ROWS`."""
        for table in self.read():
            for start in range(0, table.num_rows, ROWS):
                yield table.slice(start, ROWS)

    def dataset(self, table: pa.Table) -> Any:
        """Some of the rows as a `datasets.Dataset`."""
        from datasets import Dataset, DatasetInfo

        return Dataset(table, info=DatasetInfo(features=self.features), fingerprint="stream")


def open_streams(options: TaskOptions) -> RawSplits:
    """The splits of a data set as `Rows`, of which only the first are read here.

    Args:
        options: the task section of a recipe.

    Raises:
        InputError: the data set cannot be streamed, or cannot be found or read.
    """
    from .read import parquet_splits, split_files

    if isinstance(options.dataset, InMemory) or builtin(options.dataset, options.name) is not None:
        raise InputError(f"task.streaming: {options.dataset} is in memory already: leave it out.")
    path, mirror = Path(options.dataset), os.environ.get("HF_REPROGRAM_DATA")
    if path.is_file():
        return RawSplits({"train": _local([path], options)})
    if path.is_dir():
        files = [file for file in files_in(path) if ending(file) in FORMATS and file.stem.lower() != "metadata"]
        if not files:
            raise InputError(
                f"task.streaming reads csv, tsv, JSON lines and parquet files, and {options.dataset!r} has none: leave it out."
            )
        named = [name for name in (options.train_split, options.validation_split, options.test_split) if name]
        by_split, notes = split_files(path, files, named)
        return RawSplits({split: _local(paths, options) for split, paths in by_split.items()}, notes)
    for folder in in_mirror(options.dataset, options.name) if mirror else ():
        if Path(str(mirror), folder).is_dir():
            found = parquet_splits(Path(str(mirror), folder))
            return RawSplits({split: _local([*map(Path, files)], options) for split, files in found.items()})
    return _hub(options)


def _hub(options: TaskOptions) -> RawSplits:
    from datasets import load_dataset

    try:
        streams = load_dataset(*on_hub(options.dataset, options.name), revision=options.revision, streaming=True)
        return RawSplits({split: _of_stream(rows) for split, rows in streams.items()})
    except Exception as error:  # datasets raises many types of errors for missing data
        raise InputError(
            f"The data set {options.dataset!r} is neither a file or folder here nor a data set of the Hub that can be streamed "
            f"now ({' '.join(str(error).split()).rstrip('.')}): check its spelling and the network."
        ) from error


def _of_stream(rows: Any) -> Rows:
    features = rows.features or rows._resolve_features().features
    return Rows(partial(_in_tables, rows), features)


def _in_tables(rows: Any) -> Iterator[pa.Table]:
    yield from rows.with_format("arrow").iter(ROWS)


def _local(paths: Sequence[Path], options: TaskOptions) -> Rows:
    """The rows of files of one format with the same columns, one file after the other."""
    from datasets import Features, load_dataset

    kinds = {path: format_of(path) for path in paths}
    kind = kinds[paths[0]]
    if other := next((path for path in paths if kinds[path] != kind), None):
        raise InputError(
            f"The files {str(paths[0])!r} and {str(other)!r} of one split have different formats: use one format."
        )
    if kind == "parquet":
        try:
            return _of_stream(
                load_dataset(kind, data_files=[str(path) for path in paths], split="train", streaming=True)
            )
        except Exception as error:  # datasets raises many types of errors
            raise unreadable(paths[0], " ".join(str(error).split()).rstrip(".")) from error
    if kind == "csv":
        parts = [partial(csv_tables, path, options.sep, options.encoding, options.columns) for path in paths]
    else:
        parts = [partial(json_tables, path, options.encoding, ROWS) for path in paths]
    first = next(iter(parts[0]()), None)
    if first is None:
        raise unreadable(paths[0], "it holds no row")
    return Rows(partial(_same_columns, parts, paths, first.schema), Features.from_arrow_schema(first.schema))


def _same_columns(
    parts: Sequence[Callable[[], Iterator[pa.Table]]], paths: Sequence[Path], schema: pa.Schema
) -> Iterator[pa.Table]:
    for part, path in zip(parts, paths, strict=True):
        for table in part():
            if table.schema.names != schema.names:
                raise InputError(
                    f"The files of a split have different columns: {str(paths[0])!r} has {', '.join(schema.names)}, and "
                    f"{str(path)!r} has {', '.join(table.schema.names)}: give all of them the same."
                )
            yield table.cast(schema)
