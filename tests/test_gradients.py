"""Estimated gradients: the estimators by hand, and training with them through the stock Trainer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.gradients import RGF, SPSA, attach, read_gradients
from hf_reprogram.sources import VisionSource
from tests.contract.matrix import Case
from tests.contract.training import trainer_for
from tests.support import modules, tiny_vision

SOURCE = VisionSource(modules.Convolutions(), tiny_vision.SIDE, tiny_vision.MEAN, tiny_vision.STD)
FEW = {"mask": "border", "border": 1, "mapping": "dense", "reads": "logits", "start": "none"}


def made(gradients="exact", **options):
    torch.manual_seed(0)
    return reprogram(SOURCE, "elsayed", ["cat", "dog"], gradients=gradients, **{**FEW, **options})


def batch(count=8):
    images = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return {"pixel_values": images, "labels": torch.arange(count) % 2}


def backward(model):
    torch.manual_seed(2)
    loss = model.train()(**batch()).loss
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.trainable().items()}


# ------------------------------------------------------------------------------------------------------ estimators


def test_rgf_of_a_linear_loss_is_the_projection_on_its_directions():
    slope, offsets = torch.tensor([3.0, -1.0]), torch.tensor([[0.1, 0.0], [0.0, 0.1]])
    found = RGF(q=2, mu=0.1).gradient(torch.tensor(7.0), 7 + offsets @ slope, offsets)
    torch.testing.assert_close(found, slope)  # d / q is 1: two directions of two


def test_spsa_of_a_quadratic_loss_has_no_error_from_its_curvature():
    start, offset = torch.tensor([2.0]), torch.tensor([[0.5], [-0.5]])
    found = SPSA(q=1, c=1.0).gradient(start[0] ** 2, ((start + offset) ** 2)[:, 0], offset)
    torch.testing.assert_close(found, 2 * start)


@pytest.mark.parametrize("estimator", [RGF(q=4000, mu=1e-3), SPSA(q=4000, c=1e-3)], ids=["rgf", "spsa"])
def test_many_directions_give_the_gradient(estimator):
    slope = torch.tensor([3.0, -1.0, 0.5, 2.0])
    offsets = estimator.offsets(4, np.random.default_rng(0), step=3)
    found = estimator.gradient(torch.tensor(0.0), offsets @ slope, offsets)
    assert torch.cosine_similarity(found, slope, 0) > 0.995
    assert found.norm() == pytest.approx(float(slope.norm()), rel=0.1)


def test_changes_of_spsa_become_smaller_with_the_step_and_none_is_near_zero():
    first, later = (SPSA(q=50, c=0.1, decay=0.5).offsets(9, np.random.default_rng(0), step) for step in (1, 100))
    torch.testing.assert_close(later, first / 10)
    assert 0.05 <= first.abs().min() <= first.abs().max() <= 0.1


def test_an_attached_gradient_is_added_to_the_loss_own():
    weight, other = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    (3 * attach(other.sum() + weight.sum(), [weight], [torch.tensor([1.0, 2.0])])).backward()
    assert weight.grad.tolist() == [6.0, 9.0]
    assert other.grad.tolist() == [3.0, 3.0]


@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        ("rfg", "Unknown estimator of gradients 'rfg': did you mean 'rgf'?"),
        ({"rgf": {"q": 0}}, "q is 0: give a whole number, 1 or more."),
        ({"rgf": {"mu": -1.0}}, "mu is -1.0: give a number above 0."),
        ({"spsa": {"directions": 3}}, "Unknown option of spsa 'directions'"),
        ({"rgf": {}, "spsa": {}}, "give exact, the name of one estimator"),
        (25, "give exact, the name of one estimator"),
    ],
)
def test_wrong_values_are_refused_in_one_sentence(gradients, message):
    with pytest.raises(InputError) as refused:
        read_gradients(gradients)
    assert message in str(refused.value)


# -------------------------------------------------------------------------------------------------------- the model


@pytest.mark.parametrize("gradients", [{"rgf": {"q": 120, "mu": 0.01}}, {"spsa": {"q": 120}}], ids=["rgf", "spsa"])
def test_the_loss_and_omegas_gradient_are_exact_and_thetas_is_near(gradients):
    loss, exact = backward(made()[0])
    estimated_loss, estimated = backward(made(gradients)[0])
    assert estimated_loss == pytest.approx(loss, abs=1e-6)
    theta = "transform.program.weight"
    for name in {*exact} - {theta}:
        torch.testing.assert_close(estimated[name], exact[name], rtol=1e-4, atol=1e-6)
    assert torch.cosine_similarity(estimated[theta].flatten(), exact[theta].flatten(), 0) > 0.3


def test_all_thetas_of_a_step_go_through_the_source_in_one_batch_without_gradients(monkeypatch):
    model, _ = made({"spsa": {"q": 3}})
    calls, run = [], SOURCE._run
    monkeypatch.setattr(
        SOURCE, "_run", lambda *args: calls.append((len(args[0]), torch.is_grad_enabled())) or run(*args)
    )
    backward(model)
    assert calls == [(7 * 8, False)]


def test_every_theta_meets_the_same_dropout(monkeypatch):
    case = Case("bands", method="ar_scr", options=(("mapping", "dense"), ("dropout", 0.5), ("gradients", "rgf")))
    model, _ = case.make()
    seen, forward = [], model.source.forward
    monkeypatch.setattr(model.source, "forward", lambda inputs, reads: seen.append(inputs) or forward(inputs, reads))
    sounds = torch.zeros(2, 1600)
    model.transform.weight.data.fill_(1.0)
    model.mapping.skip_start()
    model.train()(input_values=sounds, labels=torch.tensor([0, 1])).loss.backward()
    thetas = seen[0]["waveform"].view(26, 2, -1)
    assert 0.3 < (thetas[0] == 0).float().mean() < 0.7
    assert all(torch.equal(other == 0, thetas[0] == 0) for other in thetas)


@pytest.mark.parametrize(
    "case",
    [
        Case("bert", method="warp", options=(("num_prompts", 3), ("deep", True))),
        Case("clip", method="reprogrammer", options=(("text_program", "context"), ("size", 3))),
        Case("gpt2", method="warp", options=(("num_prompts", 3),)),
    ],
    ids=str,
)
def test_inputs_that_are_no_rows_are_asked_one_theta_after_the_other(case, tmp_path):
    model, processor = case._replace(options=(*case.options, ("gradients", {"rgf": {"q": 2}}))).make()
    before = {name: p.detach().clone() for name, p in model.trainable().items()}
    trainer_for(model, processor, tmp_path).train()
    assert all(not torch.equal(p, before[name]) for name, p in model.trainable().items())


def state_after(folder, seed, resume=None, **plan):
    model, processor = made({"rgf": {"q": 3}})
    torch.manual_seed(seed)
    trainer_for(model, processor, folder, **plan).train(resume_from_checkpoint=resume)
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_a_resumed_run_ends_as_the_whole_run_bit_for_bit(tmp_path):
    plan = {"max_steps": 4, "save_strategy": "steps", "save_steps": 3}
    whole = state_after(tmp_path, 0, **plan)
    resumed = state_after(tmp_path, 7, str(tmp_path / "checkpoint-3"), **plan)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_accumulated_batches_share_their_directions(tmp_path):
    plan = {"max_steps": 2, "optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0}
    whole = state_after(tmp_path / "1", 0, **plan)
    small = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    accumulated = state_after(tmp_path / "2", 0, **plan, **small)
    for name, value in whole.items():
        torch.testing.assert_close(accumulated[name], value, rtol=1e-3, atol=1e-4)


def test_an_adapter_keeps_its_estimator(tmp_path):
    model, _ = made({"rgf": {"q": 3}})
    model.save_pretrained(tmp_path)
    again = ReprogrammedModel.from_pretrained(tmp_path, source=SOURCE)
    assert again.config.gradients == {"rgf": {"q": 3, "mu": 0.1}}
    assert again.estimated.estimator == RGF(q=3)


# --------------------------------------------------------------------------------------------------------- refusals


def test_half_precision_is_refused(tmp_path):
    model, processor = made("rgf")
    refused = pytest.raises(InputError, match="differences of losses, which bfloat16 rounds away: train in float32")
    with refused, torch.autocast("cpu", torch.bfloat16):
        model.train()(**batch())
    with pytest.raises(InputError, match="which bf16 rounds away: leave it out of the training arguments"):
        trainer_for(model, processor, tmp_path, bf16=True)


def test_a_tuned_source_is_refused():
    with pytest.raises(InputError, match="whose gradient 'rgf' does not estimate: leave tune or gradients out"):
        made("rgf", tune="all")
