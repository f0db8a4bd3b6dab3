"""SMM: sample-specific masks for visual reprogramming (Cai, Ye, Feng, Qi, Liu 2024, arXiv 2406.03150).

    x~ = clip(resize(x) + f_mask(resize(x)) * W, 0, 1)

Theta is one program W for all images, and a small network f_mask that computes a mask of the program for each image. Omega is
an iterative label map, which has no weights.
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
    """Options of SMM, in addition to those of `OutputOptions`.

    Attributes:
        layers: the number of convolutions in f_mask; by default 6 on a source that projects patches, such as a ViT, and 5 on
            others.
        poolings: the number of poolings by two; the mask is constant on patches of 2 ** poolings x 2 ** poolings pixels.
        channels: the channels of the first convolution.
        l2: the weight of the squared program in the loss.
    """

    label_mapping: str = "iterative"
    labels_per_class: int | None = 1
    layers: int | None = None
    poolings: int = 3
    channels: int = 8
    l2: float = 0.0


class SMM(ImageMethod):
    """A program with a mask that depends on the image, and an iterative label map.

    >>> from hf_reprogram import reprogram
    >>> model, processor = reprogram(image_source, "smm", ["cat", "dog"])
    >>> sum(weight.numel() for weight in model.transform.network.parameters())  # 6 convolutions, as the source is a ViT
    102339
    """

    info = MethodInfo(
        title="Sample-specific Masks for Visual Reprogramming-based Prompting",
        authors="Cai, Ye, Feng, Qi, Liu",
        year=2024,
        arxiv="2406.03150",
        label="SMM",
        source="image classifier",
        transform="sample_mask",
        mapping="label_map",
        differs="the network has group norm, where the authors' has batch norm; pixels are clipped to their range; labels are "
        "ranked by their mean probability, where the authors count how often a label is the most probable; the best epoch is "
        "selected on validation, where theirs is selected on test; the schedule is a cosine, where theirs is stepped",
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
