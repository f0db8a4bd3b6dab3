"""Baselines on sounds and time series: networks of convolutions, and the source's architecture with every weight trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from datasets import Dataset

from hf_reprogram.baselines.small_network import over_time
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
from tests.support import tiny_audio

RATE = {"learning_rate": [1e-2]}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The folder of a tiny keyword spotter."""
    return str(tiny_audio.save_source(tmp_path_factory.mktemp("spotter") / "spotter", "keyword_spotter"))


def results(source, folder, method, task, baselines, epochs):
    """The rows of a recipe that trains the method itself for nothing."""
    training = {"num_train_epochs": epochs, "per_device_train_batch_size": 16}
    recipe = {"source": source, "method": method, "task": {"label": "kind", "validation_share": 0.3, **task}}
    made = make_recipe({**recipe, "training": training, "baselines": baselines, "output": str(folder)})
    return {name: row["test"]["accuracy"]["mean"] for name, row in train(made, quiet=True)["baselines"].items()}


def test_a_series_is_read_by_convolutions_that_a_linear_layer_cannot_replace(source, tmp_path):
    """The frequency is the label and the phase is random, so no weighted sum of the numbers tells the classes apart."""
    random = np.random.default_rng(0)
    labels = [index % 2 for index in range(160)]
    steps = np.arange(40) / 40
    rows = [np.sin(2 * np.pi * ((3, 6)[label] * steps + random.random())).tolist() for label in labels]
    data = Dataset.from_dict({"values": rows, "kind": [("slow", "fast")[label] for label in labels]})
    method = {"name": "voice2series", "placing": "stretched", "mapping": "dense"}
    task = {"dataset": data, "series": "values"}
    found = results(
        source, tmp_path, method, task, [{"small_network": {**RATE, "channels": [8, 8]}}, "raw_linear"], epochs=10
    )
    assert found["small_network"] > 0.9 > found["raw_linear"] + 0.1


def test_sounds_are_read_by_every_kind_of_training(source, tmp_path):
    sounds, labels = tiny_audio.sounds(64)
    kinds = [("low", "high")[label] for label in labels]
    data = Dataset.from_dict({"clip": sounds, "sampling_rate": [tiny_audio.RATE] * 64, "kind": kinds})
    task = {"dataset": data, "audio": "clip"}
    beside = [{"fine_tuning": RATE}, {"from_scratch": RATE}, {"small_network": {**RATE, "channels": [4, 8]}}]
    found = results(source, tmp_path, {"name": "ar_scr", "mapping": "dense"}, task, beside, epochs=15)
    assert all(score > 0.8 for score in found.values()), found


@torch.no_grad()
def test_the_first_layers_are_the_published_ones():
    """The reading of a sound is 80 samples at every fourth, then the largest of four; a series keeps its length."""
    sound, series = over_time([4, 8], 3, 16000).eval(), over_time([4, 8], 3, 50).eval()
    assert sound[1](sound[0](torch.zeros(1, 16000))).shape == (1, 4, 1001)
    assert [block[0].kernel_size for block in sound[1:3]] == [(80,), (3,)]
    assert series[2](series[1](series[0](torch.zeros(1, 50)))).shape == (1, 8, 50)
    assert [block[0].kernel_size for block in series[1:3]] == [(9,), (5,)]
