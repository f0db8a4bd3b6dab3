"""REINFORCE: an estimate without bias, whose noise the baseline lowers, from draws of the seed, the step and the text alone."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.gradients import REINFORCE, Reinforced, read_gradients
from hf_reprogram.gradients.reinforce import drawn
from hf_reprogram.schedule import begin_epoch
from hf_reprogram.sources import VisionSource
from tests.contract.matrix import loaded
from tests.contract.training import trainer_for
from tests.support import modules, tiny, tiny_vision
from tests.support.black_boxes import CountedTexts, of_texts
from tests.support.frozen import bytes_of

TEXTS = ["AC", "CA", "AA"]
LABELS = torch.tensor([0, 1, 0])
SMALL = {"tokenizer": "characters", "alphabet": ["A", "C"], "kernel_size": 3}


def made(source=None, gradients=None, labels=("ant", "bee"), **options):
    torch.manual_seed(0)
    model, processor = reprogram(
        source or of_texts(), "neekhara", list(labels), gradients=gradients, **{**SMALL, **options}
    )
    begin_epoch(model, 0, None)
    return model.train(), processor


def batch_of(processor, texts=TEXTS):
    return dict(processor(texts, padding=True, return_tensors="pt"))


def gradient(model, batch, step, seed=0):
    model.zero_grad()
    model.estimated.begin_step(seed, step)
    model(**batch, labels=LABELS[: len(batch["input_ids"])]).loss.backward()
    return torch.cat([p.grad.flatten() for p in model.transform.parameters()])


# -------------------------------------------------------------------------------------------------------- the estimate


def expected(model, batch, reward):
    """The exact gradient of minus the mean over examples of the expected reward, over the number of places."""
    source, transform = model.source, model.transform
    logits, places = transform.choices(batch)
    total = torch.zeros(())
    for row, label in enumerate(LABELS):
        chances = logits[row, places[row]].softmax(-1)  # (2, tokens)
        one = {name: value[[row]] for name, value in batch.items()}
        for pair in product(range(source.spec.vocab_size), repeat=2):
            tokens = torch.tensor([pair])
            output, loss = model.logits_and_loss(
                source(transform.written(tokens, one, source), "logits"), one, label[None]
            )
            worth = -loss if reward == "loss" else 2.0 * (output.argmax(-1) == label) - 1
            total = total - worth * chances[[0, 1], tokens[0]].prod() / 2 / len(LABELS)
    model.zero_grad()
    total.backward()
    return torch.cat([p.grad.flatten() for p in model.transform.parameters()])


@pytest.mark.slow
@pytest.mark.parametrize(("samples", "reward"), [(4, "accuracy"), (4, "loss"), (1, "accuracy")])
def test_the_mean_of_many_estimates_is_the_gradient_of_the_expected_reward(samples, reward):
    model, processor = made(gradients={"reinforce": {"samples": samples, "reward": reward}})
    batch = batch_of(processor)
    assert model.transform.choices(batch)[1].sum(1).tolist() == [2, 2, 2]
    exact = expected(model, batch, reward)
    found = torch.stack([gradient(model, batch, step) for step in range(1, 251)])
    error = found.std(0) / len(found) ** 0.5
    assert exact.abs().max() > 5 * error.median()  # it is no gradient that noise could hide
    assert ((found.mean(0) - exact).abs() <= 4.5 * error + 1e-6).all()
    assert torch.cosine_similarity(found.mean(0), exact, 0) > 0.8


def test_the_baseline_lowers_the_variance_at_the_same_number_of_answers():
    variance = {}
    for samples, steps in ((8, 40), (1, 320)):
        model, processor = made(gradients={"reinforce": {"samples": samples}})
        batch = batch_of(processor)
        found = torch.stack([gradient(model, batch, step) for step in range(1, steps + 1)])
        variance[samples] = found.view(40, 8 // samples, -1).mean(1).var(0).sum()
    assert variance[8] < 0.5 * variance[1]


def test_an_advantage_is_the_reward_above_the_mean_of_the_others():
    rewards = torch.tensor([[1.0, 3.0], [2.0, 3.0], [6.0, 0.0]])
    others = torch.stack([rewards[[1, 2]].mean(0), rewards[[0, 2]].mean(0), rewards[[0, 1]].mean(0)])
    torch.testing.assert_close(REINFORCE(samples=3).advantages(rewards), rewards - others)
    assert torch.equal(REINFORCE(samples=1).advantages(rewards[:1]), rewards[:1])


def test_tokens_are_drawn_as_often_as_the_soft_max_says():
    logits = torch.tensor([[[0.5, -1.0, 2.0], [0.0, 0.0, -torch.inf]]])
    tokens = drawn(logits, torch.tensor([[True, True]]), torch.tensor([[3, 4]]), 20_000, [0, 1])[:, 0]
    found = torch.stack([(tokens == token).float().mean(0) for token in range(3)], 1)
    torch.testing.assert_close(found, logits[0].softmax(-1), rtol=0, atol=0.015)
    assert (tokens[:, 1] < 2).all()
    both = (tokens == 0).float()
    assert abs((both[:, 0] * both[:, 1]).mean() - both[:, 0].mean() * both[:, 1].mean()) < 0.01


def test_draws_depend_on_the_seed_the_step_and_the_text_alone():
    model, processor = made()
    batch = batch_of(processor, ["AC", "CACA"])
    logits, places = model.transform.choices(batch)
    ids = batch["input_ids"]
    first = drawn(logits, places, ids, 5, [0, 1])
    assert torch.equal(drawn(logits[:1], places[:1], ids[:1], 5, [0, 1]), first[:, :1])
    assert torch.equal(drawn(logits[:1, :2], places[:1, :2], ids[:1, :2], 5, [0, 1]), first[:, :1, :2])  # no padding
    left = tiny.on_the_left(batch)
    moved = drawn(*model.transform.choices(left), left["input_ids"], 5, [0, 1])
    assert torch.equal(moved[:, 0, 2:], first[:, 0, :2])
    for other in ([1, 1], [0, 2]):
        assert not torch.equal(drawn(logits, places, ids, 5, other), first)


def test_omegas_gradient_is_that_of_the_mean_loss_of_the_draws():
    source = loaded("bert").source
    model, processor = made(source, {"reinforce": {"samples": 3}}, start="none", processor=loaded("bert").tokenizer)
    batch = batch_of(processor)
    gradient(model, batch, step=1)
    found = model.mapping.linear.weight.grad.clone()
    logits, places = model.transform.choices(batch)
    tokens = drawn(logits, places, batch["input_ids"], 3, [0, 1])
    model.zero_grad()
    outputs = [source(model.transform.written(draw, batch, source), "features").detach() for draw in tokens]
    torch.stack([model.logits_and_loss(output, batch, LABELS)[1] for output in outputs]).mean().backward()
    torch.testing.assert_close(model.mapping.linear.weight.grad, found, rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------------------------------------------------- the Trainer


def state_after(folder, seed=0, resume=None, source=None, **plan):
    model, processor = made(source, {"reinforce": {"samples": 3}}, alphabet=list("abcdefghijklmnopqrst"))
    torch.manual_seed(seed)
    trainer_for(model, processor, folder, **plan).train(resume_from_checkpoint=resume)
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_a_resumed_run_ends_as_the_whole_run_bit_for_bit(tmp_path):
    plan = {"max_steps": 4, "save_strategy": "steps", "save_steps": 3}
    whole = state_after(tmp_path, **plan)
    resumed = state_after(tmp_path, 7, str(tmp_path / "checkpoint-3"), **plan)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_accumulated_batches_are_one_batch(tmp_path):
    plan = {"max_steps": 2, "optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0}
    whole = state_after(tmp_path / "1", **plan)
    small = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    accumulated = state_after(tmp_path / "2", **plan, **small)
    for name, value in whole.items():
        torch.testing.assert_close(accumulated[name], value, rtol=1e-4, atol=1e-6)


def test_the_model_behind_stays_as_it_is_and_theta_learns(tmp_path):
    ask = CountedTexts()
    before = bytes_of(ask.network)
    model, processor = made(
        of_texts(ask), {"reinforce": {"reward": "loss"}}, alphabet=list("abcdefghijklmnopqrstuvwxyz ")
    )
    options = {"max_steps": 30, "learning_rate": 0.1, "logging_strategy": "steps", "logging_steps": 5}
    trainer = trainer_for(model, processor, tmp_path, **options)
    trainer.train()
    losses = [record["loss"] for record in trainer.state.log_history if "loss" in record]
    assert losses[-1] < 0.95 * losses[0]
    assert bytes_of(ask.network) == before
    assert model.source.usage()["sent"] == sum(ask.rows)


@pytest.mark.parametrize("budget", [40, 100, 151])
def test_training_stops_within_the_budget(budget, tmp_path):
    ask = CountedTexts()
    model, processor = made(of_texts(ask, budget=budget), alphabet=list("abcdefghijklmnopqrst"))
    trainer = trainer_for(model, processor, tmp_path, max_steps=50)
    trainer.train()
    assert sum(ask.rows) <= budget
    assert trainer.state.global_step < 50


def test_a_budget_that_ends_without_a_trainer_is_an_error():
    model, processor = made(of_texts(budget=10))
    with pytest.raises(InputError, match="The budget is 10 samples"):
        model(**batch_of(processor), labels=LABELS)


def test_an_adapter_keeps_its_estimator(tmp_path):
    model, _ = made(gradients={"reinforce": {"samples": 3}})
    model.save_pretrained(tmp_path)
    again = ReprogrammedModel.from_pretrained(tmp_path, source=of_texts())
    assert again.config.gradients == {"reinforce": {"samples": 3, "reward": "loss"}}
    assert isinstance(again.estimated, Reinforced)


# --------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples is 0: give a whole number, 1 or more."),
        ({"reward": "acuracy"}, "Unknown reward 'acuracy': did you mean 'accuracy'?"),
    ],
)
def test_wrong_options_are_refused_in_one_sentence(options, message):
    with pytest.raises(InputError) as refused:
        read_gradients({"reinforce": options})
    assert str(refused.value) == message


@pytest.mark.parametrize("estimator", ["rgf", "spsa"])
def test_small_changes_of_theta_are_refused_where_tokens_do_not_follow_them(estimator):
    with pytest.raises(InputError, match=f"gradients is '{estimator}', whose small changes of theta .* use reinforce"):
        made(gradients=estimator)


def test_a_transform_that_chooses_no_tokens_is_refused():
    source = VisionSource(modules.Convolutions(), tiny_vision.SIDE, tiny_vision.MEAN, tiny_vision.STD)
    with pytest.raises(InputError, match="draws tokens, and the transform 'canvas' chooses none: use rgf or spsa"):
        reprogram(source, "elsayed", ["no", "yes"], gradients="reinforce")


def test_a_regression_has_no_accuracy():
    on = loaded("bert")
    options = {**SMALL, "problem_type": "regression", "processor": on.tokenizer}
    with pytest.raises(
        InputError, match="'accuracy' of reinforce is for one class per text, and the problem is a regression"
    ):
        reprogram(on.source, "neekhara", gradients={"reinforce": {"reward": "accuracy"}}, **options)
    model, _ = reprogram(on.source, "neekhara", gradients="reinforce", **options)
    assert model.estimated.estimator == REINFORCE(samples=8, reward="loss")
