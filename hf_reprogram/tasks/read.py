"""Reading the raw splits of a data set from a file, a folder, a local mirror, the Hub, or the package itself."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..modalities import every_modality
from .catalog import in_mirror, on_hub
from .inputs import task_modality
from .problems import PROBLEMS

if TYPE_CHECKING:
    from .options import TaskOptions

VALIDATION_NAMES = ("validation", "val", "valid", "dev")  # names of validation splits on the Hub
FILE_FORMATS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}


def read_splits(options: TaskOptions) -> Any:
    """The raw splits of a data set by name.

    Args:
        options: the task section of a recipe.

    Raises:
        InputError: the data cannot be found or read, or a split is empty.

    >>> from hf_reprogram.tasks.options import TaskOptions
    >>> sorted(read_splits(TaskOptions("squares")))
    ['test', 'train']
    """
    from datasets import load_dataset

    from .builtin import BUILTIN

    path = Path(options.dataset)
    if options.dataset in BUILTIN and not path.exists():
        return BUILTIN[options.dataset]()
    csv_options: dict[str, Any] = {"keep_default_na": False, "na_values": [""]}  # only an empty field is missing
    if options.problem is not None and PROBLEMS[options.problem].per_token:  # "0110" is four labels, not a number
        csv_options["converters"] = {
            str(name): str for name in np.append(options.label or "label", options.scored or [])
        }
    mirror = os.environ.get("HF_REPROGRAM_DATA")
    try:
        if mirror and not path.exists():
            for folder in in_mirror(options.dataset, options.name):
                if Path(mirror, folder).is_dir():
                    return load_dataset("parquet", data_files=_parquet_splits(Path(mirror, folder)))
        if path.is_file():
            return _read_file(path, csv_options)
        if path.is_dir() and any(file.name != "metadata.csv" for file in path.rglob("*.csv")):
            return load_dataset("csv", data_dir=str(path), **csv_options)
        if path.is_dir():
            modality = task_modality(options)
            # `hf-reprogram init` does not know the modality yet
            for reader in every_modality() if modality is None else [modality]:
                if (splits := reader.read_folder(options.dataset)) is not None:
                    return splits
        return load_dataset(*on_hub(options.dataset, options.name), revision=options.revision)
    except InputError:
        raise
    except Exception as error:  # datasets raises many types of errors for missing data
        reason = _reason(error)
        dataset = f"{options.dataset!r}{f', {options.name!r}' if options.name else ''}"
        if empty := re.search(r'"(\w+)" corresponds to no data', reason):
            raise InputError(f"The split {empty[1]!r} of {dataset} is empty: give a split with examples.") from error
        if path.is_dir() and (broken := _broken_file(path, csv_options)) is not None:
            file, reason = broken
            raise InputError(f"The file {str(file)!r} is empty or cannot be read: {reason}.") from error
        if path.is_dir():
            raise InputError(
                f"The folder {dataset} is empty, or its files cannot be read together: {reason}."
            ) from error
        if path.exists():
            raise InputError(f"The file {dataset} is empty or cannot be read: {reason}.") from error
        raise InputError(
            f"The data set {dataset} is neither a file or folder here nor a data set of the Hub that can be fetched now "
            f"({reason}): check its spelling and the network, or point HF_REPROGRAM_DATA at a local copy."
        ) from error


def _read_file(path: Path, csv_options: dict[str, Any]) -> Any:
    """The only split of a file, as `train`."""
    from datasets import load_dataset

    kind = FILE_FORMATS.get(path.suffix)
    if kind is None:
        raise InputError(
            f"The file {str(path)!r} has no known ending: convert it to one of {', '.join(sorted(FILE_FORMATS))}."
        )
    extra = {**csv_options, "sep": "\t" if path.suffix == ".tsv" else ","} if kind == "csv" else {}
    return load_dataset(kind, data_files={"train": str(path)}, **extra)


def _broken_file(folder: Path, csv_options: dict[str, Any]) -> tuple[Path, str] | None:
    """The first file of a folder that cannot be read by itself, and the reason; None if all can be read."""
    for file in sorted(file for file in folder.rglob("*") if file.suffix in FILE_FORMATS):
        try:
            _read_file(file, csv_options)
        except Exception as error:
            return file, _reason(error)
    return None


def _reason(error: BaseException) -> str:
    """The message of an error in one line without a full stop; for an error that `datasets` wraps, that of its cause."""
    from datasets.exceptions import DatasetGenerationError

    while isinstance(error, DatasetGenerationError) and error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()).rstrip(".:") or type(error).__name__


def _parquet_splits(folder: Path) -> dict[str, list[str]]:
    """The files of each split in a mirror, named like `train.parquet` or `test-00000-of-00002.parquet`."""
    files: dict[str, list[str]] = {}
    for file in sorted(folder.glob("*.parquet")):
        files.setdefault(re.sub(r"-\d+-of-\d+$", "", file.stem), []).append(str(file))
    if not files:
        raise InputError(
            f"The folder {str(folder)!r} of HF_REPROGRAM_DATA has no parquet file: put one there per split."
        )
    return files
