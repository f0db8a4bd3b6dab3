"""Images of a task: encoded until they are read, and RGB from then on."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ..errors import InputError


def open_image(value: Any, row: int, split: str) -> Image.Image:
    """An image of which only the header has been read.

    Args:
        value: `{"bytes": ..., "path": ...}`, of which the bytes are read where there are any.
        row, split: where it stands, for the error message.

    Raises:
        InputError: it is missing, or no image.
    """
    if not value or (value["bytes"] is None and value["path"] is None):
        raise InputError(f"Row {row} of the {split} split has no image: leave the row out.")
    try:
        return Image.open(value["path"] if value["bytes"] is None else io.BytesIO(value["bytes"]))
    except Exception as error:  # Pillow raises many types for what it cannot read, and none in common
        raise _refused(value, row, split, error) from error


def read_image(value: Any, row: int, split: str) -> Image.Image:
    """An image in RGB; arguments as for `open_image`.

    Raises:
        InputError: it is missing, broken, or of a kind that `to_rgb` refuses.
    """
    with open_image(value, row, split) as image:
        try:
            return to_rgb(image)
        except Exception as error:
            raise _refused(value, row, split, error) from error


def _refused(value: Any, row: int, split: str, error: Exception) -> InputError:
    name = f" ({value['path']})" if value["path"] else ""
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return InputError(f"Row {row} of the {split} split{name} is no image that can be read, leave it out: {reason}.")


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
