"""Images of a task: encoded until they are read, and RGB from then on."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from ..errors import InputError
from ..images import to_rgb


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
