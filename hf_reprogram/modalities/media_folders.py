"""Folders of images or of sounds: a folder per class, or a file `metadata.csv` or `metadata.jsonl` with a row per file."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from .folders import Layout, RawSplits, files_in, read_layout, stamp

FILE_NAME = "file_name"  # the column of metadata with the path of a file from the folder of the metadata


def read_media(
    folder: str,
    endings: Sequence[str],
    named: Sequence[str],
    column: str,
    kind: Any,
    held: Callable[[str], Any] = str,
) -> RawSplits | None:
    """The splits of a folder of files with their own column, `label` and those of metadata; None if it holds no such file.

    Args:
        folder: the folder.
        endings: of the files, in lower case.
        named: split names of the task, which count as they are.
        column: the name of the column that holds the files.
        kind: its feature of `datasets`.
        held: what stands in the column for the path of a file.

    Raises:
        InputError: it cannot be told which folders are splits, or metadata names no file.
    """
    from datasets import ClassLabel, Dataset, Features

    layout = read_layout(folder, endings, named)
    if layout is None:
        return None
    rows = _metadata(folder)
    notes, unlabelled = list(layout.notes), layout.problem
    columns = [*dict.fromkeys(name for row in rows.values() for name in row)]
    if rows:
        notes += _keep_described(layout, rows)
        unlabelled = unlabelled and (
            f"{unlabelled.rstrip('.')}; its metadata has the columns {', '.join(columns) or 'of files alone'}."
        )
    labelled = not layout.problem and "label" not in columns
    if rows and not layout.problem and "label" in columns:
        notes.append("Labels are those of the metadata, and not the names of folders.")
    classes, splits = layout.classes, {}
    for split, pairs in layout.files.items():
        data: dict[str, list[Any]] = {column: [held(str(path)) for path, _ in pairs]}
        features = {column: kind}
        if labelled:
            data["label"] = [classes.index(str(name)) for _, name in pairs]
            features["label"] = ClassLabel(names=classes)
        for name in columns:
            data[name] = [rows[path][name] for path, _ in pairs]
        inferred = Dataset.from_dict({name: data[name] for name in columns}).features if columns else {}
        made = Dataset.from_dict(data, features=Features({**features, **inferred}))
        made._fingerprint = stamp(path for path, _ in pairs)
        splits[split] = made
    return RawSplits(splits, notes, "" if labelled or "label" in columns else unlabelled)


def _metadata(folder: str) -> dict[Path, dict[str, Any]]:
    """The rows of all files of metadata, by the file that they are of."""
    rows: dict[Path, dict[str, Any]] = {}
    for path in files_in(folder):
        if path.name not in ("metadata.csv", "metadata.jsonl"):
            continue
        for place, row in enumerate(_read(path)):
            name = row.pop(FILE_NAME, None)
            if not isinstance(name, str) or not (path.parent / name).is_file():
                raise InputError(
                    f"Row {place} of {str(path)!r} has the {FILE_NAME} {name!r}, where there is no file: give paths from "
                    "the folder of "
                    "the metadata."
                )
            rows[path.parent / name] = row
    names = {tuple(row) for row in rows.values()}
    if len(names) > 1:
        raise InputError(f"The rows of metadata in {folder!r} have different columns: give all of them the same.")
    return rows


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".jsonl":
            found = [json.loads(line) for line in text.split("\n") if line.strip()]
        else:
            found = [*csv.DictReader(text.splitlines(keepends=True), strict=True)]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"The file {str(path)!r} cannot be read: {' '.join(str(error).split())}.") from error
    if wrong := next((place for place, row in enumerate(found) if not isinstance(row, dict) or None in row), None):
        raise InputError(f"Row {wrong} of {str(path)!r} has more fields than the header: correct it.")
    return found


def _keep_described(layout: Layout, rows: dict[Path, dict[str, Any]]) -> list[str]:
    """Leave out of the layout what metadata say nothing of; returns a note of it."""
    left = []
    for split, pairs in layout.files.items():
        left += [path.name for path, _ in pairs if path not in rows]
        layout.files[split] = [(path, name) for path, name in pairs if path in rows]
    layout.files = {split: pairs for split, pairs in layout.files.items() if pairs}
    return [f"Left out, as the metadata has no row for them: {', '.join(left[:5])}."] if left else []
