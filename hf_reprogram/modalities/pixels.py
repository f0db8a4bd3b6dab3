"""What every picture becomes before anything else looks at it: 8-bit RGB."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

from ..errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


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


def encoded(image: Image.Image) -> bytes:
    """An image in RGB as a file in memory that holds its pixels exactly.

    >>> encoded(Image.new("L", (2, 2)))[:2]
    b'BM'
    """
    file = io.BytesIO()
    to_rgb(image).save(file, "bmp")
    return file.getvalue()


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
    name = f" ({' '.join(value['path'].split())})" if value["path"] else ""
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return InputError(f"Row {row} of the {split} split{name} is no image that can be read, leave it out: {reason}.")


def read_base(file: str, size: tuple[int, int]) -> Tensor:
    """A base image from a file, as bytes (3, height, width) of a size.

    Raises:
        InputError: there is no such image, or it is of a kind that `to_rgb` refuses.
    """
    import torch

    try:
        with Image.open(file) as image:
            resized = to_rgb(image).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    except OSError as error:
        raise InputError(f"base_image={file!r} is not an image that can be read: {error}") from error
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


def image_processor(size: Sequence[int], resample: int = 2, crop: float | None = None) -> Any:
    """An image processor that makes RGB pixels from 0 to 1 of a size, and does not normalise: the source does.

    Args:
        size: height and width.
        resample: as Pillow numbers it: 2 is bilinear, 3 bicubic.
        crop: how many times as long as the size the shorter side is made before the middle is cut out; None squeezes an image.
    """
    from .pixel_processor import PixelImageProcessor

    whole = {"height": size[0], "width": size[1]}
    return PixelImageProcessor(
        do_convert_rgb=True,
        do_resize=True,
        size={"shortest_edge": round(crop * max(size))} if crop else whole,
        do_center_crop=bool(crop),
        crop_size=whole,
        resample=resample,
        do_rescale=True,
        do_normalize=False,
    )
