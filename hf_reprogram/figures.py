"""Tools for all plots: matplotlib, texts that it can draw and that fit, and files that are always complete."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import InputError


def pyplot() -> Any:
    """`matplotlib.pyplot`, set to draw to files only.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise InputError("A plot needs matplotlib: pip install 'hf_reprogram[plots]'.") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def save(figure: Any, path: str | Path) -> Path:
    """Write a figure as PNG and return the path. A missing folder is made. If this fails, an older file stays."""
    from matplotlib import pyplot

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        figure.savefig(temporary, dpi=130, format="png")
        temporary.replace(path)
    finally:
        pyplot.close(figure)
        temporary.unlink(missing_ok=True)
    return path


def drawable() -> Callable[[str], str]:
    """A function that replaces the letters of a text that matplotlib's font lacks by escapes."""
    from matplotlib import font_manager, ft2font

    known = ft2font.FT2Font(font_manager.findfont(font_manager.FontProperties())).get_charmap()

    def draw(text: str) -> str:
        letters = [c if c.isprintable() and ord(c) in known else c.encode("unicode_escape").decode() for c in text]
        return "".join(letters).replace("$", r"\$")  # a dollar sign would start a formula

    return draw


def cut(text: str, most: int) -> str:
    """A text of at most `most` letters.

    >>> cut("a long title", 8)
    'a lon...'
    """
    return text if len(text) <= most else f"{text[: most - 3]}..."
