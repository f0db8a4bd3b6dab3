"""Corrupted copies of images in five levels: noise, blur, contrast, JPEG and coarse pixels, to measure robust accuracy.

kind             level 1 to 5                        change of the pixels x, which are from 0 to 1
gaussian_noise   s = 0.04, 0.06, 0.08, 0.09, 0.1     x + s e, where e is from N(0, 1) in every channel
gaussian_blur    s = 0.4, 0.6, 0.7, 0.8, 1           each channel is convolved with a Gaussian of s pixels; the border repeats
contrast         c = 0.75, 0.5, 0.4, 0.3, 0.15       m + c (x - m), where m is the mean of each channel
jpeg             quality 80, 65, 58, 50, 40          the image is saved as JPEG and read again
pixelate         c = 0.95, 0.9, 0.85, 0.75, 0.65     the sides are scaled by c and back, both with a box filter

These are kinds and severities of CIFAR-10-C (Hendrycks & Dietterich 2019, arXiv 1903.12261), with three differences. That set
draws the noise of all images from one stream; here each image has its own seed, so that any part of a set can be made again.
It truncates grey levels; here they are rounded. It has only images of 32 x 32 pixels; here sides may have any length. The
severities suit such small images: the paper uses stronger ones for large photographs, on which a blur of one pixel is hardly
visible. The paper's ten other kinds are not implemented.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from ..errors import unknown
from ..modalities.pixels import to_rgb
from ..options import check_whole

LEVELS = (1, 2, 3, 4, 5)


def corrupt(image: Image.Image, kind: str, level: int, seed: int | Sequence[int] = 0) -> Image.Image:
    """A corrupted copy of an image, in RGB and of the same size. The same image and seed give the same pixels.

    Args:
        image: an image of any mode that `hf_reprogram.modalities.pixels.to_rgb` takes.
        kind: a key of `KINDS`.
        level: the severity, from 1 (mildest) to 5.
        seed: the seed of the noise: a number of 0 or more, or several, such as a seed and a row.

    Raises:
        InputError: there is no such kind or level.

    >>> grey = Image.new("RGB", (4, 4), (100, 100, 100))
    >>> corrupt(grey, "gaussian_noise", level=5).getpixel((0, 0)) == grey.getpixel((0, 0))
    False
    """
    check(kind, level)
    corruption, strengths = KINDS[kind]
    return corruption(to_rgb(image), strengths[level - 1], np.random.default_rng(seed))


def check(kind: str, level: object) -> None:
    """Raise `InputError` if there is no such kind of corruption or no such level.

    >>> check("jpeg", 6)
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The level of jpeg is 6: give a whole number from 1 to 5.
    """
    if kind not in KINDS:
        raise unknown("corruption", kind, KINDS)
    check_whole(LEVELS[0], "", LEVELS[-1], **{f"The level of {kind}": level})


def _noise(image: Image.Image, strength: float, random: np.random.Generator) -> Image.Image:
    pixels = _pixels(image)
    return _image(pixels + strength * random.standard_normal(pixels.shape))


def _blur(image: Image.Image, strength: float, random: np.random.Generator) -> Image.Image:
    """Blur columns, then rows. The Gaussian is cut at four deviations (to the nearest pixel), and its weights sum to 1."""
    radius = round(4 * strength)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / strength) ** 2)
    pixels = _pixels(image)
    for axis in (0, 1):
        padded = np.pad(pixels, [(radius, radius) if axis == place else (0, 0) for place in range(3)], mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, len(weights), axis=axis)
        pixels = windows @ (weights / weights.sum())
    return _image(pixels)


def _contrast(image: Image.Image, strength: float, random: np.random.Generator) -> Image.Image:
    pixels = _pixels(image)
    mean = pixels.mean((0, 1))
    return _image(mean + strength * (pixels - mean))


def _jpeg(image: Image.Image, strength: float, random: np.random.Generator) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=int(strength))
    return Image.open(stream).convert("RGB")


def _pixelate(image: Image.Image, strength: float, random: np.random.Generator) -> Image.Image:
    width, height = (max(1, int(strength * side)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BOX).resize(image.size, Image.Resampling.BOX)


def _pixels(image: Image.Image) -> np.ndarray:
    """Pixels (height, width, 3) from 0 to 1."""
    return np.asarray(image, np.float64) / 255


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(255 * pixels.clip(0, 1)).astype(np.uint8))


Corruption = Callable[[Image.Image, float, np.random.Generator], Image.Image]
KINDS: dict[str, tuple[Corruption, tuple[float, ...]]] = {
    "gaussian_noise": (_noise, (0.04, 0.06, 0.08, 0.09, 0.1)),
    "gaussian_blur": (_blur, (0.4, 0.6, 0.7, 0.8, 1)),
    "contrast": (_contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "jpeg": (_jpeg, (80, 65, 58, 50, 40)),
    "pixelate": (_pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
}
