"""Writes files so that they are always complete, under a temporary name first, which is then renamed; and reads JSON."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import InputError


def read_json(path: str | os.PathLike[str]) -> Any:
    """What a JSON file holds.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_json(Path(folder) / "a.json", {"a": 1})
    ...     read_json(Path(folder) / "a.json")
    {'a': 1}

    Raises:
        InputError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # not there; not UTF-8, not JSON, too many digits; too deep
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0].rstrip(".")
        raise InputError(f"The file {os.fspath(path)!r} is not JSON that can be read: {reason}.") from error


def repository_json(name: str | os.PathLike[str], file: str, hub: Mapping[str, Any] | None = None) -> Any:
    """What a JSON file of a folder or of a repository of the Hub holds; None where there is no such file.

    Args:
        name: the folder, or the Hub id.
        file: the file's name in it.
        hub: arguments that locate it, see `hf_reprogram.hub_arguments`.

    Raises:
        InputError: it is not JSON.
        OSError: the repository cannot be reached.
    """
    from transformers.utils import cached_file

    path = cached_file(name, file, _raise_exceptions_for_missing_entries=False, **(hub or {}))
    return None if path is None else read_json(path)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path`; a crash leaves the old file or the new one, never a part.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_text(Path(folder) / "note.txt", "kept")
    ...     (Path(folder) / "note.txt").read_text()
    'kept'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")  # other computers may share the folder
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON with `write_text`; NaN is refused, since JSON has none.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_json(Path(folder) / "a.json", {"a": 1})
    ...     json.loads((Path(folder) / "a.json").read_text())
    {'a': 1}
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def staged(folder: str | os.PathLike[str], last: str) -> Iterator[Path]:
    """A temporary folder whose files move into `folder` when the block ends well, the one named `last` at the end.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with staged(folder, last="config.json") as stage:
    ...         _ = (stage / "config.json").write_text("{}")
    ...     os.listdir(folder)
    ['config.json']
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=".partial-", dir=target))
    try:
        yield stage
        for file in sorted(stage.iterdir(), key=lambda file: file.name == last):
            os.replace(file, target / file.name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
