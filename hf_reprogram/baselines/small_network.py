"""A small network from scratch, for as many epochs as the method: convolutions for images, two layers for tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from ..errors import InputError
from ..losses import target_loss
from ..methods.images import image_processor
from .base import Baseline, Outcome, Setting
from .search import best_of


@dataclass
class SmallNetworkOptions:
    """Options of `small_network`.

    Attributes:
        side: to which images are resized, in pixels.
        channels: of the convolutions, each of which halves the image; for tables the last is the hidden layer's width.
        learning_rate: to choose from on validation, on the first seed.
    """

    side: int = 32
    channels: list[int] = field(default_factory=lambda: [32, 64, 128])
    learning_rate: list[float] = field(default_factory=lambda: [1e-3, 3e-3])

    def __post_init__(self):
        if not self.channels or not all(channel >= 1 for channel in self.channels) or not self.learning_rate:
            raise InputError("small_network needs channels, each 1 or more, and a learning_rate to choose from.")
        if type(self.side) is not int or self.side < 2 ** len(self.channels):
            raise InputError(
                f"side is {self.side!r}: {len(self.channels)} convolutions that halve an image need one of at least "
                f"{2 ** len(self.channels)} pixels."
            )


class SmallNetwork(Baseline):
    """The network that one would train without any pretrained model."""

    title = "small network"
    Options = SmallNetworkOptions
    modalities = ("image", "table")

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        options, task = self.options, setting.task
        outputs = len(task.labels) or 1
        images = task.modality == "image"

        def make_model(_: Any) -> Network:
            if images:
                return Network(convolutions(options.channels, outputs), task.problem_type)
            rows = torch.tensor(setting.splits["train"]["features"][:])
            hidden = nn.Sequential(nn.Linear(rows.shape[1], options.channels[-1]), nn.ReLU())
            layers = nn.Sequential(Standardise(rows), hidden, nn.Linear(options.channels[-1], outputs))
            return Network(layers, task.problem_type)

        processor = image_processor((options.side,) * 2) if images else None
        grid = [{"learning_rate": rate} for rate in options.learning_rate]
        return best_of(setting, processor, make_model, grid).outcome()


def convolutions(channels: list[int], outputs: int) -> nn.Sequential:
    """3 x 3 convolutions with batch norm and pooling, then the mean over the image and a linear layer."""
    layers: list[nn.Module] = []
    for before, after in zip([3, *channels], channels, strict=False):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], outputs))


class Standardise(nn.Module):
    """Columns less their mean over their deviation, both of given rows (n, columns)."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, rows: Tensor):
        super().__init__()
        self.register_buffer("mean", rows.mean(0))
        self.register_buffer("deviation", rows.std(0).clamp(min=1e-6))

    def forward(self, rows: Tensor) -> Tensor:
        """(batch, columns) to the same."""
        return (rows - self.mean) / self.deviation


class Network(nn.Module):
    """Layers under the loss of `hf_reprogram.losses`, for the Trainer.

    Args:
        layers: from one input to logits.
        problem_type: decides the loss.
    """

    def __init__(self, layers: nn.Module, problem_type: str):
        super().__init__()
        self.layers, self.problem_type = layers, problem_type

    def forward(
        self, pixel_values: Tensor | None = None, input_features: Tensor | None = None, labels: Tensor | None = None
    ) -> SequenceClassifierOutput:
        """Logits and loss."""
        logits = self.layers(input_features if pixel_values is None else pixel_values)
        loss = None if labels is None else target_loss(logits, labels, self.problem_type)
        return SequenceClassifierOutput(loss=loss, logits=logits)
