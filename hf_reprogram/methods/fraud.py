"""Reprogramming an image classifier for tables, as for card fraud (Chen, Fan, Ye 2021).

    x~ = clip(draw(v) + M * a * tanh(W), 0, 1);     P(t) = mean over B_t of P(s)

theta: a program around the features, which are drawn as grey squares on a base image.  omega: a map of the source's labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..modalities.pixels import read_base
from ..sources.base import Source
from .base import Method, MethodInfo, Parts, Target
from .composition import OutputOptions, output_mapping


@dataclass
class FraudOptions(OutputOptions):
    """See `OutputOptions`, and of the drawing.

    Attributes:
        side: pixels of a feature's square; by default as many as fit into the middle half of the canvas.
        squash, amplitude, l2: of the program, as in `hf_reprogram.transforms.program`.
        base: value of a plain base image, 0 (black) to 1 (white).
        base_image: file of the image that the features are drawn on; by default a plain one.
    """

    side: int | None = None
    squash: str = "tanh"
    amplitude: float = 0.5
    base: float = 0.5
    base_image: str | None = None
    l2: float = 0.0


class Fraud(Method):
    """Features drawn on a canvas, a program around them, and a label map."""

    info = MethodInfo(
        title="Adversarial Reprogramming of Pretrained Neural Networks for Fraud Detection",
        authors="Chen, Fan, Ye",
        year=2021,
        arxiv="",
        venue="CIKM 2021",
        label="Chen et al.",
        source="image classifier",
        transform="feature_overlay",
        mapping="label_map",
        differs="features are scaled by their quantiles in the training data",
        pipeline_tag="tabular-classification",
    )
    Options = FraudOptions
    problem_types = ("single_label_classification", "regression", "multi_label_classification")
    training = {
        "learning_rate": 5e-2,
        "weight_decay": 0.0,
        "num_train_epochs": 20,
        "per_device_train_batch_size": 32,
        "lr_scheduler_type": "linear",
    }

    options: FraudOptions

    def compose(self, source: Source, processor: Any, target: Target) -> Parts:
        """The drawing with its program, and the mapping; a table needs no processor."""
        if target.features is None:
            raise InputError("This method draws the features of a table: give the training rows as features=...")
        options = self.options
        height, width = source.spec.canvas()
        transform = {
            "type": "feature_overlay",
            "height": height,
            "width": width,
            "num_features": len(target.features[0]),
            "base_image": options.base_image is not None,
            **{name: getattr(options, name) for name in ("side", "squash", "amplitude", "base", "l2")},
        }
        return Parts(transform, output_mapping(options, source, target), None)

    def initialize(self, model: Any, processor: Any) -> None:
        """A program of zeros on the base image, and a fresh mapping."""
        if self.options.base_image is not None:
            size = model.source.spec.canvas()
            model.transform.base_image.copy_(read_base(self.options.base_image, size))
        model.mapping.reset()
