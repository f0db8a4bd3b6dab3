"""The exact and the sliced Wasserstein-1 distance of two samples, against POT (`pip install POT`).

    POT              `ot.emd2` on `ot.dist(..., "euclidean")`, and `ot.sliced_wasserstein_distance` along the same directions
    hf_reprogram     `wasserstein` and `sliced_wasserstein`

Two samples of 1,000 rows of logits, 36 and 1,000 wide, normal; the second is shifted and twice as wide. The sliced distance has
1,000 directions. Equality: the distances, relative to POT's.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import ot
from common import alternate, parser, report, start

from hf_reprogram.alignment import sliced_wasserstein, wasserstein


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__, layers=0, width=0, rounds=5)
    arguments.add_argument("--rows", type=int, default=1000, help="rows of each sample (default: %(default)s)")
    options = start(arguments)
    cpu, wall, ratios, checks = {}, {}, {}, {}
    for width in (36, 1000):
        random = np.random.default_rng(0)
        a = random.standard_normal((options.rows, width))
        b = 0.5 + 2 * random.standard_normal((options.rows, width))
        directions = np.random.default_rng(0).standard_normal((1000, width))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        found: dict[str, float] = {}
        ways: dict[str, Callable[[], float]] = {
            f"POT, exact, {width} wide": lambda a=a, b=b: ot.emd2([], [], ot.dist(a, b, "euclidean")),
            f"hf_reprogram, exact, {width} wide": lambda a=a, b=b: wasserstein(a, b),
            f"POT, sliced, {width} wide": lambda a=a, b=b, d=directions: ot.sliced_wasserstein_distance(
                a, b, projections=d.T, p=1
            ),
            f"hf_reprogram, sliced, {width} wide": lambda a=a, b=b: sliced_wasserstein(a, b),
        }
        named = {
            name: lambda name=name, way=way, found=found: found.__setitem__(name, float(way()))
            for name, way in ways.items()
        }
        for total, seconds in zip((cpu, wall), alternate(named, options.rounds), strict=True):
            total.update(seconds)
        for kind in ("exact", "sliced"):
            theirs, ours = f"POT, {kind}, {width} wide", f"hf_reprogram, {kind}, {width} wide"
            ratios[f"{kind}, {width} wide"] = theirs, ours
            checks[f"{kind}, {width} wide"] = abs(found[ours] - found[theirs]) / found[theirs], 1e-10
    report(
        "wasserstein",
        f"two samples of {options.rows:,} rows",
        options,
        cpu,
        wall,
        ratios,
        checks,
        peers={"POT": version("POT"), "scipy": version("scipy")},
    )


if __name__ == "__main__":
    main()
