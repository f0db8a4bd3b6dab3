"""A calibrated adapter: its logits, its files, what it refuses, and that all ways to its logits are calibrated."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification, AutoModelForTokenClassification, Trainer, TrainingArguments

from hf_reprogram import InputError, Programs, ReprogrammedModel, reprogram
from hf_reprogram.calibration import CalibrationOptions, calibrated, uncalibrate
from hf_reprogram.config import ReprogramConfig
from hf_reprogram.diagnostics.gradients import per_sample_gradients
from hf_reprogram.export import export_adapter
from hf_reprogram.publishing import html_table, short_card
from hf_reprogram.schedule import begin_epoch
from tests.support import adapters

PIXELS = CalibrationOptions("neural_clamping", 2.0, "pixels", [3, 32, 32])


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The folders of a tiny BERT and a tiny ViT."""
    return {name: adapters.source(tmp_path_factory.mktemp(name), name) for name in ("bert", "vit")}


@pytest.fixture
def images(sources):
    """An adapter of images, a batch, and a shift."""
    model, _ = adapters.make(sources["vit"], "vit", "digits")
    generator = torch.Generator().manual_seed(0)
    batch = {"pixel_values": torch.rand(4, 3, 8, 8, generator=generator)}
    return model, batch, 0.2 * torch.randn(3, 32, 32, generator=generator)


@pytest.fixture
def texts(sources):
    """An adapter of texts, its processor, and a batch."""
    model, processor = adapters.make(sources["bert"], "bert", "films")
    return model, processor, dict(processor(adapters.TEXTS, padding=True, return_tensors="pt"))


@torch.no_grad()
def test_logits_are_those_of_the_shifted_input_divided_by_t(images):
    model, batch, delta = images
    pixels = model.transform(batch, model.source)["pixels"]
    expected = model.mapping(model.source({"pixels": pixels + delta}, model.mapping.reads), model.source) / 2
    before = model(**batch).logits
    calibrated(model, PIXELS, delta)
    assert torch.equal(model(**batch).logits, expected)
    assert not torch.equal(2 * expected, before)
    assert torch.equal(uncalibrate(model)(**batch).logits, before)


@torch.no_grad()
@pytest.mark.parametrize("name", ["films", "letters", "many"])
def test_a_temperature_changes_no_label(sources, name):
    model, processor = adapters.make(sources["bert"], "bert", name)
    batch = dict(processor(adapters.ADAPTERS["bert"][name][3], padding=True, return_tensors="pt"))
    before = model(**batch).logits
    after = calibrated(model, CalibrationOptions(temperature=3.0))(**batch).logits
    assert torch.equal(after, before / 3)
    assert torch.equal(after.argmax(-1), before.argmax(-1))
    assert torch.equal(after > 0, before > 0)


@torch.no_grad()
def test_files_hold_it_and_give_the_same_logits(images, tmp_path):
    model, batch, delta = images
    expected = calibrated(model, PIXELS, delta)(**batch).logits
    model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    assert torch.equal(load_file(tmp_path / "model.safetensors")["calibration.delta"], delta)
    assert json.loads((tmp_path / "config.json").read_text())["calibration"]["temperature"] == 2.0
    for loads in ReprogrammedModel, AutoModelForImageClassification:
        loaded = loads.from_pretrained(tmp_path)
        assert torch.equal(loaded(**batch).logits, expected)
        assert loaded.num_trainable() == uncalibrate(model).num_trainable()


def test_an_adapter_without_it_has_no_word_of_it_in_its_files(texts, tmp_path):
    model, _, _ = texts
    model.save_pretrained(tmp_path / "never")
    calibrated(model, CalibrationOptions(temperature=3.0)).save_pretrained(tmp_path / "once")
    uncalibrate(model).save_pretrained(tmp_path / "undone")
    never, once, undone = (
        [(tmp_path / folder / name).read_bytes() for name in ("config.json", "model.safetensors")]
        for folder in ("never", "once", "undone")
    )
    assert never == undone
    assert "calibration" not in json.loads(never[0])
    assert once[0] != never[0]
    assert once[1] == never[1]
    assert ReprogramConfig.from_pretrained(tmp_path / "never").calibration == {}


@torch.no_grad()
@pytest.mark.parametrize("name", ["films", "digits"])
def test_programs_answer_with_calibrated_logits(sources, tmp_path, name):
    source = "vit" if name == "digits" else "bert"
    model, processor = adapters.make(sources[source], source, name)
    options = PIXELS if source == "vit" else CalibrationOptions(temperature=3.0)
    delta = torch.randn(3, 32, 32) if source == "vit" else None
    calibrated(model, options, delta).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    example = adapters.ADAPTERS[source][name][3][0]
    programs = Programs(sources[source])
    programs.add("one", tmp_path)
    request = programs.prepare("one", example)
    inputs = {key: torch.as_tensor(np.asarray(values))[None] for key, values in request.inputs.items()}
    expected = model(**inputs).logits[0]
    assert torch.allclose(torch.from_numpy(programs.logits([request])[0]), expected, atol=1e-5)
    answer = programs.predict([("one", example)])[0]
    assert answer["score"] == pytest.approx(float(expected.softmax(-1).max()), abs=1e-5)


def test_a_plain_export_has_the_temperature_in_its_last_layer(sources, tmp_path):
    model, processor = adapters.make(sources["bert"], "bert", "first")
    for name, temperature in ("one", 1.0), ("four", 4.0):
        calibrated(model, CalibrationOptions(temperature=temperature)).save_pretrained(tmp_path / name)
        processor.save_pretrained(tmp_path / name)
        assert export_adapter(tmp_path / name, tmp_path / f"{name}-plain") == "plain"
    heads = [
        AutoModelForTokenClassification.from_pretrained(tmp_path / f"{name}-plain").classifier
        for name in ("one", "four")
    ]
    assert torch.allclose(heads[1].weight, heads[0].weight / 4)
    assert torch.allclose(heads[1].bias, heads[0].bias / 4)


@pytest.mark.slow
def test_a_graph_of_onnx_has_the_shift_and_the_temperature(images, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, batch, delta = images
    expected = calibrated(model, PIXELS, delta)(**batch).logits.detach()
    model.save_pretrained(tmp_path / "adapter")
    adapters.make(model.config.source["name"], "vit", "digits")[1].save_pretrained(tmp_path / "adapter")
    assert export_adapter(tmp_path / "adapter", tmp_path / "onnx", form="onnx") == "onnx"
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "model.onnx"))
    (found,) = session.run(None, {"pixel_values": batch["pixel_values"].numpy()})
    assert np.allclose(found, expected, atol=1e-4)


def test_gradients_of_examples_are_those_of_the_calibrated_loss(images):
    model, batch, delta = images
    labels = torch.tensor([0, 1, 1, 0])
    calibrated(model, PIXELS, delta)
    rows = per_sample_gradients(model, {**batch, "labels": labels})
    theta = [parameter for parameter in model.transform.parameters() if parameter.requires_grad]
    mean = torch.autograd.grad(model(**batch, labels=labels).loss, theta)
    assert torch.allclose(rows.mean(0), torch.cat([part.flatten() for part in mean]), atol=1e-6)


def test_training_refuses_a_calibrated_adapter_until_it_is_uncalibrated(texts, tmp_path):
    model, _, batch = texts
    rows = [{**{k: v[i] for k, v in batch.items()}, "labels": torch.tensor(i % 2)} for i in range(4)]
    arguments = TrainingArguments(tmp_path, max_steps=1, report_to=[], disable_tqdm=True, use_cpu=True)
    calibrated(model, CalibrationOptions(temperature=3.0))
    trainer = Trainer(model, arguments, train_dataset=rows, eval_dataset=rows)
    loss = trainer.evaluate()["eval_loss"]
    with pytest.raises(InputError, match="uncalibrate"):
        trainer.train()
    with pytest.raises(InputError, match="uncalibrate"):
        begin_epoch(model, 0, trainer.get_train_dataloader())
    with pytest.raises(InputError, match="uncalibrate"):
        model.train()(**batch, labels=torch.tensor([0, 1, 0, 1]))
    uncalibrate(model)
    assert Trainer(model, arguments, train_dataset=rows, eval_dataset=rows).evaluate()["eval_loss"] != loss
    Trainer(model, arguments, train_dataset=rows).train()


def test_a_new_adapter_does_not_take_it_over(texts, sources, tmp_path):
    model, _, batch = texts
    before = model(**batch).logits
    calibrated(model, CalibrationOptions(temperature=3.0)).save_pretrained(tmp_path)
    _, labels, options, _ = adapters.ADAPTERS["bert"]["films"]
    new, _ = reprogram(sources["bert"], "warp", labels, init_from=tmp_path, **options)
    assert new.config.calibration == {}
    assert torch.equal(new.eval()(**batch).logits, before)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"temperature": 0.0}, "temperature is 0.0: give a finite number above 0"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": "2"}, "give a number"),
        ({"method": "scaling"}, "Unknown method of calibration"),
        ({"method": "temperature"}, "Neural clamping alone has a shift"),
        ({"shifted": "texts"}, "Unknown input to shift"),
        ({"shape": [3, 32, 31]}, "does not fit its config.json in calibration.delta"),
        ({"shape": [3, 2**24, 2**24]}, "all weights of the adapter are"),
        ({"shape": [0]}, "shape is [0]"),
        ({"gamma": 1}, "Unknown key of the calibration"),
    ],
)
def test_a_damaged_entry_is_refused(images, tmp_path, changes, sentence):
    model, _, delta = images
    calibrated(model, PIXELS, delta).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["calibration"] |= changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError) as refused:
        ReprogrammedModel.from_pretrained(tmp_path)
    assert sentence in str(refused.value)


def test_a_shift_that_is_not_finite_is_refused(images, tmp_path):
    model, _, delta = images
    calibrated(model, PIXELS, delta).save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state["calibration.delta"][0] = torch.nan
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"calibration\.delta that are not finite"):
        ReprogrammedModel.from_pretrained(tmp_path)


def test_an_adapter_of_numbers_and_a_shift_of_another_shape_are_refused(sources, images):
    grade, _ = adapters.make(sources["bert"], "bert", "grade")
    with pytest.raises(InputError, match="regression predicts numbers without probabilities"):
        calibrated(grade, CalibrationOptions(temperature=2.0))
    with pytest.raises(InputError, match="delta has the shape"):
        calibrated(images[0], PIXELS, torch.zeros(3, 8, 8))
    with pytest.raises(InputError, match="delta has the shape None"):
        calibrated(images[0], PIXELS)


def test_tables_and_cards_name_the_temperature(texts):
    model, _, _ = texts
    plain = short_card(model.config.to_dict(), "me/films", 3)
    assert "temperature" not in html_table(model)
    assert "calibrated" not in plain
    calibrated(model, CalibrationOptions(temperature=1.25, record={"examples": 400}))
    assert "<th>temperature</th><td>1.25</td>" in html_table(model)
    card = short_card(model.config.to_dict(), "me/films", 3)
    assert "It was calibrated on 400 held-out examples: its logits are divided by 1.25." in card
    assert Path(model.config.source["name"]).name in card
