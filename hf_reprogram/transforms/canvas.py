"""Canvas: the target's image on the canvas of an image source, with a trained program around or over it.

    x~ = clip(place(x) + M * a * squash(W), 0, 1)

x (batch, 3, h, w) lies on a canvas (3, H, W) of a plain background, once or several times. M (H, W) is 1 where the program
acts and 0 elsewhere, a is the amplitude, and pixels are numbers from 0 to 1. Theta is W at the pixels where M is 1: three
numbers per such pixel, which start at zero.

    mask       "surround": all but x     "border": a frame at the canvas's edge     "full"     "given"
    squash     "tanh"     "sigmoid"     "clamp"     "none"          (`hf_reprogram.transforms.program`)

A clipped pixel has no gradient. Two programs are never clipped around the image: "tanh" with amplitude and background 0.5, as
Elsayed et al. have it on their canvas from -1 to 1, and "sigmoid" on background 0.

With `learn_scale` x is drawn exp(log_scale) times as large, about the centre of its place and by bilinear interpolation.
log_scale starts at zero and is trained too. M does not change: where x grows over the program the two are added, and where x
shrinks the background shows. AutoVP's code cuts M to the scaled size in whole pixels, which has no gradient.

Sources: Elsayed et al. 2019 (arXiv 1806.11146). The border is the padding of Bahng et al. 2022 (arXiv 2203.17274), and the
scale is that of AutoVP (Tsao et al. 2024, arXiv 2310.08381).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError, unknown
from ..options import check_whole
from ..sources.probe import Example
from .drawing import by, grey_card
from .program import Program, ProgramTransform, near_square, resized

MASKS = ("surround", "border", "full", "given")


@dataclass
class CanvasOptions:
    """Options of `canvas`; lengths are in pixels.

    Attributes:
        height, width: the size of the canvas, which is the image that the source takes.
        image_height, image_width: the size of x on the canvas; images of another size are resized.
        place: the place of x, "center" or [top, left].
        copies: the number of copies of x, each in the middle of its cell of a near-square grid.
        learn_scale: whether the scale of x is trained.
        mask: "surround", "border", "full" or "given".
        border: the width of the frame with mask="border".
        mask_runs: the run lengths of the mask with mask="given" (`run_lengths`).
        squash: "tanh", "sigmoid", "clamp" or "none".
        amplitude: a, the factor of the squashed W.
        background: the value of the empty canvas, from 0 (black) to 1 (white).
        l2: lambda in the penalty `lambda * sum (u W)^2`.
        unit: u, the factor of W. Below 1 the steps of the program are smaller than the learning rate by this factor.
        cell: the side of the squares of the canvas in each of which all pixels of the program have one value.
    """

    height: int
    width: int
    image_height: int
    image_width: int
    place: str | list[int] = "center"
    copies: int = 1
    learn_scale: bool = False
    mask: str = "surround"
    border: int = 0
    mask_runs: list[int] | None = None
    squash: str = "tanh"
    amplitude: float = 1.0
    background: float = 0.0
    l2: float = 0.0
    unit: float = 1.0
    cell: int = 1

    def __post_init__(self) -> None:
        check_whole(
            height=self.height,
            width=self.width,
            image_height=self.image_height,
            image_width=self.image_width,
            copies=self.copies,
        )
        check_whole(1, " of pixels", min(self.canvas), cell=self.cell)
        if self.mask not in MASKS:
            raise unknown("mask", self.mask, MASKS)
        self._check_place()
        if self.mask == "border" and not (type(self.border) is int and 0 < 2 * self.border < min(self.canvas)):
            raise InputError(
                f"border is {self.border!r} on a canvas of {by(self.canvas)}: give 1 to {(min(self.canvas) - 1) // 2} pixels."
            )
        if self.mask != "border" and self.border:
            raise InputError(f"border is {self.border!r}, but mask is {self.mask!r}: a border needs mask='border'.")
        if (self.mask == "given") != (self.mask_runs is not None):
            raise InputError(
                "mask='given' and mask_runs belong together: give both, with run_lengths(mask), or neither."
            )
        if self.mask_runs is not None:
            whole = all(type(run) is int and run >= 0 for run in self.mask_runs)
            if not whole or sum(self.mask_runs) != self.height * self.width:
                raise InputError(
                    f"mask_runs does not cover the {self.height * self.width:,} pixels of a canvas of {by(self.canvas)}: make "
                    "it with run_lengths(mask), of a mask of this height and width."
                )

    def _check_place(self) -> None:
        rows, columns = near_square(self.copies)
        if self.image_height > self.height // rows or self.image_width > self.width // columns:
            subject = "The image does not" if self.copies == 1 else f"{self.copies} copies of the image do not"
            raise InputError(
                f"{subject} fit: {by(self.image)} is larger than {by((self.height // rows, self.width // columns))}, which is "
                "the room on the canvas; choose a smaller image."
            )
        if self.learn_scale and self.copies > 1:
            raise InputError(
                f"learn_scale is for one image on the canvas, not for {self.copies} copies: give one of the two."
            )
        if self.place == "center":
            return
        if isinstance(self.place, str) or len(self.place) != 2 or self.copies > 1:
            raise InputError(f"place is {self.place!r}: give 'center', or [top, left] of a single copy.")
        ends = (side - length for side, length in zip(self.canvas, self.image, strict=True))
        if not all(type(start) is int and 0 <= start <= end for start, end in zip(self.place, ends, strict=True)):
            raise InputError(
                f"place is {list(self.place)}: an image of {by(self.image)} at this top and left is not within the canvas of "
                f"{by(self.canvas)}."
            )

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width of the canvas."""
        return self.height, self.width

    @property
    def image(self) -> tuple[int, int]:
        """Height and width of x on the canvas."""
        return self.image_height, self.image_width

    @property
    def spots(self) -> list[tuple[slice, slice]]:
        """The rows and columns of the canvas that each copy of x covers."""
        if self.place == "center":
            rows, columns = near_square(self.copies)
            cells = [divmod(copy, columns) for copy in range(self.copies)]
            corners = [
                (
                    _middle(self.height, rows, row, self.image_height),
                    _middle(self.width, columns, column, self.image_width),
                )
                for row, column in cells
            ]
        else:
            corners = [(int(self.place[0]), int(self.place[1]))]
        return [(slice(top, top + self.image_height), slice(left, left + self.image_width)) for top, left in corners]


def _middle(side: int, cells: int, cell: int, length: int) -> int:
    """The first pixel of an interval of `length` pixels in the middle of a cell of a side."""
    return (side * cell // cells + side * (cell + 1) // cells - length) // 2


# -------------------------------------------------------------------------------------------------------------- masks


def run_lengths(mask: Any) -> list[int]:
    """The run lengths of a mask (height, width) of 0 and 1, row by row: the number of zeros, then of ones, and so on in turn.

    >>> run_lengths([[0, 0, 1], [1, 1, 0]])
    [2, 3, 1]
    """
    flat = torch.as_tensor(mask).bool().flatten()
    changes = (flat != torch.cat([flat.new_zeros(1), flat[:-1]])).nonzero()[:, 0].tolist()
    bounds = [0, *changes, len(flat)]
    return [end - start for start, end in pairwise(bounds)]


def mask_of(options: CanvasOptions) -> Tensor:
    """The mask M (height, width), which is True where the program acts.

    >>> mask_of(CanvasOptions(height=4, width=4, image_height=2, image_width=2)).int()
    tensor([[1, 1, 1, 1],
            [1, 0, 0, 1],
            [1, 0, 0, 1],
            [1, 1, 1, 1]], dtype=torch.int32)
    """
    if options.mask_runs is not None:
        runs = torch.tensor(options.mask_runs)
        return (torch.arange(len(runs)) % 2 == 1).repeat_interleave(runs).view(options.canvas)
    mask = torch.ones(options.canvas, dtype=torch.bool)
    if options.mask == "border":
        mask[options.border : -options.border, options.border : -options.border] = False
    if options.mask == "surround":
        for spot in options.spots:
            mask[spot] = False
    return mask


class Canvas(ProgramTransform):
    """Places images on the canvas, with a program around or over them.

    Theta is `program.weight` (3, pixels where M is 1) and, with `learn_scale`, `log_scale` ().

    >>> canvas = Canvas(CanvasOptions(height=32, width=32, image_height=8, image_width=8))
    >>> canvas({"pixel_values": torch.rand(5, 3, 8, 8)}, image_source)["pixels"].shape
    torch.Size([5, 3, 32, 32])
    >>> canvas.program.weight.numel()  # 3 * (32 * 32 - 8 * 8)
    2880
    """

    Options = CanvasOptions
    options: CanvasOptions

    def __init__(self, options: CanvasOptions) -> None:
        super().__init__(options)
        mask = mask_of(options)
        drawn = (options.squash, options.amplitude, options.background, options.l2, options.unit, options.cell)
        self.program = Program(mask, *drawn)
        self._covers = any(bool(mask[spot].any()) for spot in options.spots)
        if options.learn_scale:
            self.log_scale = nn.Parameter(torch.zeros(()))

    def canvas_of(self, data: Tensor, programmed: bool = True) -> Tensor:
        """Images on the canvas (batch, 3, height, width), with or without the program.

        Args:
            data: images (batch, 3, h, w) of pixels from 0 to 1.
            programmed: whether the program is added.
        """
        images = resized(data, self.options.image, self.program.weight.dtype)
        program, frame = self.program.frame() if programmed else self.program.empty()
        if self.options.learn_scale:
            return (self._scaled(images) + program).clamp(0, 1)
        canvas = frame.expand(images.shape[0], -1, -1, -1).clone()  # the frame does not depend on x
        for rows, columns in self.options.spots:
            spot = (..., rows, columns)
            canvas[spot] = (images + program[spot]).clamp(0, 1) if self._covers else images
        return canvas

    def layout(self) -> dict[str, Any]:
        """The number, size and place of the images, and their trained scale."""
        spots, options = self.options.spots, self.options
        first = [side.start for side in spots[0]]
        layout: dict[str, Any] = {"holds": "image", "number": len(spots), "each": list(options.image), "at": first}
        return {**layout, "scale": self.log_scale.exp().item()} if options.learn_scale else layout

    def default_example(self, processor: Any) -> Example:
        """A test card of the image's size."""
        return Example(grey_card(*self.options.image), "a test card")

    def _scaled(self, images: Tensor) -> Tensor:
        """Images at their trained scale on the background (batch, 3, height, width)."""
        ((rows, columns),) = self.options.spots
        scale = self.log_scale.exp()
        across = _from_middle(self.options.width, columns, scale)
        down = _from_middle(self.options.height, rows, scale)
        grid = torch.stack(torch.meshgrid(across, down, indexing="xy"), -1)[None]
        inside = F.grid_sample(images.new_ones(1, 1, *images.shape[2:]), grid, align_corners=False)
        drawn = F.grid_sample(images, grid.expand(images.shape[0], -1, -1, -1), align_corners=False)
        return drawn + (1 - inside) * self.options.background


def _from_middle(side: int, span: slice, scale: Tensor) -> Tensor:
    """The coordinate of every pixel of a side in an image that covers `span` times `scale`, whose edges are at -1 and 1."""
    centres = torch.arange(side, device=scale.device, dtype=scale.dtype) + 0.5
    places: Tensor = (2 * centres - span.start - span.stop) / ((span.stop - span.start) * scale)
    return places
