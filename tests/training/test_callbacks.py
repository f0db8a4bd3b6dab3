"""Schedule: what it reads, and label maps that are fitted in the course of a real training."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, Trainer, TrainerCallback, TrainingArguments

from hf_reprogram import InputError, ReprogramConfig, ReprogrammedModel
from hf_reprogram.mappings.label_map import LabelMap
from hf_reprogram.readings import reader
from hf_reprogram.schedule import Schedule
from hf_reprogram.sources import load_source
from hf_reprogram.transforms import TRANSFORMS
from hf_reprogram.transforms.base import InputTransform
from tests.support import tiny, tiny_vision, toys  # noqa: F401 - toys registers the input transform


@dataclass
class TintOptions:
    """None."""


class Tint(InputTransform):
    """Adds one trained colour to every pixel of images that fill the canvas."""

    Options = TintOptions
    takes = "pixel_values"

    def __init__(self, options):
        super().__init__(options)
        self.tint = torch.nn.Parameter(torch.zeros(3, 1, 1))

    def forward(self, batch, source):
        return {"pixels": (batch["pixel_values"] + self.tint).clamp(0, 1)}


TRANSFORMS.register("toy_tint", Tint)

EVERY = {"type": "label_map", "how": "blm_plus", "share": 0.9}
ONCE = {"type": "label_map", "how": "optimal", "labels_per_class": 2}
ITERATIVE = {"type": "label_map", "how": "iterative", "labels_per_class": 1, "aggregate": "max_logit"}
REWEIGHTED = {"type": "rvp", "how": "frequency"}


def make(folder, mapping):
    """One trained vector on every token's embedding, a frozen classifier of 6 labels, a map to 2 classes."""
    torch.manual_seed(0)
    source, reference = load_source(folder)
    config = ReprogramConfig(
        source=reference,
        transform={"type": "toy_shift", "width": source.spec.embedding_width},
        mapping={"num_labels": 2, "width": 6, **mapping},
        id2label={0: "bad", 1: "good"},
        label2id={"bad": 0, "good": 1},
        problem_type="single_label_classification",
    )
    return ReprogrammedModel(config, source), AutoTokenizer.from_pretrained(folder)


class Look(TrainerCallback):
    """Keeps the state of the map while each epoch runs, and the map of frequencies at its beginning."""

    def __init__(self):
        self.states, self.current = [], []

    def on_epoch_begin(self, args, state, control, model=None, train_dataloader=None, **kwargs):
        self.states.append({name: value.clone() for name, value in model.mapping.state_dict().items()})
        self.current.append(reader(model, train_dataloader, 8)("logits"))


def trainer_for(model, processor, folder, **arguments):
    """3 epochs of 2 steps, large ones, so that the map that fits best changes."""
    data = tiny.tokenized(processor)
    settings = {"num_train_epochs": 3, "learning_rate": 0.3, "per_device_train_batch_size": 8, "save_strategy": "no"}
    quiet = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "dataloader_pin_memory": False}
    look = Look()
    trainer = Trainer(
        model,
        TrainingArguments(output_dir=str(folder), **{**settings, **quiet, **arguments}),
        train_dataset=data,
        eval_dataset=data,
        processing_class=processor,
        callbacks=[look],
    )
    return trainer, look


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


# ------------------------------------------------------------------------------------------------------------ reading


def test_the_reader_gives_what_the_source_answers_to_all_of_the_training_data(source_folder):
    model, processor = make(source_folder("bert-classifier"), {"type": "label_map", "how": "random"})
    torch.nn.init.normal_(model.transform.shift)
    data = tiny.tokenized(processor, 10)
    loader = DataLoader(data, 3, shuffle=True, collate_fn=lambda rows: dict(processor.pad(rows, return_tensors="pt")))
    model.train()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    logits, labels = reader(model, loader, 4)("logits")
    assert torch.equal(torch.get_rng_state(), before)  # the order of the batches stays what it was
    assert model.training
    assert labels.tolist() == data["labels"]
    for row, found in zip(data, logits, strict=True):
        batch = {name: torch.tensor([row[name]]) for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            alone = model.source(model.transform(batch, model.source), "logits")[0]
        torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-4)
    assert not logits.requires_grad


def test_a_map_is_fitted_to_the_answers_of_the_precision_that_is_trained_in(source_folder, tmp_path):
    seen = {}
    for bf16 in (True, False):
        model, processor = make(source_folder("bert-classifier"), ONCE)
        model.mapping.fit = lambda outputs, labels, source, bf16=bf16: seen.update({bf16: outputs})
        trainer, _ = trainer_for(model, processor, tmp_path, bf16=bf16, max_steps=1)
        trainer.compute_loss = lambda model, *_, **__: model.transform.shift.sum()
        trainer.train()
    batch = tiny.batch_of(processor, 16, 0)
    fresh, _ = make(source_folder("bert-classifier"), ONCE)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = fresh.source(fresh.transform(batch, fresh.source), "logits").float()
    with torch.no_grad():
        full = fresh.source(fresh.transform(batch, fresh.source), "logits")
    torch.testing.assert_close(seen[False], full)
    assert (seen[True] - half).abs().mean() < 0.5 * (seen[True] - full).abs().mean()


def test_the_reader_draws_the_same_numbers_every_time():
    def noisy(rows):
        return {"input_ids": torch.randn(len(rows), 2), "labels": torch.tensor(rows)}

    class Through(torch.nn.Module):
        device = torch.device("cpu")

        def forward(self, inputs, reads):
            return inputs["input_ids"]

    model = torch.nn.Module()
    model.source = Through()
    model.inputs = lambda batch: batch
    model.mapping = SimpleNamespace(target=None)
    loader = SimpleNamespace(dataset=list(range(6)), collate_fn=noisy, num_workers=0)
    first, _ = reader(model, loader, 4)("logits")
    torch.randn(3)
    again, _ = reader(model, loader, 4)("logits")
    assert torch.equal(first, again)


# ------------------------------------------------------------------------------------------------- maps in a training


@pytest.mark.parametrize("mapping", [ITERATIVE, EVERY], ids=["iterative", "blm_plus"])
def test_a_map_that_follows_training_fits_the_answers_of_every_epoch(mapping, source_folder, tmp_path):
    model, processor = make(source_folder("bert-classifier"), mapping)
    trainer, look = trainer_for(model, processor, tmp_path)
    trainer.train()
    assert [int(state["fitted"]) for state in look.states] == [0, 1, 2]
    name = "sets" if mapping is ITERATIVE else "weight"
    for state, current in zip(look.states, look.current, strict=True):
        fresh = LabelMap(model.mapping.options)
        fresh.fit(*current)
        assert torch.equal(fresh.state_dict()[name], state[name])
    assert any(not torch.equal(look.states[0][name], state[name]) for state in look.states[1:])


@pytest.mark.parametrize("mapping", [ONCE, REWEIGHTED], ids=["optimal", "rvp"])
def test_a_map_that_is_fitted_once_keeps_its_sets(mapping, source_folder, tmp_path):
    model, processor = make(source_folder("bert-classifier"), mapping)
    trainer, look = trainer_for(model, processor, tmp_path)
    trainer.train()
    prefix = "label_map." if mapping is REWEIGHTED else ""
    fresh = LabelMap((model.mapping.label_map if mapping is REWEIGHTED else model.mapping).options)
    fresh.fit(*look.current[0])
    assert all(torch.equal(state[f"{prefix}sets"], fresh.sets) for state in look.states)
    assert all(parameter.any() for parameter in model.trainable().values())


@pytest.mark.parametrize("mapping", [ITERATIVE, REWEIGHTED], ids=["iterative", "rvp"])
def test_a_resumed_run_equals_a_whole_one(mapping, source_folder, tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 1}
    whole, processor = make(source_folder("bert-classifier"), mapping)
    trainer_for(whole, processor, tmp_path, **settings)[0].train()
    for step, epochs in ((3, 2), (4, 1)):  # within the second epoch, and at its end
        resumed, _ = make(source_folder("bert-classifier"), mapping)
        trainer, look = trainer_for(resumed, processor, tmp_path, **settings)
        trainer.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
        assert len(look.states) == epochs
        for name, value in state_of(whole).items():
            assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize("mapping", [ITERATIVE, EVERY], ids=["iterative", "blm_plus"])
def test_the_best_epoch_comes_back_with_its_map_and_is_saved_to_the_bit(mapping, source_folder, tmp_path):
    model, processor = make(source_folder("bert-classifier"), mapping)
    calls = count()
    trainer, look = trainer_for(
        model, processor, tmp_path / "run", eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True,
        metric_for_best_model="score", greater_is_better=True,
    )  # fmt: skip
    trainer.compute_metrics = lambda _: {"score": [0, 1, 0][next(calls)]}  # the second epoch
    trainer.train()
    assert trainer.state.best_global_step == 4
    for name, value in look.states[1].items():
        assert torch.equal(model.mapping.state_dict()[name], value)
    name = "sets" if mapping is ITERATIVE else "weight"
    assert any(not torch.equal(state[name], look.states[1][name]) for state in look.states)
    model.save_pretrained(tmp_path / "adapter")
    assert (tmp_path / "adapter" / "model.safetensors").stat().st_size < 1500
    again = ReprogrammedModel.from_pretrained(tmp_path / "adapter")
    for name, value in load_file(tmp_path / "adapter" / "model.safetensors").items():
        assert torch.equal(again.state_dict()[name], value)
    batch = tiny.batch_of(processor)
    with torch.no_grad():
        assert torch.equal(again(**batch).logits, model.eval()(**batch).logits)


def test_a_map_is_there_for_an_evaluation_before_training(source_folder, tmp_path):
    outcomes = []
    for early in (True, False):
        model, processor = make(source_folder("bert-classifier"), ITERATIVE)
        trainer, _ = trainer_for(model, processor, tmp_path, eval_on_start=early, eval_strategy="epoch")
        trainer.train()
        outcomes.append(state_of(model))
        assert sum("eval_loss" in entry for entry in trainer.state.log_history) == 3 + early
    assert all(torch.equal(value, outcomes[1][name]) for name, value in outcomes[0].items())


def test_an_image_classifiers_map_is_fitted_by_features(tmp_path):
    source, reference = load_source(tiny_vision.save_source(tmp_path / "vit", "vit"))
    config = ReprogramConfig(
        source=reference,
        transform={"type": "toy_tint"},
        mapping={"type": "label_map", "num_labels": 2, "width": tiny_vision.LABELS, "how": "similarity"},
        id2label={0: "up", 1: "down"},
        label2id={"up": 0, "down": 1},
        problem_type="single_label_classification",
    )
    model = ReprogrammedModel(config, source)
    pictures, labels = tiny_vision.images(12, side=tiny_vision.SIDE)
    pixels = [np.asarray(picture, dtype=np.float32).transpose(2, 0, 1) / 255 for picture in pictures]
    data = Dataset.from_dict({"pixel_values": pixels, "labels": labels}).with_format("torch")
    settings = {"max_steps": 3, "use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no"}
    arguments = TrainingArguments(output_dir=str(tmp_path), dataloader_pin_memory=False, **settings)
    Trainer(model, arguments, train_dataset=data).train()
    fresh = LabelMap(model.mapping.options)
    fresh.fit(source({"pixels": torch.tensor(np.stack(pixels))}, "features"), torch.tensor(labels), source)
    assert torch.equal(model.mapping.sets, fresh.sets)
    assert (model.mapping.sets >= 0).sum() == 6
    assert model.transform.tint.any()


def test_without_the_schedule_training_stops_with_what_to_do(source_folder, tmp_path):
    model, processor = make(source_folder("bert-classifier"), ONCE)
    trainer = tiny.trainer_for(model, processor, tiny.tokenized(processor), tmp_path)
    trainer.remove_callback(Schedule)
    with pytest.raises(InputError, match=r"has not been fitted: train with the Trainer of transformers"):
        trainer.train()


def test_with_a_label_a_token_the_reader_gives_states_and_labels_of_whole_texts():
    states = torch.arange(12.0).view(2, 3, 2)

    class Source:
        device = torch.device("cpu")

        def __call__(self, inputs, reads):
            return states

    mapping = SimpleNamespace(target=None)
    model = SimpleNamespace(source=Source(), inputs=lambda batch: batch, mapping=mapping, training=True)
    model.eval = model.train = lambda *_: None
    rows = [{"x": 0, "labels": torch.tensor([1, -100, 0])}, {"x": 1, "labels": torch.tensor([-100, -100, 1])}]
    values, labels = reader(model, DataLoader(rows, batch_size=2), 2)("tokens")
    assert values.tolist() == states.tolist()
    assert labels.tolist() == [[1, -100, 0], [-100, -100, 1]]
