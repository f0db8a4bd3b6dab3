"""The options of an image source, as the image processor in its checkpoint has them."""

from __future__ import annotations

from typing import Any

from ..errors import InputError
from ..modalities.processors import open_image_processor


def image_settings(name: str, config: Any, hub: dict[str, Any]) -> dict[str, Any]:
    """The options of a `VisionSource` or `DualSource` in the image processor of a model.

    Args:
        name: the Hub id or folder of the model.
        config: the model's config.
        hub: the arguments that locate its files (`hf_reprogram.hub_arguments`).

    Returns:
        `image_size` (height, width), `mean`, `std`, `resample`, `crop`, and `bgr` if it is set.

    Raises:
        InputError: there is no image processor.

    >>> image_settings(image_source.model.name_or_path, image_source.model.config, {})["image_size"]
    (32, 32)
    """
    try:
        processor = open_image_processor(name, hub)
    except InputError:
        raise
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"There is no image processor for {name!r} ({str(error).strip().splitlines()[0]}): give image_size, mean and std "
            "with the source."
        ) from error
    cropped = getattr(processor, "do_center_crop", False) and getattr(processor, "crop_size", None)
    size = dict(processor.crop_size if cropped else processor.size)
    height, width = (size.get(side) or size.get("shortest_edge") for side in ("height", "width"))
    ratio = processor.size.get("shortest_edge", height) / height if cropped else None
    size_and_shades = {
        "image_size": (height or config.image_size, width or config.image_size),
        **_normalisation(processor),
    }
    return {**size_and_shades, "resample": int(processor.resample), "crop": ratio}


def _normalisation(processor: Any) -> dict[str, Any]:
    """The `mean` and `std` by which an image processor normalises pixels from 0 to 1, and `bgr` if it reverses the channels."""
    rescales, normalises = getattr(processor, "do_rescale", True), getattr(processor, "do_normalize", True)
    scale = 255 * processor.rescale_factor if rescales else 255.0
    offset = 1.0 if rescales and getattr(processor, "rescale_offset", False) else 0.0
    mean, std = (list(processor.image_mean), list(processor.image_std)) if normalises else ([0.0] * 3, [1.0] * 3)
    if normalises and getattr(
        processor, "include_top", False
    ):  # EfficientNet's processor divides by the deviation twice
        std = [value * value for value in std]
    settings: dict[str, Any] = {
        "mean": [(value + offset) / scale for value in mean],
        "std": [value / scale for value in std],
    }
    return {**settings, "bgr": True} if getattr(processor, "do_flip_channel_order", False) else settings
