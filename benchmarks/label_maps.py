"""Finding the optimal label map, and mapping a batch with it, against plain loops.

Optimal sets for 100 classes and 1,000 source labels, 1 and 10 labels a class:

    naive loop      the Hungarian algorithm as in a textbook: one place after the other, NumPy over the labels
    hf_reprogram    `optimal_sets`, which is SciPy's, with the labels in the rows

Mean probabilities of 10,000 answers by class: an example after the other, and `response`.

Logits of 100 classes from 1,000 source labels, 10 each, for a batch of 128, forward and backward:

    naive           log-sum-exp over (batch, classes, source labels), minus infinity where a label is in no set
    hf_reprogram    `pool`: the chosen labels gathered, log-sum-exp over (batch, classes, 10)

Equality: the total response of the sets, the means, the logits and their gradients.
"""

from __future__ import annotations

import numpy as np
import torch
from common import alternate, differences, parser, report, start

from hf_reprogram.mappings.assignment import optimal_sets, response, weights_of
from hf_reprogram.mappings.label_map import pool

CLASSES, WIDTH = 100, 1000


def hungarian(scores: np.ndarray, each: int) -> np.ndarray:
    """Sets (classes, each) with the largest total score: shortest augmenting paths with potentials."""
    cost = -np.repeat(scores, each, axis=0)
    rows, columns = cost.shape
    u, v = np.zeros(rows + 1), np.zeros(columns + 1)
    owner = np.zeros(columns + 1, dtype=int)  # the row of each column, counted from 1; 0 is none
    for row in range(1, rows + 1):
        owner[0], column = row, 0
        least, before = np.full(columns + 1, np.inf), np.zeros(columns + 1, dtype=int)
        used = np.zeros(columns + 1, dtype=bool)
        while owner[column]:
            used[column] = True
            here = owner[column]
            reduced = np.append(np.inf, cost[here - 1] - u[here] - v[1:])
            closer = ~used & (reduced < least)
            least[closer], before[closer] = reduced[closer], column
            free = np.where(used, np.inf, least)
            column = int(free[1:].argmin()) + 1
            step = free[column]
            u[owner[used]] += step
            v[used] -= step
            least[~used] -= step
        while column:
            owner[column], column = owner[before[column]], before[column]
    sets: list[list[int]] = [[] for _ in scores]
    for column in np.flatnonzero(owner[1:]):
        sets[(owner[column + 1] - 1) // each].append(int(column))
    return np.array(sets)


def one_by_one(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean probabilities of every class (classes, source labels)."""
    total, counts = np.zeros((CLASSES, WIDTH)), np.zeros(CLASSES)
    for row, label in zip(probabilities, labels, strict=True):
        total[label] += row
        counts[label] += 1
    return total / counts[:, None]


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__, layers=0, width=0, rounds=3)
    arguments.add_argument("--batch", type=int, default=128, help="examples mapped at a time (default: %(default)s)")
    options = start(arguments)
    random = np.random.default_rng(0)
    liked = random.dirichlet(np.full(WIDTH, 0.01), CLASSES)  # each class is like a few labels
    labels = random.integers(CLASSES, size=10_000)
    probabilities = (0.5 * liked[labels] + 0.5 * random.dirichlet(np.full(WIDTH, 0.02), 10_000)).astype(np.float32)
    scores = response(probabilities, labels, CLASSES)
    results: dict[str, object] = {}
    paths = {"means, naive loop": lambda: one_by_one(probabilities, labels)}
    paths["means, hf_reprogram"] = lambda: response(probabilities, labels, CLASSES)
    for each in (1, 10):
        paths[f"optimal of {each}, naive loop"] = lambda each=each: hungarian(scores, each)
        paths[f"optimal of {each}, hf_reprogram"] = lambda each=each: optimal_sets(scores, each)
    sets = optimal_sets(scores, 10)
    index = torch.from_numpy(sets).int()
    log_weight = torch.from_numpy(weights_of(sets, WIDTH)).float().log()
    logits = 3 * torch.randn(options.batch, WIDTH, generator=torch.Generator().manual_seed(0))

    def mapped(how) -> list[torch.Tensor]:
        leaf = logits.clone().requires_grad_()
        found = how(leaf)
        torch.nn.functional.cross_entropy(found, torch.zeros(options.batch, dtype=torch.long)).backward()
        return [found.detach(), leaf.grad]

    paths["batch, naive"] = lambda: mapped(lambda leaf: torch.logsumexp(leaf.log_softmax(-1)[:, None] + log_weight, -1))
    paths["batch, hf_reprogram"] = lambda: mapped(lambda leaf: pool(leaf, index, "mean_probability"))
    cpu, wall = alternate(
        {name: lambda name=name, run=run: results.__setitem__(name, run()) for name, run in paths.items()},
        options.rounds,
    )
    totals = {name: sum(scores[t][chosen].sum() for t, chosen in enumerate(found))
              for name, found in results.items() if name.startswith("optimal")}  # fmt: skip
    checks = {
        f"total response of {each} a class": (
            abs(totals[f"optimal of {each}, hf_reprogram"] - totals[f"optimal of {each}, naive loop"]),
            1e-9,
        )
        for each in (1, 10)
    }
    checks["mean probabilities"] = (
        float(np.abs(results["means, hf_reprogram"] - results["means, naive loop"]).max()),
        1e-6,
    )
    checks["logits and gradients"] = differences(results["batch, hf_reprogram"], results["batch, naive"])[0], 1e-5
    report(
        "label_maps",
        f"{CLASSES} classes, {WIDTH:,} source labels, 10,000 answers, a batch of {options.batch}",
        options,
        cpu,
        wall,
        {
            "optimal sets of 1, against a naive loop": ("optimal of 1, naive loop", "optimal of 1, hf_reprogram"),
            "optimal sets of 10, against a naive loop": ("optimal of 10, naive loop", "optimal of 10, hf_reprogram"),
            "mean probabilities, against a naive loop": ("means, naive loop", "means, hf_reprogram"),
            "mapping a batch, against all pairs": ("batch, naive", "batch, hf_reprogram"),
        },
        checks,
    )


if __name__ == "__main__":
    main()
