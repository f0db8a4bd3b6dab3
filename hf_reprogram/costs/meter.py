"""A meter around a block of code."""

from __future__ import annotations

import threading
import time
from typing import Any

from .energy import Rapl
from .memory import Peak

EVERY = 10.0  # seconds between two readings of the energy, whose counters start again


class Meter:
    """The time, memory and energy of a block of code, known at its end.

    Args:
        rapl: the counters of energy; by default those of this machine.
        every: seconds between two readings of them.

    Attributes:
        seconds: wall-clock time.
        joules: of the machine; None if they cannot be read.
        memory: the largest memory in bytes of the `process` and the `accelerator`, None where there is none; see `Peak`.

    >>> with Meter() as meter:
    ...     numbers = list(range(1000))
    >>> meter.seconds > 0, sorted(meter.memory)
    (True, ['accelerator', 'process'])
    """

    def __init__(self, rapl: Rapl | None = None, every: float = EVERY) -> None:
        self._rapl, self._every = rapl, every
        self.seconds = 0.0
        self.joules: float | None = None
        self.memory: dict[str, int | None] = {"process": None, "accelerator": None}

    def __enter__(self) -> Meter:
        self._rapl, self._peak = self._rapl or Rapl(), Peak()
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._sample, daemon=True) if self._rapl.readable else None
        if self._watch is not None:
            self._watch.start()
        self._started = time.perf_counter()
        return self

    def _sample(self) -> None:
        """Read the energy now and then, until the block ends."""
        assert self._rapl is not None
        while not self._over.wait(self._every):
            self._rapl.sample()

    def __exit__(self, *_: Any) -> None:
        assert self._rapl is not None
        self.seconds = time.perf_counter() - self._started
        if self._watch is not None:
            self._over.set()
            self._watch.join()
            self._rapl.sample()
            self.joules = self._rapl.joules()
        self.memory = {"process": self._peak.process(), "accelerator": self._peak.accelerator()}
