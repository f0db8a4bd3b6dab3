"""BAR: black-box adversarial reprogramming (Tsai, Chen, Ho 2020, arXiv 2007.08714).

    x~ = clip(place(x) + M * tanh(W))        P(t) = mean over B_t of P(s)        L = -(1 - P(y))^gamma log P(y)

Theta is a program around the image, and its gradient is estimated from the source's answers alone: "rgf" of
`hf_reprogram.gradients`. Omega maps the source's own labels and has no weights. A class has the labels that answer it
most often, from one pass over the training data, whose samples are paid for like any others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..sources.base import Source
from .base import MethodInfo, Parts, Target
from .composition import CanvasMethod, CanvasProgramOptions


@dataclass
class BAROptions(CanvasProgramOptions):
    """Options of BAR, in addition to those of `CanvasProgramOptions`.

    Attributes:
        focal: gamma of the focal loss; 0 for the cross-entropy. It is for mapping="label_map".
    """

    focal: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mapping != "label_map" and self.focal != type(self).focal:
            raise InputError(f"focal is for mapping='label_map', and mapping is {self.mapping!r}: leave it out.")


class BAR(CanvasMethod):
    """A canvas with a program of few numbers and a label map by frequency, from answers alone.

    >>> from hf_reprogram import reprogram
    >>> model, processor = reprogram(image_source, "bar", ["cat", "dog"], gradients={"rgf": {"q": 10}})
    >>> model.config.gradients, model.num_trainable()
    ({'rgf': {'q': 10, 'mu': 0.1}}, 180)
    """

    info = MethodInfo(
        title="Transfer Learning without Knowing: Reprogramming Black-box Machine Learning Models with Scarce Data and Limited "
        "Resources",
        authors="Tsai, Chen, Ho",
        year=2020,
        arxiv="2007.08714",
        label="BAR",
        source="image classifier, also one that only answers",
        transform="canvas",
        mapping="label_map",
        differs="images fill the canvas, with the program on a frame, or have image_size, where theirs have 200 of 299 pixels; "
        "pixels of the program share a number in squares as wide as the frame, where theirs have three numbers each; gamma of "
        "the focal loss is 2, where theirs is 4; the best epoch is selected on validation, where theirs is selected on test; "
        "batches have 32 images and the schedule is linear, where theirs have 10 and a constant rate",
        pipeline_tag="image-classification",
    )
    Options = BAROptions
    options: BAROptions
    paper = {"mask": "surround", "focal": 4.0}
    gradients = {"rgf": {"q": 25, "mu": 0.1}}
    training = {
        "learning_rate": 1e-2,
        "weight_decay": 0.0,
        "num_train_epochs": 30,
        "per_device_train_batch_size": 32,
        "lr_scheduler_type": "linear",
    }

    def compose(self, source: Source, processor: Any, target: Target) -> Parts:
        """See `ImageMethod.compose`; a label map has the focal loss."""
        parts = super().compose(source, processor, target)
        if parts.mapping["type"] == "label_map":
            parts.mapping["focal"] = self.options.focal
        return parts
