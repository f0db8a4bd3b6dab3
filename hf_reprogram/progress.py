"""Progress bars: live in a terminal, and in a log that is none a line per tenth of the way."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any


def progress(steps: Iterable[Any], title: str, total: int, quiet: bool = False) -> Iterator[Any]:
    """The same steps, with a bar on standard error.

    Args:
        steps: what to go through.
        title: before the bar.
        total: how many steps there are.
        quiet: show nothing.
    """
    from tqdm.auto import tqdm

    if quiet or in_terminal():
        yield from tqdm(steps, title, total, disable=quiet, leave=False)
        return
    tenths = Tenths(title, total)
    for place, step in enumerate(steps):
        yield step
        tenths.at(place + 1)


def in_terminal() -> bool:
    """Whether standard error is a terminal, or a notebook's, which draws bars, too."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


class Tenths:
    """Writes a line to standard error whenever another tenth of `total` steps is done; short ways get none.

    Attributes:
        title: before the count.
        total: steps of the whole way; with fewer than 20, nothing is written.
    """

    def __init__(self, title: str, total: int):
        self.title, self.total = title, total
        self._shown = 0

    def at(self, done: int, note: str = "") -> None:
        """Say that `done` steps are behind us; `note` stands behind the count."""
        tenth = 10 * done // max(self.total, 1)
        if self.total >= 20 and tenth > self._shown:
            self._shown = tenth
            print(f"{self.title}: {done:,} of {self.total:,}{note}", file=sys.stderr, flush=True)
