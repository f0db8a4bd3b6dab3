"""Canvas: the target's image on the canvas of an image source, with a trained program around or over it.

    x~ = clip(place(x) + M * a * squash(W), 0, 1)

x (batch, 3, h, w) lies on a canvas (3, H, W) of a plain background, once or several times. M (H, W) is 1 where the program
acts and 0 elsewhere, a is the amplitude, and pixels are numbers from 0 to 1. Theta is W where M is 1, and holds no more:
3 numbers for each such pixel, which start at zero.

    mask       "surround": all but x     "border": a frame at the canvas's edge     "full"     "given"
    squash     "tanh"     "sigmoid"     "clamp"     "none"          (`hf_reprogram.transforms.program`)

Clipped pixels have no gradient either. A program that stays in [0, 1] by itself is never clipped: "tanh" with amplitude and
background 0.5, which is what Elsayed et al. have on their canvas from -1 to 1, or "sigmoid" on background 0.

With `learn_scale` x is drawn exp(log_scale) times as large about the centre of its place, by bilinear interpolation, and
log_scale, which starts at zero, is trained too. M stays that of the start: where x grows over the program the two are added,
where it shrinks there is background. AutoVP's code cuts M anew to the scaled size in whole pixels, which no gradient sees.

Source: Elsayed et al. 2019 (arXiv 1806.11146); the border is the padding of Bahng et al. 2022 (arXiv 2203.17274), the
scale that of AutoVP (Tsao et al. 2024, arXiv 2310.08381).
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
from .program import Program, ProgramTransform, near_square, prepared

MASKS = ("surround", "border", "full", "given")


@dataclass
class CanvasOptions:
    """Options of `canvas`; lengths are in pixels.

    Attributes:
        height, width: of the canvas, which is the image that the source takes.
        image_height, image_width: of x on the canvas; images of another size are resized.
        place: "center", or [top, left].
        copies: of x, each in the middle of its cell of a near-square grid.
        learn_scale: whether the scale of x is trained.
        mask: "surround", "border", "full" or "given".
        border: of a "border", how many pixels at each edge.
        mask_runs: of a "given" mask, the lengths of its runs; see `run_lengths`.
        squash: "tanh", "sigmoid", "clamp" or "none".
        amplitude: a, what the squashed W is multiplied with.
        background: value of the canvas where nothing lies.
        l2: lambda of the penalty `lambda * sum W^2`.
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

    def __post_init__(self) -> None:
        check_whole(
            height=self.height,
            width=self.width,
            image_height=self.image_height,
            image_width=self.image_width,
            copies=self.copies,
        )
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
            what = "The image does not" if self.copies == 1 else f"{self.copies} copies of the image do not"
            raise InputError(
                f"{what} fit: {by(self.image)} is larger than {by((self.height // rows, self.width // columns))}, which is "
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
        """Height and width of x on it."""
        return self.image_height, self.image_width

    @property
    def spots(self) -> list[tuple[slice, slice]]:
        """Rows and columns of the canvas on which each copy of x lies."""
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
    """Where something of a length starts if it lies in the middle of a cell."""
    return (side * cell // cells + side * (cell + 1) // cells - length) // 2


# -------------------------------------------------------------------------------------------------------------- masks


def run_lengths(mask: Any) -> list[int]:
    """A mask (height, width) of 0 and 1 as plain data: how many zeros, then ones, then zeros, ..., row by row."""
    flat = torch.as_tensor(mask).bool().flatten()
    changes = (flat != torch.cat([flat.new_zeros(1), flat[:-1]])).nonzero()[:, 0].tolist()
    bounds = [0, *changes, len(flat)]
    return [end - start for start, end in pairwise(bounds)]


def mask_of(options: CanvasOptions) -> Tensor:
    """M (height, width): True where the program acts."""
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
    """Puts images on the canvas, with a program around or over them; theta is `program` and, if trained, `log_scale`."""

    Options = CanvasOptions
    options: CanvasOptions

    def __init__(self, options: CanvasOptions) -> None:
        super().__init__(options)
        mask = mask_of(options)
        self.program = Program(mask, options.squash, options.amplitude, options.background, options.l2)
        self._covers = any(bool(mask[spot].any()) for spot in options.spots)
        if options.learn_scale:
            self.log_scale = nn.Parameter(torch.zeros(()))

    def canvas_of(self, data: Tensor, programmed: bool = True) -> Tensor:
        """Images (batch, 3, h, w) from 0 to 1 on the canvas, with or without the program: (batch, 3, height, width)."""
        images = prepared(data, self.options.image, self.program.weight.dtype)
        program, frame = self.program.frame() if programmed else self.program.empty()
        if self.options.learn_scale:
            return (self._scaled(images) + program).clamp(0, 1)
        canvas = frame.expand(len(images), -1, -1, -1).clone()  # only where x lies does it depend on x
        for rows, columns in self.options.spots:
            spot = (..., rows, columns)
            canvas[spot] = (images + program[spot]).clamp(0, 1) if self._covers else images
        return canvas

    def layout(self) -> dict[str, Any]:
        """The images, and how large they are drawn where that is trained."""
        spots, options = self.options.spots, self.options
        first = [side.start for side in spots[0]]
        layout: dict[str, Any] = {"holds": "image", "number": len(spots), "each": list(options.image), "at": first}
        return {**layout, "scale": self.log_scale.exp().item()} if options.learn_scale else layout

    def default_example(self, processor: Any) -> Example:
        """A test card of the image's size."""
        return Example(grey_card(*self.options.image), "a test card")

    def _scaled(self, images: Tensor) -> Tensor:
        """Images in their trained size on the background (batch, 3, height, width)."""
        ((rows, columns),) = self.options.spots
        scale = self.log_scale.exp()
        across = _from_middle(self.options.width, columns, scale)
        down = _from_middle(self.options.height, rows, scale)
        grid = torch.stack(torch.meshgrid(across, down, indexing="xy"), -1)[None]
        inside = F.grid_sample(images.new_ones(1, 1, *images.shape[2:]), grid, align_corners=False)
        drawn = F.grid_sample(images, grid.expand(len(images), -1, -1, -1), align_corners=False)
        return drawn + (1 - inside) * self.options.background


def _from_middle(side: int, span: slice, scale: Tensor) -> Tensor:
    """For every pixel of a side, where it lies in an image that covers `span` times `scale`: -1 to 1 between its edges."""
    centres = torch.arange(side, device=scale.device, dtype=scale.dtype) + 0.5
    places: Tensor = (2 * centres - span.start - span.stop) / ((span.stop - span.start) * scale)
    return places
