"""Adaptation at test time: surer answers, the same model afterwards, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from hf_reprogram import InputError, reprogram
from hf_reprogram.cli import app
from hf_reprogram.experiments.evaluate import evaluate_adapter
from hf_reprogram.training.adaptation import adapted_logits
from tests.support import tiny, tiny_vision


def entropy(logits):
    return float(torch.distributions.Categorical(logits=logits).entropy().mean())


@pytest.fixture(params=["texts", "images"])
def model_and_batch(request, source_folder, tmp_path):
    torch.manual_seed(0)
    if request.param == "texts":
        model, processor = reprogram(source_folder("bert"), "warp", ["no", "yes"], num_prompts=3)
        return model.eval(), tiny.batch_of(processor)
    source = tiny_vision.save_source(tmp_path / "vit", "vit")
    model, _ = reprogram(str(source), "elsayed", ["no", "yes"], image_size=16, mapping="dense")
    return model.eval(), {"pixel_values": torch.rand(5, 3, 16, 16)}


def test_answers_become_surer_and_the_model_stays_as_it_was_byte_for_byte(model_and_batch):
    model, batch = model_and_batch
    state = {name: value.clone() for name, value in model.state_dict().items()}
    source = {name: value.clone() for name, value in model.source.state_dict().items()}
    with torch.no_grad():
        plain = model(**batch).logits
    surer = adapted_logits(model, batch, steps=10, rate=0.05)
    assert entropy(surer) < entropy(plain) - 1e-4
    assert torch.equal(adapted_logits(model, batch, steps=0), plain)
    assert torch.equal(adapted_logits(model, batch, steps=10, rate=0.05), surer)  # reset in between
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, plain)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(value, source[name]) for name, value in model.source.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_theta_is_restored_where_a_step_fails(model_and_batch, monkeypatch):
    model, batch = model_and_batch
    state = {name: value.clone() for name, value in model.state_dict().items()}
    step, calls = torch.optim.Adam.step, []

    def fails(self, *args):
        calls.append(step(self, *args))
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.Adam, "step", fails)
    with pytest.raises(KeyboardInterrupt):
        adapted_logits(model, batch, steps=3, rate=0.1)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_the_command_prints_the_scores_beside_the_plain_ones(finished):
    weights = (finished.folder / "model.safetensors").read_bytes()
    made = CliRunner().invoke(app, ["evaluate", str(finished.folder), "--adapt", "2", "--adapt-rate", "0.1", "--quiet"])
    assert made.exit_code == 0, made.output
    scores = json.loads(made.output)
    plain = evaluate_adapter(str(finished.folder), None, [], "test", None, quiet=True, adapt=0)
    assert scores["accuracy"] == plain["accuracy"] == plain["adapted"]["accuracy"]
    assert 0 <= scores["adapted"]["accuracy"] <= 1
    assert (finished.folder / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("labels", "options", "steps", "rate", "message"),
    [
        (["no", "yes"], {}, -1, 0.1, "steps is -1"),
        (["no", "yes"], {}, 1, 0.0, "rate of adaptation is 0"),
        (None, {"problem_type": "regression"}, 1, 0.1, "problem of this adapter is 'regression'"),
        (["no", "yes"], {"gradients": "rgf"}, 1, 0.1, "needs exact gradients"),
        (["no", "yes"], {"num_prompts": 0}, 1, 0.1, "this adapter has none"),
    ],
)
def test_what_cannot_be_adapted_is_refused(labels, options, steps, rate, message, source_folder):
    model, processor = reprogram(source_folder("bert"), "warp", labels, **{"num_prompts": 2, **options})
    batch = tiny.batch_of(processor)
    with pytest.raises(InputError, match=message):
        adapted_logits(model.eval(), batch, steps, rate)
