"""CMA-ES as the source of theta's gradient: against the library by hand, through the Trainer, and what it refuses."""

from __future__ import annotations

import importlib.util
import json

import cma
import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.gradients import CMAES, PLAIN_STEP, Search, check_plain_step, read_gradients, search
from hf_reprogram.gradients.directions import random_of
from hf_reprogram.sources import VisionSource
from tests.contract.training import trainer_for
from tests.support import modules, tiny_vision
from tests.support.black_boxes import Counted, of_images

SOURCE = VisionSource(modules.Convolutions(), tiny_vision.SIDE, tiny_vision.MEAN, tiny_vision.STD)
FEW = {"cell": 8, "mask": "border", "border": 8, "label_mapping": "frequency"}  # 36 numbers: 12 squares of 8 x 8 pixels
PLAN = {**PLAIN_STEP, "per_device_train_batch_size": 16}


def made(source=SOURCE, popsize=6, **options):
    torch.manual_seed(0)
    return reprogram(
        source, "elsayed", ["no", "yes"], **{**FEW, "gradients": {"cma_es": {"popsize": popsize}}, **options}
    )


def theta_of(model):
    return model.transform.program.weight.detach().flatten().clone()


def by_hand(start, loss, steps, popsize=6, seed=42):
    """The means of the library alone, whose normal numbers are those of `random_of`."""
    numbers = {}
    options = {"popsize": popsize, "randn": lambda *n: numbers["now"].standard_normal(n), "seed": np.nan, "verbose": -9}
    strategy, means = cma.CMAEvolutionStrategy(start, 1.0, options), []
    for step in range(steps):
        numbers["now"] = random_of(seed, step + 1)
        population = strategy.ask()
        strategy.tell(population, [loss(x) for x in population])
        means.append(strategy.mean.copy())
    return means


def moved(searching, theta, loss, steps, seed=42):
    """The thetas that plain steps make."""
    thetas = []
    for _ in range(steps):
        offsets = searching.offsets(theta, seed)
        theta = theta - searching.gradient(torch.stack([loss(theta + offset) for offset in offsets]))
        thetas.append(theta)
    return thetas


# -------------------------------------------------------------------------------------------------------- the search


def test_theta_follows_the_means_of_the_library():
    start = torch.linspace(-2, 2, 7)
    expected = by_hand(start.double().numpy(), lambda x: float(np.sum((x - 1) ** 2)), 30)
    found = moved(Search(CMAES(popsize=6)), start, lambda x: (x - 1).square().sum(), 30)
    for theta, mean in zip(found, expected, strict=True):
        torch.testing.assert_close(theta.double(), torch.from_numpy(mean), rtol=0, atol=1e-5)


@pytest.mark.parametrize("diagonal", [False, True])
def test_a_quadratic_loss_is_minimized(diagonal):
    scale = torch.tensor([1.0, 3.0, 10.0, 0.3])
    thetas = moved(Search(CMAES(10, 0.5, diagonal)), torch.ones(4) * 3, lambda x: (scale * (x + 1)).square().sum(), 150)
    torch.testing.assert_close(thetas[-1], -torch.ones(4), rtol=0, atol=1e-3)


def test_losses_that_are_not_finite_are_the_worst():
    found = Search(CMAES(popsize=4)), Search(CMAES(popsize=4))
    theta = torch.zeros(5)
    for each in found:
        each.offsets(theta, 0)
    with_nan, large = torch.tensor([1.0, torch.nan, 0.5, torch.inf]), torch.tensor([1.0, 1e9, 0.5, 1e10])
    assert torch.equal(found[0].gradient(with_nan), found[1].gradient(large))
    assert json.dumps(found[0].record())


def test_a_search_goes_on_from_its_record_bit_for_bit_and_leaves_numpys_numbers_alone():
    def loss(x):
        return (x - 1).square().sum()

    state = np.random.get_state()[1].copy()
    whole, cut, resumed = (Search(CMAES(popsize=6)) for _ in range(3))
    expected = moved(whole, torch.zeros(300), loss, 30)
    middle = moved(cut, torch.zeros(300), loss, 20)[-1]
    resumed.restore(json.loads(json.dumps(cut.record())), 42)
    assert torch.equal(moved(resumed, middle, loss, 10)[-1], expected[-1])
    assert resumed.record() == whole.record()
    assert np.array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize(
    "record", [None, {}, {"start": "AAAA"}, {"start": "AAAAAA==", "losses": "AAAAAA=="}, {"start": 3}, "x"]
)
def test_a_record_of_something_else_is_refused(record):
    with pytest.raises(
        InputError, match=r"no record of cma_es with this popsize: resume from a checkpoint of the same run"
    ):
        Search(CMAES(popsize=6)).restore(record, 0)


# ------------------------------------------------------------------------------------------------------- the Trainer


def test_a_step_of_the_trainer_is_a_generation_of_the_library(tmp_path):
    """The same population by hand, each of it with the model's own loss."""
    model, processor = made(label_mapping="identity")
    trainer = trainer_for(model, processor, tmp_path, max_steps=5, **PLAN)
    start, batch = theta_of(model), trainer.data_collator(list(trainer.train_dataset))

    @torch.no_grad()
    def loss(theta):
        model.transform.program.weight.copy_(
            torch.as_tensor(theta, dtype=torch.float32).view_as(model.transform.program.weight)
        )
        return float(model.eval()(**batch).loss)

    expected = by_hand(start.double().numpy(), loss, 5)[-1]
    loss(start)
    trainer.train()
    torch.testing.assert_close(theta_of(model).double(), torch.from_numpy(expected), rtol=0, atol=1e-5)


def test_training_improves_a_black_box_with_omega_as_it_started(tmp_path):
    ask = Counted()
    model, processor = made(of_images(ask), popsize=10, mapping="dense", reads="logits")
    omegas = []

    class Watch(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            omegas.append(model.mapping.linear.weight.detach().clone())

    plan = {"max_steps": 25, "logging_strategy": "steps", "logging_steps": 1}
    trainer = trainer_for(model, processor, tmp_path, **PLAN, **plan)
    trainer.add_callback(Watch())
    trainer.train()
    losses = [record["loss"] for record in trainer.state.log_history if "loss" in record]
    assert min(losses[-3:]) < 0.9 * losses[0]
    assert all(torch.equal(omega, omegas[0]) for omega in omegas)
    assert omegas[0].any()
    assert ask.rows[-1] == 11 * 16  # the population, and theta for the log


def test_a_resumed_run_ends_as_the_whole_run_bit_for_bit(tmp_path):
    plan = {**PLAN, "max_steps": 8, "save_strategy": "steps", "save_steps": 5, "per_device_train_batch_size": 6}
    model, processor = made()
    trainer_for(model, processor, tmp_path, **plan).train()
    again, processor = made()
    trainer_for(again, processor, tmp_path, **plan).train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert torch.equal(theta_of(model), theta_of(again))
    path = tmp_path / "checkpoint-5" / "trainer_state.json"
    state = json.loads(path.read_text())
    del state["stateful_callbacks"]["Schedule"]["attributes"]["searches"]
    path.write_text(json.dumps(state))
    with pytest.raises(InputError, match="no record of cma_es"):
        trainer_for(again, processor, tmp_path, **plan).train(resume_from_checkpoint=str(path.parent))


def test_a_second_training_begins_a_new_search(tmp_path):
    model, processor = made()
    trainer = trainer_for(model, processor, tmp_path, max_steps=2, **PLAN)
    trainer.train()
    first = model.estimated.search.record()
    trainer.train()
    second = model.estimated.search.record()
    assert second["start"] != first["start"]
    assert len(second["losses"]) == len(first["losses"])


def test_the_budget_of_a_black_box_ends_a_search(tmp_path):
    ask = Counted()
    model, processor = made(of_images(ask, budget=8 + 16 + 3 * 7 * 16 + 5))
    trainer = trainer_for(model, processor, tmp_path, max_steps=10, **PLAN)
    trainer.train()
    assert trainer.state.global_step == 3
    assert sum(ask.rows) <= 8 + 16 + 3 * 7 * 16 + 5


def test_a_loop_of_ones_own_takes_plain_steps_and_no_others(tmp_path):
    model, _ = made(mapping="label_map", label_mapping="identity")
    images, labels = tiny_vision.images(8)
    batch = {"pixel_values": torch.stack([torch.as_tensor(image) for image in made()[1](images)["pixel_values"]])}
    optimizer = torch.optim.SGD(model.transform.parameters(), lr=1.0)

    def step():
        optimizer.zero_grad()
        model.train()(**batch, labels=torch.tensor(labels)).loss.backward()
        optimizer.step()

    step()
    step()
    optimizer.param_groups[0]["lr"] = 0.1
    step()
    with pytest.raises(InputError, match="Theta is not where cma_es has moved it: train with plain SGD"):
        step()


def test_an_adapter_keeps_its_search_and_needs_no_library_to_answer(tmp_path, monkeypatch):
    model, _ = made()
    model.save_pretrained(tmp_path)
    monkeypatch.setattr(search, "find_spec", lambda name: None)
    again = ReprogrammedModel.from_pretrained(tmp_path, source=SOURCE)
    assert again.config.gradients == {"cma_es": {"popsize": 6, "sigma": 1.0, "diagonal": False}}
    assert not any(p.requires_grad for p in again.mapping.parameters())


# --------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"popsize": 1}, "popsize is 1: give a whole number, 2 or more."),
        ({"sigma": 0.0}, "sigma is 0.0: give a number above 0."),
        ({"popsise": 4}, "Unknown option of cma_es 'popsise'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError) as refused:
        read_gradients({"cma_es": options})
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optim": "adamw_torch"}, "and optim is "),
        ({"learning_rate": 0.1}, "and learning_rate is 0.1: set it to 1.0."),
        ({"lr_scheduler_type": "linear"}, "and lr_scheduler_type is "),
        ({"max_grad_norm": 1.0}, "and max_grad_norm is 1.0: set it to 0.0."),
        ({"weight_decay": 0.1}, "and weight_decay is 0.1: set it to 0.0."),
        ({"optim_args": "momentum=0.9"}, "and optim_args is 'momentum=0.9': leave it out."),
        ({"gradient_accumulation_steps": 2}, "and gradient_accumulation_steps is 2: set it to 1."),
    ],
)
def test_another_step_than_a_plain_one_is_refused_before_training(arguments, message, tmp_path):
    model, processor = made()
    with pytest.raises(InputError) as refused:
        trainer_for(model, processor, tmp_path, **{**PLAN, **arguments})
    assert message in str(refused.value)


def test_an_optimizer_of_ones_own_is_trusted_but_clipping_is_not():
    check_plain_step({"optim": "adamw_torch", "learning_rate": 5e-5}, own_optimizer=True)
    with pytest.raises(InputError, match="max_grad_norm is 1"):
        check_plain_step({"max_grad_norm": 1.0}, own_optimizer=True)


def test_several_batches_in_a_step_are_refused():
    model, _ = made(label_mapping="identity")
    model.estimated.begin_step(0, 1)
    batch = {"pixel_values": torch.rand(2, 3, 32, 32), "labels": torch.tensor([0, 1])}
    model.train()(**batch)
    with pytest.raises(InputError, match="one batch a step, and this step has more: leave gradient accumulation out"):
        model(**batch)


def test_several_processes_are_refused(tmp_path, monkeypatch):
    model, processor = made()
    trainer = trainer_for(model, processor, tmp_path, **PLAN)
    monkeypatch.setattr(type(trainer.args), "world_size", property(lambda self: 2))
    with pytest.raises(InputError, match="in one process on one device, and this training has 2"):
        trainer.callback_handler.on_train_begin(trainer.args, trainer.state, trainer.control)


def test_a_penalty_is_refused(tmp_path):
    model, processor = reprogram(
        SOURCE, "kloberdanz", ["no", "yes"], l2=0.1, gradients="cma_es", mask="border", border=1
    )
    with pytest.raises(InputError, match="l2 adds a gradient of its own: set l2 to 0"):
        trainer_for(model, processor, tmp_path, **PLAN)


def test_more_numbers_than_a_covariance_can_have_are_refused_but_variances_have_no_limit(tmp_path):
    whole = {"cell": 1, "border": 15}  # all pixels but 2 x 2
    model, processor = made(**whole)
    with pytest.raises(InputError, match=r"Theta has 3,060 numbers, .* at most 2,000: .*, or set diagonal: true"):
        trainer_for(model, processor, tmp_path, **PLAN)
    model, processor = made(**whole, gradients={"cma_es": {"popsize": 4, "diagonal": True}})
    trainer_for(model, processor, tmp_path, max_steps=2, **PLAN).train()
    assert theta_of(model).any()


def test_a_missing_library_is_named_with_its_command(monkeypatch, tmp_path):
    found = importlib.util.find_spec
    monkeypatch.setattr(search, "find_spec", lambda name: None if name == "cma" else found(name))
    model, processor = made()
    with pytest.raises(InputError, match=r"cma_es needs cma: pip install 'hf_reprogram\[blackbox\]'"):
        trainer_for(model, processor, tmp_path, **PLAN)
