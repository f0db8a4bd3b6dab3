"""The methods for image sources: what each composes, and a whole recipe of each on a tiny source."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
from hf_reprogram.methods import METHODS
from hf_reprogram.sources import VisionSource
from tests.support import tiny_vision as tiny

LABELS = ["above", "below"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tiny.save_source(tmp_path_factory.mktemp("vision") / "vit", "vit"))


def run(source, output, **values):
    return train(make_recipe({"source": source, "output": str(output), **values}), quiet=True)


def pixels_of(processor, count=4):
    images, labels = tiny.images(count)
    return {"pixel_values": torch.tensor(np.stack(processor(images)["pixel_values"]))}, torch.tensor(labels)


@pytest.mark.parametrize(
    ("method", "transform", "mapping", "numbers"),
    [
        ("elsayed", "canvas", {"type": "label_map", "how": "identity", "labels_per_class": 1}, 3 * (32 * 32 - 8 * 8)),
        ("ilm_vp", "canvas", {"type": "label_map", "how": "iterative", "labels_per_class": 1}, 3 * (32 * 32 - 8 * 8)),
        ("blm", "canvas", {"type": "label_map", "how": "blm_plus", "labels_per_class": None}, 3 * (32 * 32 - 8 * 8)),
        ("kloberdanz", "canvas", {"type": "dense", "reads": "logits"}, 3 * 32 * 32 + 2 * 12 + 2),
        ("smm", "sample_mask", {"type": "label_map", "how": "iterative", "labels_per_class": 1}, None),
    ],
)
def test_each_composes_its_papers_parts(method, transform, mapping, numbers, folder):
    model, processor = reprogram(folder, method=method, labels=LABELS, preset="paper")
    assert model.config.transform["type"] == transform
    assert mapping.items() <= model.config.mapping.items()
    if numbers is not None:
        assert model.num_trainable() == numbers
    assert METHODS[method].info.pipeline_tag == "image-classification"
    size = processor.size["height"]
    assert size == (8 if transform == "canvas" and method != "kloberdanz" else 32)
    assert not processor.do_normalize


@pytest.mark.parametrize("method", ["elsayed", "ilm_vp", "blm"])
def test_without_a_size_the_image_is_whole_and_an_untrained_program_changes_nothing(method, folder):
    model, processor = reprogram(folder, method=method, labels=LABELS)
    batch, _ = pixels_of(processor)
    assert batch["pixel_values"].shape == (4, 3, 32, 32)
    torch.testing.assert_close(model.transform(batch, model.source)["pixels"], batch["pixel_values"])
    assert model.transform.options.mask == "border"
    surrounded, processor = reprogram(folder, method=method, labels=LABELS, image_size=8)
    assert (surrounded.transform.options.mask, processor.size["height"]) == ("surround", 8)


def test_elsayeds_untrained_canvas_is_the_image_in_the_middle_of_grey(folder):
    model, processor = reprogram(folder, method="elsayed", labels=LABELS, preset="paper")
    batch, _ = pixels_of(processor)
    canvas = model.transform(batch, model.source)["pixels"]
    assert torch.equal(canvas[:, :, 12:20, 12:20], batch["pixel_values"])
    assert (canvas[:, :, :12] == 0.5).all()
    for parameter in model.transform.parameters():
        parameter.data.fill_(100)
    painted = model.transform(batch, model.source)["pixels"]
    assert (painted[:, :, :12] == 1).all()
    assert torch.equal(painted[:, :, 12:20, 12:20], batch["pixel_values"])


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("elsayed", {"image_size": 40}, "40 x 40 is larger than 32 x 32.*choose a smaller image"),
        ("elsayed", {"mask": "given"}, "mask is 'given': choose one of surround, border, full, or give the file"),
        ("elsayed", {"image_size": [8, 0]}, "image_size is"),
        ("elsayed", {"mapping": "linear"}, "linear"),
        ("elsayed", {"labels_per_class": 7}, "2 classes with 7 source labels each need 14, but the source has 12"),
        ("kloberdanz", {"reads": "tokens"}, "tokens"),
        ("blm", {"label_mapping": "optimal"}, "label_mapping of BLM"),
        ("ilm_vp", {"mask": "border", "border": 16}, "border is 16"),
        ("fraud", {}, "give the training rows as features"),
        ("fraud", {"features": [1.0, 2.0]}, "features is 2: give training rows"),
        ("fraud", {"features": np.zeros((0, 3))}, "features is 0 x 3: give training rows"),
        ("fraud", {"features": [["a", "b"]]}, "features is not a table of numbers"),
        ("fraud", {"features": [[1.0], [2.0, 3.0]]}, "give the same count of numbers in every row"),
    ],
)
def test_what_cannot_work_is_one_sentence(method, options, message, folder):
    with pytest.raises(InputError, match=message):
        reprogram(folder, method=method, labels=LABELS, **options)


def test_source_labels_are_given_by_name_or_index(folder):
    model, _ = reprogram(
        folder, method="elsayed", labels=LABELS, label_mapping="given", assignment=[["thing 3", 4], ["thing 0"]]
    )
    assert model.mapping.sets.tolist() == [[3, 4], [0, -1]]
    with pytest.raises(InputError, match="'thing 30'"):
        reprogram(folder, method="elsayed", labels=LABELS, label_mapping="given", assignment=[["thing 30"], [1]])
    with pytest.raises(InputError, match="belong together"):
        reprogram(folder, method="elsayed", labels=LABELS, assignment=[[0], [1]])


def test_a_label_that_two_have_is_given_by_index():
    names = ["crane", "dog", "crane", *(f"thing {place}" for place in range(9))]
    network = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 12))
    source = VisionSource(network, 32, (0.5,) * 3, (0.5,) * 3, labels=names)
    options = {"method": "elsayed", "labels": LABELS, "label_mapping": "given"}
    with pytest.raises(InputError, match="has 2 labels called 'crane': give the index"):
        reprogram(source, assignment=[["crane"], ["dog"]], **options)
    assert reprogram(source, assignment=[[2], ["dog"]], **options)[0].mapping.sets.tolist() == [[2], [1]]


@pytest.mark.parametrize("mapping", ["label_map", "rvp"])
def test_a_random_label_map_is_drawn_anew_by_every_seed(mapping, folder):
    def sets(seed):
        torch.manual_seed(seed)
        options = {"mapping": mapping, "label_mapping": "random"}
        model, _ = reprogram(folder, method="elsayed", labels=LABELS, **options)
        return getattr(model.mapping, "label_map", model.mapping).sets

    assert torch.equal(sets(0), sets(0))
    assert any(not torch.equal(sets(0), sets(seed)) for seed in (1, 2, 3))


def test_fraud_takes_a_data_frame(folder):
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [0.0, 5.0, 1.0]})
    model, _ = reprogram(folder, method="fraud", labels=LABELS, features=frame)
    again, _ = reprogram(folder, method="fraud", labels=LABELS, features=frame.to_numpy())
    assert model.transform.options.num_features == 2
    assert torch.equal(model.transform.high, again.transform.high)


def test_fraud_draws_on_a_base_image(folder, tmp_path):
    photo = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    rows = np.random.default_rng(0).normal(size=(20, 3))
    options = {"labels": LABELS, "features": rows, "label_mapping": "random"}
    model, _ = reprogram(folder, method="fraud", base_image=str(tmp_path / "photo.png"), **options)
    seen = model.transform.canvas_of(torch.tensor(rows[:1]))
    np.testing.assert_allclose(seen[0, :, 0].detach(), photo[0].T / 255, atol=1e-6)
    with pytest.raises(InputError, match="is not an image that can be read"):
        reprogram(folder, method="fraud", base_image=str(tmp_path / "none.png"), **options)


def test_a_mask_is_given_as_an_image(folder, tmp_path):
    mask = np.zeros((32, 32), np.uint8)
    mask[:4, :5] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    model, _ = reprogram(folder, method="kloberdanz", labels=LABELS, mask=str(tmp_path / "mask.png"))
    assert model.transform.program.weight.shape == (3, 20)
    model.transform.program.weight.data.fill_(1)
    assert np.array_equal(model.transform.program()[0].detach() > 0, mask > 0)
    model.save_pretrained(tmp_path / "adapter")
    again = ReprogrammedModel.from_pretrained(tmp_path / "adapter")
    assert torch.equal(again.transform.program(), model.transform.program())
    Image.fromarray(mask[:8]).save(tmp_path / "small.png")
    for file, message in (("small.png", "is 8 x 32, but the canvas 32 x 32"), ("none.png", "choose one of surround")):
        with pytest.raises(InputError, match=message):
            reprogram(folder, method="kloberdanz", labels=LABELS, mask=str(tmp_path / file))


def test_base_images_and_masks_are_converted_as_the_images_of_a_task_are(folder, tmp_path):
    clear = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    rows = np.zeros((5, 3))
    options = {"labels": LABELS, "features": rows, "label_mapping": "random", "base_image": str(tmp_path / "clear.png")}
    model, _ = reprogram(folder, method="fraud", **options)
    assert (model.transform.canvas_of(torch.tensor(rows[:1]))[0, :, 0] == 1).all()  # on white
    shades = np.zeros((32, 32), np.uint16)
    shades[:2], shades[2:4] = 60000, 1000
    Image.fromarray(shades).save(tmp_path / "mask.png")
    model, _ = reprogram(folder, method="kloberdanz", labels=LABELS, mask=str(tmp_path / "mask.png"))
    assert model.transform.program.weight.shape == (3, 2 * 32)


@pytest.mark.parametrize("how", ["random", "frequency", "optimal", "iterative", "blm", "blm_plus", "similarity"])
@pytest.mark.parametrize("method", ["elsayed", "ilm_vp", "smm", "kloberdanz"])
def test_every_label_mapping_is_an_option_of_every_method(method, how, folder):
    model, processor = reprogram(folder, method=method, labels=LABELS, mapping="label_map", label_mapping=how)
    own = {"blm": "mean_logit", "blm_plus": "mean_logit", "similarity": "sum_probability"}
    assert model.mapping.options.aggregate == own.get(how, "mean_probability")
    batch, labels = pixels_of(processor)
    with torch.no_grad():
        inputs = model.transform(batch, model.source)
        if model.mapping.options.is_fitted:
            model.mapping.fit(
                model.source(inputs, "features" if how == "similarity" else "logits"), labels, model.source
            )
        assert model.eval()(**batch).logits.isfinite().all()


def test_an_aggregate_that_is_asked_for_is_taken(folder):
    options = {"labels": LABELS, "label_mapping": "blm_plus", "aggregate": "mean_probability"}
    model, _ = reprogram(folder, method="elsayed", **options)
    assert model.mapping.options.aggregate == "mean_probability"
    with pytest.raises(InputError, match="Unknown aggregate 'mean'"):
        reprogram(folder, method="kloberdanz", labels=LABELS, aggregate="mean")
    with pytest.raises(InputError, match="aggregate is for mapping='label_map', and mapping is 'rvp'"):
        reprogram(folder, method="elsayed", labels=LABELS, mapping="rvp", aggregate="max_logit")


def test_a_program_that_means_something_else_is_no_start(folder, tmp_path):
    first, processor = reprogram(folder, method="elsayed", labels=LABELS, image_size=8)
    first.transform.program.weight.data.normal_()
    first.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, _ = reprogram(folder, method="elsayed", labels=LABELS, image_size=8, l2=0.1, init_from=tmp_path)
    assert torch.equal(again.transform.program.weight, first.transform.program.weight)
    for options, message in (({"method": "ilm_vp"}, "has squash='tanh'"), ({"place": [0, 0]}, "has place='center'")):
        with pytest.raises(InputError, match=message):
            reprogram(folder, labels=LABELS, init_from=tmp_path, image_size=8, **{"method": "elsayed", **options})


def test_more_classes_than_source_labels_are_refused(folder):
    with pytest.raises(InputError, match="13 classes"):
        reprogram(folder, method="elsayed", labels=13)


def test_a_label_map_needs_a_classifier(tmp_path):
    tiny.make_model("vit", head=False).save_pretrained(tmp_path)
    tiny.processor_of().save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"kind is image_encoder, .*use mapping='dense'"):
        reprogram(tmp_path, method="elsayed", labels=LABELS)
    model, _ = reprogram(tmp_path, method="kloberdanz", labels=LABELS, reads="features")
    assert model.mapping.reads == "features"


def test_an_image_method_refuses_a_text_source(source_folder):
    with pytest.raises(InputError, match="takes no images"):
        reprogram(source_folder("bert"), method="elsayed", labels=LABELS)


@pytest.mark.parametrize("method", ["elsayed", "ilm_vp", "blm", "kloberdanz", "smm"])
def test_a_recipe_learns_is_scored_and_loads_as_an_image_classifier(method, folder, tmp_path):
    options = {"image_size": 16} if method not in ("smm", "kloberdanz") else {}
    results = run(
        folder,
        tmp_path / "run",
        method={"name": method, **options},
        task={"dataset": "digits", "few_shot": 4, "max_test": 30},
        training={"learning_rate": 5e-2, "num_train_epochs": 2, "per_device_train_batch_size": 8},
        baselines=["majority"],
    )
    assert results["task"]["modality"] == "image"
    assert 0 <= results["test"]["accuracy"]["mean"] <= 1
    images, _ = tiny.images(2)
    processor = AutoImageProcessor.from_pretrained(tmp_path / "run")
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path / "run")
    assert isinstance(loaded, ReprogrammedModel)
    with torch.no_grad():
        expected = loaded(**processor(images, return_tensors="pt")).logits.softmax(-1)
    found = pipeline("image-classification", model=str(tmp_path / "run"), device="cpu")(images, top_k=10)
    for row, scores in zip(expected, found, strict=True):
        by_label = {entry["label"]: entry["score"] for entry in scores}
        assert by_label == pytest.approx({str(i): row[i].item() for i in range(10)}, abs=1e-4)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["method"]["name"] == method


def test_baselines_of_images(folder, tmp_path):
    results = run(
        folder,
        tmp_path / "run",
        method={"name": "elsayed", "image_size": 16, "label_mapping": "frequency"},
        task={"dataset": "digits", "few_shot": 8, "max_test": 100},
        training={"learning_rate": 5e-2, "num_train_epochs": 3, "per_device_train_batch_size": 8},
        baselines=["majority", {"source_labels": {"labels_per_class": [1, 10]}}, "linear_probe", "raw_linear",
                   {"small_network": {"learning_rate": [1e-2]}}],
    )  # fmt: skip
    found = results["baselines"]
    assert found["source_labels"]["chosen"][0]["labels_per_class"] == 1  # ten classes, twelve labels
    assert found["source_labels"]["trainable"] == 0
    assert found["raw_linear"]["test"]["accuracy"]["mean"] > 0.6
    assert found["linear_probe"]["test"]["accuracy"]["mean"] > found["majority"]["test"]["accuracy"]["mean"]
    assert found["small_network"]["trainable"] > 90_000


def test_fraud_draws_tables(folder, tmp_path):
    random = np.random.default_rng(0)
    rows = random.normal(size=(120, 3))
    labels = (rows[:, 0] > 0).astype(int)
    lines = ["a,b,c,kind"] + [
        f"{a},{b},{c},{('no', 'yes')[kind]}" for (a, b, c), kind in zip(rows, labels, strict=True)
    ]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    results = run(
        folder,
        tmp_path / "run",
        method={"name": "fraud", "label_mapping": "frequency"},
        task={"dataset": str(tmp_path / "table.csv"), "features": ["a", "b", "c"], "label": "kind"},
        training={"learning_rate": 5e-2, "num_train_epochs": 2, "per_device_train_batch_size": 8},
        baselines=["majority", "raw_linear", {"small_network": {"learning_rate": [1e-2]}},
                   {"source_labels": {"labels_per_class": [1]}}, {"linear_probe": {"tokens": "target"}}],
    )  # fmt: skip
    assert results["baselines"]["raw_linear"]["test"]["accuracy"]["mean"] > 0.8
    model = ReprogrammedModel.from_pretrained(tmp_path / "run")
    with torch.no_grad():
        assert model(table_values=torch.tensor(rows[:2], dtype=torch.float32)).logits.shape == (2, 2)


@pytest.mark.parametrize(
    ("task", "baseline", "message"),
    [
        ({"dataset": "digits"}, "counts", "reads texts, and the examples of this task are images"),
        ({"dataset": "digits"}, "prompt_tuning", "reads texts, and the examples of this task are images"),
        (
            {"dataset": "nyu-mll/glue", "name": "sst2"},
            "raw_linear",
            "reads images, rows of numbers, sounds and time series, and the examples of this task are texts",
        ),
    ],
)
def test_a_baseline_for_other_data_is_refused_before_anything_is_loaded(task, baseline, message):
    method = "elsayed" if "name" not in task else "warp"
    with pytest.raises(InputError, match=message):
        make_recipe({"source": "nowhere", "method": method, "task": task, "baselines": [baseline]})


FRAUD = {"dataset": "tabular", "name": "card_fraud"}


@pytest.mark.parametrize(
    ("task", "baseline", "message"),
    [
        (FRAUD, {"linear_probe": {"tokens": "source"}}, "give linear_probe the option tokens: target"),
        ({**FRAUD, "regression": True}, "source_labels", "the problem of this task is 'regression': leave it out"),
        ({"dataset": "digits"}, {"source_labels": {"labels_per_class": [0]}}, "labels_per_class is .0."),
        ({"dataset": "digits"}, {"small_network": {"channels": []}}, "channels is .*: give a list of whole numbers"),
        ({"dataset": "digits"}, {"linear_probe": {"strengths": []}}, "strengths of linear_probe is"),
        ({"dataset": "digits"}, {"raw_linear": {"strengths": [0.0]}}, "strengths of raw_linear is"),
        ({"dataset": "digits"}, {"small_network": {"learning_rate": [-1.0]}}, "learning_rate of small_network is"),
        ({"dataset": "digits"}, {"small_network": {"learning_rate": 1e-3}}, "'learning_rate' is 0.001: give a list"),
    ],
)
def test_a_baseline_that_cannot_work_is_refused_before_anything_is_loaded(task, baseline, message):
    method = {"name": "fraud" if task["dataset"] == "tabular" else "elsayed"}
    with pytest.raises(InputError, match=message):
        make_recipe({"source": "nowhere", "method": method, "task": task, "baselines": [baseline]})
