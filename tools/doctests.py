"""An extension of griffe, which mkdocstrings reads docstrings with.

Examples that start with `>>>` become blocks of code, and an entry of several names becomes one entry per name.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import griffe


def fenced(text: str) -> str:
    """A docstring whose paragraphs that start with `>>>` are fenced as code."""
    return re.sub(r"(?m)^( *)(>>> .*(?:\n\1\S.*|\n\1 +\S.*)*)", r"\1```pycon\n\1\2\n\1```", text)


def one_name_per_entry(text: str) -> str:
    """A docstring in which `low, high: the ends.` stands once for each name, as griffe reads one name per entry."""

    def several(entry: re.Match[str]) -> str:
        return "".join(f"    {name}{entry[2]}" for name in entry[1].split(", "))

    def section(match: re.Match[str]) -> str:
        return match[1] + re.sub(r"(?m)^    (\w+(?:, \w+)+)(: .*\n(?:     .*\n)*)", several, match[2])

    return re.sub(r"(?m)^((?:Attributes|Args):\n)((?:(?: {4}.*)?\n)*)", section, f"{text}\n")[:-1]


class Doctests(griffe.Extension):
    """Brings every docstring into the form that griffe reads."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for each object that was read."""
        if obj.docstring:
            obj.docstring.value = fenced(one_name_per_entry(inspect.cleandoc(obj.docstring.value)))
