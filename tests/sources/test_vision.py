"""Frozen image models: what is read, patches in place of pixels, and what is refused."""

from __future__ import annotations

import copy
import importlib
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import AutoModelForImageClassification, CLIPConfig, CLIPForImageClassification

from hf_reprogram import InputError
from hf_reprogram.sources import VisionSource, load_source, restore_source
from tests.support import tiny_vision as tiny
from tests.support.replicas import replica


def pixels(count=3, seed=0):
    return torch.rand(count, 3, tiny.SIDE, tiny.SIDE, generator=torch.Generator().manual_seed(seed))


def normalised(values):
    mean, std = (torch.tensor(side).view(3, 1, 1) for side in (tiny.MEAN, tiny.STD))
    return (values - mean) / std


def patches_of(values, side):
    return values.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 1, 4, 5).flatten(1, 2)


@pytest.fixture(params=tiny.FAMILIES)
def family(request):
    return request.param


@torch.no_grad()
def test_logits_are_the_models_own_for_pixels_that_are_normalised_once(family):
    model = tiny.make_model(family)
    expected = model(pixel_values=normalised(pixels())).logits
    found = tiny.make_source(family)({"pixels": pixels()}, "logits")
    assert expected.std(0).min() > 1e-4
    torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_features_are_what_the_last_linear_layer_sees(family):
    source = tiny.make_source(family)
    features = source({"pixels": pixels()}, "features")
    heads = [module for module in source.model.modules() if isinstance(module, nn.Linear)]
    torch.testing.assert_close(heads[-1](features), source({"pixels": pixels()}, "logits"))
    assert source.spec.widths == {"logits": tiny.LABELS, "features": features.shape[1]}
    torch.testing.assert_close(source.label_embeddings(), heads[-1].weight)
    assert source.spec.labels[3] == "thing 3"


@pytest.mark.parametrize("reads", ["logits", "features"])
@pytest.mark.parametrize("family", tiny.PATCHED)
def test_projected_patches_in_place_of_pixels_give_the_same_and_the_same_gradient(family, reads):
    source = tiny.make_source(family)
    side = source.spec.patch_size
    first, second = pixels().requires_grad_(), pixels().requires_grad_()
    from_pixels = source({"pixels": first}, reads)
    from_patches = source({"patches": source.project_patches(patches_of(second, side))}, reads)
    torch.testing.assert_close(from_patches, from_pixels, rtol=1e-5, atol=1e-5)
    weights = torch.randn(from_pixels.shape, generator=torch.Generator().manual_seed(1))
    (from_pixels * weights).sum().backward()
    (from_patches * weights).sum().backward()
    assert (second.grad - first.grad).norm() < 1e-4 * first.grad.norm()
    torch.testing.assert_close(source({"pixels": pixels()}, reads), from_pixels)  # nothing is left behind


def test_which_families_project_patches():
    found = {family: tiny.make_source(family).spec.patch_size for family in tiny.FAMILIES}
    assert found == {"vit": 8, "dinov2": 8, "beit": 8, "swin": 4, "convnext": 4, "resnet": None}


def test_a_source_that_does_not_project_patches_refuses_them():
    source = tiny.make_source("resnet")
    with pytest.raises(InputError, match="does not project patches"):
        source({"patches": torch.zeros(1, 16, 8)}, "logits")
    with pytest.raises(InputError, match="does not project patches"):
        source.project_patches(torch.zeros(1, 16, 3, 8, 8))


@torch.no_grad()
def test_an_encoder_gives_its_pooled_states(family):
    source = tiny.make_source(family, head=False)
    hidden = source.model(pixel_values=normalised(pixels())).last_hidden_state
    expected = hidden.mean((2, 3)) if hidden.dim() == 4 else hidden.mean(1) if family == "swin" else hidden[:, 0]
    torch.testing.assert_close(source({"pixels": pixels()}, "features"), expected)
    assert list(source.spec.widths) == ["features"]
    with pytest.raises(InputError, match="cannot read 'logits'"):
        source({"pixels": pixels()}, "logits")


@pytest.mark.parametrize("family", ["vit", "resnet"])
def test_a_folder_is_loaded_with_the_size_mean_and_deviation_of_its_processor(family, tmp_path):
    folder = tiny.save_source(tmp_path / "model", family)
    source, reference = load_source(folder)
    assert (source.spec.kind, source.spec.family, source.spec.image_size) == ("image_classifier", family, (32, 32))
    assert reference["settings"]["mean"] == list(tiny.MEAN)
    assert torch.equal(source({"pixels": pixels()}, "logits"), tiny.make_source(family)({"pixels": pixels()}, "logits"))
    again = restore_source(reference)
    assert again.settings == source.settings


@pytest.mark.parametrize(
    ("module", "name", "options"),
    [
        ("vit", "ViT", {"image_mean": tiny.MEAN, "image_std": tiny.STD}),
        ("vit", "ViT", {"do_normalize": False}),
        ("vit", "ViT", {"rescale_factor": 1 / 127.5, "image_mean": tiny.MEAN, "image_std": tiny.STD}),
        ("efficientnet", "EfficientNet", {"image_mean": tiny.MEAN, "image_std": tiny.STD}),
        ("efficientnet", "EfficientNet", {"rescale_factor": 1 / 127.5, "rescale_offset": True, "include_top": False}),
        ("mobilevit", "MobileViT", {}),
    ],
    ids=["plain", "not normalised", "rescaled to 2", "normalised twice", "from -1 to 1", "blue first"],
)
def test_the_source_is_given_what_its_own_processor_would_give_it(module, name, options, tmp_path):
    kind = getattr(
        importlib.import_module(f"transformers.models.{module}.image_processing_pil_{module}"),
        f"{name}ImageProcessorPil",
    )
    side = {"height": tiny.SIDE, "width": tiny.SIDE}
    processor = kind(size={"shortest_edge": tiny.SIDE} if name == "MobileViT" else side, crop_size=side, **options)
    tiny.make_model("vit").save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    source, reference = load_source(tmp_path)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (tiny.SIDE, tiny.SIDE, 3), dtype=np.uint8))
    theirs = processor(image, return_tensors="pt")["pixel_values"]
    ours = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        expected = source.model(pixel_values=theirs).logits
        torch.testing.assert_close(source({"pixels": ours}, "logits"), expected, rtol=1e-5, atol=1e-5)
        again = restore_source(json.loads(json.dumps(reference)))
        torch.testing.assert_close(again({"pixels": ours}, "logits"), expected, rtol=1e-5, atol=1e-5)


def test_another_size_is_kept_by_the_adapter(tmp_path):
    folder = tiny.save_source(tmp_path / "model", "vit")
    source, reference = load_source(folder, image_size=48)
    assert source.spec.image_size == (48, 48)
    assert source({"pixels": torch.rand(2, 3, 48, 48)}, "logits").shape == (2, tiny.LABELS)
    assert restore_source(reference).spec.image_size == (48, 48)


def test_a_folder_without_a_processor_takes_the_numbers_from_the_user(tmp_path):
    tiny.make_model("vit").save_pretrained(tmp_path)
    with pytest.raises(InputError, match="There is no image processor for"):
        load_source(tmp_path)
    source, _ = load_source(tmp_path, image_size=tiny.SIDE, mean=tiny.MEAN, std=tiny.STD)
    assert torch.equal(source({"pixels": pixels()}, "logits"), tiny.make_source("vit")({"pixels": pixels()}, "logits"))


@pytest.mark.parametrize("family", ["vit", "resnet"])
def test_an_image_model_is_no_text_source(family, tmp_path):
    folder = tiny.save_source(tmp_path / "model", family)
    with pytest.raises(InputError, match="takes images, and the kind 'encoder' is for text"):
        load_source(folder, kind="encoder")


def test_image_settings_of_a_text_model_are_refused(source_folder):
    with pytest.raises(InputError, match="'image_size' is for image models"):
        load_source(source_folder("bert"), image_size=32)


class Network(nn.Module):
    """A convolutional network of one's own."""

    def __init__(self, outputs=5):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, outputs)

    def forward(self, values):
        return self.head(self.norm(self.convolution(values)).relu().mean((2, 3)))


def test_any_module_of_images_is_a_source():
    source = VisionSource(Network(), 16, (0, 0, 0), (1, 1, 1), labels=list("abcde"))
    assert source.spec.widths == {"logits": 5, "features": 4}
    assert source.spec.labels == tuple("abcde")
    assert source.spec.patch_size is None
    features = VisionSource(Network(), 16, (0, 0, 0), (1, 1, 1), gives="features")
    assert features.spec.widths == {"features": 5}
    found, reference = load_source(source)
    assert found is source
    assert reference["kind"] == "image_module"
    model = source.model
    again = restore_source({**reference, "kind": "image_module"}, model)
    assert again.settings == source.settings
    assert torch.equal(
        again({"pixels": torch.ones(1, 3, 16, 16)}, "logits"),
        model.head(model.norm(model.convolution(torch.ones(1, 3, 16, 16))).relu().mean((2, 3))),
    )


def test_what_a_module_gives_and_its_labels_come_back_with_it():
    network = Network(outputs=4)  # as many outputs as its last layer has inputs
    source, reference = load_source(VisionSource(network, 16, (0, 0, 0), (1, 1, 1), gives="features"))
    again = restore_source(json.loads(json.dumps(reference)), network)
    assert again.spec.widths == {"features": 4}
    assert torch.equal(
        again({"pixels": torch.ones(1, 3, 16, 16)}, "features"),
        source({"pixels": torch.ones(1, 3, 16, 16)}, "features"),
    )
    _, reference = load_source(VisionSource(network, 16, (0, 0, 0), (1, 1, 1), labels=list("abcd")))
    assert restore_source(reference, network).spec.labels == tuple("abcd")


@pytest.mark.parametrize("changed", [{"mean": (0.1, 0, 0)}, {"std": (1, 1, 2)}, {"gives": "features"}])
def test_a_source_that_normalises_or_gives_something_else_is_refused(changed):
    settings = {"image_size": 16, "mean": (0, 0, 0), "std": (1, 1, 1)}
    network = Network()
    _, reference = load_source(VisionSource(network, **settings))
    with pytest.raises(InputError, match=f"whose {next(iter(changed))} is"):
        restore_source(reference, VisionSource(network, **{**settings, **changed}))


def test_the_same_backbone_with_another_head_is_another_source():
    _, reference = load_source(tiny.make_source("vit"))
    other = tiny.make_model("vit")
    restore_source(reference, VisionSource(other, tiny.SIDE, tiny.MEAN, tiny.STD, kind="image_classifier"))
    with torch.no_grad():
        other.classifier.weight.copy_(other.classifier.weight.roll(1, 0))
    with pytest.raises(InputError, match="trained on another source"):
        restore_source(reference, VisionSource(other, tiny.SIDE, tiny.MEAN, tiny.STD, kind="image_classifier"))


def test_a_source_that_is_on_a_device_already_is_normalised_there():
    with torch.device("meta"):
        network = Network()
    source = VisionSource(network, 16, (0, 0, 0), (1, 1, 1), gives="features")
    assert source.mean.device == source.std.device == source.device == torch.device("meta")


def test_a_module_stays_in_eval_mode_and_its_statistics_do_not_move():
    source = VisionSource(Network(), 16, (0, 0, 0), (1, 1, 1))
    before = source.model.norm.running_mean.clone()
    source.train()
    source({"pixels": torch.rand(4, 3, 16, 16)}, "logits")
    assert torch.equal(source.model.norm.running_mean, before)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VisionSource(Network(), 16, (0, 0), (1, 1, 1)), "mean has 2 values"),
        (
            lambda: VisionSource(Network(), 16, 0.5, (1, 1, 1)),
            "mean is 0.5: give a number for each of the three channels",
        ),
        (lambda: VisionSource(Network(), 16, (0, 0, 0), "abc"), "std is 'abc': give a number for each"),
        (lambda: VisionSource(Network(), 16, (0, 0, 0), (1, 1, 0)), "give deviations of more than 0"),
        (lambda: VisionSource(Network(), 0, (0, 0, 0), (1, 1, 1)), "image_size is 0"),
        (lambda: VisionSource(Network(), 10**6, (0, 0, 0), (1, 1, 1)), "image_size is 1000000.*at most 4096"),
        (lambda: VisionSource(Network(), 16.0, (0, 0, 0), (1, 1, 1)), "image_size is 16.0"),
        (lambda: VisionSource(Network(), 16, (0, 0, 0), (1, 1, 1), labels=["a"]), "1 labels for 5 logits"),
        (lambda: VisionSource(nn.Conv2d(3, 4, 3), 16, (0, 0, 0), (1, 1, 1)), "Conv2d returns an output of shape"),
        (lambda: VisionSource(nn.Conv2d(1, 4, 3), 16, (0, 0, 0), (1, 1, 1)), "does not take images of 3 x 16 x 16"),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_pixels_of_another_size_are_refused():
    with pytest.raises(InputError, match="The pixels are 3 x 8 x 8, but this source takes 3 x 32 x 32"):
        tiny.make_source("vit")({"pixels": torch.rand(1, 3, 8, 8)}, "logits")
    with pytest.raises(InputError, match="There are 3 patches, but the canvas of this source has 16"):
        tiny.make_source("vit")({"patches": torch.zeros(1, 3, 32)}, "logits")


def test_text_parts_refuse_an_image_source():
    source = tiny.make_source("vit")
    with pytest.raises(InputError, match="has no input embedding"):
        source.embed(torch.zeros(1, dtype=torch.long))


def test_a_classifier_without_its_head_is_refused(tmp_path):
    model = tiny.make_model("vit", head=False)
    model.config.architectures = ["ViTForImageClassification"]
    model.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace("ViTModel", "ViTForImageClassification"))
    tiny.processor_of().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="no weights for 'classifier"):
        load_source(tmp_path)
    assert isinstance(tiny.make_model("vit"), type(AutoModelForImageClassification.from_config(model.config)))


class Patching(nn.Module):
    """Patches of 8 pixels, projected; `before` and `beside` are what else looks at the pixels."""

    def __init__(self, before=lambda values: values, beside=lambda values: 0.0):
        super().__init__()
        self.projection, self.head = nn.Conv2d(3, 4, 8, stride=8), nn.Linear(4, 5)
        self.before, self.beside = before, beside

    def forward(self, values):
        return self.head(self.projection(self.before(values)).relu().mean((2, 3))) + self.beside(values)


@pytest.mark.parametrize(
    ("network", "patch_size"),
    [
        (Patching(), 8),
        (Patching(before=lambda values: 2 * values - 1), None),
        (Patching(before=lambda values: values.flip(1)), None),
        (Patching(beside=lambda values: values.mean((1, 2, 3))[:, None]), None),
    ],
    ids=["alone", "rescaled", "other channels", "a second branch"],
)
def test_patches_are_projected_only_where_nothing_else_looks_at_the_pixels(network, patch_size):
    source = VisionSource(network, 16, (0.5,) * 3, (0.5,) * 3)
    assert source.spec.patch_size == patch_size


@torch.no_grad()
def test_a_replica_for_another_device_reads_its_own_layers():
    source = tiny.make_source("vit")
    replica = source._replicate_for_data_parallel()  # as DataParallel makes one, whose layers it then exchanges
    replica._modules = {**source._modules, "model": copy.deepcopy(source.model)}
    patches = source.project_patches(patches_of(pixels(), source.spec.patch_size))
    expected = source({"patches": patches}, "features")
    for weight in source.parameters():
        weight.zero_()
    assert torch.equal(replica.project_patches(patches_of(pixels(), source.spec.patch_size)), patches)
    assert torch.equal(replica({"patches": patches}, "features"), expected)


def test_a_copy_for_another_device_has_an_entry_without_any_convolution():
    source = VisionSource(nn.Sequential(nn.Flatten(), nn.Linear(48, 5)), 4, (0.5,) * 3, (0.5,) * 3)
    assert source.entry is source.model[1].weight
    assert torch.equal(replica(source).entry, source.entry)
    assert replica(source)({"pixels": torch.rand(2, 3, 4, 4)}, "logits").shape == (2, 5)


def test_a_model_without_weights_is_refused():
    with pytest.raises(InputError, match="Flatten has no weights"):
        VisionSource(nn.Flatten(), 16, (0, 0, 0), (1, 1, 1))


def test_a_clip_classifier_takes_images_of_another_size():
    """Its forward passes the argument on, to a tower that interpolates its positions."""
    tower = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    vision = {**tower, "image_size": 32, "patch_size": 8}
    model = CLIPForImageClassification(CLIPConfig(vision_config=vision, num_labels=4))
    source = VisionSource(model, 48, (0.5,) * 3, (0.5,) * 3, kind="image_classifier")
    pixels = torch.rand(2, 3, 48, 48)
    expected = model(pixel_values=2 * pixels - 1, interpolate_pos_encoding=True).logits
    torch.testing.assert_close(source({"pixels": pixels}, "logits"), expected)
