"""Sample mask: one program through each image's own mask, against the formula written out pixel by pixel."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from torch import nn

from hf_reprogram import InputError, ReprogramConfig, ReprogrammedModel
from hf_reprogram.sources import load_source
from hf_reprogram.transforms.sample_mask import SampleMask, SampleMaskOptions, mask_network
from tests.support import tiny_vision
from tests.support.training import losses_of


def sample_mask(start: float = 0.5, **options) -> SampleMask:
    torch.manual_seed(0)
    made = SampleMask(
        SampleMaskOptions(**{"height": 8, "width": 12, "layers": 3, "poolings": 2, "channels": 4, **options})
    )
    nn.init.normal_(made.program.weight, std=start)
    return made


def images(count: int = 3, height: int = 8, width: int = 12, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def pixels(transform, given) -> torch.Tensor:
    return transform({"pixel_values": given}, None)["pixels"]


@torch.no_grad()
def test_the_formula_pixel_by_pixel():
    made, given = sample_mask(), images()
    small, program = made.network(given), made.program.weight.view(3, 8, 12)
    assert small.shape == (3, 3, 2, 3)
    expected = torch.empty(3, 3, 8, 12)
    for n, channel, i, j in torch.cartesian_prod(*map(torch.arange, expected.shape)).tolist():
        value = given[n, channel, i, j] + small[n, channel, i // 4, j // 4] * program[channel, i, j]
        expected[n, channel, i, j] = min(max(value.item(), 0), 1)
    torch.testing.assert_close(pixels(made, given), expected)
    assert torch.equal(made.program(), program)
    assert torch.equal(made.canvas_of(given, programmed=False), given)


def test_the_network_is_as_large_as_in_the_paper():
    """Figures from the paper: 26,499 for a ResNet and 102,339 for a ViT."""
    for layers, count in ((5, 26_499), (6, 102_339)):
        made = SampleMask(SampleMaskOptions(32, 32, layers=layers))
        assert sum(parameter.numel() for parameter in made.network.parameters()) == count
        assert made.program.weight.numel() == 3 * 32 * 32


@torch.no_grad()
def test_a_single_step_of_the_network_by_hand():
    network = mask_network(layers=2, poolings=1, channels=1)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.zero_()
            module.bias.zero_()
            module.weight[:, 0, 1, 1] = 1  # passes its first channel on
    given = torch.zeros(1, 3, 2, 2)
    given[0, 0] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    # normalised to (-1.34, -0.45, 0.45, 1.34), of which 3 / sqrt(5) is the largest
    torch.testing.assert_close(network(given), torch.full((1, 3, 1, 1), 3 / 5**0.5), rtol=1e-4, atol=0)


@torch.no_grad()
def test_masks_differ_between_images_and_depend_on_no_other():
    made, given = sample_mask().train(), images(4)
    together = made.masks(given)
    alone = torch.cat([made.masks(image[None]) for image in given])
    torch.testing.assert_close(together, alone)
    assert (together[0] - together[1]).abs().max() > 1e-3
    assert list(made.buffers()) == [made.program.index]  # no statistics of batches


@pytest.mark.parametrize(("height", "width"), [(9, 12), (8, 13), (11, 15)])
@torch.no_grad()
def test_a_canvas_that_is_no_multiple_of_the_patch(height, width):
    made, given = sample_mask(height=height, width=width), images(2, height, width)
    masks = made.masks(given)
    assert masks.shape == given.shape
    assert torch.equal(masks[:, :, 4:8, 4:8].flatten(2).std(2), torch.zeros(2, 3))
    assert (masks[:, :, 0, 0] - masks[:, :, -1, -1]).abs().min() > 0
    assert pixels(made, given).shape == given.shape


def test_a_program_of_zeros_changes_nothing_and_still_learns():
    made, given = sample_mask(start=0.0), images()
    found = pixels(made, given)
    assert torch.equal(found, given)
    (found * torch.randn(8, 12)).sum().backward()
    assert made.program.weight.grad.count_nonzero() > 200
    assert not any(parameter.grad.any() for parameter in made.network.parameters())  # until the program is not zero
    made = sample_mask()
    (pixels(made, given) * torch.randn(8, 12)).sum().backward()
    assert all(parameter.grad.any() for parameter in made.network.parameters())


def test_a_large_program_never_leaves_the_range():
    found = pixels(sample_mask(100.0), images())
    assert (found.min(), found.max()) == (0, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, "layers is 0: give a whole number, 1 or more"),
        ({"poolings": -1}, "poolings is -1: give a whole number, 0 or more"),
        ({"poolings": 3}, "poolings is 3: give fewer than the 3 layers"),
        ({"poolings": 4, "layers": 6}, "fit on a canvas of 8 x 12"),
        ({"l2": -0.1}, "l2 is -0.1"),
    ],
)
def test_refused_options(options, message):
    with pytest.raises(InputError, match=message):
        sample_mask(**options)


def test_normalised_pixels_and_another_canvas_are_refused():
    with pytest.raises(InputError, match="which does not normalise"):
        pixels(sample_mask(), images() - 0.5)
    with pytest.raises(InputError, match="The canvas is 8 x 12, but the source takes images of 32 x 32"):
        sample_mask().check(tiny_vision.make_source("resnet").spec)


def test_theta_trains_and_reloads(tmp_path):
    source, reference = load_source(tiny_vision.save_source(tmp_path / "source", "resnet"))
    options = SampleMaskOptions(32, 32, layers=3, poolings=2, channels=4, l2=1e-3)
    config = ReprogramConfig(
        source=reference,
        transform={"type": "sample_mask", **asdict(options)},
        mapping={"type": "dense", "num_labels": 2, "width": source.spec.widths["features"]},
        problem_type="single_label_classification",
    )
    torch.manual_seed(0)
    model = ReprogrammedModel(config, source)
    given, labels = images(6, 8, 8), torch.arange(6) % 2
    start = {name: value.detach().clone() for name, value in model.trainable().items()}
    losses = losses_of(model, 0.01, pixel_values=given, labels=labels)
    assert losses[-1] < losses[0]
    assert all(not torch.equal(value, start[name]) for name, value in model.trainable().items())
    assert all(parameter.grad is None for parameter in model.source.parameters())
    weight = model.transform.program.weight
    assert model.transform.penalty().item() == pytest.approx(1e-3 * (weight**2).sum().item())
    model.save_pretrained(tmp_path / "adapter")
    again = ReprogrammedModel.from_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        assert torch.equal(again(pixel_values=given).logits, model.eval()(pixel_values=given).logits)
