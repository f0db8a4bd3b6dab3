"""DP-SGD: the gradient against a plain loop, its noise, training with the stock Trainer, and what would leak."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from transformers import Trainer

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.gradients import DPSGD, read_gradients
from hf_reprogram.privacy import PoissonBatches, epsilon
from tests.contract.matrix import Case, batch_of, loaded
from tests.contract.training import trainer_for
from tests.support.frozen import Watch, bytes_of

WARP = (("num_prompts", 3), ("start", "none"))
CASES = [
    Case("bert", method="warp", options=WARP),
    Case("bert", method="warp", options=(*WARP, ("deep", True))),  # inputs that are no rows
    Case("gpt2", method="warp", options=WARP),
    Case("vit", method="elsayed", options=(("mapping", "dense"), ("reads", "logits"), ("start", "none"))),
]


def made(case, **options):
    torch.manual_seed(0)
    model, processor = case._replace(options=(*case.options, ("gradients", {"dp_sgd": options}))).make()
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model, processor


def whole_batch(model, processor):
    """A batch, and Poisson batches of which each has all examples."""
    inputs, labels = batch_of(model.transform.takes, processor)
    return {**inputs, "labels": labels}, PoissonBatches(len(labels), len(labels))


def gradients_of(model):
    return torch.cat([p.grad.flatten() for p in model.trainable().values()])


def private_gradient(model, batch, batches, steps=1):
    model.zero_grad()
    model.estimated.begin(batches, steps)
    model.train()(**batch).loss.backward()
    return gradients_of(model)


def plain_gradients(model, batch):
    """The gradient of each example, by one backward pass each through the model without DP-SGD."""
    model.estimated, by = None, model.estimated
    found = []
    for row in range(len(batch["labels"])):
        model.zero_grad()
        model.train()(**{name: value[row : row + 1] for name, value in batch.items()}).loss.backward()
        found.append(gradients_of(model))
    model.zero_grad()
    model.train()(**batch).loss.backward()
    ordinary = gradients_of(model)
    model.estimated = by
    return torch.stack(found), ordinary


# ----------------------------------------------------------------------------------------------------- the gradient


@pytest.mark.parametrize("case", CASES, ids=str)
def test_without_noise_it_is_the_mean_of_clipped_gradients_of_examples(case):
    model, processor = made(case, noise_multiplier=0.0, max_grad_norm=1.0, rows=3, delta=1e-3)
    batch, batches = whole_batch(model, processor)
    each, ordinary = plain_gradients(model, batch)
    norm = float(each.norm(dim=1).median())  # half of the examples are clipped
    model.estimated.estimator.max_grad_norm = norm
    expected = torch.stack([g * min(1.0, norm / float(g.norm())) for g in each]).mean(0)
    torch.testing.assert_close(private_gradient(model, batch, batches), expected, rtol=1e-4, atol=1e-6)
    model.estimated.estimator.max_grad_norm = 1e6
    torch.testing.assert_close(private_gradient(model, batch, batches), ordinary, rtol=1e-4, atol=1e-6)


def test_one_example_moves_the_sum_by_the_norm_at_most():
    model, processor = made(CASES[0], noise_multiplier=0.0, max_grad_norm=1e-2, delta=1e-3)
    batch, batches = whole_batch(model, processor)
    count = len(batch["labels"])
    whole = private_gradient(model, batch, batches) * count
    fewer = {name: value[1:] for name, value in batch.items()}
    without = private_gradient(model, fewer, PoissonBatches(count - 1, count - 1)) * (count - 1)
    assert float((whole - without).norm()) == pytest.approx(1e-2, rel=1e-3)


def test_noise_has_the_deviation_of_the_formula_and_is_new_in_each_step():
    model, processor = made(CASES[0], noise_multiplier=2.0, max_grad_norm=0.5, delta=1e-3)
    batch, batches = whole_batch(model, processor)
    model.estimated.begin(batches, 40)
    found = []
    for _ in range(40):
        model.zero_grad()
        model.train()(**batch).loss.backward()
        found.append(gradients_of(model))
    deviation = 2.0 * 0.5 / batches.expected
    noise = torch.stack(found)
    assert float(noise.std(0).mean()) == pytest.approx(deviation, rel=0.05)
    correlation = np.corrcoef((noise - noise.mean(0)).numpy())
    assert np.abs(correlation - np.eye(40)).max() < 0.6


def test_a_step_without_examples_is_noise_alone():
    model, processor = made(CASES[0], noise_multiplier=1.0, max_grad_norm=1.0, delta=1e-3)
    batch, _ = whole_batch(model, processor)
    batches = PoissonBatches(40, 1)
    empty = next(step for step in range(1, 40) if not batches.drawn(step))
    seen = []
    for row in (0, 1):
        model.zero_grad()
        model.estimated.begin(batches, 40, done=empty - 1)
        model.train()(**{name: value[row : row + 1] for name, value in batch.items()}).loss.backward()
        seen.append(gradients_of(model))
    assert torch.equal(*seen)
    assert seen[0].std() > 0


# ------------------------------------------------------------------------------------------------------ the Trainer


def test_the_stock_trainer_draws_poisson_batches_and_leaves_the_source_alone(tmp_path):
    model, processor = made(CASES[0], epsilon=8.0, delta=1e-3)
    before, watch = bytes_of(loaded("bert").source), Watch()
    trainer = trainer_for(model, processor, tmp_path, max_steps=5)
    trainer.add_callback(watch)
    trainer.train()
    assert isinstance(trainer.callback_handler.train_dataloader.batch_sampler, PoissonBatches)
    assert bytes_of(loaded("bert").source) == before
    assert watch.steps == 5
    assert not watch.training
    assert watch.gradients == {*model.trainable()}
    record = model.estimated.record()
    assert record["epsilon"] == pytest.approx(epsilon(record["noise_multiplier"], 0.5, 5, 1e-3))
    assert 7.9 < record["epsilon"] <= 8.0
    assert {name: record[name] for name in ("steps", "sampling_rate", "batch_size", "examples")} == {
        "steps": 5,
        "sampling_rate": 0.5,
        "batch_size": 8,
        "examples": 16,
    }


def state_after(folder, seed, resume=None, **plan):
    model, processor = made(CASES[0], noise_multiplier=1.0, delta=1e-3)
    torch.manual_seed(seed)
    trainer_for(model, processor, folder, **plan).train(resume_from_checkpoint=resume)
    return model.state_dict(), model.estimated.record()


@pytest.mark.parametrize("cut", [2, 3])  # at the end of an epoch, and within one
def test_a_resumed_run_ends_as_the_whole_run_bit_for_bit(tmp_path, cut):
    plan = {"max_steps": 5, "save_strategy": "steps", "save_steps": cut}
    whole, record = state_after(tmp_path, 0, **plan)
    resumed, again = state_after(tmp_path, 7, str(tmp_path / f"checkpoint-{cut}"), **plan)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert again == record


def test_an_adapter_keeps_its_options_and_any_other_trains_as_before(tmp_path):
    model, processor = made(CASES[0], epsilon=3.0)
    model.save_pretrained(tmp_path / "adapter")
    again = ReprogrammedModel.from_pretrained(tmp_path / "adapter", source=model.source)
    assert again.estimated.estimator == DPSGD(epsilon=3.0)
    plain, _ = CASES[0].make()
    loader = trainer_for(plain, processor, tmp_path).get_train_dataloader()
    assert [len(batch["labels"]) for batch in loader] == [8, 8]


# --------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": 1.0, "noise_multiplier": 1.0}, "noise_multiplier follows from epsilon, and both are given"),
        ({"epsilon": 0.0}, "epsilon is 0.0: give a number above 0."),
        ({"max_grad_norm": -1.0}, "max_grad_norm is -1.0: give a number above 0."),
        ({"noise_multiplier": -1.0}, "noise_multiplier is -1.0: give 0 or more."),
        ({"delta": 1.0}, "delta is 1.0: give a number above 0 and below 1."),
        ({"rows": 0}, "rows is 0: give a whole number, 1 or more."),
    ],
)
def test_wrong_options_are_refused_in_one_sentence(options, message):
    with pytest.raises(InputError, match=message):
        read_gradients({"dp_sgd": options})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gradient_accumulation_steps": 2}, "one batch a step, and gradient_accumulation_steps is 2"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor is 0.1, a loss outside of the model"),
        ({"auto_find_batch_size": True}, "auto_find_batch_size begins again"),
    ],
)
def test_a_training_whose_steps_are_others_is_refused(arguments, message, tmp_path):
    model, processor = made(CASES[0])
    with pytest.raises(InputError, match=message):
        trainer_for(model, processor, tmp_path, **arguments)


def test_other_batches_are_refused(tmp_path):
    model, processor = made(CASES[0], delta=1e-3)
    trainer = trainer_for(model, processor, tmp_path)
    shuffled = DataLoader(trainer.train_dataset, 8, collate_fn=trainer.data_collator)
    trainer.get_train_dataloader = lambda: shuffled
    with pytest.raises(InputError, match="accounts for Poisson batches, and this training's loader draws others"):
        trainer.train()
    batch, batches = whole_batch(model, processor)
    with pytest.raises(InputError, match="Step 1 of dp_sgd has a batch of 1 examples, and"):
        private_gradient(model, {name: value[:1] for name, value in batch.items()}, batches)


def test_a_loss_outside_of_the_model_is_refused(tmp_path):
    model, processor = made(CASES[0], delta=1e-3)
    trainer = trainer_for(model, processor, tmp_path)
    own = Trainer(model, trainer.args, train_dataset=trainer.train_dataset, data_collator=trainer.data_collator,
                  compute_loss_func=lambda outputs, labels, num_items_in_batch: outputs.logits.sum())  # fmt: skip
    with pytest.raises(InputError, match="this batch has no labels: leave label smoothing and a loss of your own out"):
        own.train()


def test_a_loop_of_its_own_must_begin_and_delta_must_be_small():
    model, processor = made(CASES[0], delta=0.3)
    batch, batches = whole_batch(model, processor)
    with pytest.raises(InputError, match="does not know how batches are drawn"):
        model.train()(**batch)
    with pytest.raises(InputError, match=f"delta is 0.3, and of {batches.examples} training examples one could then"):
        model.estimated.begin(batches, 1)


def test_what_is_fitted_to_training_data_is_refused(tmp_path):
    source = loaded("bert").source
    given = {"num_prompts": 3, "gradients": "dp_sgd", "processor": loaded("bert").tokenizer}
    assert reprogram(source, "warp", ["no", "yes"], **given)[0].config.method["start"] == "none"
    with pytest.raises(InputError, match="protects the training data, and start 'probe' fits omega to it"):
        reprogram(source, "warp", ["no", "yes"], start="probe", **given)
    with pytest.raises(InputError, match="whose gradient 'dp_sgd' does not estimate: leave tune or gradients out"):
        reprogram(source, "warp", ["no", "yes"], tune="norms", **given)
    images, processor = Case("vit", method="ilm_vp", options=(("gradients", "dp_sgd"),)).make()
    with pytest.raises(InputError, match="the mapping 'label_map' is fitted to all of it without noise"):
        trainer_for(images, processor, tmp_path).train()


def test_a_regression_needs_a_public_mean():
    model, _ = reprogram(loaded("bert").source, "warp", problem_type="regression", gradients="dp_sgd", num_prompts=3,
                         processor=loaded("bert").tokenizer)  # fmt: skip
    from hf_reprogram.schedule import begin_epoch

    with pytest.raises(InputError, match=r"call model.mapping.target.fit\(targets\) with public targets"):
        begin_epoch(model, 0, DataLoader([], 1))
