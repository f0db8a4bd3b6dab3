"""AR-SCR: maps by similarity, pipelines, and files on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoModelForAudioClassification, pipeline

from hf_reprogram import ReprogrammedModel, reprogram
from hf_reprogram.mappings.assignment import similarity_sets_in_order, similarity_sets_optimal
from hf_reprogram.schedule import begin_epoch
from tests.support import tiny_audio


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The folder of a tiny keyword spotter."""
    return str(tiny_audio.save_source(tmp_path_factory.mktemp("spotter") / "spotter", "keyword_spotter"))


@pytest.fixture(scope="module")
def adapter(source, tmp_path_factory):
    """The folder of an adapter with a trained wave, and its logits on two sounds of another rate."""
    model, extractor = reprogram(source, "ar_scr", ["low", "high"], mapping="dense")
    torch.nn.init.normal_(model.transform.weight, std=0.1)
    folder = tmp_path_factory.mktemp("adapter") / "adapter"
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    sounds = tiny_audio.sounds(2)[0]
    with torch.no_grad():
        logits = model.eval()(**extractor(sounds, sampling_rate=8000, return_tensors="pt")).logits
    return folder, sounds, logits


def test_the_auto_class_and_the_pipeline_load_an_adapter(adapter):
    folder, sounds, logits = adapter
    assert isinstance(AutoModelForAudioClassification.from_pretrained(folder), ReprogrammedModel)
    classify = pipeline("audio-classification", model=str(folder))
    clips = classify.feature_extractor(sounds, sampling_rate=8000)["input_values"]
    for clip, row in zip(clips, logits.softmax(-1), strict=True):
        answer = {each["label"]: each["score"] for each in classify(clip)}
        assert answer == pytest.approx({"low": row[0].item(), "high": row[1].item()}, abs=1e-5)


def test_predict_takes_wav_files(adapter, tmp_path):
    from typer.testing import CliRunner

    from hf_reprogram.cli import app

    folder, sounds, logits = adapter
    for place, sound in enumerate(sounds):
        soundfile.write(tmp_path / f"{place}.wav", sound, 8000, subtype="FLOAT")
    paths = [str(tmp_path / f"{place}.wav") for place in range(2)]
    answer = CliRunner().invoke(app, ["predict", str(folder), *paths, "--quiet"])
    assert answer.exit_code == 0, answer.output
    for line, path, row in zip(answer.output.splitlines(), paths, logits.softmax(-1), strict=True):
        found = json.loads(line)
        assert (found["audio"], found["label"]) == (path, ["low", "high"][row.argmax()])
        assert found["score"] == pytest.approx(row.max().item(), abs=1e-4)


def test_labels_join_classes_in_their_own_order():
    """Label 0 chooses first, two fill a class before a third joins, and the last one finds no room."""
    classes = np.eye(2)
    labels = np.array([[1, 0.1], [0.9, 0.0], [1, 0.2], [0.8, 0.1], [0.1, 1.0], [1, 0.3], [1, 0.4]])
    assert similarity_sets_in_order(classes, labels, most=3) == [[0, 1, 5], [2, 3, 4]]


def test_the_best_total_similarity_is_found_by_trying_all():
    from itertools import product

    random = np.random.default_rng(0)
    classes, labels = random.normal(size=(3, 4)), random.normal(size=(5, 4))
    cosine = (classes / np.linalg.norm(classes, axis=1, keepdims=True)) @ (
        labels / np.linalg.norm(labels, axis=1, keepdims=True)
    ).T
    sizes = [1, 2]
    best = max(
        sum(cosine[chosen, label] for label, chosen in enumerate(places))
        for places in product(range(3), repeat=5)
        if all(places.count(each) in sizes for each in range(3))
    )
    found = similarity_sets_optimal(classes, labels, most=2)
    assert sum(cosine[each, label] for each, chosen in enumerate(found) for label in chosen) == pytest.approx(best)


@pytest.mark.parametrize("how", ["similarity", "similarity_in_order", "similarity_optimal"])
def test_a_map_by_similarity_is_fitted_before_training(source, how):
    model, extractor = reprogram(source, "ar_scr", ["low", "high"], label_mapping=how)
    sounds, labels = tiny_audio.sounds(8)
    rows = [
        {"input_values": torch.from_numpy(clip), "labels": label}
        for clip, label in zip(extractor(sounds)["input_values"], labels, strict=True)
    ]
    begin_epoch(model, 0, torch.utils.data.DataLoader(rows, 4))
    sets = [[label for label in row if label >= 0] for row in model.mapping.sets.tolist()]
    assert all(1 <= len(chosen) <= 3 for chosen in sets)
    assert model.mapping.options.aggregate == "sum_probability"
