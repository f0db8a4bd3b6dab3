"""Writing files so that what is there is always whole: to a temporary name first, then renamed."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` to `path`; a crash leaves the old file or the new one, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")  # other computers may share the folder
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write `value` as indented JSON with `write_text`; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def staged(folder: str | os.PathLike, last: str) -> Iterator[Path]:
    """A temporary folder whose files move into `folder` when the block ends well, the one named `last` at the end."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=".partial-", dir=target))
    try:
        yield stage
        for file in sorted(stage.iterdir(), key=lambda file: file.name == last):
            os.replace(file, target / file.name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
