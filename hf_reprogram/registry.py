"""Open registries with string keys.

A built-in part is one line in its registry. Another package adds a part without a change of this one: it calls `register`, or
it declares an entry point in the registry's group:

    [project.entry-points."hf_reprogram.transforms"]
    my_transform = "my_package.my_module:MyTransform"

The groups are `hf_reprogram.transforms`, `hf_reprogram.mappings`, `hf_reprogram.methods`, `hf_reprogram.modalities`,
`hf_reprogram.source_families`, `hf_reprogram.baselines` and `hf_reprogram.objectives`.

A part that a user names, in Python or in a recipe, is loaded. A part of another package that an adapter's files alone name is
loaded if the package is imported already, or if the caller consents; see `plugins`. Modalities and source families are asked
all together whenever data or sources are recognised, whatever a file names.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from importlib.metadata import EntryPoints, entry_points
from typing import Any, Generic, TypeVar, cast

from .errors import InputError, unknown

T = TypeVar("T")
_CONSENT: ContextVar[bool | None] = ContextVar("consent", default=None)  # None: what is asked for was named by the user


@contextmanager
def plugins(consent: bool) -> Iterator[None]:
    """What is asked for within the block is named by files: other packages' parts need consent, unless imported already.

    Within a block with consent, one without it changes nothing.

    >>> with plugins(False):
    ...     Registry("shape", "shapes", {"fraction": "fractions:Fraction"})["fraction"](1, 2)
    Fraction(1, 2)
    """
    token = _CONSENT.set(consent or _CONSENT.get() is True)
    try:
        yield
    finally:
        _CONSENT.reset(token)


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

    def __init__(self, kind: str, plural: str, builtin: dict[str, str], whole: bool = False):
        """Make a registry.

        Args:
            kind: the singular noun for messages.
            plural: the same noun in the plural, as one word: the group of entry points is `hf_reprogram.<plural>`.
            builtin: the address `"module:attribute"` of each built-in object, by name.
            whole: whether all objects are asked for together, so that a name in a file loads nothing more.
        """
        self.whole = whole
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
            InputError: nothing has this name, or it is of another package and needs consent (`plugins`).
        """
        if name not in self._entries:
            for point in self._entry_points():
                if point.name == name:
                    self._check_consent(point)
                    self._entries[name] = point.load()
        if name not in self._entries:
            raise unknown(self.kind, name, self.names())
        entry = self._entries[name]
        if isinstance(entry, str):
            module, _, attribute = entry.partition(":")
            entry = self._entries[name] = getattr(import_module(module), attribute)
        return cast(T, entry)

    def _check_consent(self, point: Any) -> None:
        """Refuse the code of another package that only a file names."""
        if self.whole or _CONSENT.get() is not False:
            return
        package = point.module.partition(".")[0]
        if package not in sys.modules:
            raise InputError(
                f"The {self.kind} {point.name!r} is code of the installed package {package!r}, which the files of an adapter "
                f"alone do not load: import {package} before, or pass trust_remote_code=True (--trust-remote-code on the "
                "command line) if you trust it."
            )

    def _entry_points(self) -> EntryPoints:
        if self._points is None:  # reading the metadata of every installed package takes 20 ms
            self._points = entry_points(group=self.group)
        return self._points
