"""The fits of a calibration: against a search that knows nothing of them, by hand, and what they leave as it was."""

from __future__ import annotations

from copy import copy

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, Value
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch.nn import functional as F

from hf_reprogram import InputError, reprogram
from hf_reprogram.losses import IGNORE
from hf_reprogram.training.calibration import (
    ClampingOptions,
    clamping_loss,
    fit_clamping,
    fit_temperature,
    measures,
    scored_rows,
    shift_of,
)
from hf_reprogram.training.encode import encode, labels_of
from hf_reprogram.training.predict import predict_logits
from tests.support import adapters, tiny_audio, tiny_dual, tiny_vision
from tests.support.frozen import bytes_of


def nll_at(rows, classes, temperature):
    return -log_softmax(rows / temperature, axis=1)[np.arange(len(rows)), classes].mean()


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("seed", range(5))
def test_the_temperature_is_that_of_a_search_over_t(seed, scale):
    random = np.random.default_rng(seed)
    classes = random.integers(4, size=200)
    rows = scale * (random.normal(size=(200, 4)) + np.eye(4)[classes])
    found = fit_temperature(rows, classes)
    best = minimize_scalar(lambda log: nll_at(rows, classes, np.exp(log)), bounds=(-10, 10), method="bounded")
    assert found == pytest.approx(np.exp(best.x), rel=1e-3)
    assert nll_at(rows, classes, found) <= best.fun + 1e-12


def test_the_temperature_undoes_a_factor_of_the_logits():
    random = np.random.default_rng(0)
    classes = random.integers(3, size=50)
    rows = random.normal(size=(50, 3)) + np.eye(3)[classes]
    assert fit_temperature(100 * rows, classes) == pytest.approx(100 * fit_temperature(rows, classes))


@pytest.mark.parametrize(
    ("rows", "classes", "sentence"),
    [
        ([[2.0, 0.0], [0.0, 1.0]], [0, 1], "All 2 held-out labels are predicted"),
        ([[0.0, 0.0]], [1], "All 1 held-out labels are predicted"),
        ([[2.0, 0.0], [0.0, 1.0]], [1, 0], "no higher than the others on average"),
        (np.zeros((0, 2)), [], "No example has a label"),
    ],
)
def test_where_no_temperature_is_best_there_is_none(rows, classes, sentence):
    with pytest.raises(InputError, match=sentence):
        fit_temperature(rows, classes)


def test_tokens_and_labels_are_rows():
    tokens = torch.randn(2, 3, 4)
    marks = torch.tensor([[0, IGNORE, 2], [IGNORE, 3, IGNORE]])
    rows, classes = scored_rows(tokens, marks, "single_label_classification")
    assert classes.tolist() == [0, 2, 3]
    assert torch.equal(rows, torch.stack([tokens[0, 0], tokens[0, 2], tokens[1, 1]]))
    logits, labels = torch.randn(5, 3), torch.tensor([[0.0, 1.0, torch.nan]] * 5)
    rows, classes = scored_rows(logits, labels, "multi_label_classification")
    known = ~labels.isnan()
    expected = F.binary_cross_entropy_with_logits(logits[known], labels[known])
    assert measures(rows, classes)["nll"] == pytest.approx(float(expected), rel=1e-5)


def test_the_measures_of_sure_and_wrong_logits_are_finite():
    assert measures([[0.0, 1e6]], [0])["nll"] == pytest.approx(708.4, abs=0.1)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """An adapter of images with random numbers, its processor, and encoded labelled images."""
    source = str(tiny_vision.save_source(tmp_path_factory.mktemp("vit"), "vit"))
    model, processor = adapters.make(source, "vit", "digits")
    pictures, labels = tiny_vision.images(60, side=8)
    features = Features({"image": Image(), "label": Value("int64")})
    split = Dataset.from_dict({"image": pictures, "label": labels}, features=features)
    return model, processor, encode({"held": split}, processor)["held"]


def batch_of(data, count):
    inputs = {name: torch.from_numpy(values) for name, values in data.inputs(np.arange(count)).items()}
    return {**inputs, "labels": torch.as_tensor(data.labels[:count])}


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_the_loss_of_clamping_is_that_of_its_equation_and_so_is_its_gradient(images, gamma):
    model, _, data = images
    batch = batch_of(data, 6)
    random = torch.Generator().manual_seed(0)
    delta = (0.1 * torch.randn(3, 32, 32, generator=random)).requires_grad_()
    temperature = torch.tensor(1.5, requires_grad=True)
    options = ClampingOptions(penalty=0.3, gamma=gamma)

    def loss(shift, t):
        with torch.no_grad():
            pixels = model.transform(batch, model.source)["pixels"] + shift
            log_p = (model.mapping(model.source({"pixels": pixels}, "features"), model.source) / t).log_softmax(-1)
        own = log_p[torch.arange(6), batch["labels"]]
        return float((-((1 - own.exp()) ** gamma) * own).mean() + 0.3 * shift.norm())

    found = clamping_loss(model, batch, "pixels", delta, temperature, options)
    assert found.item() == pytest.approx(loss(delta.detach(), 1.5), rel=1e-5)
    found.backward(inputs=[delta, temperature])
    step = torch.randn(3, 32, 32, generator=random)
    rise = loss(delta.detach() + 3e-3 * step, 1.5) - loss(delta.detach() - 3e-3 * step, 1.5)
    assert rise / 6e-3 == pytest.approx(float((delta.grad * step).sum()), rel=0.02)
    assert (loss(delta.detach(), 1.51) - loss(delta.detach(), 1.49)) / 0.02 == pytest.approx(
        float(temperature.grad), rel=0.02
    )


def test_clamping_lowers_the_nll_of_a_temperature_and_changes_nothing_else(images):
    model, processor, data = images
    before, numbers = bytes_of(model.source), {n: p.detach().clone() for n, p in model.trainable().items()}
    logits = torch.from_numpy(predict_logits(model, processor, data, quiet=True))
    rows, classes = scored_rows(logits, torch.as_tensor(labels_of(data)), model.config.problem_type)
    alone = fit_temperature(rows, classes)
    found = fit_clamping(model, processor, data, ClampingOptions(epochs=3, learning_rate=1e-1, penalty=1e-3))
    try:
        assert (found.method, found.shifted, found.shape) == ("neural_clamping", "pixels", [3, 32, 32])
        shifted = torch.from_numpy(predict_logits(model, processor, data, quiet=True))
        assert measures(shifted, classes)["nll"] < measures(rows / alone, classes)["nll"]
        assert model.calibration.delta.abs().max() > 0
        assert bytes_of(model.source) == before
        assert all(torch.equal(numbers[name], p) and p.grad is None for name, p in model.trainable().items())
    finally:
        model.calibration, model.config.calibration = None, {}


def test_a_shift_that_is_no_better_than_none_is_left_out(images):
    model, processor, data = images
    own = copy(data)
    own.labels = predict_logits(model, processor, data, quiet=True).argmax(1)  # which any shift can only change
    own.labels[::5] = 1 - own.labels[::5]
    far = ClampingOptions(epochs=1, learning_rate=1e-6, deviation=30.0)
    found = fit_clamping(model, processor, own, far)
    assert (found.method, found.shape, model.calibration.delta) == ("temperature", None, None)
    model.calibration, model.config.calibration = None, {}


def test_a_shift_needs_examples_to_judge_it(images):
    model, processor, data = images
    few = copy(data)
    few.size = 3
    with pytest.raises(InputError, match="give at least 4, of which one half judges the shift"):
        fit_clamping(model, processor, few)


def test_sounds_and_series_are_shifted_too(tmp_path):
    source = str(tiny_audio.save_source(tmp_path, "wav2vec2"))
    model, _ = adapters.make(source, "wav2vec2", "series")
    name, shape = shift_of(model, {"past_values": torch.from_numpy(adapters.SERIES[:2])})
    assert (name, shape) == ("waveform", [tiny_audio.SAMPLES])


def test_texts_and_images_that_stay_as_they_are_get_no_shift(text_model, tmp_path):
    model, processor = text_model
    with pytest.raises(InputError, match="takes texts of any length"):
        shift_of(model, dict(processor(["a film"], return_tensors="pt")))
    source = str(tiny_dual.save_source(tmp_path, "clip"))
    options = {"text_program": "low_rank", "image_program": "none"}
    dual, _ = reprogram(source, "reprogrammer", ["cat", "dog"], **options)
    with pytest.raises(InputError, match="leaves images as they are"):
        shift_of(dual, {"pixel_values": torch.rand(1, 3, 32, 32)})


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    return adapters.make(adapters.source(tmp_path_factory.mktemp("bert"), "bert"), "bert", "films")


@pytest.mark.parametrize("values", [{"epochs": 0}, {"learning_rate": 0.0}, {"penalty": -1.0}, {"gamma": float("nan")}])
def test_options_out_of_range_are_refused(values):
    with pytest.raises(InputError):
        ClampingOptions(**values)
