"""Images of every mode in RGB, and those that cannot be read."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from hf_reprogram import InputError
from hf_reprogram.modalities.pixels import open_image, read_image, to_rgb


def pixels(image: Image.Image) -> list:
    """An RGB image as rows of (red, green, blue)."""
    assert image.mode == "RGB"
    return np.asarray(image).tolist()


def grey(*values: int) -> list:
    """A row of grey pixels."""
    return [[[value] * 3 for value in values]]


def encoded(image: Image.Image, kind: str = "PNG", **options) -> dict:
    """An image as a data set holds it."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return {"bytes": stream.getvalue(), "path": None}


@pytest.mark.parametrize(
    ("dtype", "mode"), [(np.uint16, "I;16"), (np.int32, "I")], ids=["16 bits", "32 bits that hold 16"]
)
def test_16_bits_are_scaled_and_not_cut(dtype, mode):
    image = Image.fromarray(np.array([[0, 128, 129, 257, 300, 32768, 65535]], dtype))
    assert image.mode == mode
    # v / 257, rounded: 128 is less than half a step, 129 more; Pillow alone would make 255 of all from 257 on
    assert pixels(to_rgb(image)) == grey(0, 0, 1, 1, 1, 128, 255)


def test_16_bits_stay_exact_through_a_file():
    values = np.arange(0, 65536, 257, dtype=np.uint16)[None]
    found = read_image(encoded(Image.fromarray(values)), 0, "train")
    assert pixels(found) == grey(*range(256))


def test_numbers_past_16_bits_are_cut():
    assert pixels(to_rgb(Image.fromarray(np.array([[-5, 70000]], np.int32)))) == grey(0, 255)


def test_grey_and_black_and_white():
    image = Image.fromarray(np.array([[0, 7, 255]], np.uint8))
    assert pixels(to_rgb(image)) == grey(0, 7, 255)
    assert pixels(to_rgb(image.point(lambda value: value > 100, mode="1"))) == grey(0, 0, 255)


def test_rgb_stays_as_it_is():
    values = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    assert pixels(to_rgb(Image.fromarray(values))) == values.tolist()


def test_what_is_transparent_is_white():
    image = Image.new("RGBA", (3, 1))
    for place, colour in enumerate([(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 51)]):
        image.putpixel((place, 0), colour)
    assert pixels(to_rgb(image)) == [[[255, 0, 0], [255, 255, 255], [204, 204, 204]]]  # 51 / 255 of black on white
    with_grey = Image.merge("LA", [Image.new("L", (1, 1), 0), Image.new("L", (1, 1), 51)])
    assert pixels(to_rgb(with_grey)) == grey(204)


@pytest.mark.parametrize("transparent", [False, True])
def test_a_palette_is_looked_up(transparent):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    found = read_image(encoded(image, **({"transparency": 1} if transparent else {})), 0, "train")
    assert pixels(found) == [[[10, 20, 30], [255, 255, 255] if transparent else [40, 50, 60]]]


def test_the_inks_of_cmyk():
    assert pixels(to_rgb(Image.new("CMYK", (1, 1), (0, 255, 255, 0)))) == [[[255, 0, 0]]]


def test_a_photograph_is_turned_as_its_camera_says():
    image = Image.fromarray(np.array([[0, 0, 255, 255]] * 2, np.uint8)).resize((64, 32), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    found = np.asarray(read_image(encoded(image, "JPEG", exif=exif), 0, "train"))
    assert found.shape == (64, 32, 3)
    assert found[:30].max() < 10
    assert found[34:].min() > 245


def test_floating_point_pixels_are_refused():
    with pytest.raises(InputError, match="does not say what is white: save it with 8 or 16 bits"):
        to_rgb(Image.fromarray(np.ones((2, 2), np.float32)))


def refused(function, value) -> str:
    with pytest.raises(InputError) as error:
        function(value, 3, "test")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_broken_image_is_named_by_its_row_split_and_file(tmp_path):
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)))["bytes"]
    sentence = refused(read_image, {"bytes": whole[:1000], "path": "cat.png"})
    assert sentence.startswith("Row 3 of the test split (cat.png) is no image that can be read, leave it out: ")
    (tmp_path / "cat.png").write_bytes(whole[:1000])
    assert "truncated" in refused(read_image, {"bytes": None, "path": str(tmp_path / "cat.png")})
    open_image({"bytes": whole[:1000], "path": None}, 3, "test").close()  # its header is whole


@pytest.mark.parametrize("function", [open_image, read_image])
def test_what_is_no_image_is_seen_by_its_header(function):
    assert "Row 3 of the test split is no image" in refused(function, {"bytes": b"not an image", "path": None})
    assert "(gone.png) is no image that can be read" in refused(function, {"bytes": None, "path": "gone.png"})
    for nothing in (None, {"bytes": None, "path": None}):
        assert refused(function, nothing) == "Row 3 of the test split has no image: leave the row out."


def test_a_kind_that_is_refused_is_named_by_its_row():
    value = encoded(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF")
    assert "Row 3 of the test split is no image that can be read" in refused(read_image, value)
    assert "floating point" in refused(read_image, value)
