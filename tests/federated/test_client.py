"""A client trains as a Trainer does, and what it counts and sends adds up to what all data would give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import Trainer, TrainingArguments

from hf_reprogram import InputError
from hf_reprogram.federated.program import check_program, fit_shared, map_of, numbers_of, set_numbers
from hf_reprogram.training.encode import collator, encode
from tests.support import federated
from tests.support.frozen import bytes_of

EVERY = list(range(12))
PARTS = [[0, 1, 2, 4, 6], [3, 5, 7, 8, 9, 10, 11]]


@pytest.mark.parametrize("how", ["frequency", "optimal", "blm", "blm_plus"])
def test_summed_counts_are_those_of_all_data_and_give_its_map(how):
    model, processor = federated.program(label_mapping=how, labels_per_class=None)
    numbers = numbers_of(model)
    whole, *parts = (client.counts(numbers) for client in federated.clients(model, processor, [EVERY, *PARTS]))
    np.testing.assert_allclose(sum(parts), whole, rtol=1e-12)
    fit_shared(model, whole)
    central = map_of(model)
    fit_shared(model, sum(parts))
    for name, values in map_of(model).items():
        np.testing.assert_allclose(values, central[name], rtol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw_torch"])
def test_one_round_of_one_client_is_central_training_bit_for_bit(optimizer):
    model, processor = federated.program(label_mapping="random")
    settings = {"optim": optimizer, "per_device_train_batch_size": 4}
    (client,) = federated.clients(model, processor, [EVERY], rounds=1, local_epochs=3, **settings)
    numbers, loss = client.train(numbers_of(model), {}, 1)

    central, processor = federated.program(label_mapping="random")
    arguments = {**federated.SGD, **settings, "num_train_epochs": 3, "seed": 0, "use_cpu": True, "report_to": "none"}
    arguments |= {"save_strategy": "no", "disable_tqdm": True, "remove_unused_columns": False}
    data = encode({"train": federated.rows()}, processor)["train"]
    trainer = Trainer(
        central, TrainingArguments("unused", **arguments), train_dataset=data, data_collator=collator(processor)
    )
    assert trainer.train().training_loss == loss
    for name, values in numbers_of(central).items():
        np.testing.assert_array_equal(numbers[name], values)
    assert any(np.abs(values).max() > 0 for values in numbers.values())


def test_the_learning_rate_falls_over_all_rounds():
    """Two rounds of full batches of SGD are two epochs of it, at the rates of one schedule."""
    model, processor = federated.program(label_mapping="random")
    (client,) = federated.clients(model, processor, [EVERY], rounds=4)
    numbers = numbers_of(model)
    for number in (1, 2, 3, 4):
        numbers, _ = client.train(numbers, {}, number)
    whole, processor = federated.program(label_mapping="random")
    (client,) = federated.clients(whole, processor, [EVERY], rounds=1, local_epochs=4)
    expected, _ = client.train(numbers_of(whole), {}, 1)
    for name, values in expected.items():
        np.testing.assert_allclose(numbers[name], values, atol=1e-6)


def test_a_client_sends_theta_and_omega_alone_and_leaves_the_source_as_it_was():
    model, processor = federated.program("elsayed", mapping="dense", reads="logits", start="map")
    (client,) = federated.clients(model, processor, [EVERY], rounds=1)
    fit_shared(model, client.counts(numbers_of(model)))
    before = bytes_of(model.source)
    numbers, _ = client.train(numbers_of(model), {}, 1)
    assert {*numbers} == {"transform.program.weight", "mapping.linear.weight", "mapping.linear.bias"}
    assert sum(values.size for values in numbers.values()) == model.num_trainable()
    assert bytes_of(model.source) == before


def test_a_dense_start_is_the_map_of_all_counts():
    model, processor = federated.program("elsayed", mapping="dense", reads="logits", start="map")
    parts = federated.clients(model, processor, PARTS)
    fit_shared(model, sum(client.counts(numbers_of(model)) for client in parts))
    start = model.mapping.linear.weight * model.mapping.options.unit
    assert (start > 0).sum(1).min() > 0
    torch.testing.assert_close(start.sum(1), torch.ones(2))


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"label_mapping": "similarity"}, "set method.label_mapping: frequency"),
        ({"mapping": "dense"}, "method.start: map for a dense"),
        ({"label_mapping": "random", "tune": ["norms"]}, "leave tune or federated out"),
        ({"label_mapping": "random", "gradients": "rgf"}, "leave gradients or federated out"),
    ],
)
def test_a_program_that_needs_all_data_is_refused(options, remedy):
    model, _ = federated.program("elsayed", **options)
    with pytest.raises(InputError, match=remedy):
        check_program(model)


def test_numbers_of_another_program_are_refused():
    model, _ = federated.program(label_mapping="random")
    with pytest.raises(InputError, match="give all clients one recipe"):
        set_numbers(model, {"mapping.weight": np.zeros(2)})
