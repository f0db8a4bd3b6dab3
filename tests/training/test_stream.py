"""Batches of a stream: every row once, in another order per epoch, and the same with any number of workers."""

from __future__ import annotations

import json
import pickle
import warnings

import numpy as np
import pytest
import yaml
from datasets import Dataset, Features, Image, Value
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from transformers import Trainer

from hf_reprogram import InputError, ReprogrammedModel
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions
from hf_reprogram.training import stream as streams
from hf_reprogram.training.encode import collator
from hf_reprogram.training.stream import TrainStream
from tests.support import runs, tiny_vision
from tests.support.tables import columns, write
from tests.support.words import wordpiece
from tests.training.test_distributed import COMMON, in_processes


@pytest.fixture
def tokens(csv_file):
    """A stream of texts, and its processor."""
    tokenizer = wordpiece()
    tokenizer.model_max_length = 64
    task = load_task(TaskOptions(str(csv_file), text="sentence", label="kind", streaming=True))
    stream = TrainStream(task, tokenizer, None, seed=3)
    stream.batch = 8
    return stream, tokenizer


def rows_of(stream, tokenizer, workers=0):
    loader = DataLoader(stream, 8, collate_fn=collator(tokenizer), num_workers=workers)
    return [(batch["input_ids"].tolist(), batch["labels"].tolist()) for batch in loader]


def test_workers_encode_what_one_process_would(tokens):
    one, two = rows_of(*tokens), rows_of(*tokens, workers=2)
    assert one == two
    assert len(one) == -(-len(tokens[0]) // 8)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_stream_can_be_given_to_a_process_that_does_not_share_memory(ending, tmp_path):
    data = write(tmp_path / f"data.{ending}", columns(60))
    task = load_task(TaskOptions(str(data), text="sentence", label="kind", streaming=True))
    stream = TrainStream(task, wordpiece(), None, seed=0)
    stream.processor.model_max_length = 64
    assert list(pickle.loads(pickle.dumps(stream))) == list(stream)


def test_an_epoch_has_every_row_once_and_another_epoch_another_order(tokens, monkeypatch):
    monkeypatch.setattr(streams, "BUFFER", 40)
    monkeypatch.setattr(streams, "GROUP", 3)
    stream, tokenizer = tokens
    orders = []
    for epoch in (0, 1, 0):
        stream.set_epoch(epoch)
        orders.append([tuple(row["input_ids"]) for row in stream])
    assert orders[0] == orders[2] != orders[1]
    wanted = sorted(tuple(tokenizer(text)["input_ids"]) for part in stream.rows.prepared() for text in part["text"])
    assert sorted(orders[0]) == sorted(orders[1]) == wanted


def test_texts_of_a_batch_have_similar_lengths(tokens):
    stream, _ = tokens
    lengths = [len(row["input_ids"]) for row in stream]
    spread = np.mean([np.ptp(lengths[start : start + 8]) for start in range(0, len(lengths) - 8, 8)])
    assert spread < np.ptp(lengths) / 3


@pytest.mark.parametrize("method", ["warp", pytest.param("r2dl", marks=pytest.mark.slow)])
def test_a_streamed_recipe_trains_resumes_and_loads(method, source_folder, csv_file, tmp_path):
    def recipe(name, **training):
        options = {"num_prompts": 3} if method == "warp" else {"tokenizer": "words", "sparsity": 4}
        task = {"dataset": str(csv_file), "text": ["sentence"], "label": "kind", "streaming": True}
        steps = {"learning_rate": 3e-2, "num_train_epochs": 2, "per_device_train_batch_size": 16, **training}
        baselines = ["majority", "linear_probe"]
        return make_recipe(
            {"source": source_folder("bert"), "method": {"name": method, **options}, "task": task, "training": steps,
             "baselines": baselines, "output": str(tmp_path / name)}
        )  # fmt: skip

    result = train(recipe("whole"), quiet=True)
    assert result["task"]["sizes"] == {"train": 168, "validation": 24, "test": 48}
    assert any("streamed" in note for note in result["task"]["notes"])
    assert len(result["seeds"]["0"]["history"]) == 3
    assert ReprogrammedModel.from_pretrained(tmp_path / "whole").num_trainable() == result["trainable"]

    every = {f"{what}_{key}": value for what in ("save", "eval") for key, value in
             (("strategy", "steps"), ("steps", 8))}  # fmt: skip
    wanted, cut = train(recipe("steps", **every), quiet=True), recipe("cut", **every)
    seen = []

    class Stop(Exception):
        pass

    step = Trainer.training_step

    def stopping(self, *args, **kwargs):
        seen.append(1)
        if len(seen) == 14:
            raise Stop
        return step(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "training_step", stopping)
        with pytest.raises(Stop):
            train(cut, quiet=True)
    assert train(cut, resume=True, quiet=True)["test"] == wanted["test"]
    assert runs.weights(tmp_path / "cut") == runs.weights(tmp_path / "steps")


def test_images_and_rows_of_numbers_are_streamed(tmp_path):
    images, labels = tiny_vision.images(60)
    kinds = Features({"image": Image(), "label": Value("int64")})
    Dataset.from_dict({"image": images, "label": labels}, features=kinds).to_parquet(tmp_path / "images.parquet")
    source = str(tiny_vision.save_source(tmp_path / "source", "vit"))
    images_run = {"task": {"dataset": str(tmp_path / "images.parquet"), "image": "image"}, "method": "ilm_vp"}
    table = {name: np.random.default_rng(0).normal(size=60) for name in "abc"}
    Dataset.from_dict({**table, "label": labels}).to_csv(tmp_path / "rows.csv", index=False)
    rows_run = {"task": {"dataset": str(tmp_path / "rows.csv"), "features": ["a", "b", "c"]}, "method": "fraud"}
    for number, values in enumerate((images_run, rows_run)):
        values["task"] |= {"label": "label", "streaming": True}
        values |= {"source": source, "training": {"num_train_epochs": 1}, "output": str(tmp_path / str(number))}
        result = train(make_recipe(values), quiet=True)
        assert result["task"]["sizes"] == {"train": 42, "validation": 6, "test": 12}
        assert result["seeds"]["0"]["history"][1]["loss"] > 0


def test_a_search_is_not_streamed(source_folder, csv_file, tmp_path):
    task = {"dataset": str(csv_file), "text": "sentence", "label": "kind", "streaming": True}
    values = {"source": source_folder("bert"), "method": "auto", "budget": 3, "task": task, "output": str(tmp_path)}
    with pytest.raises(InputError, match=r"task\.max_train: 5000"):
        train(make_recipe(values), quiet=True)


@pytest.mark.slow
def test_two_processes_stream_what_one_does(source_folder, csv_file, tmp_path):
    values = {
        "source": source_folder("bert"),
        "method": {"name": "warp", "num_prompts": 3},
        "task": {"dataset": str(csv_file), "text": ["sentence"], "label": "kind", "streaming": True},
        "training": {**COMMON, "per_device_train_batch_size": 8, "max_steps": 20},
        "output": str(tmp_path / "two"),
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    in_processes(tmp_path / "recipe.yaml", "--quiet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        training = {**COMMON, "per_device_train_batch_size": 16, "max_steps": 20}
        one = runs.run(source_folder("bert"), csv_file, tmp_path / "one", task={"streaming": True}, training=training)
    two = json.loads((tmp_path / "two" / "results.json").read_text())
    assert two["validation"] == one["validation"]
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, weight in ours.items():
        assert (weight.float() - theirs[name].float()).abs().max() < 1e-4, name
