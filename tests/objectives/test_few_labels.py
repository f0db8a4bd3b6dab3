"""Objectives on unlabelled rows: right by loops and by hand, the same after a resume, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from pages import attributes
from torch.nn import functional as F

from hf_reprogram import InputError
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
from hf_reprogram.experiments.seed_runs import untrained_model
from hf_reprogram.losses import Batch
from hf_reprogram.objectives import OBJECTIVES, make_objectives
from hf_reprogram.objectives.base import TrainingData
from hf_reprogram.objectives.fixmatch import fixmatch_loss
from hf_reprogram.objectives.information import information_loss
from hf_reprogram.objectives.pseudo_labels import weighted
from hf_reprogram.objectives.simclr import nt_xent
from hf_reprogram.tasks.load import load_task
from tests.support import runs, tiny_vision

RECIPE = {"source": "owner/model", "method": "warp", "task": {"dataset": "glue", "name": "rte"}}
SOME = {"unlabelled": {"from_train": 10}}
NAMES = ["fixmatch", "pseudo_labels", "information", "simclr"]
UNSUPERVISED = [{"information": {"without_labels": True}}]


def test_nt_xent_is_the_papers_double_loop():
    torch.manual_seed(0)
    first, second = torch.randn(5, 7), torch.randn(5, 7)
    both, losses = [*first, *second], []
    for i, one in enumerate(both):
        near = {j: math.exp(F.cosine_similarity(one, other, dim=0) / 0.3) for j, other in enumerate(both) if j != i}
        losses.append(-math.log(near[(i + 5) % 10] / sum(near.values())))
    assert float(nt_xent(first, second, 0.3)) == pytest.approx(sum(losses) / 10, rel=1e-5)


def test_fixmatch_is_its_sum_over_sure_rows_and_does_not_move_the_weak_view():
    torch.manual_seed(0)
    weak, strong = 4 * torch.randn(20, 3), torch.randn(20, 3, requires_grad=True)
    weak.requires_grad_()
    expected, counted = 0.0, 0
    for q, p in zip(weak.softmax(1).tolist(), strong.log_softmax(1).tolist(), strict=True):
        if max(q) > 0.9:
            expected, counted = expected - p[q.index(max(q))], counted + 1
    assert 0 < counted < 20
    loss = fixmatch_loss(weak, strong, 0.9)
    assert loss.item() == pytest.approx(expected / 20, rel=1e-5)
    loss.backward()
    assert weak.grad is None
    assert (strong.grad.abs().sum(1) > 0).sum() == counted


def test_information_is_least_where_all_answers_are_sure_and_differ():
    sure, one, flat = 50 * torch.eye(4), 50 * torch.eye(4)[:1].repeat(4, 1), torch.zeros(4, 4)
    assert information_loss(sure).item() == pytest.approx(-math.log(4))
    assert information_loss(one).item() == pytest.approx(0, abs=1e-6)
    assert information_loss(flat).item() == pytest.approx(0, abs=1e-6)
    assert information_loss(flat, balance=0.0).item() == pytest.approx(math.log(4))
    logits = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    p = logits.softmax(1).tolist()
    mean = [(p[0][k] + p[1][k]) / 2 for k in range(2)]
    own = -sum(x * math.log(x) for row in p for x in row) / 2
    assert information_loss(logits).item() == pytest.approx(own + sum(x * math.log(x) for x in mean), rel=1e-5)


def test_pseudo_labels_follow_the_prior():
    torch.manual_seed(0)
    liked = (torch.randn(400, 2) + torch.tensor([2.0, 0.0])).softmax(1)
    plain = liked.argmax(1).float().mean()
    even, rare = (weighted(liked, torch.tensor(prior))[0].float().mean() for prior in ([0.5, 0.5], [0.9, 0.1]))
    assert plain < 0.1
    assert plain + 0.1 < even < 0.65
    assert rare < plain


def prepared(source, csv, objectives, folder, **changes):
    """An objective that has seen a tiny model and its data, with the model and a labelled batch."""
    recipe = runs.recipe(source, csv, folder, objectives=objectives, **{**SOME, **changes})
    task = load_task(recipe.task_options)
    splits = task.splits(0)
    model, processor = untrained_model(recipe, task, 0, splits)
    (objective,) = make_objectives(recipe.objective_list())
    objective.prepare(model, TrainingData(task, processor, 4, unlabelled=splits["validation"].remove_columns("label")))
    objective.begin(0, None)
    objective.begin_step(0, 1, 10)
    model.train()
    inputs = dict(processor(splits["train"]["text"][:4], padding=True, return_tensors="pt"))
    labels = torch.tensor(splits["train"]["label"][:4])
    return objective, model, Batch(inputs, labels, None, model(**inputs).logits)


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_reaches_theta_and_not_the_source(name, source_folder, csv_file, tmp_path):
    objective, model, batch = prepared(source_folder("bert"), csv_file, [name], tmp_path)
    for parameter in model.parameters():
        parameter.grad = None
    options = {"threshold": 0.0} if name == "fixmatch" else {}
    vars(objective.options).update(options)
    before = {key: value.clone() for key, value in model.source.state_dict().items()}
    objective.loss(model, batch).backward()
    assert model.transform.prompts.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.source.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.source.state_dict().items())
    omega = [parameter.grad for parameter in model.mapping.parameters()]
    assert all(grad is None for grad in omega) is objective.without_labels
    assert model.training


def test_rows_and_views_depend_on_seed_and_step_and_differ_within_an_accumulated_step(
    source_folder, csv_file, tmp_path
):
    objective, _, _ = prepared(source_folder("bert"), csv_file, ["fixmatch"], tmp_path)
    objective.options.ratio = 2
    first, second = objective.draw().rows, objective.draw().rows
    objective.begin_step(0, 2, 10)
    third = objective.draw().rows
    objective.begin_step(0, 1, 10)
    assert objective.draw().rows == first
    assert first not in (second, third)
    assert len(set(first)) == 8


def weights_after(recipe, **options):
    train(recipe, quiet=True, **options)
    return runs.weights(Path(recipe.output, "runs", "seed-0"))


QUICK = "pseudo_labels"
RESUMED = [pytest.param(each, marks=() if each == QUICK else pytest.mark.slow) for each in (*NAMES, UNSUPERVISED[0])]


@pytest.mark.parametrize("objective", RESUMED, ids=str)
def test_a_resumed_run_ends_with_the_same_bytes(objective, source_folder, csv_file, tmp_path, monkeypatch):
    every = {f"{what}_{key}": value for what in ("save", "eval") for key, value in
             (("strategy", "steps"), ("steps", 3))}  # fmt: skip
    changes = {
        "task": {"train_size": 20}, "objectives": [objective], "unlabelled": {"from_train": 30},
        "training": {"max_steps": 7, "per_device_train_batch_size": 4, "load_best_model_at_end": False, **every},
    }  # fmt: skip
    whole = runs.recipe(source_folder("bert"), csv_file, tmp_path / "whole", **changes)
    expected = weights_after(whole)
    cut = runs.recipe(source_folder("bert"), csv_file, tmp_path / "cut", **changes)
    from transformers import Trainer

    step, done = Trainer.training_step, []

    def stops(*args, **kwargs):
        done.append(1)
        if len(done) == 5:  # within the first epoch of five steps, after the checkpoint of step 3
            raise KeyboardInterrupt
        return step(*args, **kwargs)

    monkeypatch.setattr(Trainer, "training_step", stops)
    with pytest.raises(KeyboardInterrupt):
        train(cut, quiet=True)
    assert weights_after(cut, resume=True) == expected


def test_simclr_fits_omega_to_the_labels_again_before_each_validation(source_folder, csv_file, tmp_path, monkeypatch):
    from hf_reprogram.mappings.linear import LinearMapping

    fitted, fit_start = [], LinearMapping.fit_start
    monkeypatch.setattr(
        LinearMapping, "fit_start", lambda self, *args: fitted.append(args[1] is None) or fit_start(self, *args)
    )
    changes = {"objectives": ["simclr"], "task": {"train_size": 20}, "training": {"num_train_epochs": 2}}
    changes["method"] = {"reads": "mask"}
    train(runs.recipe(source_folder("bert"), csv_file, tmp_path / "run", **changes, **SOME), quiet=True)
    assert fitted == [False, True, True]


def test_without_labels_omega_stays_where_it_starts(source_folder, csv_file, tmp_path):
    changes = {"objectives": UNSUPERVISED, "training": {"num_train_epochs": 2, "load_best_model_at_end": False}}
    from safetensors.torch import load_file

    train(runs.recipe(source_folder("bert"), csv_file, tmp_path / "run", **changes), quiet=True)
    seed = tmp_path / "run" / "runs" / "seed-0"
    before, after = (load_file(folder / "model.safetensors") for folder in (seed / "start", seed))
    assert not torch.equal(before["transform.prompts"], after["transform.prompts"])
    softness = before["mapping.started"]  # a start is made softer before the first step
    for name in ("mapping.weight", "mapping.bias"):
        assert torch.equal(after[name], before[name] * softness), name


def test_images_learn_from_views_and_the_run_says_how_many_rows(tmp_path):
    source = str(tiny_vision.save_source(tmp_path / "vit", "vit"))
    recipe = make_recipe(
        {
            "source": source,
            "method": {"name": "elsayed", "image_size": 16},
            "task": {"dataset": "digits", "train_size": 20, "max_test": 20},
            "unlabelled": {"from_train": 40},
            "objectives": [{"fixmatch": {"ratio": 2, "threshold": 0.2}}, "simclr"],
            "training": {"num_train_epochs": 1, "per_device_train_batch_size": 10},
            "output": str(tmp_path / "run"),
        }
    )
    train(recipe, quiet=True)
    record = json.loads((tmp_path / "run" / "runs" / "seed-0" / "fit.json").read_text())
    assert record["unlabelled"]["rows"] == 40
    assert record["unlabelled"]["left_out"] >= 40  # the training and validation rows of the split


def test_the_frozen_source_is_asked_in_one_forward_of_the_wrapped_model(source_folder, csv_file, tmp_path, monkeypatch):
    """What DDP wraps is called once a step: the objective asks the source inside."""
    objective, model, batch = prepared(source_folder("bert"), csv_file, ["fixmatch"], tmp_path)
    kind, asked = type(model.source), []
    forward = kind.forward
    monkeypatch.setattr(kind, "forward", lambda self, *args: asked.append(1) or forward(self, *args))
    model.mapping.skip_start()
    model.objectives = [objective]
    model(**batch.inputs, labels=batch.labels)
    assert len(asked) == 3  # the labelled batch, the weak view and the strong one


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_meaning(name):
    meanings = attributes(OBJECTIVES[name].Options)
    assert [field.name for field in fields(OBJECTIVES[name].Options) if not meanings.get(field.name)] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objectives": ["fixmatch"]}, "fixmatch needs unlabelled rows"),
        ({"objectives": ["pseudo_labels"]}, "pseudo_labels needs unlabelled rows"),
        ({"objectives": [{"fixmatch": {"threshold": 1.0}}], **SOME}, "threshold is 1.0"),
        ({"objectives": [{"fixmatch": {"ratio": 0}}], **SOME}, "ratio is 0"),
        ({"objectives": [{"simclr": {"temperature": 0}}]}, "temperature is 0"),
        ({"objectives": [{"information": {"balance": -1}}]}, "balance is -1"),
        ({"objectives": [{"pseudo_labels": {"prior": {"a": 0.3}}}], **SOME}, "1 in all"),
        ({"objectives": [{"fixmatch": {"weight": 0}}], **SOME}, "weight is 0"),
        ({"objectives": [{"fixmatch": {"strength": 3}}], **SOME}, "strength is 3"),
        ({"objectives": ["information"], "task": {"dataset": "glue", "name": "stsb"}}, "one class per example"),
        ({"unlabelled": {"from_train": 10}}, "Nothing in this recipe reads unlabelled"),
        ({"objectives": ["information"], "unlabelled": {}}, "one of from_train and dataset"),
        ({"objectives": ["information"], "unlabelled": {"from_train": 1, "split": "x"}}, "unlabelled.split is for"),
        ({"baselines": ["self_training"]}, "self_training needs unlabelled rows"),
    ],
)
def test_recipes_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        make_recipe({**RECIPE, **change})


def test_tables_have_no_views():
    task = {"dataset": "rows.csv", "features": ["a", "b"], "label": "c"}
    values = {"source": "owner/model", "method": {"name": "fraud"}, "task": task, "objectives": ["simclr"]}
    with pytest.raises(InputError, match="no views of rows of numbers"):
        make_recipe(values)


def test_a_prior_names_every_class(source_folder, csv_file, tmp_path):
    with pytest.raises(InputError, match="prior names good, and the classes are bad, good"):
        prepared(source_folder("bert"), csv_file, [{"pseudo_labels": {"prior": {"good": 1.0}}}], tmp_path)
