"""The options of federated training."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from math import inf

from ..errors import InputError
from ..options import check_whole


@dataclass
class FederatedOptions:
    """The section `federated` of a recipe.

    Attributes:
        clients: the number of clients, among which the training split is divided.
        rounds: the number of rounds. In each of them every client trains, and the server averages.
        local_epochs: the epochs over a client's own examples in a round.
        alpha: how alike the clients are: the shares of a class are drawn from a symmetric Dirichlet distribution with this
            concentration (Hsu et al. 2019, arXiv 1909.06335). Near 0 a class belongs to one client, and at 100 all clients have
            much the same classes.

    >>> FederatedOptions(clients=3).rounds
    10
    """

    clients: int = 5
    rounds: int = 10
    local_epochs: int = 1
    alpha: float = 0.3

    def __post_init__(self) -> None:
        check_whole(1, clients=self.clients)
        check_whole(1, rounds=self.rounds)
        check_whole(1, local_epochs=self.local_epochs)
        if isinstance(self.alpha, bool) or not 0 < self.alpha < inf:
            raise InputError(f"federated.alpha is {self.alpha!r}: give a number above 0, such as 0.3.")


def check_flower() -> None:
    """Raise `InputError` if Flower is not installed."""
    try:
        found = find_spec("flwr")
    except ValueError:
        found = None
    if found is None:
        raise InputError(
            "Federated training sends its messages with Flower, which is not installed: pip install 'hf_reprogram[federated]'."
        )
