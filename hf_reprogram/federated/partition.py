"""Dividing the examples of a data set among clients that have different classes."""

from __future__ import annotations

import numpy as np

from ..errors import InputError

TRIES = 1000


def partition(labels: np.ndarray, clients: int, alpha: float, seed: int = 0) -> list[np.ndarray]:
    """The row numbers of each client, in ascending order; every example belongs to one of them.

    The shares of each class are drawn from a symmetric Dirichlet distribution (Hsu et al. 2019, arXiv 1909.06335), again until
    every client has an example.

    Args:
        labels: the class of each example (n,).
        clients: the number of clients.
        alpha: the concentration: near 0 a class belongs to one client.
        seed: the seed of the draw.

    Raises:
        InputError: there are fewer examples than clients, or no draw gave an example to every client.

    >>> [rows.tolist() for rows in partition(np.array([0, 0, 0, 1, 1, 1]), clients=2, alpha=0.3)]
    [[3, 4, 5], [0, 1, 2]]
    """
    if len(labels) < clients:
        raise InputError(
            f"{len(labels)} examples cannot be divided among {clients} clients: set federated.clients lower."
        )
    random = np.random.default_rng(seed)
    for _ in range(TRIES):
        rows: list[list[int]] = [[] for _ in range(clients)]
        for label in np.unique(labels):
            own = random.permutation(np.flatnonzero(labels == label))
            ends = np.cumsum(random.dirichlet(np.full(clients, alpha)) * len(own)).round().astype(int)[:-1]
            for client, part in enumerate(np.split(own, ends)):
                rows[client].extend(part.tolist())
        if all(rows):
            return [np.sort(np.array(own)) for own in rows]
    raise InputError(
        f"No draw of {TRIES} with alpha={alpha!r} gave each of {clients} clients one of {len(labels)} examples: set "
        "federated.alpha higher or federated.clients lower."
    )
