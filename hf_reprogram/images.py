"""What every picture becomes before anything else looks at it: 8-bit RGB."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from .errors import InputError


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as 8-bit RGB, turned as its camera says.

    grey, black and white, palette     the same grey or colours
    transparent                        on white, as a page would show it
    16 bits ("I;16", "I")              v / 65535 of white, where Pillow alone would cut at 255
    CMYK, YCbCr, ...                   as Pillow converts them, without colour profiles

    Raises:
        InputError: the pixels are floating point numbers, whose range nobody says.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise InputError("An image of floating point numbers does not say what is white: save it with 8 or 16 bits.")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    elif image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")
