"""The raw splits of a data set: from a file, a folder, the local mirror, the Hub, or the package itself."""

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

VALIDATION_NAMES = ("validation", "val", "valid", "dev")  # what the Hub's data sets call theirs
FILE_FORMATS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}


def read_splits(options: TaskOptions) -> Any:
    """The raw splits by name.

    Raises:
        InputError: the data cannot be found or read, or a split is empty.
    """
    from datasets import load_dataset

    from .builtin import BUILTIN

    path = Path(options.dataset)
    if options.dataset in BUILTIN and not path.exists():
        return BUILTIN[options.dataset]()
    words: dict[str, Any] = {"keep_default_na": False, "na_values": [""]}  # of csv: only an empty field is missing,
    if options.problem is not None and PROBLEMS[options.problem].per_token:  # "None" is a word, and "0110" four labels
        words["converters"] = {str(name): str for name in np.append(options.label or "label", options.scored or [])}
    mirror = os.environ.get("HF_REPROGRAM_DATA")
    try:
        if mirror and not path.exists():
            for folder in in_mirror(options.dataset, options.name):
                if Path(mirror, folder).is_dir():
                    return load_dataset("parquet", data_files=_parquet_splits(Path(mirror, folder)))
        if path.is_file():
            return _read_file(path, words)
        if path.is_dir() and any(file.name != "metadata.csv" for file in path.rglob("*.csv")):  # that one is of images
            return load_dataset("csv", data_dir=str(path), **words)
        if path.is_dir():
            modality = task_modality(options)
            for reader in every_modality() if modality is None else [modality]:  # `hf-reprogram init` knows none yet
                if (own := reader.read_folder(options.dataset)) is not None:
                    return own
        return load_dataset(*on_hub(options.dataset, options.name), revision=options.revision)
    except InputError:
        raise
    except Exception as error:  # datasets raises many types for "not found", and none in common
        reason = _reason(error)
        called = f"{options.dataset!r}{f', {options.name!r}' if options.name else ''}"
        if nothing := re.search(r'"(\w+)" corresponds to no data', reason):
            raise InputError(
                f"The split {nothing[1]!r} of {called} is empty: there is nothing to learn or score."
            ) from error
        if path.is_dir() and (broken := _broken_file(path, words)) is not None:
            file, reason = broken
            raise InputError(f"The file {str(file)!r} is empty or cannot be read: {reason}.") from error
        if path.is_dir():
            raise InputError(
                f"The folder {called} is empty, or its files cannot be read together: {reason}."
            ) from error
        if path.exists():
            raise InputError(f"The file {called} is empty or cannot be read: {reason}.") from error
        raise InputError(
            f"The data set {called} is neither a file or folder here nor one that can be fetched from the Hub now ({reason}): "
            "check its spelling and the network, or point HF_REPROGRAM_DATA at a local copy."
        ) from error


def _read_file(path: Path, words: dict[str, Any]) -> Any:
    """The raw splits of one file, which are all called `train`; `words` are arguments for csv."""
    from datasets import load_dataset

    kind = FILE_FORMATS.get(path.suffix)
    if kind is None:
        raise InputError(
            f"The file {str(path)!r} is none of {', '.join(sorted(FILE_FORMATS))}: convert it to one of them."
        )
    extra = {**words, "sep": "\t" if path.suffix == ".tsv" else ","} if kind == "csv" else {}
    return load_dataset(kind, data_files={"train": str(path)}, **extra)


def _broken_file(folder: Path, words: dict[str, Any]) -> tuple[Path, str] | None:
    """The first file of a folder that cannot be read by itself, and why; None if each can."""
    for file in sorted(file for file in folder.rglob("*") if file.suffix in FILE_FORMATS):
        try:
            _read_file(file, words)
        except Exception as error:
            return file, _reason(error)
    return None


def _reason(error: BaseException) -> str:
    """What went wrong, in one line without a full stop: of an error that `datasets` wraps, the cause."""
    from datasets.exceptions import DatasetGenerationError

    while isinstance(error, DatasetGenerationError) and error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()).rstrip(".:") or type(error).__name__


def _parquet_splits(folder: Path) -> dict[str, list[str]]:
    """Files of a mirrored data set by split: `train.parquet`, `validation_matched.parquet`, `test-00000-of-00002.parquet`."""
    files: dict[str, list[str]] = {}
    for file in sorted(folder.glob("*.parquet")):
        files.setdefault(re.sub(r"-\d+-of-\d+$", "", file.stem), []).append(str(file))
    if not files:
        raise InputError(f"HF_REPROGRAM_DATA has the folder {str(folder)!r}, but no parquet file in it.")
    return files
