"""Sample mask: one program for all images, and a small network that computes a mask of the program for each image.

    x~ = clip(resize(x) + f_mask(resize(x)) * W, 0, 1)

W (3, height, width) is the program. It is unbounded and starts at zero. f_mask is a stack of 3 x 3 convolutions. A
normalisation and a ReLU follow each but the last one, and a max-pooling by two follows each of the first l. The last one has 3
channels. Each of its outputs is repeated over a patch of 2^l x 2^l pixels, so the mask has the size of the canvas. Theta is W
and the weights of f_mask, which start as fresh layers do.

The paper has 5 layers for a ResNet and 6 for a ViT, l = 3, and 8 channels, doubled in each layer. Then f_mask has 26,499 or
102,339 numbers.

Two things differ from the paper. Each image is normalised by its own mean and deviation (GroupNorm of one group), not by those
of the batch: an image's mask depends on no other image, and two processes train as one does. The number of weights is the
same. Pixels go from 0 to 1, and the result is clipped to this range, where the authors add to normalised pixels without a
limit. If the canvas is not a multiple of the patch, the last patches are cut off.

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
from .program import Program, ProgramTransform, resized


@dataclass
class SampleMaskOptions:
    """Options of `sample_mask`.

    Attributes:
        height, width: the size of the canvas in pixels, which is the image that the source takes.
        layers: the number of convolutions in f_mask; 5 for a ResNet and 6 for a ViT in the paper.
        poolings: l, the number of convolutions that a pooling follows.
        channels: the channels of the first layer; each next layer has twice as many, and the last one has 3.
        l2: lambda in the penalty `lambda * sum W^2`.
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
        """The side, in pixels, of the patches on which a mask is constant: 2^l."""
        side: int = 2**self.poolings
        return side


def mask_network(layers: int, poolings: int, channels: int) -> nn.Sequential:
    """f_mask without the repetition: images (batch, 3, h, w) to values (batch, 3, h / 2^l, w / 2^l), rounded up.

    >>> network = mask_network(layers=5, poolings=3, channels=8)
    >>> sum(weight.numel() for weight in network.parameters()), network(torch.rand(1, 3, 32, 32)).shape
    (26499, torch.Size([1, 3, 4, 4]))
    """
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
    """Adds the program through a mask that depends on the image. Theta is `program.weight` and the weights of `network`.

    >>> transform = SampleMask(SampleMaskOptions(height=32, width=32))
    >>> transform({"pixel_values": torch.rand(5, 3, 8, 8)}, image_source)["pixels"].shape
    torch.Size([5, 3, 32, 32])
    """

    Options = SampleMaskOptions
    options: SampleMaskOptions

    def __init__(self, options: SampleMaskOptions) -> None:
        super().__init__(options)
        everywhere = torch.ones(options.height, options.width, dtype=torch.bool)
        self.program = Program(everywhere, squash="none", l2=options.l2)
        self.network = mask_network(options.layers, options.poolings, options.channels)

    def masks(self, images: Tensor) -> Tensor:
        """The masks f_mask(x) of images x of the canvas's size; both are (batch, 3, height, width). Masks are unbounded."""
        small = self.network(images)
        whole = F.interpolate(small, scale_factor=self.options.patch, mode="nearest")
        return whole[..., : self.options.height, : self.options.width]

    def layout(self) -> dict[str, Any]:
        """One image, which fills the canvas."""
        size = [self.options.height, self.options.width]
        return {"holds": "image", "number": 1, "each": size, "at": [0, 0]}

    @torch.no_grad()
    def picture(self, probe: Probe) -> Views:
        """The example with the program and without it, and its mask."""
        views = super().picture(probe)
        masks = self.masks(views.before[None].to(self.program.weight.device))
        return replace(views, added={**views.added, "its mask for the example": masks[0].cpu()})

    def canvas_of(self, data: Tensor, programmed: bool = True) -> Tensor:
        """Images (batch, 3, h, w) of pixels from 0 to 1, resized to the canvas, with or without the masked program."""
        images = resized(data, (self.options.height, self.options.width), self.program.weight.dtype)
        return (images + self.masks(images) * self.program()).clamp(0, 1) if programmed else images
