"""Clients and a server that speak Flower: FedAvg by n_k, one map for all, and messages that hold no data."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("flwr")
from flwr.app import Message, MetricRecord, RecordDict

from hf_reprogram.federated.flower import InProcess, ProgramAverage, client_app, federate, numbers, record, size_of
from hf_reprogram.federated.program import numbers_of
from tests.support import federated
from tests.support.frozen import bytes_of

PARTS = [[0, 2, 4], [1, 3, 5, 7, 9, 11, 6, 8, 10]]


def test_the_mean_is_weighed_by_the_numbers_of_examples():
    model, _ = federated.program(label_mapping="random")
    strategy, _ = ProgramAverage(model, clients=2), InProcess([])
    replies = []
    for node, (count, value) in enumerate([(1, 4.0), (3, 8.0)], 1):
        asked = Message(RecordDict({}), node, "train")
        content = {
            "arrays": record({"theta": np.full(2, value)}),
            "metrics": MetricRecord({"num-examples": count, "loss": value}),
        }
        replies.append(Message(RecordDict(content), reply_to=asked))
    arrays, metrics = strategy.aggregate_train(1, replies)
    np.testing.assert_array_equal(numbers(arrays)["theta"], [7.0, 7.0])  # (1 * 4 + 3 * 8) / 4
    assert metrics["loss"] == 7.0


def test_a_round_is_the_mean_of_what_each_client_trains_alone():
    model, processor = federated.program(label_mapping="random")
    start, clients = numbers_of(model), federated.clients(model, processor, PARTS, rounds=1)
    trained = [client.train(start, {}, 1)[0] for client in clients]
    model, processor = federated.program(label_mapping="random")
    found = federate(model, federated.clients(model, processor, PARTS, rounds=1), 1, federated.counting())
    for name, values in found.numbers.items():
        np.testing.assert_allclose(values, 3 / 12 * trained[0][name] + 9 / 12 * trained[1][name], atol=1e-7)
    assert found.round == 1


def test_full_batches_of_two_clients_are_those_of_one_with_all_data():
    """One step of SGD per round on each client's mean loss: the mean by n_k is the step on all examples."""
    both = []
    for parts in (PARTS, [range(12)]):
        model, processor = federated.program(label_mapping="random")
        clients = federated.clients(model, processor, parts, rounds=3, max_grad_norm=0.0)
        both.append(federate(model, clients, 3, federated.counting()))
    for name, values in both[0].numbers.items():
        np.testing.assert_allclose(values, both[1].numbers[name], atol=1e-6)
    assert both[0].losses == pytest.approx(both[1].losses, abs=1e-6)


@pytest.mark.parametrize("how", ["frequency", "iterative", "blm"])
def test_all_clients_have_the_map_of_the_summed_counts(how):
    both = []
    for parts in (PARTS, [range(12)]):
        model, processor = federated.program(label_mapping=how, labels_per_class=None)
        clients = federated.clients(model, processor, parts, rounds=2, max_grad_norm=0.0)
        both.append(federate(model, clients, 2, federated.counting()))
        asked = sum(reply.metadata.message_type == "query.counts" for reply in both[-1].replies)
        assert asked == len(parts) * (
            1 if how == "frequency" else 2
        )  # a map that is refitted is asked for in each round
    for name, values in both[0].label_map.items():
        np.testing.assert_allclose(values, both[1].label_map[name], atol=1e-6)


def test_a_client_sends_named_numbers_and_counts_alone():
    model, processor = federated.program(label_mapping="iterative")
    clients = federated.clients(model, processor, PARTS)
    before = bytes_of(model.source)
    found = federate(model, clients, 2, federated.counting())
    assert bytes_of(model.source) == before
    sent = [
        {
            name: {part: array.shape for part, array in arrays.items()}
            for name, arrays in reply.content.array_records.items()
        }
        for reply in found.replies
    ]
    program = {"arrays": {name: values.shape for name, values in found.numbers.items()}}
    counts = {"counts": {"counts": (2, 13)}}
    assert sent == [counts, counts, program, program] * 2
    for reply in found.replies:
        assert not reply.content.config_records
        assert all({*record} == {"num-examples", "loss"} for record in reply.content.metric_records.values())
    assert found.bytes_up == sum(map(size_of, found.replies)) / 4


def test_no_client_trains_on_the_arrays_of_another():
    """What one client did to the shared model does not reach the next."""
    answers = []
    for order in (PARTS, PARTS[::-1]):
        model, processor = federated.program(label_mapping="random")
        grid = InProcess([client_app(client) for client in federated.clients(model, processor, order)])
        strategy = ProgramAverage(model, 2)
        strategy.start(grid, strategy.begin(grid), num_rounds=1)
        ends = {reply.content["metrics"]["num-examples"]: numbers(reply.content["arrays"]) for reply in grid.replies}
        answers.append(ends)
    for count in (3, 9):
        for name, values in answers[0][count].items():
            np.testing.assert_array_equal(values, answers[1][count][name])


def test_the_start_is_kept_where_no_round_is_better():
    model, processor = federated.program(label_mapping="random")
    start = numbers_of(model)
    found = federate(model, federated.clients(model, processor, PARTS), 2, federated.constant)
    assert found.round == 0
    for name, values in numbers_of(model).items():
        np.testing.assert_array_equal(values, start[name])
