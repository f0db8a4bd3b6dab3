"""The image processor of an adapter: the same image in every form has the same pixels, and what is no image is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, pipeline

from hf_reprogram import InputError, reprogram
from hf_reprogram.modalities.pixel_processor import PixelImageProcessor, as_bytes
from hf_reprogram.modalities.pixels import image_processor
from tests.support import tiny_vision

SIDE = 16
BYTES = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
FORMS = {
    "uint8": BYTES,
    "int64": BYTES.astype(np.int64),
    "uint16": BYTES.astype(np.uint16) * 257,
    "float 0..1": BYTES / 255,
    "float 0..255": BYTES.astype(np.float32),
    "ToTensor": torch.from_numpy(BYTES / 255).permute(2, 0, 1).float(),
    "half": torch.from_numpy(BYTES / 255).permute(2, 0, 1).half(),
    "tensor of bytes": torch.from_numpy(BYTES).permute(2, 0, 1),
    "opaque RGBA": np.concatenate([BYTES, np.full((SIDE, SIDE, 1), 255, np.uint8)], 2),
}


def pixels(image, size=(SIDE, SIDE)) -> np.ndarray:
    return image_processor(size)(image, return_tensors="np")["pixel_values"][0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(SIDE, SIDE), (9, 12)], ids=["as it is", "resized"])
def test_an_image_has_the_same_pixels_in_every_form(form, size):
    expected = pixels(Image.fromarray(BYTES), size)
    assert expected.max() > 0.7
    np.testing.assert_allclose(pixels(FORMS[form], size), expected, atol=1e-6)


def test_booleans_and_grey_arrays_are_drawn_as_images():
    dots = BYTES[..., 0] > 127
    expected = pixels(Image.fromarray(dots.astype(np.uint8) * 255))
    for form in (dots, dots.astype(float), torch.from_numpy(dots)):
        np.testing.assert_array_equal(pixels(form), expected)


def test_pillow_images_are_read_as_those_of_a_data_set():
    """16 bits are scaled, and what is transparent is white, in a pipeline as in training."""
    deep = Image.fromarray(np.full((SIDE, SIDE), 32896, np.uint16))
    np.testing.assert_allclose(pixels(deep), 128 / 255, atol=1e-6)
    assert pixels(Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))).min() == 1


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        ((BYTES / 255 - 0.5) / 0.25, "pixels from -2 to 2: give pixels from 0 to 1 or from 0 to 255"),
        (np.where(BYTES > 200, np.nan, BYTES / 255), "pixels from nan to nan"),
        (np.full((3, 4, 4), np.inf), "pixels from inf to inf"),
        (BYTES.astype(np.float32) * 2, "pixels from 0 to 510"),
        (BYTES.astype(np.int32) * 1000, "pixels from 0 to 255000"),
        (BYTES.astype(np.int32) - 1, "pixels from -1 to 254"),
    ],
)
def test_pixels_of_no_known_range_are_refused(image, sentence):
    with pytest.raises(InputError, match=sentence):
        pixels(image)


def test_other_numbers_of_channels_are_refused():
    with pytest.raises(InputError, match="An image has 2 channels"):
        as_bytes(np.zeros((2, 4, 4), np.uint8))


def test_without_rescaling_the_values_stay():
    found = image_processor((SIDE, SIDE))(BYTES, do_rescale=False, return_tensors="np")["pixel_values"][0]
    np.testing.assert_array_equal(found, np.moveaxis(BYTES, -1, 0))


def test_an_adapter_loads_with_it_whatever_the_backend(tmp_path):
    model, processor = reprogram(
        tiny_vision.make_source("vit"), "elsayed", ["a", "b"], mapping="dense", image_size=SIDE
    )
    processor.save_pretrained(tmp_path)
    for backend in (None, "pil", "torchvision"):
        loaded = AutoImageProcessor.from_pretrained(tmp_path, backend=backend)
        assert type(loaded) is PixelImageProcessor
        assert loaded.to_dict() == processor.to_dict()
    image = Image.fromarray(BYTES)
    answer = pipeline("image-classification", model=model.eval(), image_processor=loaded)(image)
    with torch.no_grad():
        expected = model(**processor(FORMS["ToTensor"], return_tensors="pt")).logits.softmax(-1)[0]
    assert sorted(row["score"] for row in answer) == pytest.approx(sorted(expected.tolist()))
