"""The energy of processor packages and their memory, by RAPL (running average power limit) on Linux.

    /sys/class/powercap/intel-rapl:0/          a package: name, energy_uj, max_energy_range_uj
    /sys/class/powercap/intel-rapl:0:1/        a part of it; "dram" is beside the package, "core" and "uncore" are within

`energy_uj` is a counter in microjoules that starts again at 0 after `max_energy_range_uj`, on large machines within minutes.
AMD processors have it under the same name. On most systems root alone may read it. It is the energy of the machine, and so
that of everything else that runs on it too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

POWERCAP = "/sys/class/powercap"


class Rapl:
    """The energy since this object was made.

    Args:
        folder: in which the counters stand.

    Attributes:
        readable: whether there is a counter, and all of them may be read.

    >>> Rapl("no/such/folder").joules() is None
    True
    """

    def __init__(self, folder: str | os.PathLike[str] = POWERCAP) -> None:
        try:
            self._zones = list(_zones(Path(folder)))
        except (OSError, ValueError):
            self._zones = []
        self._total = 0
        self._last = self._read()
        self.readable = self._last is not None

    def sample(self) -> None:
        """Read the counters. Between two calls no counter may start again more than once."""
        now = self._read()
        if self._last is None or now is None:
            self._last = None  # a part of the energy is not known, and so the sum is not
            return
        for (_, most), before, after in zip(self._zones, self._last, now, strict=True):
            self._total += after - before if after >= before else after - before + most
        self._last = now

    def joules(self) -> float | None:
        """The joules until the last `sample`; None if they could not be read all the time."""
        return None if self._last is None else self._total / 1e6

    def _read(self) -> list[int] | None:
        """The counters in microjoules; None if there is none, or one cannot be read."""
        try:
            return [int((zone / "energy_uj").read_text()) for zone, _ in self._zones] or None
        except (OSError, ValueError):
            return None


def _zones(folder: Path) -> Iterator[tuple[Path, int]]:
    """The folders of counters that do not overlap, with the microjoules after which they start again."""
    for zone in sorted(folder.glob("intel-rapl:*")):
        name = (zone / "name").read_text().strip()
        if name.startswith("package") or name == "dram":
            yield zone, int((zone / "max_energy_range_uj").read_text())
