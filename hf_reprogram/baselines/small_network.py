"""A small network from scratch, trained for as many epochs as the method.

Images are read by 3 x 3 convolutions with batch norm, each of which halves the image. Texts are read in the method's own tokens
by convolutions of 3, 4 and 5 tokens with a maximum over the text (Kim 2014, arXiv 1408.5882), but without pretrained word
vectors. Time series are read by convolutions without pooling (Wang, Yan, Oates 2017, arXiv 1611.06455), sounds by those of Dai
et al. (2017, arXiv 1610.00087), and other rows of numbers by two linear layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from ..tasks.task import Task

LEAST_SAMPLES = 4000  # from which a row of numbers in time is read as a sound


@dataclass
class SmallNetworkOptions:
    """Options of `small_network`.

    Attributes:
        side: the side in pixels to which images are resized.
        channels: the channels of the convolutions for images, sounds and series. For tables the last one is the width of the
            hidden layer; for texts the first one is the width of a token's embedding and the last one the channels of each
            convolution.
        learning_rate: learning rates; the first seed chooses one on validation.
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
    """A small network from scratch, as one would train without any pretrained model."""

    title = "small network"
    Options = SmallNetworkOptions

    def check(self, recipe: Run) -> None:
        """See `Baseline.check`."""
        super().check(recipe)
        if problem_of(recipe.task_options) in ("token_classification", "infilling"):
            raise InputError("small_network predicts one label per text, and the task has one per token: leave it out.")

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        options, task = self.options, setting.task
        processor = setting.make()[1] if task.modality.letters else task.modality.raw_processor(options.side)
        data = encode(setting.splits, processor, task.options.max_length, task.problem_type)

        def make_network(_: Any) -> Network:
            return Network(self._layers(data["train"], processor, task), task.loss_type)

        grid = [{"learning_rate": rate} for rate in options.learning_rate]
        return best_of(setting, processor, make_network, grid, data=data).outcome()

    def _layers(self, train: Any, processor: Any, task: Task) -> nn.Module:
        """Fresh layers from an input to logits; the shape of the training examples determines which."""
        channels, outputs = self.options.channels, len(task.labels) or 1
        if not isinstance(train, Examples):
            return Windows(len(processor), channels[0], channels[-1], outputs)
        if train.read([0]).ndim == 4:
            return convolutions(channels, outputs)
        if task.modality.in_time:
            return over_time(channels, outputs, train.read([0]).shape[1])
        rows = torch.from_numpy(train.read(range(len(train))))
        hidden = nn.Sequential(nn.Linear(rows.shape[1], channels[-1]), nn.ReLU())
        return nn.Sequential(Standardise(rows), hidden, nn.Linear(channels[-1], outputs))


def convolutions(channels: list[int], outputs: int) -> nn.Sequential:
    """A network for images: 3 x 3 convolutions with batch norm and pooling, the mean over the image, and a linear layer.

    Args:
        channels: the output channels of each convolution.
        outputs: the number of logits.

    >>> convolutions([4, 8], outputs=3)(torch.zeros(2, 3, 16, 16)).shape
    torch.Size([2, 3])
    """
    layers: list[nn.Module] = []
    for before, after in zip([3, *channels], channels, strict=False):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], outputs))


def over_time(channels: list[int], outputs: int, length: int) -> nn.Sequential:
    """A network for sounds and series: convolutions with batch norm, the mean over time, and a linear layer.

    A series keeps its length, and convolutions read 9, 5, 3, 3, ... steps. Of a sound (4,000 samples or more) the first one
    reads 80 samples at every fourth, the others read 3 steps, and each keeps the largest of four.

    Args:
        channels: the output channels of each convolution.
        outputs: the number of logits.
        length: the length of an example.

    >>> over_time([4, 8], outputs=3, length=50)(torch.zeros(2, 50)).shape
    torch.Size([2, 3])
    >>> over_time([4, 8], outputs=3, length=16000)[1][0].stride
    (4,)
    """
    sound = length >= LEAST_SAMPLES
    kernels = [80 if sound else 9, *([] if sound else [5]), *[3] * len(channels)]
    layers: list[nn.Module] = [nn.Unflatten(1, (1, -1))]
    for place, (before, after, kernel) in enumerate(zip([1, *channels], channels, kernels, strict=False)):
        stride = 4 if sound and not place else 1
        block = [nn.Conv1d(before, after, kernel, stride, padding=kernel // 2), nn.BatchNorm1d(after), nn.ReLU()]
        layers.append(nn.Sequential(*block, *([nn.MaxPool1d(4, ceil_mode=True)] if sound else [])))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(channels[-1], outputs))


class Windows(nn.Module):
    """A network for texts: convolutions over windows of tokens, their maximum over the text, and a linear layer.

    Args:
        tokens: the size of the vocabulary.
        width: the width of a token's embedding.
        channels: the channels of each convolution.
        outputs: the number of logits.
        sizes: the lengths of the windows in tokens.

    >>> ids = torch.tensor([[1, 2, 3, 0]])
    >>> Windows(tokens=5, width=4, channels=2, outputs=3)(ids, (ids > 0).long()).shape
    torch.Size([1, 3])
    """

    def __init__(self, tokens: int, width: int, channels: int, outputs: int, sizes: Sequence[int] = (3, 4, 5)):
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.sizes = tuple(sizes)
        self.windows = nn.ModuleList(nn.Conv1d(width, channels, size) for size in sizes)
        self.head = nn.Linear(channels * len(sizes), outputs)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits (batch, outputs) of ids and mask (batch, tokens); padding has no effect on either side."""
        mask = attention_mask[:, None]
        states = self.embedding(input_ids).transpose(1, 2) * mask
        maxima = []
        for size, window in zip(self.sizes, self.windows, strict=True):
            activations = window(F.pad(states, (0, size - 1))).relu()
            maxima.append((activations * mask).amax(-1))
        return self.head(torch.cat(maxima, -1))


class Standardise(nn.Module):
    """Standardise columns by the mean and deviation of some rows (n, columns).

    >>> Standardise(torch.tensor([[0.0], [2.0]]))(torch.tensor([[1.0]])).tolist()
    [[0.0]]
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, rows: Tensor):
        super().__init__()
        self.register_buffer("mean", rows.mean(0))
        self.register_buffer("deviation", rows.std(0).clamp(min=1e-6))

    def forward(self, rows: Tensor) -> Tensor:
        """Standardised rows (batch, columns)."""
        return (rows - self.mean) / self.deviation


class Network(nn.Module):
    """Layers with the loss of `hf_reprogram.losses`, for the Trainer.

    Args:
        layers: a module from an input to logits; for texts from ids and mask to logits.
        problem_type: a key of `hf_reprogram.tasks.problems.PROBLEMS`, which determines the loss.
    """

    accepts_loss_kwargs = False  # the loss is a mean over the batch, which gradient accumulation must not rescale

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
        """Logits of token ids and mask, or of the one input of another modality; and the loss if there are labels."""
        logits = self.layers(*inputs.values()) if input_ids is None else self.layers(input_ids, attention_mask)
        loss = None if labels is None else target_loss(logits, labels, self.problem_type)
        return SequenceClassifierOutput(loss=loss, logits=logits)
