"""Open registries with string keys: transforms, mappings, methods, baselines.

A built-in part is one line in its folder's `__init__.py`. A third party adds one without touching this package,
either by calling `register`, or by an entry point in the group `hf_reprogram.<kind>s`:

    [project.entry-points."hf_reprogram.transforms"]
    my_transform = "my_package.my_module:MyTransform"
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import EntryPoints, entry_points
from typing import Any, Generic, TypeVar, cast

from .errors import unknown

T = TypeVar("T")


class Registry(Generic[T]):
    """Objects by name. An object that is registered by its address is imported at its first use.

    `T` is the type of the objects, for example `Registry[type[Method]]`.

    >>> shapes: Registry[type] = Registry("shape", {"fraction": "fractions:Fraction"})
    >>> shapes["fraction"](1, 2)
    Fraction(1, 2)
    >>> shapes.register("complex", complex)
    <class 'complex'>
    >>> shapes.names()
    ['complex', 'fraction']
    """

    def __init__(self, kind: str, builtin: dict[str, str]):
        """Make a registry.

        Args:
            kind: the singular noun for messages and for the group of entry points.
            builtin: the address `"module:attribute"` of each built-in object, by name.
        """
        self.kind = kind
        self._entries: dict[str, Any] = dict(builtin)
        self._points: EntryPoints | None = None

    def register(self, name: str, entry: T) -> T:
        """Add an object, or its address `"module:attribute"`, and return it.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._entries:
            raise ValueError(f"A {self.kind} named {name!r} is registered already: choose another name.")
        self._entries[name] = entry
        return entry

    def names(self) -> list[str]:
        """All names in alphabetical order, with those of installed third parties."""
        return sorted({*self._entries, *(point.name for point in self._entry_points())})

    def __iter__(self) -> Iterator[str]:
        """All names in the order of their registration, built-in ones first, installed third parties last."""
        points = (point.name for point in self._entry_points())
        return iter(list(dict.fromkeys((*self._entries, *points))))

    def __getitem__(self, name: str) -> T:
        """The object of a name.

        Raises:
            InputError: nothing has this name.
        """
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
        return cast(T, entry)

    def _entry_points(self) -> EntryPoints:
        if self._points is None:  # a look at every installed package, which takes 20 ms
            self._points = entry_points(group=f"hf_reprogram.{self.kind}s")
        return self._points
