"""Program: a trained change of an image's pixels, at the pixels that a mask selects.

    M * a * squash(u * W)        M (H, W) is 1 where the program acts and 0 elsewhere, a is the amplitude, u the unit (1)

    squash     "tanh"     "sigmoid"     "clamp" (to [-1, 1], outside of which W has no gradient)     "none"

Theta is W at the pixels where M is 1: three numbers per such pixel, which start at zero. With cells of more than one pixel it
has three numbers per square of such pixels, for gradients that are estimated. Pixels are numbers from 0 to 1. The
transforms `canvas`, `sample_mask`, `feature_overlay` and `dual` add a program to the data, and clip the sum.

The mask is applied after the squashing. Published re-implementations have `sigmoid(W * M)`, which is 0.5 where M is 0: they
brighten the data by half of the range.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, inf, isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError, unknown
from ..sources.base import Source, SourceSpec
from ..sources.probe import Example, Lines, Probe
from .base import InputTransform, ParameterCache, check_same_options
from .drawing import Views, by, describe_program, grey_card, parse_example, program_lines

SQUASHES: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "clamp": lambda weight: weight.clamp(-1, 1),
    "none": lambda weight: weight,
}
ROUNDING = 1e-3  # pixels this far outside of [0, 1] are clipped, others are refused


class Program(nn.Module):
    """M * a * squash(W) on a canvas. Theta is `weight` (3, pixels where M is 1).

    Args:
        mask: M (height, width).
        squash, amplitude, background, l2, unit, cell: as in `hf_reprogram.transforms.canvas.CanvasOptions`.

    Raises:
        InputError: the mask is zero everywhere, or a value is out of its range.

    >>> program = Program(torch.tensor([[True, False], [False, False]]))
    >>> program.weight.shape, program().shape
    (torch.Size([3, 1]), torch.Size([3, 2, 2]))
    """

    index: Tensor
    place: Tensor | None

    def __init__(
        self,
        mask: Tensor,
        squash: str = "tanh",
        amplitude: float = 1.0,
        background: float = 0.0,
        l2: float = 0.0,
        unit: float = 1.0,
        cell: int = 1,
    ) -> None:
        super().__init__()
        if squash not in SQUASHES:
            raise unknown("squash", squash, SQUASHES)
        if not 0 < amplitude < inf:
            raise InputError(f"amplitude is {amplitude}: give more than 0.")
        if not 0 <= background <= 1:
            raise InputError(
                f"The value of the empty canvas is {background}: give a number from 0 (black) to 1 (white)."
            )
        if not 0 <= l2 < inf:
            raise InputError(f"l2 is {l2}: a penalty is 0 or more.")
        if not 0 < unit < inf:
            raise InputError(f"unit is {unit}: give more than 0.")
        if not mask.any():
            raise InputError(
                "The mask leaves no pixel of the canvas to the program, so there is nothing to train: choose a smaller image "
                "or another mask."
            )
        self.size, self.squash, self.amplitude, self.background, self.l2 = mask.shape, squash, amplitude, background, l2
        self.unit = unit
        self.register_buffer("index", mask.flatten().nonzero()[:, 0], persistent=False)
        across = -(-mask.shape[1] // cell)
        cells = (self.index // mask.shape[1] // cell) * across + self.index % mask.shape[1] // cell
        numbers, place = torch.unique(cells, return_inverse=True)
        self.register_buffer("place", None if cell == 1 else place, persistent=False)
        self.weight = nn.Parameter(torch.zeros(3, len(numbers)))
        self._cache: ParameterCache[tuple[Tensor, Tensor]] = ParameterCache()

    def forward(self, source: Source | None = None) -> Tensor:
        """The change of the canvas (3, height, width), where pixels go from 0 to 1. The source is not used."""
        acting = self.amplitude * SQUASHES[self.squash](self.unit * self.weight)
        acting = acting if self.place is None else acting[:, self.place]
        whole = acting.new_zeros(3, self.size.numel()).index_copy(1, self.index, acting)
        return whole.view(3, *self.size)

    def frame(self) -> tuple[Tensor, Tensor]:
        """The program and clip(background + program), the empty canvas with it, both (3, height, width).

        Without gradients both are cached until theta changes.
        """
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            self._cache.forget()
            return self._drawn()
        key = (self.weight.data_ptr(), self.weight._version, self.weight.device)
        return self._cache.get(self, key, self._drawn)

    def _drawn(self) -> tuple[Tensor, Tensor]:
        program = self()
        return program, (self.background + program).clamp(0, 1)

    def empty(self) -> tuple[Tensor, Tensor]:
        """The values of `frame` for a program of zeros."""
        nothing = self.weight.new_zeros(3, *self.size)
        return nothing, nothing + self.background

    def penalty(self) -> Tensor | float:
        """The penalty `l2 * sum (u W)^2`."""
        return self.l2 * (self.unit * self.weight).square().sum() if self.l2 else 0.0


class ProgramTransform(InputTransform):
    """A transform that adds `self.program()` to the canvas. The parameters of `self.program` are in theta.

    >>> from .canvas import Canvas, CanvasOptions
    >>> canvas = Canvas(CanvasOptions(height=32, width=32, image_height=8, image_width=8))
    >>> isinstance(canvas, ProgramTransform), canvas.program().shape
    (True, torch.Size([3, 32, 32]))
    """

    takes = "pixel_values"
    drawing = "the program, and an example with it and without it"
    program: Program

    def check(self, spec: SourceSpec) -> None:
        """Raise `InputError` unless the source takes images of the canvas's size."""
        if spec.canvas() != (self.options.height, self.options.width):
            raise InputError(
                f"The canvas is {by((self.options.height, self.options.width))}, but the source takes images of "
                f"{by(spec.canvas())}: this adapter belongs to another source, or height and width are wrong."
            )

    def start_from(self, other: InputTransform) -> None:
        """See `InputTransform.start_from`. Place and bounds must agree, since a program has no effect of its own elsewhere."""
        check_same_options(self.options, other.options, but=("l2",))
        super().start_from(other)

    def check_batch(self, batch: dict[str, Tensor]) -> None:
        """See `check_pixels`."""
        check_pixels(batch[self.takes])

    def penalty(self) -> Tensor | float:
        """See `Program.penalty`."""
        return self.program.penalty()

    def canvas_of(self, data: Tensor, programmed: bool = True) -> Tensor:
        """The source's pixels (batch, 3, height, width), from 0 to 1, for `data`, with or without the program."""
        raise NotImplementedError  # pragma: no cover - the interface

    def layout(self) -> dict[str, Any]:
        """The other contents of the canvas, in the form that `hf_reprogram.transforms.drawing.describe_program` takes."""
        return {}

    def inspect(self, probe: Probe) -> dict[str, Any]:
        """`canvas` and `program`; see `hf_reprogram.transforms.drawing.describe_program`."""
        return describe_program(self, self.picture(probe), self.layout())

    def lines(self, description: dict[str, Any]) -> Lines:
        """The contents of the canvas, and the size of the program's changes."""
        return Lines(body=program_lines(description))

    @torch.no_grad()
    def picture(self, probe: Probe) -> Views:
        """The example with the program and without it."""
        assert probe.example is not None  # `default_example` gives one
        data = probe.example.data.to(self.program.weight.device)
        before, after = (self.canvas_of(data, programmed)[0].cpu() for programmed in (False, True))
        added = {"the program": self.program().cpu()}
        return Views(probe.example.name, before, after, self.program.index.cpu(), added)

    def default_example(self, processor: Any) -> Example | None:
        """A test card of the canvas's size."""
        return Example(grey_card(self.options.height, self.options.width), "a test card")

    def read_example(self, processor: Any, text: str) -> Example:
        """The image in a file."""
        return parse_example(self.takes, processor, text)

    def forward(self, batch: dict[str, Tensor], source: Source) -> dict[str, Any]:
        """`pixels` (batch, 3, height, width) from 0 to 1, from the column that the transform `takes`.

        Raises:
            InputError: the column has another shape or range than the adapter's processor gives it.
        """
        self.check_first(batch)
        return {"pixels": self.canvas_of(batch[self.takes])}


def check_pixels(images: Tensor) -> None:
    """Raise `InputError` if pixels are outside of 0 to 1, or not numbers.

    >>> check_pixels(torch.rand(5, 3, 8, 8))
    >>> check_pixels(torch.full((5, 3, 8, 8), 255))
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The pixels go from 255 to 255, but must go from 0 to 1: use the processor that came with \
this adapter, which does not normalise.
    """
    if not images.numel():
        return  # `resized` refuses the shape
    low, high = torch.stack(torch.aminmax(images)).tolist()
    if not -ROUNDING <= low <= high <= 1 + ROUNDING:
        raise InputError(
            f"The pixels go from {low:.3g} to {high:.3g}, but must go from 0 to 1: use the processor that came with this "
            "adapter, which does not normalise."
        )


def resized(images: Tensor, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Images resized to `size`, by bilinear interpolation with antialiasing.

    Args:
        images: (batch, 3, h, w), of pixels from 0 to 1.
        size: height and width of the result.
        dtype: of the result.

    Raises:
        InputError: the images have another shape.

    >>> resized(torch.rand(5, 3, 8, 8), (32, 32), torch.float32).shape
    torch.Size([5, 3, 32, 32])
    """
    if images.dim() != 4 or images.shape[1] != 3 or not images.numel():
        raise InputError(f"The images are {by(images.shape)}: give (batch, 3, height, width), grey ones as RGB.")
    images = images.to(dtype)
    if tuple(images.shape[2:]) != size:
        images = F.interpolate(images, size, mode="bilinear", antialias=True)
    return images.clamp(0, 1)


def near_square(count: int) -> tuple[int, int]:
    """The rows and columns of a grid of `count` cells, with as many columns as rows or one more.

    >>> near_square(1), near_square(6)
    ((1, 1), (2, 3))
    """
    columns = isqrt(count - 1) + 1
    return ceil(count / columns), columns
