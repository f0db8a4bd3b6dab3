"""Reprogramming an image classifier for tables, as for card fraud (Chen, Fan, Ye 2021).

    x~ = clip(draw(v) + M * a * tanh(W), 0, 1);     P(t) = mean over B_t of P(s)

v are the features of one row of a table, which are drawn as grey squares on a base image. Theta is a program around the
squares. Omega maps the source's labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..modalities.pixels import read_base
from ..sources.base import Source, SourceSpec
from .base import Method, MethodInfo, Parts, Target
from .composition import OutputOptions, mapping_alternatives, output_mapping


@dataclass
class FraudOptions(OutputOptions):
    """Options of Chen et al., in addition to those of `OutputOptions`.

    Attributes:
        side: the side of a feature's square in pixels; by default the largest that fits into the middle half of the canvas.
        squash: the function that bounds the program: "tanh", "sigmoid", "clamp" or "none".
        amplitude: a, the factor of the squashed program; pixels go from 0 to 1.
        l2: the weight of the squared program in the loss.
        base: the value of a plain base image, from 0 (black) to 1 (white).
        base_image: the file of the image on which the features are drawn; by default the base is plain.
    """

    side: int | None = None
    squash: str = "tanh"
    amplitude: float = 0.5
    base: float = 0.5
    base_image: str | None = None
    l2: float = 0.0


class Fraud(Method):
    """Features drawn on a canvas, a program around them, and a label map.

    >>> from hf_reprogram import reprogram
    >>> rows = np.random.default_rng(0).normal(size=(20, 6))
    >>> model, _ = reprogram(image_source, "fraud", ["good", "fraud"], features=rows)
    >>> model.transform({"table_values": torch.tensor(rows[:5])}, image_source)["pixels"].shape
    torch.Size([5, 3, 32, 32])
    """

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
        differs="features are scaled by the quantiles of the training data",
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
    tuned = {"omega_learning_rate": 1e-3}

    options: FraudOptions

    def compose(self, source: Source, processor: Any, target: Target) -> Parts:
        """The drawing with its program, and the mapping. A table needs no processor."""
        if target.features is None:
            raise InputError("The method 'fraud' draws the features of a table: give the training rows as features=...")
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

    def alternatives(self, spec: SourceSpec, problem_type: str) -> list[list[dict[str, Any]]]:
        """The output mapping; see `Method.alternatives`."""
        return [mapping_alternatives(self.options, spec)]

    def initialize(self, model: Any, processor: Any) -> None:
        """Set the base image, and start a fresh mapping. The program starts at zero."""
        if self.options.base_image is not None:
            size = model.source.spec.canvas()
            model.transform.base_image.copy_(read_base(self.options.base_image, size))
        model.mapping.reset()
