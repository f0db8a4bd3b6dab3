"""What a user loads, for every source that lies in a folder: auto classes, pipelines, another source, half precision."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification, AutoTokenizer, pipeline

from hf_reprogram import InputError, ReprogrammedModel
from hf_reprogram.sources import load_source
from tests.contract import cases, training
from tests.contract.matrix import batch_of, loaded, on_folders
from tests.support import tiny_vision, words

ON_FOLDERS = on_folders()
OF_TEXTS = [case for case in ON_FOLDERS if case.transform == "prompt_slots"]
OF_IMAGES = [case for case in ON_FOLDERS if case.transform != "prompt_slots"]


def make(case, folder):
    """A saved adapter with theta and omega drawn at random."""
    torch.manual_seed(1)
    model, processor = case.make()
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.normal_(std=0.3)
    folder = training.saved(model, processor, folder / "adapter")
    return SimpleNamespace(model=model.eval(), processor=processor, folder=folder)


def compare(scores, expected):
    """Whether a pipeline's answers are the soft-max of logits."""
    for row, answer in zip(expected.softmax(-1), scores, strict=True):
        by_label = {entry["label"]: entry["score"] for entry in answer}
        assert by_label == pytest.approx(dict(zip(cases.LABELS, row.tolist(), strict=True)), abs=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("case", OF_TEXTS, ids=str)
def test_auto_class_and_pipeline_load_the_folder_of_texts(case, tmp_path):
    adapter = make(case, tmp_path)
    texts, _ = words.texts(3, seed=2)
    batch = adapter.processor(texts, padding=True, return_tensors="pt")
    loaded_again = AutoModelForSequenceClassification.from_pretrained(adapter.folder)
    assert isinstance(loaded_again, ReprogrammedModel)
    expected = adapter.model(**batch).logits
    assert torch.equal(loaded_again(**batch).logits, expected)
    classify = pipeline("text-classification", model=str(adapter.folder), device="cpu")
    compare(classify(texts, top_k=None), expected)
    pair = adapter.processor(texts[0], texts[1], return_tensors="pt")
    answer = classify({"text": texts[0], "text_pair": texts[1]})
    assert answer["score"] == pytest.approx(adapter.model(**pair).logits.softmax(-1).max().item(), abs=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(adapter.folder)
    assert tokenizer(texts, texts[::-1]) == adapter.processor(texts, texts[::-1])


@torch.no_grad()
@pytest.mark.parametrize("case", OF_IMAGES, ids=str)
def test_auto_class_and_pipeline_load_the_folder_of_images(case, tmp_path):
    adapter = make(case, tmp_path)
    images, _ = tiny_vision.images(3)
    pixels = adapter.processor(images, return_tensors="pt")["pixel_values"]
    loaded_again = AutoModelForImageClassification.from_pretrained(adapter.folder)
    assert isinstance(loaded_again, ReprogrammedModel)
    expected = adapter.model(pixel_values=pixels).logits
    assert torch.equal(loaded_again(pixel_values=pixels).logits, expected)
    compare(pipeline("image-classification", model=str(adapter.folder), device="cpu")(images), expected)


@pytest.mark.parametrize("case", ON_FOLDERS, ids=str)
def test_another_source_is_refused(case, tmp_path):
    adapter = make(case, tmp_path)
    other = cases.SOURCES[case.source](tmp_path / "other", seed=9)
    with pytest.raises(InputError, match="trained on another source") as refused:
        ReprogrammedModel.from_pretrained(adapter.folder, source=other)
    assert str(other) in str(refused.value)


@pytest.mark.parametrize("case", ON_FOLDERS, ids=str)
def test_a_bf16_source_with_fp32_theta_trains_and_reloads(case, tmp_path):
    half, _ = load_source(loaded(case.source).reference["name"], dtype=torch.bfloat16)
    model, processor = case.make(half)
    assert {p.dtype for p in model.source.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in model.trainable().values()} == {torch.float32}
    start = {name: p.detach().clone() for name, p in model.trainable().items()}
    training.trainer_for(model, processor, tmp_path / "run").train()
    assert all(not torch.equal(p, start[name]) for name, p in model.trainable().items())
    again = ReprogrammedModel.from_pretrained(training.saved(model, processor, tmp_path / "bf16"))
    assert {p.dtype for p in again.source.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in again.trainable().values()} == {torch.float32}
    batch, _ = batch_of(model.transform.takes, processor)
    with torch.no_grad():
        assert torch.equal(again(**batch).logits, model.eval()(**batch).logits)


def test_pixels_are_normalised_once_whatever_made_them():
    """The canvas and the folded patches give what the plain model gives for the same picture."""
    from hf_reprogram import reprogram

    folder = loaded("vit").reference["name"]
    plain = AutoModelForImageClassification.from_pretrained(folder)
    model, processor = reprogram(folder, method="kloberdanz", labels=["a", "b"], reads="logits")
    images, _ = tiny_vision.images(4)
    pixels = processor(images, return_tensors="pt")["pixel_values"]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (tiny_vision.MEAN, tiny_vision.STD))
    with torch.no_grad():
        expected = plain(pixel_values=(pixels - mean) / std).logits
        found = model.source(model.transform({"pixel_values": pixels}, model.source), "logits")
    torch.testing.assert_close(found, expected)
