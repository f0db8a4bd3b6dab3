"""Federated training with Flower: the client's app, the server's strategy, and clients in one process.

`client_app` is a Flower `ClientApp`, and `ProgramAverage` is Flower's `FedAvg` with a label map, so both also run where Flower
starts them on several machines. `federate` runs them in one process, one client after the other around one loaded source: this
needs neither Ray nor a network, and every message still has the bytes that it would have on a wire.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..model import ReprogrammedModel
from ..schedule import end_training
from .client import Client
from .options import check_flower
from .program import Numbers, check_program, fit_shared, map_of, numbers_of, set_map, set_numbers, shared_map

check_flower()

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402
from flwr.serverapp import Grid  # noqa: E402
from flwr.serverapp.strategy import FedAvg  # noqa: E402
from flwr.supercore.task_identity import TaskIdentity  # noqa: E402

COUNTS = "query.counts"  # the type of the message that asks for counts


def record(values: Mapping[str, np.ndarray]) -> ArrayRecord:
    """Arrays as Flower sends them.

    >>> numbers(record({"theta": np.array([0.5, 2.0])}))
    {'theta': array([0.5, 2. ])}
    """
    return ArrayRecord({name: Array(np.asarray(value)) for name, value in values.items()})


def numbers(arrays: Any) -> Numbers:
    """The arrays of a record by name."""
    return {name: array.numpy() for name, array in arrays.items()}


def client_app(client: Client) -> ClientApp:
    """The app of a client. It answers `train` with its theta, omega, n_k and loss, and `query.counts` with its counts.

    Args:
        client: the client.
    """
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        content: Any = message.content
        label_map = numbers(content["map"]) if "map" in content else {}
        trained, loss = client.train(numbers(content["arrays"]), label_map, int(content["config"]["server-round"]))
        metrics = MetricRecord({"num-examples": client.examples, "loss": loss})
        return Message(RecordDict({"arrays": record(trained), "metrics": metrics}), reply_to=message)

    @app.query("counts")
    def counts(message: Message, context: Context) -> Message:
        found = client.counts(numbers(message.content["arrays"]))
        return Message(RecordDict({"counts": record({"counts": found})}), reply_to=message)

    return app


class ProgramAverage(FedAvg):
    """FedAvg of theta and omega by n_k, with a label map of the counts of all clients.

    Args:
        model: the server's program, whose label map is fitted.
        clients: all clients train in every round.
    """

    def __init__(self, model: ReprogrammedModel, clients: int) -> None:
        super().__init__(min_train_nodes=clients, min_available_nodes=clients)
        self.fraction_evaluate, self.min_evaluate_nodes = 0.0, 0  # the server validates
        self.model = model

    def begin(self, grid: Grid) -> ArrayRecord:
        """Fit the label map, or the start of omega, to all clients' counts; returns the program with which training begins."""
        if shared_map(self.model.mapping) is not None:
            self._fit_map(record(numbers_of(self.model)), grid)
        return record(numbers_of(self.model))

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Any:
        """The messages of a round, with the label map; one that is refitted is asked for counts before."""
        period = getattr(self.model.mapping.options, "period", None)
        if period is not None and server_round > 1 and (server_round - 1) % period == 0:
            self._fit_map(arrays, grid)
        messages = list(super().configure_train(server_round, arrays, config, grid))
        if label_map := map_of(self.model):
            for message in messages:
                message.content["map"] = record(label_map)
        return messages

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        """The mean of the clients' programs, weighed by n_k; in one order, so that it is the same in every run."""
        return super().aggregate_train(server_round, sorted(replies, key=lambda reply: reply.metadata.src_node_id))

    def _fit_map(self, arrays: ArrayRecord, grid: Grid) -> None:
        nodes = sorted(grid.get_node_ids())
        asked = [Message(RecordDict({"arrays": arrays}), node, COUNTS) for node in nodes]
        replies = sorted(grid.send_and_receive(asked), key=lambda reply: reply.metadata.src_node_id)
        total = sum(numbers(reply.content["counts"])["counts"] for reply in replies)
        fit_shared(self.model, np.asarray(total))


class InProcess(Grid):
    """Clients of this process as a Flower `Grid`: each answers when it is asked.

    Attributes:
        replies: all messages of clients to the server.
        sent: the bytes of the arrays of all messages, "down" to the clients and "up" to the server.

    Args:
        apps: the clients' apps; the first one is node 1.
    """

    def __init__(self, apps: Sequence[ClientApp]) -> None:
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 0, 0  # of the server, who writes messages
        self.apps = dict(enumerate(apps, 1))
        self.contexts = {node: Context(0, node, {}, RecordDict(), {}) for node in self.apps}
        self.replies: list[Message] = []
        self.sent = {"down": 0, "up": 0}
        self._answers: dict[str, Message] = {}

    def set_run(self, run: Any) -> None:
        """There is one run."""

    @property
    def run(self) -> Any:
        """There is no record of the run."""
        return None

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str = "", ttl: float | None = None
    ) -> Message:
        """A message to a client."""
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """The clients."""
        return list(self.apps)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Let each client answer; returns the numbers of the answers."""
        names = []
        for message in messages:
            node = message.metadata.dst_node_id
            reply = self.apps[node](message, self.contexts[node])
            self.sent["down"] += size_of(message)
            self.sent["up"] += size_of(reply)
            self.replies.append(reply)
            names.append(str(len(self.replies)))
            self._answers[names[-1]] = reply
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The answers of these numbers."""
        return [self._answers.pop(name) for name in message_ids]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """The clients' answers."""
        return self.pull_messages(self.push_messages(messages))


def size_of(message: Message) -> int:
    """The bytes of a message's arrays."""
    return sum(len(array.data) for arrays in message.content.array_records.values() for array in arrays.values())


@dataclass
class Federation:
    """A finished federated training.

    Attributes:
        numbers: theta and omega of the best round.
        label_map: the label map of that round; see `hf_reprogram.federated.program.map_of`.
        round: that round; 0 if none was better than the start.
        scores: the score of the start and of each round.
        losses: the mean loss of the clients' training in each round, weighed by n_k.
        bytes_down, bytes_up: of one client in one round, on average, with the counts of its label map.
        replies: all messages of clients.
    """

    numbers: Numbers
    label_map: Numbers
    round: int
    scores: list[float]
    losses: list[float]
    bytes_down: float
    bytes_up: float
    replies: list[Message] = field(repr=False, default_factory=list)


def federate(
    model: ReprogrammedModel, clients: Sequence[Client], rounds: int, score: Callable[[ReprogrammedModel], float]
) -> Federation:
    """Train a program with clients of this process, and leave it at its best round.

    Args:
        model: the program at its start.
        clients: the clients, which share the model.
        rounds: the number of rounds.
        score: scores the model after every round; higher is better, and the earliest of equals is kept.

    Raises:
        InputError: the program cannot be shared so, or Flower is not installed.
    """
    check_program(model)
    scores: list[float] = []
    best: tuple[Numbers, Numbers, int] = ({}, {}, 0)

    def evaluate(number: int, arrays: ArrayRecord) -> None:
        nonlocal best
        set_numbers(model, numbers(arrays))
        set_map(model, map_of(model))
        model.eval()
        scores.append(score(model))
        if scores[-1] > max(scores[:-1], default=-np.inf):
            best = numbers_of(model), map_of(model), number

    log = logging.getLogger("flwr")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        grid, strategy = InProcess([client_app(client) for client in clients]), ProgramAverage(model, len(clients))
        result = strategy.start(grid, strategy.begin(grid), num_rounds=rounds, evaluate_fn=evaluate)
    finally:
        log.setLevel(level)
    set_numbers(model, best[0])
    set_map(model, best[1])
    end_training(model)
    model.eval()
    messages = len(clients) * rounds
    found: Any = result.train_metrics_clientapp
    return Federation(
        numbers=numbers_of(model),
        label_map=map_of(model),
        round=best[2],
        scores=scores,
        losses=[metrics["loss"] for _, metrics in sorted(found.items())],
        bytes_down=grid.sent["down"] / messages,
        bytes_up=grid.sent["up"] / messages,
        replies=grid.replies,
    )
