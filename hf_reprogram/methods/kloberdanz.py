"""Reprogramming with few images a class (Kloberdanz, Tian, Le 2021).

    x~ = clip(x + tanh(W), 0, 1);     y = omega . f(x~) + b

theta: an additive program on the whole image.  omega: a trained dense layer in place of the label map.

The authors' last notebooks train no input layer at all; here both are trained.
"""

from __future__ import annotations

from dataclasses import dataclass

from .base import MethodInfo
from .composition import CanvasMethod, CanvasProgramOptions


@dataclass
class KloberdanzOptions(CanvasProgramOptions):
    """See `CanvasProgramOptions`; the image fills the canvas, the program covers it, and a dense layer reads the logits."""

    mapping: str = "dense"
    reads: str = "logits"
    mask: str = "full"


class Kloberdanz(CanvasMethod):
    """A program over the whole image, and a dense layer."""

    info = MethodInfo(
        title="An Improved (Adversarial) Reprogramming Technique for Neural Networks",
        authors="Kloberdanz, Tian, Le",
        year=2021,
        arxiv="",
        venue="ICANN 2021",
        label="Kloberdanz et al.",
        source="image classifier or encoder",
        transform="canvas",
        mapping="dense",
        differs="the program is trained, which the authors' last notebooks leave out; clipped to the pixels' range",
        pipeline_tag="image-classification",
    )
    Options = KloberdanzOptions
    training = {
        "learning_rate": 1e-2,
        "weight_decay": 0.0,
        "num_train_epochs": 30,
        "per_device_train_batch_size": 32,
        "lr_scheduler_type": "linear",
    }
