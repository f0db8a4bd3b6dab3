"""Open registries with string keys.

A built-in part is one line in its registry. Another package adds a part without a change of this one: it calls `register`, or
it declares an entry point in the registry's group:

    [project.entry-points."hf_reprogram.transforms"]
    my_transform = "my_package.my_module:MyTransform"

The groups are `hf_reprogram.transforms`, `hf_reprogram.mappings`, `hf_reprogram.methods`, `hf_reprogram.modalities`,
`hf_reprogram.source_families` and `hf_reprogram.baselines`.
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

    Attributes:
        kind: the singular noun for messages.
        group: the group of entry points by which other packages add objects.

    >>> shapes: Registry[type] = Registry("shape", "shapes", {"fraction": "fractions:Fraction"})
    >>> shapes.group
    'hf_reprogram.shapes'
    >>> shapes["fraction"](1, 2)
    Fraction(1, 2)
    >>> shapes.register("complex", complex)
    <class 'complex'>
    >>> shapes.names()
    ['complex', 'fraction']
    """

    def __init__(self, kind: str, plural: str, builtin: dict[str, str]):
        """Make a registry.

        Args:
            kind: the singular noun for messages.
            plural: the same noun in the plural, as one word: the group of entry points is `hf_reprogram.<plural>`.
            builtin: the address `"module:attribute"` of each built-in object, by name.
        """
        self.kind = kind
        self.group = f"hf_reprogram.{plural}"
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
        if self._points is None:  # reading the metadata of every installed package takes 20 ms
            self._points = entry_points(group=self.group)
        return self._points
