"""BAR and SPSA-GC: their programs of few numbers, their losses, and that they learn from answers alone."""

from __future__ import annotations

import pytest
import torch
from transformers import Trainer

from hf_reprogram import InputError, reprogram
from hf_reprogram.losses import focal_loss
from hf_reprogram.methods import METHODS
from hf_reprogram.sources import VisionSource
from tests.contract.training import arguments, trainer_for
from tests.support import modules, tiny_vision
from tests.support.black_boxes import of_images

SOURCE = VisionSource(modules.Convolutions(), tiny_vision.SIDE, tiny_vision.MEAN, tiny_vision.STD)


def batch():
    images, labels = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2
    return {"pixel_values": images, "labels": labels}


@pytest.mark.parametrize("name", ["bar", "spsa_gc"])
def test_programs_have_few_numbers_unless_their_user_wants_more(name):
    few, many = (reprogram(SOURCE, name, ["no", "yes"], **options)[0] for options in ({}, {"cell": 1}))
    assert few.transform.options.cell == 2  # a frame of 2 pixels on 32
    assert (few.num_trainable(), many.num_trainable()) == (3 * (16**2 - 14**2), 3 * (32**2 - 28**2))
    assert reprogram(SOURCE, "elsayed", ["no", "yes"])[0].transform.options.cell == 1


def test_bar_has_the_focal_loss_and_can_be_trained_by_exact_gradients_too():
    model, _ = reprogram(SOURCE, "bar", ["no", "yes"], gradients="exact", label_mapping="identity", focal=3.0)
    output = model.train()(**batch())
    torch.testing.assert_close(output.loss, focal_loss(output.logits, batch()["labels"], 3.0))
    assert model.estimated is None
    paper, _ = reprogram(SOURCE, "bar", ["no", "yes"], preset="paper")
    assert (paper.mapping.options.focal, paper.transform.options.mask) == (4.0, "surround")
    with pytest.raises(InputError, match="focal is for mapping='label_map', and mapping is 'dense': leave it out"):
        reprogram(SOURCE, "bar", ["no", "yes"], mapping="dense", focal=3.0)


def test_the_optimizer_of_spsa_gc_is_the_papers_corrected_step(tmp_path):
    model, _ = reprogram(SOURCE, "spsa_gc", ["no", "yes"])
    method = METHODS["spsa_gc"]
    kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments(tmp_path, **method.training), model)
    weight, moment, expected = torch.nn.Parameter(torch.zeros(3)), torch.zeros(3), torch.zeros(3)
    optimizer = kind([weight], **options)
    for step in range(4):
        weight.grad = torch.tensor([1.0, -2.0, 0.5]) * (step + 1)
        moment = 0.9 * moment + weight.grad
        expected = expected - method.training["learning_rate"] * (weight.grad + 0.9 * moment)
        optimizer.step()
    torch.testing.assert_close(weight.detach(), expected)


@pytest.mark.parametrize(("name", "rate"), [("bar", 0.1), ("spsa_gc", 5.0)])
def test_the_loss_falls_on_a_model_that_only_answers(name, rate, tmp_path):
    """A frame of two pixels makes images of one kind look like those of the label that stands for it."""
    torch.manual_seed(0)
    model, processor = reprogram(of_images(), name, ["no", "yes"])
    plan = {**METHODS[name].training, "num_train_epochs": 10, "max_steps": -1, "logging_strategy": "epoch"}
    trainer = trainer_for(model, processor, tmp_path, **{**plan, "learning_rate": rate})
    trainer.train()
    losses = [record["loss"] for record in trainer.state.log_history if "loss" in record]
    assert losses[-1] < 0.995 * losses[0]
