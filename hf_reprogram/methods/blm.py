"""BLM and BLM+: Bayesian-guided label mapping (Cai, Ye, Feng, Qi, Liu 2024, arXiv 2410.24018).

    x~ = place(x) + M * sigmoid(W);     logit_t = sum over s of w(t, s) logit_s

theta: a program around the image, as in ILM-VP.  omega: how often each class is meant when the source says each of its labels,
counted anew before every epoch; BLM counts its first guess, BLM+ the probabilities of its most probable labels.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import unknown
from .base import MethodInfo
from .ilm_vp import ILMVP, ILMVPOptions


@dataclass
class BLMOptions(ILMVPOptions):
    """See `CanvasProgramOptions`; `label_mapping` is "blm_plus" or "blm", whose default is to mix logits as the authors do."""

    label_mapping: str = "blm_plus"
    labels_per_class: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mapping == "label_map" and self.label_mapping not in ("blm", "blm_plus"):
            raise unknown("label_mapping of BLM", self.label_mapping, ("blm", "blm_plus"))


class BLM(ILMVP):
    """ILM-VP's program with a Bayesian label map."""

    info = MethodInfo(
        title="Bayesian-guided Label Mapping for Visual Reprogramming",
        authors="Cai, Ye, Feng, Qi, Liu",
        year=2024,
        arxiv="2410.24018",
        label="BLM",
        source="image classifier",
        transform="canvas",
        mapping="label_map",
        differs="chosen on validation, where the authors choose on test; 50 epochs of a cosine in place of 200 of a stepped "
        "schedule; images of a quarter of the canvas's side, or of image_size, where theirs have 32 or 128 of 224 pixels; "
        "batches of 64, not 64 to 256",
        pipeline_tag="image-classification",
    )
    Options = BLMOptions
