"""BLM and BLM+: Bayesian-guided label mapping (Cai, Ye, Feng, Qi, Liu 2024, arXiv 2410.24018).

    x~ = place(x) + M * sigmoid(W);     logit_t = sum over s of w(t, s) logit_s

Theta is a program around the image, as in ILM-VP. Omega has no trained weights: w(t, s) is the normalised frequency of class t
among the examples with source label s, which is counted again before every epoch. BLM counts the source's most probable label,
and BLM+ adds up the probabilities of its most probable labels.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import unknown
from .base import MethodInfo
from .ilm_vp import ILMVP, ILMVPOptions


@dataclass
class BLMOptions(ILMVPOptions):
    """Options of BLM: those of `CanvasProgramOptions`. By default `aggregate` is "mean_logit", as the authors have it.

    Attributes:
        label_mapping: "blm_plus" or "blm"; with mapping="rvp" one of the choices of sets.
    """

    label_mapping: str = "blm_plus"
    labels_per_class: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mapping == "label_map" and self.label_mapping not in ("blm", "blm_plus"):
            raise unknown("label_mapping of BLM", self.label_mapping, ("blm", "blm_plus"))


class BLM(ILMVP):
    """ILM-VP's program with a Bayesian label map.

    >>> from hf_reprogram import reprogram
    >>> model, processor = reprogram(image_source, "blm", ["cat", "dog"], image_size=8)
    >>> model.num_trainable()  # 3 * (32 * 32 - 8 * 8)
    2880
    """

    info = MethodInfo(
        title="Bayesian-guided Label Mapping for Visual Reprogramming",
        authors="Cai, Ye, Feng, Qi, Liu",
        year=2024,
        arxiv="2410.24018",
        label="BLM",
        source="image classifier",
        transform="canvas",
        mapping="label_map",
        differs="the best epoch is selected on validation, where the authors select it on test; training has 50 epochs with a "
        "cosine schedule, where theirs has 200 with a stepped one; images fill the canvas, with the program on a frame, or "
        "have image_size, where theirs have 32 or 128 of 224 pixels; batches have 64 images, where theirs have 64 to 256",
        pipeline_tag="image-classification",
    )
    Options = BLMOptions
