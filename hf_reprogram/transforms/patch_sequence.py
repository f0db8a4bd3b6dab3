"""Patch sequence: an image or a row of numbers is cut into patches, and a linear layer makes an input embedding of each.

    e_i = A p_i + b        p_i (patch width,), A (width, patch width), b (width,)

The embeddings e_1 ... e_n are the inputs of a text source, in place of those of its tokens. Theta is A and b. There is no
vocabulary, so any numbers can be read.

`pixel_sequence` cuts images, row by row from the top left. Pixels from 0 to 1 are spread to -1 to 1. `number_sequence` cuts
rows of numbers from left to right; the last patch is filled up with zeros. With `standardize` each column has the mean 0 and
the deviation 1 on the training data (a column that is constant there is only centred).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..options import check_whole
from ..sources.base import Source, SourceSpec
from ..sources.probe import Example
from .base import InputTransform
from .program import check_pixels

GAIN = 1.41  # of the orthogonal start, as Lu et al. have it


class PatchSequence(InputTransform):
    """What both sequences share. Theta is `weight` (width, patch width) and `bias` (width,).

    >>> sequence = NumberSequence(NumberSequenceOptions(width=32, num_features=6, patch=2, standardize=False))
    >>> isinstance(sequence, PatchSequence), tuple(sequence.weight.shape), sequence.options.number
    (True, (32, 2), 3)
    """

    options: Any

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.weight = nn.Parameter(torch.zeros(options.width, options.patch_width))
        self.bias = nn.Parameter(torch.zeros(options.width))

    @torch.no_grad()
    def reset(self) -> None:
        """Start with an orthogonal A of gain 1.41, and b of zero."""
        nn.init.orthogonal_(self.weight, gain=GAIN)
        self.bias.zero_()

    def check(self, spec: SourceSpec) -> None:
        """Raise `InputError` unless the source takes embeddings of this width, and as many of them."""
        spec.check_tokens()
        if spec.embedding_width != self.options.width:
            raise InputError(
                f"The patches become vectors {self.options.width} wide, but the source embeds {spec.embedding_width} wide: "
                "this adapter belongs to another source."
            )
        if self.options.number > spec.max_tokens:
            raise InputError(
                f"There are {self.options.number} patches, but {spec.family} has {spec.max_tokens} positions: use larger "
                "patches."
            )

    def patches(self, data: Tensor) -> Tensor:
        """The patches (batch, number, patch width) of a batch of examples."""
        raise NotImplementedError  # pragma: no cover - the interface

    def forward(self, batch: dict[str, Tensor], source: Source) -> dict[str, Any]:
        """`inputs_embeds` (batch, number, width), and an `attention_mask` of ones (batch, number)."""
        self.check_first(batch)
        data = batch[self.takes]
        embeds = F.linear(self.patches(data.to(self.weight.dtype)), self.weight, self.bias)
        mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device)
        return {"inputs_embeds": embeds.to(source.embedding.weight.dtype), "attention_mask": mask}


@dataclass
class PixelSequenceOptions:
    """Options of `pixel_sequence`.

    Attributes:
        width: the width of the source's input embeddings.
        height, columns: the height and the width of an image in pixels.
        patch: the side of a patch in pixels, which divides both.
        channels: 3, or 1 for the mean of the three.
    """

    width: int
    height: int
    columns: int
    patch: int = 4
    channels: int = 3

    def __post_init__(self) -> None:
        check_whole(width=self.width, height=self.height, columns=self.columns, patch=self.patch)
        if self.channels not in (1, 3):
            raise InputError(f"channels is {self.channels!r}: give 3, or 1 for grey.")
        if self.height % self.patch or self.columns % self.patch:
            raise InputError(
                f"Patches of {self.patch} x {self.patch} pixels do not cover an image of {self.height} x {self.columns}: give "
                "a side that divides both."
            )

    @property
    def patch_width(self) -> int:
        """The numbers of a patch."""
        return self.channels * self.patch**2

    @property
    def number(self) -> int:
        """The number of patches."""
        return (self.height // self.patch) * (self.columns // self.patch)


class PixelSequence(PatchSequence):
    """Patches of an image as input embeddings.

    >>> sequence = PixelSequence(PixelSequenceOptions(width=32, height=8, columns=8))
    >>> sequence({"pixel_values": torch.rand(5, 3, 8, 8)}, text_source)["inputs_embeds"].shape
    torch.Size([5, 4, 32])
    """

    Options = PixelSequenceOptions
    options: PixelSequenceOptions
    takes = "pixel_values"

    def check_batch(self, batch: dict[str, Tensor]) -> None:
        """Raise `InputError` unless the pixels go from 0 to 1 and the images have the adapter's size."""
        pixels, options = batch[self.takes], self.options
        check_pixels(pixels)
        if tuple(pixels.shape[1:]) != (3, options.height, options.columns):
            raise InputError(
                f"The images are {' x '.join(map(str, pixels.shape[1:]))}, and this adapter takes 3 x {options.height} x "
                f"{options.columns}: use the processor that came with it."
            )

    def patches(self, data: Tensor) -> Tensor:
        """See `PatchSequence.patches`; a patch is its channels, and each of these its rows."""
        spread = 2 * data - 1
        if self.options.channels == 1:
            spread = spread.mean(1, keepdim=True)
        return F.unfold(spread, self.options.patch, stride=self.options.patch).transpose(1, 2)


@dataclass
class NumberSequenceOptions:
    """Options of `number_sequence`.

    Attributes:
        width: the width of the source's input embeddings.
        num_features: the numbers of a row.
        patch: the numbers of a patch.
        standardize: whether each column is centred and scaled by its training data.
    """

    width: int
    num_features: int
    patch: int = 1
    standardize: bool = True

    def __post_init__(self) -> None:
        check_whole(width=self.width, num_features=self.num_features, patch=self.patch)

    @property
    def patch_width(self) -> int:
        """The numbers of a patch."""
        return self.patch

    @property
    def number(self) -> int:
        """The number of patches."""
        return -(-self.num_features // self.patch)


class NumberSequence(PatchSequence):
    """Patches of a row of numbers as input embeddings. `fit` sets the buffers `mean` and `deviation` (columns,).

    >>> sequence = NumberSequence(NumberSequenceOptions(width=32, num_features=5, patch=2))
    >>> sequence.fit(np.arange(20.0).reshape(4, 5))
    >>> sequence({"table_values": torch.rand(6, 5)}, text_source)["inputs_embeds"].shape
    torch.Size([6, 3, 32])
    """

    Options = NumberSequenceOptions
    options: NumberSequenceOptions
    takes = "table_values"

    mean: Tensor
    deviation: Tensor

    def __init__(self, options: NumberSequenceOptions) -> None:
        super().__init__(options)
        if options.standardize:
            self.register_buffer("mean", torch.full((options.num_features,), torch.nan))
            self.register_buffer("deviation", torch.full((options.num_features,), torch.nan))

    @torch.no_grad()
    def fit(self, features: np.ndarray) -> None:
        """Set mean and deviation to those of the training rows (n, columns).

        Raises:
            InputError: the rows have another shape, or a value is not finite.
        """
        rows = torch.as_tensor(features).double().cpu()
        self._check_rows(rows)
        if self.options.standardize:
            deviation = rows.std(0, correction=0)
            self.mean.copy_(rows.mean(0))
            self.deviation.copy_(torch.where(deviation > 0, deviation, 1.0))

    def check_batch(self, batch: dict[str, Tensor]) -> None:
        """Raise `InputError` unless `fit` was called and the rows are finite numbers of the right shape."""
        if self.options.standardize and self.mean.isnan().any():
            raise InputError("The means of the columns are not known: call fit(features) with the training data first.")
        self._check_rows(batch[self.takes])

    def _check_rows(self, rows: Tensor) -> None:
        if rows.dim() != 2 or rows.shape[1] != self.options.num_features:
            raise InputError(
                f"The rows are {' x '.join(map(str, rows.shape))}: give (rows, {self.options.num_features}) numbers."
            )
        if not bool(rows.isfinite().all()):
            row, column = (~rows.isfinite()).nonzero()[0].tolist()
            raise InputError(
                f"Number {column} of row {row} is {rows[row, column].item()}: fill in missing values first, for example with "
                "the column's median."
            )

    def patches(self, data: Tensor) -> Tensor:
        """See `PatchSequence.patches`."""
        if self.options.standardize:
            data = (data - self.mean) / self.deviation
        width = self.options.patch
        cut: Tensor = F.pad(data, (0, self.options.number * width - data.shape[1])).unflatten(1, (-1, width))
        return cut

    def default_example(self, processor: Any) -> Example:
        """A row of the columns' means, or of zeros."""
        row = self.mean if self.options.standardize else torch.zeros(self.options.num_features)
        return Example(row[None].cpu(), "the mean of every column" if self.options.standardize else "zeros")
