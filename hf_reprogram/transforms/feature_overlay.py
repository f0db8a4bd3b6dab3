"""Feature overlay: the features of a table, drawn as grey squares on a base image, with a trained program around them.

    x~ = clip(draw(v, base) + M * a * squash(W), 0, 1)        v = clip((features - low) / (high - low), 0, 1)

F is the number of features. The F squares form a near-square grid in the middle of the canvas, row by row, and M is 1 outside
of them. low and high (F,) are quantiles of the training data, so that a few extreme values do not give all others one shade. If
the two are equal (a flag that few rows set), they are the least and the greatest value instead. A feature that never changes is
drawn as 0.5. The base is plain, or an image. The program is that of `hf_reprogram.transforms.program`.

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
from .drawing import parse_example
from .program import Program, ProgramTransform, near_square


@dataclass
class FeatureOverlayOptions:
    """Options of `feature_overlay`.

    Attributes:
        height, width: the size of the canvas in pixels, which is the image that the source takes.
        num_features: F, the number of features.
        side: the side of a feature's square in pixels; by default the largest that fits into the middle half of the canvas.
        base: the value of a plain base, from 0 (black) to 1 (white).
        base_image: whether the base is an image, which the checkpoint holds.
        squash, amplitude, l2: the program's options, as in `hf_reprogram.transforms.program`; on grey, "tanh" with amplitude
            0.5 covers the whole range and is never clipped.
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
    """Draws the features of a table, with a program around them. Theta is `program.weight` (3, pixels where M is 1).

    `fit` sets the buffers `low` and `high` (F,). A base image is the buffer of bytes `base_image` (3, height, width).

    >>> overlay = FeatureOverlay(FeatureOverlayOptions(height=32, width=32, num_features=2))
    >>> overlay.fit(np.array([[0.0, 10.0], [1.0, 30.0]]), tail=0.0)
    >>> overlay.scaled(torch.tensor([[1.0, 20.0]]))
    tensor([[1.0000, 0.5000]])
    >>> overlay({"table_values": torch.tensor([[1.0, 20.0]])}, image_source)["pixels"].shape
    torch.Size([1, 3, 32, 32])
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
        """Set the values that are drawn as black and as white.

        Args:
            features: the training rows (n, F).
            tail: this share of a feature's smallest values is drawn as black, and the same share of its largest as white.

        Raises:
            InputError: the rows have another shape, or a value is not finite.
        """
        rows = torch.as_tensor(features)
        self._check_rows(rows)
        table = rows.double().cpu().numpy()
        if not len(table):
            raise InputError("There are no rows, so the features have no range: give the training data.")
        low, high = np.quantile(table, [tail, 1 - tail], axis=0)
        same = low == high
        low, high = np.where(same, table.min(0), low), np.where(same, table.max(0), high)
        self.low.copy_(torch.from_numpy(low))
        self.high.copy_(torch.from_numpy(high))

    def scaled(self, features: Tensor) -> Tensor:
        """The shades of the squares (batch, F), from 0 (black) to 1 (white), of features (batch, F).

        Raises:
            InputError: the features have another shape.
        """
        span = self.high - self.low
        self._check_shape(features)
        shade = (features.to(span.dtype) - self.low) / torch.where(span > 0, span, 1)
        return torch.where(span > 0, shade.clamp(0, 1), 0.5)

    def check_batch(self, batch: dict[str, Tensor]) -> None:
        """Raise `InputError` unless `fit` was called and the features are finite numbers of the right shape."""
        if self.low.isnan().any():
            raise InputError("The range of the features is not known: call fit(features) with the training data first.")
        self._check_rows(batch[self.takes])

    def _check_shape(self, features: Tensor) -> None:
        if features.dim() != 2 or features.shape[1] != self.options.num_features:
            raise InputError(
                f"The features are {' x '.join(map(str, features.shape))}: give (rows, {self.options.num_features}) numbers."
            )

    def _check_rows(self, features: Tensor) -> None:
        self._check_shape(features)
        if not bool(features.isfinite().all()):
            row, feature = (~features.isfinite()).nonzero()[0].tolist()
            raise InputError(
                f"Feature {feature} of row {row} is {features[row, feature].item()}: fill in missing values first, for example "
                "with the feature's median."
            )

    def layout(self) -> dict[str, Any]:
        """The number, size and place of the features' squares."""
        options, first = self.options, divmod(int(self.squares[0]), self.options.width)
        each = [options.side, options.side]
        return {"holds": "feature", "number": options.num_features, "each": each, "at": list(first)}

    def default_example(self, processor: Any) -> Example:
        """A row whose features rise evenly within their ranges, from the least of the first to the greatest of the last."""
        share = torch.linspace(0, 1, self.options.num_features, device=self.low.device)
        return Example(torch.lerp(self.low, self.high, share)[None], "features from the least to the greatest")

    def read_example(self, processor: Any, text: str) -> Example:
        """Numbers separated by commas, as many as there are features."""
        example = parse_example(self.takes, processor, text)
        self.check_batch({self.takes: example.data})
        return example

    def canvas_of(self, data: Tensor, programmed: bool = True) -> Tensor:
        """Features (batch, F) on the canvas (batch, 3, height, width), with or without the program."""
        program, frame = self.program.frame() if programmed else self.program.empty()
        if self.options.base_image:
            frame = (self.base_image / 255 + program).clamp(0, 1)
        shades = self.scaled(data).to(frame.dtype).repeat_interleave(len(self.squares) // data.shape[1], 1)
        canvas = frame.flatten(1).expand(data.shape[0], -1, -1)
        return canvas.index_copy(2, self.squares, shades[:, None].expand(-1, 3, -1)).view(-1, *frame.shape)


def squares_of(options: FeatureOverlayOptions) -> Tensor:
    """The positions (F, side * side) of each feature's pixels on the flattened canvas.

    >>> squares_of(FeatureOverlayOptions(height=4, width=4, num_features=2, side=1))
    tensor([[5],
            [6]])
    """
    side, (rows, columns) = options.side or 1, near_square(options.num_features)
    number, offset = torch.arange(options.num_features), torch.arange(side)
    top = (options.height - rows * side) // 2 + number // columns * side
    left = (options.width - columns * side) // 2 + number % columns * side
    down, across = top[:, None] + offset, left[:, None] + offset
    return (down[:, :, None] * options.width + across[:, None, :]).flatten(1)
