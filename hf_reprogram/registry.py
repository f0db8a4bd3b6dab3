"""Open registries with string keys: transforms, mappings, methods, baselines.

A built-in part is one line in its folder's `__init__.py`. A third party adds one without touching this package,
either by calling `register`, or by an entry point in the group `hf_reprogram.<kind>s`:

    [project.entry-points."hf_reprogram.transforms"]
    my_transform = "my_package.my_module:MyTransform"
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from .errors import unknown


class Registry:
    """Names and where the objects live; each is imported when it is first asked for."""

    def __init__(self, kind: str, builtin: dict[str, str]):
        self.kind = kind
        self._entries: dict[str, Any] = dict(builtin)

    def register(self, name: str, entry: Any) -> Any:
        """Add `entry`, an object or its address `"module:attribute"`, under `name`; a taken name is refused."""
        if name in self._entries:
            raise ValueError(f"A {self.kind} named {name!r} is registered already: choose another name.")
        self._entries[name] = entry
        return entry

    def names(self) -> list[str]:
        """All names, those of installed third parties included, sorted."""
        return sorted({*self._entries, *(point.name for point in self._entry_points())})

    def __iter__(self) -> Iterator[str]:
        """All names in the order of their registration, built-in ones first, installed third parties last."""
        points = (point.name for point in self._entry_points())
        return iter(list(dict.fromkeys((*self._entries, *points))))

    def __getitem__(self, name: str) -> Any:
        if name not in self._entries:
            for point in self._entry_points():
                if point.name == name:
                    self._entries[name] = point.load()
        if name not in self._entries:
            raise unknown(self.kind, name, self.names())
        entry = self._entries[name]
        if isinstance(entry, str):
            module, _, attribute = entry.partition(":")
            entry = self._entries[name] = getattr(import_module(module), attribute)
        return entry

    def _entry_points(self):
        return entry_points(group=f"hf_reprogram.{self.kind}s")
