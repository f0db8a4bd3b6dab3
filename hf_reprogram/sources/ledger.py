"""The ledger of a source that is paid for by the sample: what was asked, what was answered, and what is left of the budget.

It is a SQLite file with one row for each input that was ever answered, by the digest of the input. A run that is resumed, or
repeated, finds its answers there and pays for none of them again. A sample is counted in the file before it is sent, so that
neither threads, nor other processes with the same file, nor a kill can exceed the budget.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Any

import numpy as np

from ..errors import BudgetSpent, InputError, shown
from ..options import check_whole

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    digest BLOB PRIMARY KEY, logits BLOB NOT NULL, sent INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
COUNTS = ("sent", "cached", "failed")


class Ledger:
    """Answers by the digest of their input, with counts and a budget.

    Args:
        path: the file; None to keep the ledger in memory.
        budget: the largest number of samples that may ever be sent, over all runs with this file; None for no limit.
        price_per_1000: the price of 1,000 samples, in any currency.

    Attributes:
        reached: the number of samples that had been sent when the latest of the answers came that were read so far. A run that
            is repeated from the file alone decides by it as the first one did.

    Raises:
        InputError: the file is no ledger, or a number is out of its range.

    >>> ledger = Ledger(budget=3)
    >>> ledger.reserve(2)
    >>> ledger.keep(b"digest", np.array([0.5, 1.5]))
    >>> ledger.known([b"digest", b"other"])
    {b'digest': array([0.5, 1.5], dtype=float32)}
    >>> ledger.reserve(2)
    Traceback (most recent call last):
    hf_reprogram.errors.BudgetSpent: The budget is 3 samples, of which 2 were sent, and 2 more would exceed it: raise budget.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, budget: int | None = None, price_per_1000: float = 0.0
    ) -> None:
        if budget is not None:
            check_whole(0, " of samples", budget=budget)
        if not 0 <= price_per_1000 < inf:
            raise InputError(f"price_per_1000 is {shown(price_per_1000)}: give 0 or more.")
        self.budget, self.price_per_1000, self.reached = budget, price_per_1000, 0
        self._lock = threading.RLock()
        try:
            self._file = sqlite3.connect(
                ":memory:" if path is None else os.fspath(path), 60, isolation_level=None, check_same_thread=False
            )
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("PRAGMA synchronous=NORMAL")
            self._file.executescript(_TABLES)
            if not any(column[1] == "sent" for column in self._file.execute("PRAGMA table_info(answers)")):
                self._file.execute("ALTER TABLE answers ADD COLUMN sent INTEGER NOT NULL DEFAULT 0")
        except sqlite3.Error as error:
            raise InputError(f"The ledger {os.fspath(path or '')!r} cannot be used: {error}.") from error

    def __deepcopy__(self, memo: dict[int, Any]) -> Ledger:
        """The ledger itself: copies of a source share its answers and its budget."""
        return self

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction that no other thread or process writes beside."""
        with self._lock:
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._file.execute("ROLLBACK")
                raise
            self._file.execute("COMMIT")

    def _count(self, name: str) -> int:
        found = self._file.execute("SELECT number FROM counts WHERE name = ?", (name,)).fetchone()
        return int(found[0]) if found else 0

    def _add(self, name: str, number: int) -> None:
        self._file.execute(
            "INSERT INTO counts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET number = number + excluded.number",
            (name, number),
        )

    def reserve(self, number: int) -> None:
        """Count samples that are about to be sent.

        Raises:
            BudgetSpent: they would exceed the budget; none is counted.
        """
        with self._writing():
            sent = self._count("sent")
            if self.budget is not None and sent + number > self.budget:
                raise BudgetSpent(
                    f"The budget is {self.budget:,} samples, of which {sent:,} were sent, and {number:,} more would exceed it: "
                    "raise budget."
                )
            self._add("sent", number)

    def keep(self, digest: bytes, logits: Any) -> None:
        """Keep the answer (labels,) to the input with this digest."""
        with self._writing():
            row = np.ascontiguousarray(logits, dtype=np.float32).tobytes()
            values = (digest, row, self._count("sent"))
            self._file.execute("INSERT OR REPLACE INTO answers (digest, logits, sent) VALUES (?, ?, ?)", values)

    def known(self, digests: Iterable[bytes]) -> dict[bytes, np.ndarray]:
        """The answers that are kept, by their digests."""
        found = {}
        with self._lock:
            for digest in digests:
                row = self._file.execute("SELECT logits, sent FROM answers WHERE digest = ?", (digest,)).fetchone()
                if row is not None:
                    self.reached = max(self.reached, row[1])
                    found[digest] = np.frombuffer(row[0], dtype=np.float32)
        return found

    def add(self, name: str, number: int) -> None:
        """Add to the count of samples that were "cached" or "failed"."""
        if number:
            with self._writing():
                self._add(name, number)

    def note(self, name: str, value: Any) -> Any:
        """What the file says about this name; it says `value` from now on if it said nothing before."""
        with self._writing():
            found = self._file.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
            if found is None and value is not None:
                self._file.execute("INSERT INTO notes VALUES (?, ?)", (name, json.dumps(value)))
        return value if found is None else json.loads(found[0])

    @property
    def left(self) -> float:
        """The number of samples that the budget still allows; infinity without a budget."""
        with self._lock:
            return inf if self.budget is None else max(0, self.budget - self._count("sent"))

    def usage(self) -> dict[str, float]:
        """The samples that were sent, answered from the ledger, and failed, with the `cost` of those sent and what is `left`.

        >>> ledger = Ledger(budget=100, price_per_1000=2.0)
        >>> ledger.reserve(50)
        >>> ledger.usage()
        {'sent': 50, 'cached': 0, 'failed': 0, 'cost': 0.1, 'left': 50}
        """
        with self._lock:
            counts = {name: self._count(name) for name in COUNTS}
        return {**counts, "cost": counts["sent"] * self.price_per_1000 / 1000, "left": self.left}
