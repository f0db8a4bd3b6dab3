"""The image processor of an adapter: images, arrays and tensors of any kind become RGB pixels from 0 to 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from ..errors import InputError
from .pixels import to_rgb

SLACK = 1e-3  # by which a resized image may leave its range


class PixelImageProcessor(ViTImageProcessorPil):
    """Resizes with Pillow, and reads the range of an image from its dtype and its values.

    Images of Pillow are read by `to_rgb`, as those of a data set are, and arrays by `as_bytes`. With `do_rescale=False` arrays
    keep their values.

    >>> processor = PixelImageProcessor(size={"height": 4, "width": 4}, do_normalize=False)
    >>> float(processor(torch.ones(3, 8, 8), return_tensors="pt")["pixel_values"].max())
    1.0
    """

    def process_image(self, image: Any, *args: Any, **kwargs: Any) -> np.ndarray:
        """An image as an array (channels, height, width)."""
        pixels: np.ndarray = super().process_image(
            to_rgb(image) if isinstance(image, Image.Image) else image, *args, **kwargs
        )
        return pixels

    def _prepare_images_structure(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        several = images if isinstance(images, list | tuple) else [images]
        grey = [image[None] if getattr(image, "ndim", 0) == 2 else image for image in several]  # (1, height, width)
        return super()._prepare_images_structure(grey if several is images else grey[0], *args, **kwargs)

    def _preprocess(self, images: list[np.ndarray], **kwargs: Any) -> Any:  # type: ignore[override]
        return super()._preprocess([as_bytes(image) for image in images] if kwargs["do_rescale"] else images, **kwargs)


def as_bytes(image: np.ndarray) -> np.ndarray:
    """An array of pixels as bytes (3, height, width).

    Args:
        image: (channels, height, width), of 1, 3 or 4 channels: grey, RGB, or RGB with transparency (`to_rgb`). Booleans are
            black and white. Floating point numbers go from 0 to 1 if none is larger, and else to 255. `uint16`, and whole
            numbers of which one is above 255, have 16 bits; all others are bytes.

    Raises:
        InputError: a value is missing, infinite, below 0 or above the range.

    >>> as_bytes(np.full((3, 1, 1), 0.5)).ravel().tolist(), as_bytes(np.full((1, 1, 1), 7)).ravel().tolist()
    ([128, 128, 128], [7, 7, 7])
    """
    if not image.size:
        raise InputError(f"An image is {' x '.join(map(str, image.shape))}, which has no pixels: leave it out.")
    if image.dtype == np.uint8:
        pixels = image
    elif image.dtype == np.bool_:
        pixels = image.astype(np.uint8) * 255
    else:
        least, most = float(image.min()), float(image.max())
        whole = image.dtype.kind in "iu"
        limit = 65535 if whole else 255 + SLACK
        if not (least >= -SLACK and most <= limit):  # so is a missing value
            raise InputError(
                f"An image has pixels from {least:g} to {most:g}: give pixels from 0 to 1 or from 0 to 255 that are not "
                "normalised, since the source normalises them itself."
            )
        scale = (
            255.0 if not whole and most <= 1 + SLACK else 1 / 257 if image.dtype == np.uint16 or most > 255.5 else 1.0
        )
        pixels = np.rint(image.astype(np.float64) * scale).clip(0, 255).astype(np.uint8)
    if len(pixels) == 3:
        return pixels
    if len(pixels) not in (1, 4):
        raise InputError(f"An image has {len(pixels)} channels: give grey images, RGB, or RGB with transparency.")
    drawn = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))
    return np.moveaxis(np.asarray(to_rgb(drawn)), -1, 0)
