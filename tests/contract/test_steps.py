"""Training goes on where it was cut, keeps the best checkpoint, and does not depend on how a batch is cut up."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from hf_reprogram import ReprogrammedModel
from tests.contract.matrix import CASES, batch_of, cover
from tests.contract.training import trainer_for

OF_PARTS = cover("transform", "mapping", among=[case for case in CASES if not case.method])
OF_TRANSFORMS = cover("transform", among=[case for case in CASES if case.reads in ("features", "pair")])


def made(case, seed: int = 0):
    torch.manual_seed(seed)
    return case.make()


def state_of(model) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("case", OF_PARTS, ids=str)
def test_a_run_that_is_resumed_within_an_epoch_ends_as_the_whole_run(case, tmp_path):
    plan = {"max_steps": 4, "save_strategy": "steps", "save_steps": 3}
    model, processor = made(case)
    trainer_for(model, processor, tmp_path, **plan).train()
    again, processor = made(case, seed=7)
    trainer_for(again, processor, tmp_path, **plan).train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    whole, resumed = state_of(model), state_of(again)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


@pytest.mark.parametrize("case", OF_PARTS, ids=str)
def test_the_best_checkpoint_is_loaded_at_the_end(case, tmp_path):
    scores = iter((0.1, 0.9, 0.3))
    model, processor = made(case)
    trainer = trainer_for(
        model,
        processor,
        tmp_path,
        compute_metrics=lambda _: {"score": next(scores)},
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="score",
        greater_is_better=True,
    )
    trainer.train()
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-2")
    best, last = (load_file(tmp_path / f"checkpoint-{step}" / "model.safetensors") for step in (2, 3))
    state = state_of(model)
    assert all(torch.equal(value, best[name]) for name, value in state.items())
    assert any(not torch.equal(value, last[name]) for name, value in state.items())


@pytest.mark.parametrize("case", OF_TRANSFORMS, ids=str)
def test_gradient_accumulation_leaves_loss_and_parameters_unchanged(case, tmp_path, monkeypatch):
    """Noise is drawn per batch, so that the transform that has some is compared without it."""
    monkeypatch.setattr(F, "gumbel_softmax", lambda logits, tau, dim: (logits / tau).softmax(dim))
    outcomes = []
    for batch_size, accumulation in ((8, 1), (2, 4)):
        model, processor = made(case)
        trainer = trainer_for(
            model,
            processor,
            tmp_path / str(batch_size),
            max_steps=2,
            optim="sgd",
            learning_rate=0.1,
            max_grad_norm=0,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulation,
            logging_strategy="steps",
            logging_steps=1,
        )
        trainer.train()
        losses = [record["loss"] for record in trainer.state.log_history if "loss" in record]
        outcomes.append((losses, state_of(model)))
    (losses, parameters), (accumulated_losses, accumulated) = outcomes
    assert len(losses) == 2
    assert accumulated_losses == pytest.approx(losses, abs=1e-4)
    for name, value in parameters.items():
        torch.testing.assert_close(accumulated[name], value, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("case", OF_TRANSFORMS, ids=str)
def test_the_wrapper_lives_inside_another_module_and_loads_its_own_state(case):
    model, processor = made(case)
    outer = torch.nn.ModuleDict({"inner": model})
    state = {name: value.clone() for name, value in outer.state_dict().items()}
    assert not any(".source." in name for name in state)
    batch, _ = batch_of(model.transform.takes, processor)
    expected = outer.eval()["inner"](**batch).logits
    for parameter in model.trainable().values():
        parameter.add_(1)
    outer.load_state_dict(state, strict=True)
    assert torch.equal(outer["inner"](**batch).logits, expected)
    assert isinstance(outer["inner"], ReprogrammedModel)
