"""A finished adapter: its model, its processor, and what a run left beside it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..modalities import modality_taking
from ..model import ReprogrammedModel, to_accelerator


def load_adapter(
    adapter: str | os.PathLike, source: str | None = None, source_kwargs: dict[str, Any] | None = None
) -> tuple[Any, Any]:
    """An adapter's model, on the accelerator if there is one, and its processor."""
    try:
        model = ReprogrammedModel.from_pretrained(adapter, source=source, source_kwargs=source_kwargs)
        return to_accelerator(model), modality_taking(model.transform.takes).load_processor(adapter)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"No adapter at {os.fspath(adapter)!r}: {str(error).splitlines()[0]}") from error


def recorded(adapter: str, name: str) -> dict[str, Any] | None:
    """A JSON file that a run left beside its adapter, in a folder or on the Hub; None if there is none."""
    from transformers.utils import cached_file

    path = cached_file(adapter, name, _raise_exceptions_for_missing_entries=False)
    return json.loads(Path(path).read_text(encoding="utf-8")) if path else None
