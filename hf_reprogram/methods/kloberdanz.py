"""Reprogramming with few images per class (Kloberdanz, Tian, Le 2021).

    x~ = clip(x + tanh(W), 0, 1);     y = omega . f(x~) + b

Theta is an additive program on the whole image. Omega is a trained dense layer in place of the label map.

The authors' last notebooks train no input layer. Here both are trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .base import MethodInfo
from .composition import CanvasMethod, CanvasProgramOptions


@dataclass
class KloberdanzOptions(CanvasProgramOptions):
    """Options of Kloberdanz et al.: those of `CanvasProgramOptions`.

    By default the image fills the canvas, the program covers it, and a dense layer reads the source's logits.
    """

    mapping: str = "dense"
    reads: str = "logits"
    mask: str | None = "full"


class Kloberdanz(CanvasMethod):
    """A program over the whole image, and a dense layer.

    >>> from hf_reprogram import reprogram
    >>> model, processor = reprogram(image_source, "kloberdanz", ["cat", "dog"])
    >>> {name: tuple(p.shape) for name, p in model.trainable().items()}
    {'transform.program.weight': (3, 1024), 'mapping.linear.weight': (2, 12), 'mapping.linear.bias': (2,)}
    """

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
        differs="the program is trained, which the authors' last notebooks leave out; pixels are clipped to their range",
        pipeline_tag="image-classification",
    )
    Options = KloberdanzOptions
    paper: ClassVar[dict[str, Any]] = {}
    training = {
        "learning_rate": 1e-2,
        "weight_decay": 0.0,
        "num_train_epochs": 30,
        "per_device_train_batch_size": 32,
        "lr_scheduler_type": "linear",
    }
