"""A file of predictions that appears when it is complete; until then its parts lie in a folder, and a run goes on from them."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_json, write_json, write_text
from ..modalities.table import TABLE

_SETTINGS = "settings.json"


def json_line(record: Any) -> str:
    r"""JSON on one line, also for a reader that takes Unicode's own line ends for those of lines.

    >>> json_line({"text": "two\u2028lines"})
    '{"text": "two\\u2028lines"}'
    """
    text = json.dumps(record, ensure_ascii=False)
    for end in ("\x85", "\u2028", "\u2029"):
        text = text.replace(end, f"\\u{ord(end):04x}")
    return text


class PredictionFile:
    r"""Writes PATH a part at a time: each part is a whole file in the folder PATH.part, and PATH is made of them at the end.

    Args:
        path: a file that ends with .jsonl, .csv or .parquet.
        resume: go on with the parts that an interrupted run has left.

    Attributes:
        path: the file.
        folder: where the parts are.
        kept: the digest of the examples of every part that is there, in their order.

    Raises:
        InputError: the ending is another, the file exists, or there are parts and `resume` is not set.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = PredictionFile(Path(folder) / "labels.csv")
    ...     file.begin({"adapter": "1f"})
    ...     file.add("0a", [{"text": "good", "label": "yes"}])
    ...     count = file.finish()
    ...     (Path(folder) / "labels.csv").read_text(), os.listdir(folder)
    ('text,label\ngood,yes\n', ['labels.csv'])
    """

    def __init__(self, path: str | os.PathLike[str], resume: bool = False):
        self.path = Path(path)
        self.folder = self.path.with_name(f"{self.path.name}.part")
        if self.path.suffix.lower() not in _WRITERS:
            raise InputError(
                f"The output {str(path)!r} ends with none of .jsonl, .csv and .parquet: let it end with one."
            )
        if self.path.exists():
            raise InputError(f"The output {str(path)!r} is there already: name another, or delete it.")
        self.kept = [str(_first(part).get("input")) for part in self._parts()]
        if self.kept and not resume:
            raise InputError(
                f"The folder {str(self.folder)!r} holds predictions of a run that was interrupted: go on with --resume, or "
                "delete the folder."
            )

    def begin(self, settings: dict[str, Any]) -> None:
        """Note what the predictions depend on beside the examples, or compare it with what the parts were made with.

        Args:
            settings: values for JSON; that of "adapter" says which adapter it is.

        Raises:
            InputError: the parts were made with others.
        """
        if not self.kept:
            write_json(self.folder / _SETTINGS, settings)
            return
        before = read_json(self.folder / _SETTINGS)
        if before != settings:
            same = isinstance(before, dict) and before.get("adapter") == settings["adapter"]
            what = "of another version or with other columns" if same else "of another adapter"
            raise InputError(
                f"The folder {str(self.folder)!r} holds predictions {what}: delete it, or name another output."
            )

    def add(self, digest: str, records: list[dict[str, Any]]) -> None:
        """Write the next part.

        Args:
            digest: that of the examples.
            records: their predictions, all with the same keys.
        """
        lines = [json.dumps({"input": digest}), *map(json_line, records)]
        write_text(self._part(len(self.kept)), "\n".join(lines) + "\n")
        self.kept.append(digest)

    def finish(self, kinds: Mapping[str, Any] | None = None) -> int:
        """Make the file of all parts, and delete them.

        Args:
            kinds: the Arrow type of columns in a parquet file that are neither predictions nor texts.

        Returns:
            The number of predictions.
        """
        whole = self.folder / f"whole{self.path.suffix}"
        count = _WRITERS[self.path.suffix.lower()](whole, (_records(part) for part in self._parts()), kinds or {})
        os.replace(whole, self.path)
        shutil.rmtree(self.folder)
        return count

    def give_up(self) -> None:
        """Leave nothing behind if there is no part yet."""
        if not self.kept:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _part(self, number: int) -> Path:
        return self.folder / f"{number:06}.jsonl"

    def _parts(self) -> Iterator[Path]:
        number = 0
        while (part := self._part(number)).exists():
            yield part
            number += 1


def _first(part: Path) -> dict[str, Any]:
    """The first line of a part, which tells its examples."""
    try:
        with part.open(encoding="utf-8", newline="\n") as file:
            value = json.loads(file.readline())
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InputError(f"The file {str(part)!r} is no part of predictions: delete the folder that it lies in.")
    return value


def _records(part: Path) -> list[dict[str, Any]]:
    with part.open(encoding="utf-8", newline="\n") as file:
        file.readline()
        return [json.loads(line) for line in file]


def _write_jsonl(path: Path, parts: Iterable[list[dict[str, Any]]], kinds: Mapping[str, Any]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for records in parts:
            file.writelines(f"{json_line(record)}\n" for record in records)
            count += len(records)
    return count


def _write_csv(path: Path, parts: Iterable[list[dict[str, Any]]], kinds: Mapping[str, Any]) -> int:
    """What is no number and no text is JSON in its cell."""
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for records in parts:
            if not count:
                writer.writerow(records[0])
            writer.writerows([_cell(value) for value in record.values()] for record in records)
            count += len(records)
    return count


def _cell(value: Any) -> Any:
    return json_line(value) if isinstance(value, dict | list) else value


def _write_parquet(path: Path, parts: Iterable[list[dict[str, Any]]], kinds: Mapping[str, Any]) -> int:
    import pyarrow as pa
    from pyarrow import parquet

    parts = iter(parts)
    first = next(parts)
    schema = pa.schema([(name, kinds.get(name) or _kind(name, value)) for name, value in first[0].items()])
    texts = [field.name for field in schema if field.type == pa.string()]
    count = 0
    with parquet.ParquetWriter(path, schema) as writer:
        for records in chain([first], parts):
            for record in records:
                record |= {name: json_line(record[name]) for name in texts if not isinstance(record[name], str | None)}
            writer.write_table(pa.Table.from_pylist(records, schema))
            count += len(records)
    return count


def _kind(name: str, value: Any) -> Any:
    """The type of a column with such a value, whatever else stands in it."""
    import pyarrow as pa

    if name == "scores":
        return pa.struct([(label, pa.float64()) for label in value])
    if name in ("tokens", "labels"):
        return pa.list_(pa.string())
    if name in (TABLE.column, "values"):
        return pa.list_(pa.float64())
    return pa.float64() if name in ("score", "value") else pa.string()


_WRITERS: dict[str, Callable[[Path, Iterable[list[dict[str, Any]]], Mapping[str, Any]], int]] = {
    ".jsonl": _write_jsonl,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
