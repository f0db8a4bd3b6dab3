"""Paths of a recipe that another working directory finds too."""

from __future__ import annotations

import os
from typing import Any


def whole_path(name: Any) -> Any:
    """The absolute path of an existing file or folder, which another working directory finds too; any other name as it is."""
    return os.path.abspath(name) if isinstance(name, str) and os.path.exists(name) else name


def with_whole_paths(section: dict[str, Any]) -> dict[str, Any]:
    """A section of a recipe, with `whole_path` of its data sets and of the adapter to start from."""
    return {
        key: with_whole_paths(value)
        if isinstance(value, dict)
        else whole_path(value)
        if key in ("dataset", "init_from")
        else value
        for key, value in section.items()
    }
