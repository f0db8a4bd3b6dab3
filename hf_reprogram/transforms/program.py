"""Program: a trained change of an image's pixels, wherever a mask lets it act, and the transforms that hold one.

    M * a * squash(W)        M (H, W) is 1 where the program acts and 0 elsewhere, a is the amplitude

    squash     "tanh"     "sigmoid"     "clamp" (to [-1, 1], outside of which W has no gradient)     "none"

Theta is W where M is 1, and holds no more: 3 numbers for each such pixel, which start at zero. Pixels are numbers from 0 to 1.
What lies on the canvas beside the program, and whether the sum is clipped, is up to each transform: `canvas`, `sample_mask`,
`feature_overlay`, `dual`.

The mask comes after the squashing. Published re-implementations have `sigmoid(W * M)`, which is 0.5 where M is 0: they
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
from .base import InputTransform, Kept, check_same_options
from .drawing import Views, by, describe_program, grey_card, program_lines, read_given

SQUASHES: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "clamp": lambda weight: weight.clamp(-1, 1),
    "none": lambda weight: weight,
}
ROUNDING = 1e-3  # how far outside of [0, 1] a pixel may be and is clipped


class Program(nn.Module):
    """M * a * squash(W) on a canvas; theta is `weight` (3, pixels where M is 1).

    Args:
        mask: M (height, width).
        squash, amplitude, background, l2: as in `CanvasOptions`.

    Raises:
        InputError: the mask is zero everywhere, or a value is out of its range.
    """

    index: Tensor

    def __init__(
        self, mask: Tensor, squash: str = "tanh", amplitude: float = 1.0, background: float = 0.0, l2: float = 0.0
    ) -> None:
        super().__init__()
        if squash not in SQUASHES:
            raise unknown("squash", squash, SQUASHES)
        if not 0 < amplitude < inf:
            raise InputError(f"amplitude is {amplitude}: give more than 0.")
        if not 0 <= background <= 1:
            raise InputError(f"The value of the empty canvas is {background}: give 0 (black) to 1 (white).")
        if not 0 <= l2 < inf:
            raise InputError(f"l2 is {l2}: a penalty is 0 or more.")
        if not mask.any():
            raise InputError(
                "The mask leaves no pixel of the canvas to the program, so there is nothing to train: choose a smaller image "
                "or another mask."
            )
        self.size, self.squash, self.amplitude, self.background, self.l2 = mask.shape, squash, amplitude, background, l2
        self.register_buffer("index", mask.flatten().nonzero()[:, 0], persistent=False)
        self.weight = nn.Parameter(torch.zeros(3, len(self.index)))
        self._kept: Kept[tuple[Tensor, Tensor]] = Kept()

    def forward(self, source: Source | None = None) -> Tensor:
        """What is added to the canvas, (3, height, width), in units of pixels from 0 to 1; it needs no source."""
        acting = self.amplitude * SQUASHES[self.squash](self.weight)
        whole = acting.new_zeros(3, self.size.numel()).index_copy(1, self.index, acting)
        return whole.view(3, *self.size)

    def frame(self) -> tuple[Tensor, Tensor]:
        """The program, and the empty canvas with it, clip(background + program), both (3, height, width).

        Without gradients they are computed once and kept until theta changes.
        """
        if torch.is_grad_enabled():
            self._kept.forget()
            return self._drawn()
        key = (self.weight.data_ptr(), self.weight._version, self.weight.device)
        return self._kept.get(self, key, self._drawn)

    def _drawn(self) -> tuple[Tensor, Tensor]:
        program = self()
        return program, (self.background + program).clamp(0, 1)

    def empty(self) -> tuple[Tensor, Tensor]:
        """The same of a program that adds nothing."""
        nothing = self.weight.new_zeros(3, *self.size)
        return nothing, nothing + self.background

    def penalty(self) -> Tensor | float:
        """`l2 * sum W^2`, over the W that act."""
        return self.l2 * self.weight.square().sum() if self.l2 else 0.0


class ProgramTransform(InputTransform):
    """A transform whose theta is `self.program`, or has it as a part; `self.program()` is what it adds."""

    takes = "pixel_values"
    drawing = "the program, and an example with it and without it"
    program: Program

    def check(self, spec: SourceSpec) -> None:
        """The source must take images of the canvas's size."""
        if spec.canvas() != (self.options.height, self.options.width):
            raise InputError(
                f"The canvas is {by((self.options.height, self.options.width))}, but the source takes images of "
                f"{by(spec.canvas())}: this adapter belongs to another source, or height and width are wrong."
            )

    def start_from(self, other: InputTransform) -> None:
        """See `InputTransform.start_from`; a program is worth something only where it was and as it was bounded."""
        check_same_options(self.options, other.options, but=("l2",))
        super().start_from(other)

    def penalty(self) -> Tensor | float:
        """See `Program.penalty`."""
        return self.program.penalty()

    def canvas_of(self, data: Tensor, programmed: bool = True) -> Tensor:
        """What the source sees of `data`, pixels (batch, 3, height, width) from 0 to 1; without the program if asked."""
        raise NotImplementedError  # pragma: no cover - the interface

    def layout(self) -> dict[str, Any]:
        """What lies on the canvas beside the program; see `hf_reprogram.transforms.drawing.describe_program`."""
        return {}

    def inspect(self, probe: Probe) -> dict[str, Any]:
        """`canvas` and `program`; see `hf_reprogram.transforms.drawing.describe_program`."""
        return describe_program(self, self.picture(probe), self.layout())

    def lines(self, found: dict[str, Any]) -> Lines:
        """Where what lies, and how far the program moves a pixel."""
        return Lines(body=program_lines(found))

    @torch.no_grad()
    def picture(self, probe: Probe) -> Views:
        """The example with the program and without it."""
        assert probe.example is not None  # `default_example` gives one
        data = probe.example.data.to(self.program.weight.device)
        before, after = (self.canvas_of(data, programmed)[0].cpu() for programmed in (False, True))
        added = {"what the program adds": self.program().cpu()}
        return Views(probe.example.name, before, after, self.program.index.cpu(), added)

    def default_example(self, processor: Any) -> Example | None:
        """A test card of the canvas's size."""
        return Example(grey_card(self.options.height, self.options.width), "a test card")

    def read_example(self, processor: Any, given: str) -> Example:
        """The image in a file."""
        return read_given(self.takes, processor, given)

    def forward(self, batch: dict[str, Tensor], source: Source) -> dict[str, Any]:
        """The column that it `takes` to `pixels` (batch, 3, height, width) from 0 to 1.

        Raises:
            InputError: the column does not hold what the adapter's processor makes.
        """
        return {"pixels": self.canvas_of(batch[self.takes])}


def prepared(images: Tensor, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Images (batch, 3, h, w) of numbers from 0 to 1, resized to `size`: bilinear, with antialiasing.

    Raises:
        InputError: they have another shape, or numbers outside of the range.
    """
    if images.dim() != 4 or images.shape[1] != 3 or not images.numel():
        raise InputError(f"The images are {by(images.shape)}: give (batch, 3, height, width), grey ones as RGB.")
    low, high = torch.stack(torch.aminmax(images)).tolist()
    if not -ROUNDING <= low <= high <= 1 + ROUNDING:
        raise InputError(
            f"The pixels go from {low:.3g} to {high:.3g}, but must lie from 0 to 1: use the processor that came with this "
            "adapter, which must not normalise."
        )
    images = images.to(dtype)
    if tuple(images.shape[2:]) != size:
        images = F.interpolate(images, size, mode="bilinear", antialias=True)
    return images.clamp(0, 1)


def near_square(count: int) -> tuple[int, int]:
    """Rows and columns of a grid for `count` things, as many columns as rows or one more."""
    columns = isqrt(count - 1) + 1
    return ceil(count / columns), columns
