"""Corruptions: pixels by hand, levels in order, and the same seed the same pixels."""

from __future__ import annotations

import io
from math import exp

import numpy as np
import pytest
from PIL import Image

from hf_reprogram import InputError
from hf_reprogram.tasks.corruptions import KINDS, LEVELS, corrupt


def image_of(pixels) -> Image.Image:
    """An RGB image of grey values (height, width) or of pixels (height, width, 3)."""
    values = np.asarray(pixels, np.uint8)
    return Image.fromarray(values if values.ndim == 3 else np.repeat(values[..., None], 3, axis=2))


def greys(image: Image.Image) -> np.ndarray:
    """Values (height, width) of an image whose three channels are equal."""
    assert image.mode == "RGB"
    values = np.asarray(image)
    assert (values == values[..., :1]).all()
    return values[..., 0]


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    """Smooth colours with detail on top, as photographs have them, 32 x 32 and 40 x 24 pixels."""
    random = np.random.default_rng(0)
    made = []
    for height, width in [(32, 32)] * 6 + [(24, 40)] * 6:
        coarse = Image.fromarray(random.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), float)
        detail = random.normal(scale=12, size=(height, width, 3))
        made.append(image_of((smooth + detail).clip(0, 255)))
    return made


# ------------------------------------------------------------------------------------------------------------ by hand


def test_contrast_draws_each_channel_to_its_mean():
    image = image_of([[[0, 10, 7], [200, 30, 7]]])
    # means 100, 20, 7; at level 2 half of the distance stays, at level 5 15 % of it
    assert np.asarray(corrupt(image, "contrast", 2)).tolist() == [[[50, 15, 7], [150, 25, 7]]]
    assert np.asarray(corrupt(image, "contrast", 5)).tolist() == [[[85, 18, 7], [115, 22, 7]]]


def test_blur_of_a_point_is_the_gaussian_itself():
    spread = np.zeros((9, 9))
    spread[4, 4] = 255
    weights = [exp(-0.5 * distance**2) for distance in range(5)]  # at level 5 the deviation is a pixel
    total = weights[0] + 2 * sum(weights[1:])
    found = greys(corrupt(image_of(spread), "gaussian_blur", 5))
    for row in range(9):
        for column in range(9):
            expected = 255 * weights[abs(row - 4)] * weights[abs(column - 4)] / total**2
            assert found[row, column] == round(expected)


def test_blur_repeats_the_border():
    image = image_of([[0, 0, 0, 90, 90, 90]] * 4)
    weights = [exp(-0.5 * (distance / 0.4) ** 2) for distance in range(3)]
    total = weights[0] + 2 * sum(weights[1:])
    found = greys(corrupt(image, "gaussian_blur", 1))
    # what is beyond the border is as what is at it, so only the edge in the middle is smoothed
    near, far = 90 * (weights[1] + weights[2]) / total, 90 * weights[2] / total
    assert found[0].tolist() == [0, round(far), round(near), round(90 - near), round(90 - far), 90]
    assert (found == found[0]).all()


def test_pixelate_averages_boxes_and_repeats_them():
    image = image_of([[0, 40, 100, 200]] * 4)  # at level 5 int(0.65 * 4) = 2 of 4 pixels stay
    assert greys(corrupt(image, "pixelate", 5)).tolist() == [[20, 20, 150, 150]] * 4


def test_jpeg_is_pillows_own_at_the_levels_quality(photographs):
    for level, quality in zip(LEVELS, (80, 65, 58, 50, 40), strict=True):
        stream = io.BytesIO()
        photographs[0].save(stream, "JPEG", quality=quality)
        assert np.array_equal(corrupt(photographs[0], "jpeg", level), Image.open(stream))


def test_noise_has_the_levels_deviation_and_no_two_pixels_or_channels_share_it():
    grey = image_of(np.full((80, 80), 128))
    for level, deviation in zip(LEVELS, (0.04, 0.06, 0.08, 0.09, 0.1), strict=True):
        noise = np.asarray(corrupt(grey, "gaussian_noise", level, seed=level), float) - 128
        assert noise.std() == pytest.approx(255 * deviation, rel=0.03)
        assert abs(noise.mean()) < 1
        assert np.abs(np.corrcoef(noise.reshape(-1, 3).T) - np.eye(3)).max() < 0.05


def test_noise_is_cut_at_black_and_white():
    found = np.asarray(corrupt(image_of(np.tile([0, 255], (40, 20))), "gaussian_noise", 5))
    assert (found[:, ::2] == 0).mean() == pytest.approx(0.5, abs=0.05)  # half of it went below
    assert (found[:, 1::2] == 255).mean() == pytest.approx(0.5, abs=0.05)
    assert found[:, ::2].max() < 150


# ---------------------------------------------------------------------------------------------------------- all kinds


@pytest.mark.parametrize("kind", KINDS)
def test_a_higher_level_is_further_from_the_image(kind, photographs):
    errors = []
    for level in LEVELS:
        copies = [corrupt(image, kind, level, seed=(3, row)) for row, image in enumerate(photographs)]
        pairs = zip(copies, photographs, strict=True)
        errors.append(np.mean([np.square(np.asarray(a, float) - np.asarray(b, float)).mean() for a, b in pairs]))
    assert errors[0] > 0
    assert (np.diff(errors) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_image_and_seed_give_the_same_pixels(kind, photographs):
    image = photographs[-1]
    before = np.asarray(image).copy()
    first, again, other = (np.asarray(corrupt(image, kind, 3, seed=seed)) for seed in ((0, 5), (0, 5), (0, 6)))
    assert np.array_equal(first, again)
    assert np.array_equal(first, other) == (kind != "gaussian_noise")
    assert np.array_equal(image, before)
    assert first.shape == before.shape


@pytest.mark.parametrize("kind", KINDS)
def test_grey_and_transparent_images_and_single_pixels_are_taken(kind):
    for image in (Image.new("L", (8, 8), 100), Image.new("RGBA", (5, 9), (1, 2, 3, 0)), Image.new("1", (1, 1))):
        found = corrupt(image, kind, 4)
        assert (found.mode, found.size) == ("RGB", image.size)


@pytest.mark.parametrize(
    ("kind", "level", "said"),
    [
        ("gausian_noise", 1, "Unknown corruption 'gausian_noise': did you mean 'gaussian_noise'"),
        ("jpeg", 0, "The level of jpeg is 0: give a whole number from 1 to 5"),
        ("jpeg", 6, "The level of jpeg is 6"),
        ("jpeg", 1.5, r"The level of jpeg is 1\.5"),
        ("jpeg", True, "The level of jpeg is True"),
    ],
)
def test_another_kind_or_level_is_refused(kind, level, said):
    with pytest.raises(InputError, match=said):
        corrupt(Image.new("RGB", (4, 4)), kind, level)
