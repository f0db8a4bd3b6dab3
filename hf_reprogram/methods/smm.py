"""SMM: sample-specific masks for visual reprogramming (Cai, Ye, Feng, Qi, Liu 2024, arXiv 2406.03150).

    x~ = clip(resize(x) + f_mask(resize(x)) * W, 0, 1)

theta: one program W for all, and a small network that says for every image where and how much of it to add.
omega: an iterative label map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..sources.base import Source
from .base import MethodInfo
from .composition import ImageMethod, OutputOptions
from .ilm_vp import ILMVP


@dataclass
class SMMOptions(OutputOptions):
    """See `OutputOptions`, and of the mask's network.

    Attributes:
        layers: convolutions of the network; by default 6 on a source that takes images apart into patches, as a ViT does, and 5
            on others.
        poolings: of them, by two each: the mask has patches of 2 ** poolings pixels.
        channels: of its first layer.
        l2: weight of the squared program in the loss.
    """

    label_mapping: str = "iterative"
    labels_per_class: int | None = 1
    layers: int | None = None
    poolings: int = 3
    channels: int = 8
    l2: float = 0.0


class SMM(ImageMethod):
    """A program with a mask of its own for every image, and an iterative label map."""

    info = MethodInfo(
        title="Sample-specific Masks for Visual Reprogramming-based Prompting",
        authors="Cai, Ye, Feng, Qi, Liu",
        year=2024,
        arxiv="2406.03150",
        label="SMM",
        source="image classifier",
        transform="sample_mask",
        mapping="label_map",
        differs="group norm in place of batch norm; pixels are clipped to their range; labels are ranked by their mean "
        "probability, where the authors count first guesses; chosen on validation, where they choose on test; a cosine in "
        "place of a stepped schedule",
        pipeline_tag="image-classification",
    )
    Options = SMMOptions
    training = ILMVP.training

    options: SMMOptions

    def program(self, source: Source, size: tuple[int, int]) -> dict[str, Any]:
        """See `ImageMethod.program`."""
        shape = {name: getattr(self.options, name) for name in ("poolings", "channels", "l2")}
        layers = self.options.layers or (5 if source.spec.patch_size is None else 6)
        return {"type": "sample_mask", "height": size[0], "width": size[1], "layers": layers, **shape}
