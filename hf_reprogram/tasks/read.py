"""Reading the raw splits of a data set from a file, a folder, a local mirror, the Hub, or the package itself."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..modalities import every_modality
from ..modalities.folders import SPLIT_NAMES, RawSplits, files_in, split_called, split_of_stem
from .catalog import in_mirror, on_hub
from .files import FORMATS, check_columns, ending, format_of, read_csv
from .inputs import task_modality
from .json_lines import read_json_lines
from .memory import InMemory

if TYPE_CHECKING:
    from .options import TaskOptions

VALIDATION_NAMES = ("validation", "val", "valid", "dev")  # names of validation splits on the Hub


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

    from .builtin import builtin

    if isinstance(options.dataset, InMemory):
        raw = RawSplits(options.dataset.splits)
        return by_split_column(raw, options) if [*raw] == ["train"] else raw
    path = Path(options.dataset)
    if (make := builtin(options.dataset, options.name)) is not None:
        return make()
    mirror = os.environ.get("HF_REPROGRAM_DATA")
    try:
        if mirror and not path.exists():
            for folder in in_mirror(options.dataset, options.name):
                if Path(mirror, folder).is_dir():
                    return load_dataset("parquet", data_files=parquet_splits(Path(mirror, folder)))
        if path.is_file():
            for modality in every_modality():
                if (rows := modality.read_file(path)) is not None:
                    return by_split_column(RawSplits({"train": rows}), options)
            notes: list[str] = []
            return by_split_column(RawSplits({"train": read_files([path], options, notes)}, notes), options)
        if path.is_dir():
            return _read_folder(path, options)
        return load_dataset(*on_hub(options.dataset, options.name), revision=options.revision)
    except InputError:
        raise
    except Exception as error:  # datasets raises many types of errors for missing data
        reason = _reason(error)
        dataset = f"{options.dataset!r}{f', {options.name!r}' if options.name else ''}"
        if empty := re.search(r'"(\w+)" corresponds to no data', reason):
            raise InputError(f"The split {empty[1]!r} of {dataset} is empty: give a split with examples.") from error
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


def read_files(paths: Sequence[Path], options: TaskOptions, notes: list[str] | None = None) -> Any:
    """The rows of files of one format with the same columns, one file after the other.

    Args:
        paths: at least one file.
        options: the task section of a recipe.
        notes: a list to which sentences on the files are added.

    Raises:
        InputError: a file cannot be read, or has other columns than the first.
    """
    from datasets import concatenate_datasets, load_dataset

    kinds = {path: format_of(path) for path in paths}
    first = paths[0]
    if other := next((path for path in paths if kinds[path] != kinds[first]), None):
        raise InputError(
            f"The files {str(first)!r} and {str(other)!r} of one split have different formats: use one format."
        )
    if kinds[first] == "csv":
        parts = []
        for path in paths:
            parts.append(read_csv(path, options.sep, options.encoding, options.columns, notes))
            check_columns(parts[-1], _named_columns(options), path, options.sep)
    elif kinds[first] == "json":
        return read_json_lines(paths, options.encoding, notes)
    else:
        try:
            found = load_dataset(kinds[first], data_files={"train": [str(path) for path in paths]})
            return found["train"]
        except Exception as error:  # datasets raises many types of errors
            if len(paths) == 1:
                raise InputError(f"The file {str(first)!r} cannot be read: {_reason(error)}.") from error
            parts = [read_files([path], options) for path in paths]  # names a file that cannot be read by itself
    for path, part in zip(paths, parts, strict=True):
        if part.features != parts[0].features:
            raise InputError(
                f"The files of a split have different columns: {str(first)!r} has {_columns_of(parts[0])}, and "
                f"{str(path)!r} has "
                f"{_columns_of(part)}: give all of them the same."
            )
    return parts[0] if len(parts) == 1 else concatenate_datasets(parts)


def _columns_of(data: Any) -> str:
    return ", ".join(f"{name} ({getattr(kind, 'dtype', kind)})" for name, kind in data.features.items())


def _named_columns(options: TaskOptions) -> list[str]:
    """The raw columns that a task names."""
    named = [getattr(options, modality.column) or [] for modality in every_modality()]
    label = [options.label] if isinstance(options.label, str) else options.label or []
    return [*chain(*named), *label]


def _read_folder(folder: Path, options: TaskOptions) -> Any:
    """The raw splits of a folder of data files, or of a folder that a modality reads.

    Raises:
        InputError: the files do not say which split they belong to, or cannot be read.
    """
    from datasets import load_dataset, load_from_disk

    if (folder / "state.json").exists() or (folder / "dataset_dict.json").exists():
        saved: Any = load_from_disk(str(folder))
        return saved if hasattr(saved, "values") and not hasattr(saved, "features") else {"train": saved}
    if options.name is not None or _declares_files(folder / "README.md"):
        return load_dataset(str(folder), options.name)
    named = [name for name in (options.train_split, options.validation_split, options.test_split) if name]
    modality = task_modality(options)
    files = [path for path in files_in(folder) if ending(path) in FORMATS and path.stem.lower() != "metadata"]
    # `hf-reprogram init` does not know the modality yet
    for reader in every_modality() if modality is None else [modality]:
        splits = reader.read_folder(str(folder), named)
        if splits is None or any(_has_columns(path, options) for path in files):
            continue
        if modality is None and bool(files) and bool(getattr(splits, "unlabelled", "")):
            continue
        listed = ", ".join(repr(str(path.relative_to(folder))) for path in files[:5])
        notes = [f"Left out beside the {reader.noun}: {listed}."] if files else []
        raw = RawSplits(splits, [*getattr(splits, "notes", []), *notes], getattr(splits, "unlabelled", ""))
        return by_split_column(raw, options) if [*raw] == ["train"] else raw
    if files:
        by_split, notes = split_files(folder, files, named)
        read = RawSplits({split: read_files(paths, options, notes) for split, paths in by_split.items()})
        read.notes = notes
        return by_split_column(read, options) if [*read] == ["train"] else read
    if others := [path for path in files_in(folder) if path.suffix and path.stem.lower() not in ("readme", "license")]:
        format_of(others[0])
    return load_dataset(str(folder))


def _declares_files(readme: Path) -> bool:
    """Whether the card of a data set says which files belong to which split."""
    if not readme.is_file():
        return False
    head = readme.read_text(encoding="utf-8", errors="replace").split("\n---", 1)[0]
    return head.startswith("---") and re.search(r"^configs:", head, re.MULTILINE) is not None


def _has_columns(path: Path, options: TaskOptions) -> bool:
    """Whether a data file has the column of examples that a task names; if it names none, whether it is called like a split."""
    modality = task_modality(options)
    named = getattr(options, modality.column) if modality is not None else None
    if not named:
        return modality is None and split_of_stem(path.name.split(".")[0]) is not None
    try:
        return named[0] in read_files([path], options).column_names
    except InputError:
        return False


def split_files(folder: Path, files: Sequence[Path], named: Sequence[str]) -> tuple[dict[str, list[Path]], list[str]]:
    """The files of each split, by the names of the files and of the folders that hold them.

    Args:
        folder: the folder of the data set.
        files: data files in it.
        named: split names of the task, which count as they are.

    Returns:
        The files by split, and notes on what was left out. Without the name of a split, all files are the training split.

    Raises:
        InputError: a name does not say which split it means.
    """
    splits: dict[str, list[Path]] = {}
    words: dict[str, set[str]] = {}
    rest: list[Path] = []
    for path in files:
        *parents, _ = path.relative_to(folder).parts
        stem = path.name.split(".")[0]
        found = {part: part if part in named else split_called(part) for part in parents}
        found[stem] = stem if stem in named else split_of_stem(stem)
        decided = {split for split in found.values() if split}
        shown = str(path.relative_to(folder))
        if len(decided) > 1:
            raise InputError(
                f"The file {shown!r} of {str(folder)!r} names the splits {' and '.join(sorted(decided))}: name one."
            )
        if not decided:
            rest.append(path)
            continue
        split = decided.pop()
        splits.setdefault(split, []).append(path)
        words.setdefault(split, set()).update(
            re.sub(r"[-_.]?\d.*$", "", part.lower()) for part, meant in found.items() if meant
        )
    for split, spellings in words.items():
        if len(spellings) > 1:
            raise InputError(
                f"The folder {str(folder)!r} has {' and '.join(sorted(spellings))}, which both mean the {split} split: "
                "rename one, "
                f"or name one in task.{split}_split."
            )
    names = ", ".join(repr(str(path.relative_to(folder))) for path in rest[:5])
    if splits:
        return splits, [f"Left out, as no split is called so: {names}."] if rest else []
    if any(SPLIT_NAMES & {*re.split(r"[^a-z]+", path.relative_to(folder).as_posix().lower())} for path in rest):
        raise InputError(
            f"The files {names} of {str(folder)!r} do not say which split they are: call them train, validation or test, or "
            "give their "
            "names without the ending in task.train_split and task.test_split."
        )
    return {"train": rest}, [f"Read together as one split: {names}."] if len(rest) > 1 else []


def by_split_column(splits: RawSplits, options: TaskOptions) -> RawSplits:
    """The splits of a file whose column `split` says which split a row belongs to, such as train or test.

    Args:
        splits: `{"train": rows}`, returned as they are if there is no such column.
        options: the task section of a recipe.

    Raises:
        InputError: some values of the column are names of splits, and others are not.
    """
    rows = splits["train"]
    name = next((name for name in rows.column_names if name.lower() == "split"), None)
    if name is None or name in _named_columns(options):
        return splits
    found = [split_called(value) if isinstance(value, str) else None for value in rows[name]]
    if not any(found):
        return splits
    if None in found:
        row = found.index(None)
        raise InputError(
            f"Row {row} of {options.dataset!r} has {rows[name][row]!r} in the column {name!r}, where other rows name a "
            "split: write "
            "train, validation or test, or call the column otherwise."
        )
    places: dict[str, list[int]] = {}
    for row, split in enumerate(found):
        places.setdefault(str(split), []).append(row)
    note = f"The column {name!r} says which split a row belongs to."
    selected = {split: rows.select(members) for split, members in places.items()}
    return RawSplits(selected, [*splits.notes, note], splits.unlabelled)


def _reason(error: BaseException) -> str:
    """The message of an error in one line without a full stop; for an error that `datasets` wraps, that of its cause."""
    from datasets.exceptions import DatasetGenerationError

    while isinstance(error, DatasetGenerationError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, StopIteration):
        return "it holds no row"
    return " ".join(str(error).split()).rstrip(".:") or type(error).__name__


def parquet_splits(folder: Path) -> dict[str, list[str]]:
    """The files of each split in a mirror, named like `train.parquet` or `test-00000-of-00002.parquet`."""
    files: dict[str, list[str]] = {}
    for file in sorted(folder.glob("*.parquet")):
        files.setdefault(re.sub(r"-\d+-of-\d+$", "", file.stem), []).append(str(file))
    if not files:
        raise InputError(
            f"The folder {str(folder)!r} of HF_REPROGRAM_DATA has no parquet file: put one there per split."
        )
    return files
