"""Progress bars in a terminal; in a log that is no terminal, a line per tenth of the way."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any


def progress(steps: Iterable[Any], title: str, total: int, quiet: bool = False) -> Iterator[Any]:
    """Yield `steps` unchanged, and show on standard error how many of them are done.

    Args:
        steps: the items to go through.
        title: the text before the bar.
        total: the number of steps.
        quiet: show nothing.

    >>> sum(progress([1, 2, 3], "adding", total=3, quiet=True))
    6
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
    """Whether bars can be drawn: standard error is a terminal, or this is a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def quiet_libraries(quiet: bool = False) -> None:
    """Turn off the progress bars of other libraries unless this is a terminal, and with `quiet` their notices too.

    In a log that is no terminal a bar fills a line each time that it moves. Every command calls this first.

    Args:
        quiet: turn off all bars, notices and warnings, in a terminal too.
    """
    if not quiet and in_terminal():
        return
    import huggingface_hub.utils
    import transformers

    if "datasets" in sys.modules:
        sys.modules["datasets"].disable_progress_bars()
    else:  # it reads this when it is imported, which a prediction of texts never does
        os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    huggingface_hub.utils.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    if quiet:
        transformers.utils.logging.set_verbosity_error()
        warnings.simplefilter("ignore")


class Tenths:
    """Writes a line to standard error whenever another tenth of `total` steps is done.

    Attributes:
        title: the text before the count.
        total: the number of all steps; with fewer than 20, nothing is written.
    """

    def __init__(self, title: str, total: int):
        self.title, self.total = title, total
        self._shown = 0

    def at(self, done: int, note: str = "") -> None:
        """Report that `done` steps are done; `note` follows the count."""
        tenth = 10 * done // max(self.total, 1)
        if self.total >= 20 and tenth > self._shown:
            self._shown = tenth
            print(f"{self.title}: {done:,} of {self.total:,}{note}", file=sys.stderr, flush=True)
