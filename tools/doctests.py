"""An extension of griffe, which mkdocstrings reads docstrings with: examples that start with `>>>` become blocks of code."""

from __future__ import annotations

import re
from typing import Any

import griffe


def fenced(text: str) -> str:
    """A docstring whose paragraphs that start with `>>>` are fenced as code."""
    return re.sub(r"(?m)^( *)(>>> .*(?:\n\1\S.*|\n\1 +\S.*)*)", r"\1```pycon\n\1\2\n\1```", text)


class Doctests(griffe.Extension):
    """Fences the examples of every docstring."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for each object that was read."""
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)
