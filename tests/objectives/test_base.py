"""Objectives in training: what the model adds, what checkpoints keep, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments

from hf_reprogram import InputError, reprogram
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.objectives import OBJECTIVES
from hf_reprogram.objectives.base import Objective, packed, unpacked

TEXTS = ["a film", "a lovely film", "no", "a book of films"] * 3
RECIPE = {"source": "owner/model", "method": "warp", "task": {"dataset": "glue", "name": "rte"}}


class Pull(Objective):
    """Pulls logits to a learned number plus noise, and learns that number by one step per batch."""

    @dataclass
    class Options:
        """The weight of the pull."""

        weight: float = 1.0

    def begin(self, seed, record):
        """Start at zero, or go on."""
        super().begin(seed, record)
        self.number = unpacked(record["state"])["number"] if record else torch.zeros(())

    def record(self):
        """The number."""
        return {"state": packed({"number": self.number})}

    def loss(self, model, batch):
        """The squared distance."""
        noise = torch.randn((), generator=self.random())
        self.number = self.number + 0.1 * (batch.logits.detach().mean() - self.number)
        return self.options.weight * (batch.logits - self.number - noise).square().mean()


class Alone(Pull):
    """The same without labels."""

    without_labels = True


OBJECTIVES.register("toy_pull", Pull)


def made(folder, objective):
    torch.manual_seed(0)
    model, processor = reprogram(folder, "warp", ["no", "yes"], num_prompts=2, start="none")
    model.objectives = [objective]
    return model, Dataset.from_dict({**processor(TEXTS), "label": [0, 1] * 6}), processor


def trainer(model, rows, processor, folder, **more):
    settings = {
        "per_device_train_batch_size": 4,
        "save_strategy": "steps",
        "save_steps": 4,
        "seed": 3,
        "report_to": "none",
    }
    args = TrainingArguments(str(folder), use_cpu=True, disable_tqdm=True, max_steps=6, **settings, **more)
    return Trainer(model, args, train_dataset=rows, processing_class=processor)


def test_the_loss_is_added_in_training_alone(source_folder):
    objective = Pull()
    objective.begin(0, None)
    objective.begin_step(0, 1, 10)
    model, _, processor = made(source_folder("bert"), objective)
    batch = processor(TEXTS[:4], padding=True, return_tensors="pt")
    labels = torch.tensor([0, 1, 0, 1])
    model.eval()
    plain = model(**batch, labels=labels)
    model.train()
    torch.testing.assert_close(model(**batch, labels=labels).loss - plain.loss, _expected(plain.logits))
    model.objectives = [Alone()]
    model.objectives[0].begin(0, None)
    model.objectives[0].begin_step(0, 1, 10)
    torch.testing.assert_close(model(**batch, labels=labels).loss, _expected(plain.logits))


def _expected(logits):
    noise = torch.randn((), generator=torch.Generator().manual_seed(64))  # of seed 0 and step 1
    return (logits - 0.1 * logits.mean() - noise).square().mean()


def test_a_resumed_run_ends_with_the_bytes_of_an_uninterrupted_one(source_folder, tmp_path):
    whole = made(source_folder("bert"), Pull())
    trainer(*whole, tmp_path / "whole").train()
    again = made(source_folder("bert"), Pull())
    trainer(*again, tmp_path / "again").train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    for name, value in whole[0].trainable().items():
        assert torch.equal(value, again[0].trainable()[name]), name
    assert torch.equal(whole[0].objectives[0].number, again[0].objectives[0].number)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objectives": ["toy_pul"]}, "did you mean 'toy_pull'"),
        ({"objectives": [{"toy_pull": {"wait": 1}}]}, "wait"),
        ({"objectives": [3]}, "One of the objectives is 3"),
        ({"objectives": "toy_pull"}, "objectives is 'toy_pull': give a list"),
        ({"objectives": ["toy_pull"], "gradients": "rgf"}, "objectives need exact gradients, and gradients is 'rgf'"),
        ({"objectives": ["toy_pull"], "method": "auto"}, "leave objectives out"),
    ],
)
def test_recipes_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        make_recipe({**RECIPE, **change})


@pytest.mark.parametrize("gradients", ["rgf", {"dp_sgd": {"noise_multiplier": 1.0}}])
def test_other_gradients_refuse_objectives_in_a_trainer(gradients, source_folder, tmp_path):
    model, processor = reprogram(source_folder("bert"), "warp", ["no", "yes"], num_prompts=2, gradients=gradients)
    model.objectives = [Pull()]
    with pytest.raises(InputError, match="Objectives need exact gradients, and gradients is"):
        trainer(model, Dataset.from_dict({**processor(TEXTS), "label": [0, 1] * 6}), processor, tmp_path)
