"""Reprogrammer: its zero-shot case is the dual encoder's own, numbers are counted as in the paper, bad options are refused."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from transformers import (
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForZeroShotImageClassification,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
    pipeline,
)

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.methods.reprogrammer import zero_shot_head
from tests.support import tiny_dual as tiny
from tests.support import tiny_vision
from tests.support.frozen import bytes_of

LABELS = ["cat", "bird, small", "old dog"]
NONE = {"image_program": "none", "text_program": "none"}


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def folder(request, tmp_path_factory):
    return str(tiny.save_source(tmp_path_factory.mktemp("dual") / request.param, request.param))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return str(tiny.save_source(tmp_path_factory.mktemp("dual") / "clip", "clip"))


def make(folder, **options):
    torch.manual_seed(0)
    return reprogram(folder, method="reprogrammer", labels=LABELS, **options)


@torch.no_grad()
def test_without_programs_it_is_the_zero_shot_classifier(folder):
    """Transformers' own logits for the same pixels and texts, and the same from its linear head."""
    model, processor = make(folder, **NONE, templates=["a photo of a {}."])
    images, _ = tiny_vision.images(3)
    pixels = processor(images, return_tensors="pt")["pixel_values"]
    plain, words = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    full = {"padding": "max_length", "max_length": tiny.TOKENS}
    texts = words([f"a photo of a {name}." for name in LABELS], return_tensors="pt", **full)
    if model.source.pads_fully:
        texts.pop("attention_mask")
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (tiny_vision.MEAN, tiny_vision.STD))
    u = F.normalize(plain.get_image_features(pixel_values=(pixels - mean) / std).pooler_output, dim=-1)
    texts.pop("token_type_ids", None)
    v = F.normalize(plain.get_text_features(**texts).pooler_output, dim=-1)
    found = model.eval()(pixel_values=pixels).logits
    torch.testing.assert_close(found, plain.logit_scale.exp() * u @ v.T, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.source({"pixels": pixels}, "features") @ zero_shot_head(model).T, found)
    assert model.num_trainable() == 0


@torch.no_grad()
def test_alpha_one_is_zero_shot_and_alpha_zero_is_reprogrammed_exactly(folder):
    plain, processor = make(folder, **NONE)
    images, _ = tiny_vision.images(4)
    pixels = processor(images, return_tensors="pt")["pixel_values"]
    found = {}
    for alpha in (0.0, 0.4, 1.0):
        model, _ = make(folder, alpha=alpha, resolution=16)
        for parameter in model.transform.parameters():
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
        found[alpha] = model.eval()(pixel_values=pixels).logits
        assert torch.equal(model.train()(pixel_values=pixels).logits, found[0.0])  # the blend is for evaluation
    zero_shot = plain.eval()(pixel_values=pixels).logits
    assert torch.equal(found[1.0], zero_shot)
    assert (found[0.0] - zero_shot).abs().max() > 1e-3
    assert (found[0.4] - found[0.0]).abs().max() > 1e-3
    features = plain.source({"pixels": pixels}, "features")
    model, _ = make(folder, alpha=1.0)
    assert torch.equal(model.eval()(pixel_values=pixels, image_features=features).logits, zero_shot)


def test_a_border_of_16_of_224_pixels_has_the_papers_39936_numbers():
    side, border = 224, 16
    assert 3 * (side**2 - (side - 2 * border) ** 2) == 39936
    model, _ = reprogram(tiny.make_source("clip"), "reprogrammer", labels=["cat", "dog"], processor=tiny.tokenizer())
    border = round(tiny_vision.SIDE * 16 / 224)
    numbers = 3 * (tiny_vision.SIDE**2 - (tiny_vision.SIDE - 2 * border) ** 2)
    assert model.num_trainable() == numbers + 16 * tiny.WIDTH
    low_rank, _ = reprogram(
        model.source, "reprogrammer", labels=["cat", "dog"], processor=tiny.tokenizer(), text_program="low_rank"
    )
    assert low_rank.num_trainable() == numbers + 4 * tiny.WIDTH * 2 + tiny.WIDTH


def test_the_paper_trains_the_whole_table_and_a_border_with_larger_steps(clip):
    model, _ = make(clip, preset="paper")
    rows = model.transform.text.options.size
    assert model.transform.options.text["type"] == "table"
    assert rows == len(model.transform.ids.unique())
    assert model.transform.canvas.options.unit == 1
    assert model.mapping.options.loss == "contrastive"


def test_as_many_vectors_as_fit_stand_before_long_texts(clip):
    words = " ".join(["photo"] * 3)
    model, _ = make(clip, templates=[words + " {}"])
    size = model.transform.text.options.size
    assert 1 <= size < 16
    assert int(model.transform.mask.sum(-1).max()) + size == model.source.spec.max_tokens


def test_it_loads_as_an_image_classifier_with_the_class_names(clip, tmp_path):
    model, processor = make(clip, alpha=0.4, templates=["a {}", "one {}."])
    with torch.no_grad():
        for parameter in model.transform.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    images, _ = tiny_vision.images(2)
    pixels = processor(images, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = model.eval()(pixel_values=pixels).logits
        for auto in (AutoModelForImageClassification, AutoModelForZeroShotImageClassification):
            assert torch.equal(auto.from_pretrained(tmp_path)(pixel_values=pixels).logits, expected)
    found = pipeline("image-classification", model=str(tmp_path))(images[0])
    scores = expected[0].softmax(-1)
    assert {entry["label"] for entry in found} == set(LABELS)
    assert found[0]["score"] == pytest.approx(float(scores.max()), abs=1e-5)


def test_another_encoder_is_refused(clip, tmp_path):
    model, _ = make(clip)
    model.save_pretrained(tmp_path / "adapter")
    other = tiny.save_source(tmp_path / "other", "clip", seed=5)
    with pytest.raises(InputError, match="trained on another source"):
        ReprogrammedModel.from_pretrained(tmp_path / "adapter", source=other)


def test_class_texts_stand_for_the_names(clip):
    named, _ = make(clip, **NONE)
    told, _ = make(clip, **NONE, class_texts=["cat", "bird, small", "old dog"])
    other, _ = make(clip, **NONE, class_texts=["cat", "bird, small", "puppy"])
    assert torch.equal(zero_shot_head(named), zero_shot_head(told))
    assert not torch.equal(zero_shot_head(named), zero_shot_head(other))
    assert other.label_names == LABELS


def test_underscores_of_names_are_spaces_in_the_class_texts(clip):
    """Folders of images are called golden_retriever, and CoOp's own code replaces the underscores too."""
    model, _ = reprogram(clip, "reprogrammer", labels=["old_dog", "cat"], **NONE)
    spaced, _ = reprogram(clip, "reprogrammer", labels=["old dog", "cat"], **NONE)
    assert torch.equal(model.transform.ids, spaced.transform.ids)
    assert model.label_names == ["old_dog", "cat"]
    with pytest.raises(InputError, match="The classes 'old_dog' and 'old dog' have class texts of the same tokens"):
        reprogram(clip, "reprogrammer", labels=["old_dog", "old dog"], **NONE)


def test_a_number_of_labels_gives_no_class_texts(clip):
    with pytest.raises(InputError, match="The 3 classes have no names to put into the templates"):
        reprogram(clip, "reprogrammer", labels=3)
    reprogram(clip, "reprogrammer", labels=3, class_texts=["cat", "dog", "bird"])


def test_a_pipeline_with_labels_of_its_own_is_told_of_the_adapters(clip, tmp_path):
    model, processor = reprogram(clip, "reprogrammer", labels=["cat", "dog"])
    for part in (model, processor, tiny.tokenizer()):
        part.save_pretrained(tmp_path)
    classify = pipeline("zero-shot-image-classification", model=str(tmp_path))
    with pytest.raises(InputError, match="this adapter has its own classes"):
        classify(tiny_vision.images(1)[0], candidate_labels=["cat", "bird"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"image_program": "frame"}, "'frame'"),
        ({"text_program": "prefix"}, "'prefix'"),
        ({"templates": []}, "templates is empty"),
        ({"templates": ["a photo"]}, "must have {} once"),
        ({"text_program": "none", "size": 3}, "has none: leave it out"),
        ({"image_program": "none", "border": 3}, "leave it out"),
        ({"class_texts": ["a", "b"]}, "There are 2 class_texts for 3 classes"),
        ({"text_program": "context", "size": 20}, "have 47 tokens, but the text tower takes 40"),
        ({"border": 16}, "border is 16"),
        ({"resolution": 33}, "resolution is 33, but the source's image has 32 x 32 pixels"),
        ({"class_texts": ["a", " ", "b"]}, "has no name"),
        ({"class_texts": ["crane", "puppy", "crane"]}, "have class texts of the same tokens"),
        (
            {"class_texts": ["\N{HIRAGANA LETTER A}", "b", "\N{HIRAGANA LETTER I}"]},
            "have class texts of the same tokens",
        ),
    ],
)
def test_bad_options_get_one_sentence(options, sentence, clip):
    with pytest.raises(InputError, match=sentence):
        make(clip, **options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"alpha": -0.1}, "alpha is -0.1: give the zero-shot branch's share, from 0 to 1"),
        ({"alpha": "0.4"}, "alpha is '0.4'"),
        ({"learn_alpha": True}, "alpha is 0.0, from where it cannot be trained: start between 0 and 1"),
        ({"learn_alpha": True, "alpha": 1}, "alpha is 1, from where it cannot be trained"),
        ({"loss": "focal"}, "loss 'focal'"),
        ({"resolution": 0}, "resolution is 0: give a whole number, 1 or more"),
        ({"resolution": 64.0}, "resolution is 64.0"),
        ({"border": 0}, "border is 0"),
        ({"size": 0}, "size of a context text program is 0"),
        ({"size": 2.5, "text_program": "low_rank"}, "size of a low_rank text program is 2.5"),
        ({"templates": ["a {}", 3]}, "The template 3 must have {} once"),
    ],
)
def test_a_recipe_with_bad_options_is_refused_before_anything_is_loaded(options, sentence):
    values = {"source": "nowhere", "task": {"dataset": "nothing", "image": "image"}}
    with pytest.raises(InputError, match=sentence):
        make_recipe({**values, "method": {"name": "reprogrammer", **options}})
    make_recipe({**values, "method": {"name": "reprogrammer", "alpha": 0.4, "learn_alpha": True, "resolution": 64}})


def test_bad_labels_and_sources_get_one_sentence(clip, tmp_path):
    with pytest.raises(InputError, match="twice: give every label"):
        reprogram(clip, method="reprogrammer", labels=["cat", "cat"])
    with pytest.raises(InputError, match="at least 2 labels"):
        reprogram(clip, method="reprogrammer", labels=["cat"])
    vit = tiny_vision.save_source(tmp_path / "vit", "vit")
    with pytest.raises(InputError, match="no text tower"):
        reprogram(vit, method="reprogrammer", labels=["cat", "dog"])


@torch.no_grad()
def test_an_alpha_that_is_set_is_saved(clip, tmp_path):
    model, processor = make(clip, alpha=0.4, resolution=16)
    model.mapping.set_alpha(0.8)
    model.save_pretrained(tmp_path)
    images, _ = tiny_vision.images(2)
    pixels = processor(images, return_tensors="pt")["pixel_values"]
    again = ReprogrammedModel.from_pretrained(tmp_path)
    assert again.config.mapping["alpha"] == 0.8
    assert torch.equal(again(pixel_values=pixels).logits, model.eval()(pixel_values=pixels).logits)


def test_logits_are_not_rounded_to_bfloat16(clip):
    model, processor = make(clip, **NONE)
    images, _ = tiny_vision.images(4)
    pixels = processor(images, return_tensors="pt")["pixel_values"]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = model.eval()(pixel_values=pixels).logits
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())


@pytest.mark.parametrize("options", [{}, {"text_program": "low_rank", "size": 3}, {"alpha": 0.4, "learn_alpha": True}])
def test_it_trains_on_a_source_in_bfloat16(options, folder, tmp_path):
    """The source alone is in bfloat16; theta, the similarities and the saved adapter are in float32."""
    model, processor = make(folder, **options, image_unit=1.0, source_kwargs={"dtype": torch.bfloat16})
    before = bytes_of(model.source)
    assert {parameter.dtype for parameter in model.source.parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.trainable().values()} == {torch.float32}
    start = {name: parameter.detach().clone() for name, parameter in model.trainable().items()}
    images, labels = tiny_vision.images(24)
    pixels = processor(images, return_tensors="pt")["pixel_values"]
    rows = [{"pixel_values": row, "labels": label} for row, label in zip(pixels, labels, strict=True)]
    arguments = TrainingArguments(
        tmp_path / "trainer",
        use_cpu=True,
        max_steps=12,
        learning_rate=3e-2,
        per_device_train_batch_size=24,
        remove_unused_columns=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,
    )
    trainer = Trainer(model, arguments, train_dataset=rows)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0] - 0.1
    assert all(not torch.equal(parameter, start[name]) for name, parameter in model.trainable().items())
    assert bytes_of(model.source) == before
    model.save_pretrained(tmp_path / "adapter")
    again = ReprogrammedModel.from_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        found = again(pixel_values=pixels[:4]).logits
        assert torch.equal(found, model.eval()(pixel_values=pixels[:4]).logits)
    assert found.dtype == torch.float32


def test_it_is_first_used_in_inference_mode_and_then_trained(clip):
    model, processor = make(clip)
    images, labels = tiny_vision.images(4)
    pixels = processor(images, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        model.eval()(pixel_values=pixels)
    model.train()(pixel_values=pixels, labels=torch.tensor(labels)).loss.backward()
    assert model.transform.text.vectors.grad.abs().sum() > 0
