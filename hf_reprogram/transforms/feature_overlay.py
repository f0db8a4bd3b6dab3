"""Feature overlay: the features of a table, drawn as grey squares on a base image, with a trained program around them.

    x~ = clip(draw(v, base) + M * a * squash(W), 0, 1)        v = clip((features - low) / (high - low), 0, 1)

The F squares stand in a near-square grid in the middle of the canvas, row by row, and M is 1 everywhere but on them. low and
high (F,) are quantiles of the training data, so that a few extreme values do not leave the others one shade; where the two
are equal they are the least and the greatest value (a flag that is set for a few rows), and a feature that never changes
is drawn as 0.5. The base is plain, or an image. The program is that of `hf_reprogram.transforms.program`.

Source: Chen, Fan, Ye 2021, "Adversarial Reprogramming of Pretrained Neural Networks for Fraud Detection" (CIKM 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..options import check_whole
from ..sources.probe import Example
from .drawing import read_given
from .program import Program, ProgramTransform, near_square


@dataclass
class FeatureOverlayOptions:
    """Options of `feature_overlay`.

    Attributes:
        height, width: of the canvas in pixels, which is the image that the source takes.
        num_features: F.
        side: pixels of a feature's square; by default as many as fit into the middle half of the canvas.
        base: value of a plain base, 0 (black) to 1 (white).
        base_image: whether the base is an image, which the checkpoint holds, and not plain.
        squash, amplitude, l2: of the program, as in `hf_reprogram.transforms.program`; on grey, a tanh of half the amplitude
            uses the whole range and is never clipped.
    """

    height: int
    width: int
    num_features: int
    side: int | None = None
    base: float = 0.5
    base_image: bool = False
    squash: str = "tanh"
    amplitude: float = 0.5
    l2: float = 0.0

    def __post_init__(self) -> None:
        check_whole(height=self.height, width=self.width, num_features=self.num_features)
        rows, columns = near_square(self.num_features)
        if self.side is None:
            self.side = max(1, min(self.height // 2 // rows, self.width // 2 // columns))
        check_whole(side=self.side)
        if rows * self.side > self.height or columns * self.side > self.width:
            raise InputError(
                f"{self.num_features} features in {rows} x {columns} squares of {self.side} x {self.side} pixels do not fit on "
                f"a canvas of {self.height} x {self.width}: use a smaller side or fewer features."
            )


class FeatureOverlay(ProgramTransform):
    """Draws features, with a program around them; theta is `program`, and `low` and `high` (F,) are set by `fit`.

    A base image is a buffer of bytes, `base_image` (3, height, width).
    """

    Options = FeatureOverlayOptions
    options: FeatureOverlayOptions
    takes = "table_values"

    low: Tensor
    high: Tensor
    squares: Tensor
    base_image: Tensor

    def __init__(self, options: FeatureOverlayOptions) -> None:
        super().__init__(options)
        squares = squares_of(options)
        mask = torch.ones(options.height * options.width, dtype=torch.bool)
        mask[squares] = False
        shape = (options.height, options.width)
        self.program = Program(mask.view(shape), options.squash, options.amplitude, options.base, options.l2)
        self.register_buffer("squares", squares.flatten(), persistent=False)
        for name in ("low", "high"):
            self.register_buffer(name, torch.full((options.num_features,), torch.nan))
        if options.base_image:
            self.register_buffer("base_image", torch.zeros((3, *shape), dtype=torch.uint8))

    @torch.no_grad()
    def fit(self, features: Any, tail: float = 0.01) -> None:
        """Set what is drawn as black and as white from the training data.

        Args:
            features: (n, F) numbers.
            tail: share of the values of a feature that are drawn as black, and as white.

        Raises:
            InputError: they are of another shape, or one of them is not a finite number.
        """
        table = self._checked(torch.as_tensor(features)).double().cpu().numpy()
        if not len(table):
            raise InputError("There are no rows to take the range of the features from: give the training data.")
        low, high = np.quantile(table, [tail, 1 - tail], axis=0)
        same = low == high
        low, high = np.where(same, table.min(0), low), np.where(same, table.max(0), high)
        self.low.copy_(torch.from_numpy(low))
        self.high.copy_(torch.from_numpy(high))

    def scaled(self, features: Tensor) -> Tensor:
        """Features (batch, F) as the shades of their squares, 0 (black) to 1 (white).

        Raises:
            InputError: they are of another shape, not finite, or the range of the features is not known yet.
        """
        if self.low.isnan().any():
            raise InputError("The range of the features is not known: call fit(features) with the training data first.")
        span = self.high - self.low
        shade = (self._checked(features).to(span.dtype) - self.low) / torch.where(span > 0, span, 1)
        return torch.where(span > 0, shade.clamp(0, 1), 0.5)

    def _checked(self, features: Tensor) -> Tensor:
        if features.dim() != 2 or features.shape[1] != self.options.num_features:
            raise InputError(
                f"The features are {' x '.join(map(str, features.shape))}: give (rows, {self.options.num_features}) numbers."
            )
        if not bool(features.isfinite().all()):
            row, feature = (~features.isfinite()).nonzero()[0].tolist()
            raise InputError(
                f"Feature {feature} of row {row} is {features[row, feature].item()}: fill what is missing before, for example "
                "with the feature's median."
            )
        return features

    def layout(self) -> dict[str, Any]:
        """The features' squares."""
        options, first = self.options, divmod(int(self.squares[0]), self.options.width)
        each = [options.side, options.side]
        return {"holds": "feature", "number": options.num_features, "each": each, "at": list(first)}

    def default_example(self, processor: Any) -> Example:
        """A row in which the first feature has its least value, the last its greatest, and the others lie evenly between."""
        share = torch.linspace(0, 1, self.options.num_features, device=self.low.device)
        return Example(torch.lerp(self.low, self.high, share)[None], "features from the least to the greatest")

    def read_example(self, processor: Any, given: str) -> Example:
        """Numbers separated by commas."""
        return read_given(self.takes, processor, given)

    def canvas_of(self, data: Tensor, programmed: bool = True) -> Tensor:
        """Features (batch, F) drawn on the canvas, with or without the program: (batch, 3, height, width)."""
        program, frame = self.program.frame() if programmed else self.program.empty()
        if self.options.base_image:
            frame = (self.base_image / 255 + program).clamp(0, 1)
        shades = self.scaled(data).to(frame.dtype).repeat_interleave(len(self.squares) // data.shape[1], 1)
        canvas = frame.flatten(1).expand(len(data), -1, -1)
        return canvas.index_copy(2, self.squares, shades[:, None].expand(-1, 3, -1)).view(-1, *frame.shape)


def squares_of(options: FeatureOverlayOptions) -> Tensor:
    """Positions (F, side * side) of each feature's pixels on the flattened canvas."""
    side, (rows, columns) = options.side or 1, near_square(options.num_features)
    number, offset = torch.arange(options.num_features), torch.arange(side)
    top = (options.height - rows * side) // 2 + number // columns * side
    left = (options.width - columns * side) // 2 + number % columns * side
    down, across = top[:, None] + offset, left[:, None] + offset
    return (down[:, :, None] * options.width + across[:, None, :]).flatten(1)
