"""Sample mask: one program for all images, and a small network that says for each image where and how much of it to add.

    x~ = clip(resize(x) + f_mask(resize(x)) * W, 0, 1)

W (3, H, W) is the program, unbounded, which starts at zero. f_mask is a stack of 3 x 3 convolutions, each but the last one
followed by a normalisation, a ReLU and, in the first l of them, a max-pooling by two; the last one gives 3 channels. Each
of its values is repeated over a patch of 2^l x 2^l pixels, so that the mask has the size of the canvas. Theta is W and
the weights of f_mask, which start as fresh layers do.

Paper: 5 layers for a ResNet and 6 for a ViT, l = 3, and 8, 16, 32, ... channels; f_mask then has 26,499 or 102,339 numbers.

What differs: each image is normalised by its own mean and deviation (GroupNorm of one group), in place of those of the
batch, so that an image's mask depends on no other image, and two processes train as one does; the number of weights is the
same. Images have pixels from 0 to 1, and the result is clipped to them, where the authors add to normalised pixels without
a limit. On a canvas that is no multiple of the patch the last patches are cut off.

Source: SMM (Cai, Ye, Feng, Qi, Liu 2024, arXiv 2406.03150).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..options import check_whole
from ..sources.probe import Probe
from .drawing import Views
from .program import Program, ProgramTransform, prepared


@dataclass
class SampleMaskOptions:
    """Options of `sample_mask`.

    Attributes:
        height, width: of the canvas in pixels, which is the image that the source takes.
        layers: convolutions of f_mask; 5 for a ResNet, 6 for a ViT in the paper.
        poolings: l, how many of them are followed by a pooling.
        channels: of the first layer; every further one has twice as many, and the last one 3.
        l2: lambda of the penalty `lambda * sum W^2`.
    """

    height: int
    width: int
    layers: int = 5
    poolings: int = 3
    channels: int = 8
    l2: float = 0.0

    def __post_init__(self) -> None:
        check_whole(height=self.height, width=self.width, layers=self.layers, channels=self.channels)
        check_whole(0, poolings=self.poolings)
        if self.poolings >= self.layers or self.patch > min(self.height, self.width):
            raise InputError(
                f"poolings is {self.poolings}: give fewer than the {self.layers} layers, and patches of 2 ** poolings pixels "
                f"that fit on a canvas of {self.height} x {self.width}."
            )

    @property
    def patch(self) -> int:
        """Side in pixels of the patches on which a mask is constant."""
        side: int = 2**self.poolings
        return side


def mask_network(layers: int, poolings: int, channels: int) -> nn.Sequential:
    """f_mask before its values are repeated: (batch, 3, h, w) to (batch, 3, h / 2^l, w / 2^l), rounded up."""
    parts: list[nn.Module] = []
    inputs = 3
    for layer in range(layers - 1):
        outputs = channels * 2**layer
        parts += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(1, outputs), nn.ReLU()]
        if layer < poolings:
            parts.append(nn.MaxPool2d(2, ceil_mode=True))
        inputs = outputs
    return nn.Sequential(*parts, nn.Conv2d(inputs, 3, 3, padding=1))


class SampleMask(ProgramTransform):
    """Adds the program through a mask of each image's own; theta is `program` and `network`."""

    Options = SampleMaskOptions
    options: SampleMaskOptions

    def __init__(self, options: SampleMaskOptions) -> None:
        super().__init__(options)
        everywhere = torch.ones(options.height, options.width, dtype=torch.bool)
        self.program = Program(everywhere, squash="none", l2=options.l2)
        self.network = mask_network(options.layers, options.poolings, options.channels)

    def masks(self, images: Tensor) -> Tensor:
        """f_mask of images (batch, 3, height, width) that fill the canvas: (batch, 3, height, width), unbounded."""
        small = self.network(images)
        whole = F.interpolate(small, scale_factor=self.options.patch, mode="nearest")
        return whole[..., : self.options.height, : self.options.width]

    def layout(self) -> dict[str, Any]:
        """The image fills the canvas."""
        size = [self.options.height, self.options.width]
        return {"holds": "image", "number": 1, "each": size, "at": [0, 0]}

    @torch.no_grad()
    def picture(self, probe: Probe) -> Views:
        """The example with the program and without it, and the mask that the program gets for it."""
        views = super().picture(probe)
        masks = self.masks(views.before[None].to(self.program.weight.device))
        return replace(views, added={**views.added, "its mask for the example": masks[0].cpu()})

    def canvas_of(self, data: Tensor, programmed: bool = True) -> Tensor:
        """Images (batch, 3, h, w) from 0 to 1, resized to the canvas, with or without the program through their masks."""
        images = prepared(data, (self.options.height, self.options.width), self.program.weight.dtype)
        return (images + self.masks(images) * self.program()).clamp(0, 1) if programmed else images
