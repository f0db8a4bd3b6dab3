"""A small network from scratch, for as many epochs as the method: convolutions for images and texts, two layers for tables.

Images: 3 x 3 convolutions with batch norm, each halving the image. Texts, in the method's own tokens: windows of 3, 4 and 5
tokens and the largest answer of each (Kim 2014, arXiv 1408.5882), without the pretrained word vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_outputs import SequenceClassifierOutput

from ..errors import InputError
from ..losses import target_loss
from ..modalities.examples import Examples
from ..options import check_whole, check_whole_list
from ..tasks.labels import problem_of
from ..training.encode import encode
from .base import Baseline, Outcome, Run, Setting, check_choices
from .search import best_of


@dataclass
class SmallNetworkOptions:
    """Options of `small_network`.

    Attributes:
        side: to which images are resized, in pixels.
        channels: of the convolutions, each of which halves the image; for tables the last is the hidden layer's width, and for
            texts the first is that of a token's vector and the last that of each window.
        learning_rate: to choose from on validation, on the first seed.
    """

    side: int = 32
    channels: list[int] = field(default_factory=lambda: [32, 64, 128])
    learning_rate: list[float] = field(default_factory=lambda: [1e-3, 3e-3])

    def __post_init__(self):
        check_whole_list(channels=self.channels)
        check_choices("small_network", learning_rate=self.learning_rate)
        check_whole(1, " of pixels", side=self.side)
        if self.side < 2 ** len(self.channels):
            raise InputError(
                f"side is {self.side}: each of the {len(self.channels)} convolutions halves the image, so give at least "
                f"{2 ** len(self.channels)} pixels."
            )


class SmallNetwork(Baseline):
    """The network that one would train without any pretrained model."""

    title = "small network"
    Options = SmallNetworkOptions

    def check(self, recipe: Run) -> None:
        """See `Baseline.check`."""
        super().check(recipe)
        if problem_of(recipe.task_options) in ("token_classification", "infilling"):
            raise InputError("small_network has one answer a text, and the task one a token: leave it out.")

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        options, task = self.options, setting.task
        processor = setting.make()[1] if task.modality.letters else task.modality.raw_processor(options.side)
        data = encode(setting.splits, processor, task.options.max_length, task.problem_type)

        def make_network(_: Any) -> Network:
            return Network(self._layers(data["train"], processor, len(task.labels) or 1), task.problem_type)

        grid = [{"learning_rate": rate} for rate in options.learning_rate]
        return best_of(setting, processor, make_network, grid, data=data).outcome()

    def _layers(self, train: Any, processor: Any, outputs: int) -> nn.Module:
        """Fresh layers from one input to logits, by the shape of an example of the encoded training split."""
        channels = self.options.channels
        if not isinstance(train, Examples):
            return Windows(len(processor), channels[0], channels[-1], outputs)
        if train.read([0]).ndim == 4:
            return convolutions(channels, outputs)
        rows = torch.from_numpy(train.read(range(len(train))))
        hidden = nn.Sequential(nn.Linear(rows.shape[1], channels[-1]), nn.ReLU())
        return nn.Sequential(Standardise(rows), hidden, nn.Linear(channels[-1], outputs))


def convolutions(channels: list[int], outputs: int) -> nn.Sequential:
    """3 x 3 convolutions with batch norm and pooling, then the mean over the image and a linear layer."""
    layers: list[nn.Module] = []
    for before, after in zip([3, *channels], channels, strict=False):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], outputs))


class Windows(nn.Module):
    """Windows of 3, 4 and 5 tokens, the largest answer of each over a text, and a linear layer."""

    def __init__(self, tokens: int, width: int, channels: int, outputs: int, sizes: Sequence[int] = (3, 4, 5)):
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.sizes = tuple(sizes)
        self.windows = nn.ModuleList(nn.Conv1d(width, channels, size) for size in sizes)
        self.head = nn.Linear(channels * len(sizes), outputs)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Ids and mask (batch, tokens) to logits; padding is as nothing, before a text or after it."""
        mask = attention_mask[:, None]
        states = self.embedding(input_ids).transpose(1, 2) * mask
        found = []
        for size, window in zip(self.sizes, self.windows, strict=True):
            answers = window(F.pad(states, (0, size - 1))).relu()
            found.append((answers * mask).amax(-1))
        return self.head(torch.cat(found, -1))


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
        layers: from one input to logits; of a text its ids and mask.
        problem_type: decides the loss.
    """

    accepts_loss_kwargs = False  # the loss is a mean over the batch: accumulating must not rescale it

    def __init__(self, layers: nn.Module, problem_type: str):
        super().__init__()
        self.layers, self.problem_type = layers, problem_type

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **inputs: Tensor,
    ) -> SequenceClassifierOutput:
        """Logits and loss, of token ids and their mask or of the one input of another kind."""
        logits = self.layers(*inputs.values()) if input_ids is None else self.layers(input_ids, attention_mask)
        loss = None if labels is None else target_loss(logits, labels, self.problem_type)
        return SequenceClassifierOutput(loss=loss, logits=logits)
