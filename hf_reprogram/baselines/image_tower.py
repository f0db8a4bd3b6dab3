"""A source of examples of a fixed size, such as images, with all of its weights trained, under a linear layer on its features.

    logits = W (g(x) - m) / s + b          g(x) (batch, width), m (width,), s a number

g is the image tower: what gives the source's features, a dual encoder's projection included, and its text tower not. m and s
are the mean and the deviation of the untrained tower's features over the training images, and stay: the layer's learning
rate then means the same for every source, where a dual encoder's features have length one and a classifier's do not.

The tower stays in eval mode while it is trained. Batch norm keeps the pretrained statistics, which few labels estimate badly
and small batches worse, and there is no dropout: so the start is the frozen model exactly, and a seed decides everything.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from ..hub_arguments import hub_arguments
from ..losses import target_loss
from ..model import to_accelerator
from ..sources.loading import load_source
from ..training.encode import encode, labels_of
from .base import Baseline, Setting
from .linear import best_linear
from .linear_probe import kept_readings

if TYPE_CHECKING:
    from ..sources.base import Source

RATES = (1e-5, 3e-5)  # learning rates that suit pretrained image towers under AdamW
_FROZEN = (
    "dtype",
    "torch_dtype",
    "quantization_config",
    "device_map",
    "max_memory",
)  # how a model is held that nothing trains


class Tower(nn.Module):
    """The network of the module's docstring, for the Trainer.

    Args:
        source: a copy of its own, whose weights become trainable.
        features: of the training images (n, width), frozen.
        outputs: logits.
        problem_type: decides the loss.
    """

    accepts_loss_kwargs = False  # the loss is a mean over the batch: accumulating must not rescale it
    mean: Tensor
    deviation: Tensor

    def __init__(self, source: Source, features: np.ndarray, outputs: int, problem_type: str):
        super().__init__()
        self.source, self.problem_type = source, problem_type
        self.head = nn.Linear(features.shape[1], outputs, device=source.device)
        self.register_buffer("mean", torch.from_numpy(features.mean(0)).to(source.device))
        deviation = torch.tensor(float(np.sqrt(features.var(0).mean()))).clamp(min=1e-6)
        self.register_buffer("deviation", deviation.to(source.device))
        given = list(source.parameters())
        with torch.enable_grad():
            read = self.source.requires_grad_(True)(self.source.plain_inputs(source.plain_example()), "features")
            used = torch.autograd.grad(read.sum(), given, allow_unused=True)
        for parameter, gradient in zip(given, used, strict=True):
            parameter.requires_grad_(gradient is not None)  # not a classifier's own labels, nor the text tower

    @torch.no_grad()
    def start_from(self, weight: np.ndarray | Tensor, bias: np.ndarray | Tensor) -> Tower:
        """Take a linear layer on the features as they are: weight (outputs, width) and bias (outputs,)."""
        weight, bias = (torch.as_tensor(value).to(self.mean.device, torch.float64) for value in (weight, bias))
        self.head.weight.copy_(weight * self.deviation)
        self.head.bias.copy_(bias + weight @ self.mean.double())
        return self

    def pretrained(self) -> list[nn.Parameter]:
        """The tower's weights."""
        return [parameter for parameter in self.source.parameters() if parameter.requires_grad]

    def penalty(self) -> Tensor | float:
        """What is added to the loss in training."""
        return 0.0

    def forward(self, labels: Tensor | None = None, **batch: Tensor) -> SequenceClassifierOutput:
        """Logits of encoded examples, and the loss; the layer is in float32, whatever the autocast.

        In bfloat16 logits would be rounded to about 1 of 256, and scores of OOD would tie.
        """
        features = self.source(self.source.plain_inputs(batch), "features").float()
        with torch.autocast(features.device.type, enabled=False):
            logits = self.head((features - self.mean) / self.deviation)
        loss = None if labels is None else target_loss(logits, labels, self.problem_type)
        if loss is not None and self.training:
            loss = loss + self.penalty()
        return SequenceClassifierOutput(loss=loss, logits=logits)


class Start:
    """What towers of one source and task start from.

    Args:
        setting: of the baseline.

    Attributes:
        source: frozen, in float32, and of this baseline alone.
        processor: for its whole canvas.
        data: encoded splits.
        features: of the training images (n, width).
    """

    def __init__(self, setting: Setting):
        recipe, self.setting = setting.recipe, setting
        given = {name: value for name, value in recipe.source_kwargs.items() if name not in _FROZEN}
        self.source, _ = load_source(recipe.source["name"], recipe.source.get("kind"), **given, dtype=torch.float32)
        to_accelerator(self.source)
        self.processor = self.source.plain_processor(recipe.source["name"], hub_arguments(recipe.source_kwargs))
        self.data = encode(setting.splits, self.processor)
        self.features = self.read("train")

    @property
    def outputs(self) -> int:
        """How many logits there are."""
        return len(self.setting.task.labels) or 1

    def read(self, split: str) -> np.ndarray:
        """Frozen features (n, width) of a split."""
        return kept_readings(self.setting, self.source, self.data[split], self.processor, "features")

    def tower(self, kind: type[Tower] = Tower, **options: Any) -> Any:
        """A network around a copy of the source, under a fresh linear layer."""
        return kind(deepcopy(self.source), self.features, self.outputs, self.setting.task.problem_type, **options)

    def probe(self, strengths: list[float]) -> tuple[float, tuple[np.ndarray, np.ndarray]]:
        """The strength of the linear probe that is best on validation, and its layer: weight and bias."""
        features = {"train": {"features": self.features}, "validation": {"features": self.read("validation")}}
        labels = {split: labels_of(self.data[split]) for split in features}
        chosen, model = best_linear(self.setting.task, features, labels, strengths, self.outputs)
        return chosen["strength"], model.layer(self.features.shape[1])


class TowerBaseline(Baseline):
    """A baseline that trains an image tower."""

    letters = False
    native = True
    reads = "features"
