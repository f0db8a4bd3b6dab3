"""Fairness reprogramming and reweighting: their losses, their checkpoints, and that the adapter needs no groups."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.nn import functional as F
from transformers import Trainer, TrainingArguments

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.losses import Batch, target_loss
from hf_reprogram.objectives.fairness import Fairness, FairnessOptions
from hf_reprogram.objectives.reweighting import Reweighting
from tests.support.frozen import bytes_of

TEXTS = ["a film", "a lovely film", "no", "a book of films"] * 3
GROUPS = [0, 1, 0, 1, 1, 1, 0, 0, 1, 0, 0, 1]
RECIPE = {"source": "owner/model", "method": "warp", "task": {"dataset": "mine.csv", "text": "text", "group": "sex"}}


def begun(criterion="equalized_odds", **options):
    objective = Fairness(FairnessOptions(criterion=criterion, **options))
    objective.build(num_labels=3, num_groups=2)
    objective.begin(0, None)
    return objective


def batches(count, size=4):
    random = torch.Generator().manual_seed(1)
    for _ in range(count):
        logits = torch.randn(size, 3, generator=random, requires_grad=True)
        labels, groups = (torch.randint(most, (size,), generator=random) for most in (3, 2))
        yield Batch({}, labels, groups, logits)


@pytest.mark.parametrize("criterion", ["equalized_odds", "demographic_parity"])
def test_the_adversary_plays_as_in_a_plain_loop(criterion):
    """Each step: minus lambda times the entropy of h as it was, then a step of Adam on h."""
    objective = begun(criterion, weight=0.25)
    naive = copy.deepcopy(objective.adversary)
    adam = torch.optim.Adam(naive.parameters(), lr=0.05)
    for step, batch in enumerate(batches(5)):
        objective.begin_step(0, step + 1, 5)
        loss = objective.loss(None, batch)
        reads = [batch.logits, F.one_hot(batch.labels, 3).float()]
        inputs = torch.cat(reads, 1) if criterion == "equalized_odds" else reads[0]
        entropy = F.cross_entropy(naive(inputs), batch.groups)
        torch.testing.assert_close(loss, -0.25 * entropy)
        found, expected = (torch.autograd.grad(each, batch.logits, retain_graph=True)[0] for each in (loss, entropy))
        torch.testing.assert_close(found, -0.25 * expected)
        adam.zero_grad()
        entropy.backward(inputs=[*naive.parameters()])
        adam.step()
    objective.record()
    for found, expected in zip(objective.adversary.parameters(), naive.parameters(), strict=True):
        torch.testing.assert_close(found, expected)
        assert found.grad is None


def test_accumulated_batches_teach_the_adversary_as_one_large_batch_does():
    small, large = begun(), begun()
    parts = [*batches(2)]
    for part in parts:
        small.loss(None, part) if small._scheduled else small.begin_step(0, 1, 1) or small.loss(None, part)
    large.begin_step(0, 1, 1)
    whole = [torch.cat([getattr(part, name) for part in parts]) for name in ("labels", "groups", "logits")]
    large.loss(None, Batch({}, *whole))
    small.record(), large.record()
    for found, expected in zip(small.adversary.parameters(), large.adversary.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_an_example_without_a_label_counts_as_zero():
    objective = begun()
    (batch,) = batches(1)
    objective.begin_step(0, 1, 1)
    part = Batch({}, torch.where(torch.arange(4) < 2, batch.labels, -100), batch.groups, batch.logits)
    half = Batch({}, batch.labels[:2], batch.groups[:2], batch.logits[:2])
    torch.testing.assert_close(objective.loss(None, part), objective.loss(None, half) / 2)


def test_examples_weigh_as_if_groups_and_labels_were_independent():
    reweighting = Reweighting()
    random = np.random.default_rng(0)
    groups, labels = random.integers(0, 3, 200), random.integers(0, 2, 200)
    labels[groups == 2] = 1
    reweighting.fit(groups, labels, 3, 2)
    logits = torch.tensor(random.normal(size=(200, 2)), dtype=torch.float32)
    expected = 0.0
    for row in range(200):
        same = [(groups == groups[row]).mean(), (labels == labels[row]).mean()]
        weight = same[0] * same[1] / ((groups == groups[row]) & (labels == labels[row])).mean()
        expected += weight * -logits[row].log_softmax(-1)[labels[row]].item() / 200
    model = SimpleNamespace(
        mapping=SimpleNamespace(loss=target_loss), config=SimpleNamespace(problem_type="single_label_classification")
    )
    found = reweighting.loss(model, Batch({}, torch.tensor(labels), torch.tensor(groups), logits))
    assert found.item() == pytest.approx(expected, rel=1e-5)
    assert reweighting.weights[2, 0] == 1  # where no example is


def made(folder):
    torch.manual_seed(0)
    model, processor = reprogram(folder, "warp", ["no", "yes"], num_prompts=2, start="none")
    objective = Fairness()
    objective.build(2, 2)
    model.objectives = [objective]
    return model, Dataset.from_dict({**processor(TEXTS), "label": [0, 1] * 6, "groups": GROUPS}), processor


def trainer(model, rows, processor, folder):
    args = TrainingArguments(
        str(folder), use_cpu=True, disable_tqdm=True, max_steps=6, per_device_train_batch_size=4, seed=3, report_to="none",
        save_strategy="steps", save_steps=2, learning_rate=1e-2,
    )  # fmt: skip
    return Trainer(model, args, train_dataset=rows, processing_class=processor)


def test_a_resumed_run_ends_with_the_bytes_of_an_uninterrupted_one_and_the_source_stays(source_folder, tmp_path):
    whole = made(source_folder("bert"))
    before = bytes_of(whole[0].source)
    trainer(*whole, tmp_path / "whole").train()
    assert bytes_of(whole[0].source) == before
    again = made(source_folder("bert"))
    trainer(*again, tmp_path / "again").train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    for name, value in whole[0].trainable().items():
        assert torch.equal(value, again[0].trainable()[name]), name
    assert whole[0].objectives[0].record() == again[0].objectives[0].record()
    plain = made(source_folder("bert"))
    plain[0].objectives = []
    trainer(*plain, tmp_path / "plain").train()
    assert not torch.equal(whole[0].transform.prompts, plain[0].transform.prompts)


def test_the_adapter_ships_no_adversary_and_predicts_without_groups(source_folder, tmp_path):
    model, _, processor = made(source_folder("bert"))
    model.save_pretrained(tmp_path)
    again = ReprogrammedModel.from_pretrained(tmp_path, source=model.source)
    assert {*again.trainable()} == {"transform.prompts", "mapping.weight", "mapping.bias"}
    batch = processor(TEXTS[:3], padding=True, return_tensors="pt")
    assert torch.equal(again(**batch).logits, model.eval()(**batch).logits)


@pytest.mark.parametrize("name", ["fairness", "reweighting"])
def test_objectives_without_groups_are_refused(name):
    make_recipe({**RECIPE, "objectives": [name]})
    with pytest.raises(InputError, match=rf"'{name}' reads the group of each training example: name .* in task\.group"):
        make_recipe({**RECIPE, "task": {"dataset": "mine.csv", "text": "text"}, "objectives": [name]})
    objective = begun() if name == "fairness" else Reweighting()
    with pytest.raises(InputError, match="group"):
        objective.loss(None, Batch({}, torch.tensor([0]), None, torch.zeros(1, 3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"criterion": "parity"}, "criterion of fairness"),
        ({"weight": 0}, "weight of fairness is 0: give a number above 0"),
        ({"learning_rate": -1.0}, "learning_rate of fairness is -1"),
        ({"width": 0}, "width of fairness is 0"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(InputError, match=message):
        make_recipe({**RECIPE, "objectives": [{"fairness": options}]})


def test_begin_needs_to_know_the_groups():
    with pytest.raises(InputError, match=r"call its build\(num_labels, num_groups\) first"):
        Fairness().begin(0, None)
    with pytest.raises(InputError, match="call build and begin"):
        Fairness().loss(None, next(batches(1)))
