"""Training a tower of a source: all weights that compute the source's features are trained, with a linear layer on top.

    logits = W (g(x) - m) / s + b          g(x) (batch, width), m (width,), s a number

g is the tower for images, sounds or another input of a fixed size, which computes the source's features. Of a dual encoder it
includes the projection, but not the text tower. m and s are the mean and the deviation of the untrained tower's features on the
training data, and stay fixed. The layer's learning rate therefore has the same effect for every source, although the features
of a dual encoder have norm one and those of a classifier do not.

The tower stays in eval mode while it is trained. Batch norm keeps the pretrained statistics, because few labels and small
batches estimate them badly, and there is no dropout. Training therefore starts exactly at the frozen model, and the seed
determines the run. From scratch (`fresh`) a tower has random weights and its architecture's own dropout and batch norm; m is 0
and s is 1.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from ..devices import to_accelerator
from ..losses import target_loss
from ..sources.loading import load_source
from ..training.encode import encode, labels_of
from ..trust import file_arguments
from .base import Baseline, Setting
from .linear import best_linear
from .linear_probe import kept_readings

if TYPE_CHECKING:
    from ..sources.base import Source

RATES = (1e-5, 3e-5)  # learning rates that suit pretrained image towers under AdamW
# Arguments of `from_pretrained` that suit a model which is not trained.
_FROZEN = ("dtype", "torch_dtype", "quantization_config", "device_map", "max_memory", "shard")


class Tower(nn.Module):
    """The network of the module's docstring, for the Trainer.

    Args:
        source: a copy of the source, whose weights become trainable.
        features: the frozen features (n, width) of the training images.
        outputs: the number of logits.
        problem_type: a key of `hf_reprogram.tasks.problems.PROBLEMS`, which determines the loss.
    """

    accepts_loss_kwargs = False  # the loss is a mean over the batch, which gradient accumulation must not rescale
    mean: Tensor
    deviation: Tensor

    def __init__(self, source: Source, features: np.ndarray, outputs: int, problem_type: str):
        super().__init__()
        self.source, self.problem_type = source, problem_type
        self.head = nn.Linear(features.shape[1], outputs, device=source.device)
        self.register_buffer("mean", torch.from_numpy(features.mean(0)).to(source.device))
        deviation = torch.tensor(float(np.sqrt(features.var(0).mean()))).clamp(min=1e-6)
        self.register_buffer("deviation", deviation.to(source.device))
        parameters = list(source.parameters())
        with torch.enable_grad():
            read = self.source.requires_grad_(True)(self.source.plain_inputs(source.plain_example()), "features")
            used = torch.autograd.grad(read.sum(), parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, used, strict=True):
            parameter.requires_grad_(gradient is not None)  # neither a classifier's own head nor the text tower

    @torch.no_grad()
    def start_from(self, weight: np.ndarray | Tensor, bias: np.ndarray | Tensor) -> Tower:
        """Start from a linear layer on the raw features: weight (outputs, width) and bias (outputs,)."""
        weight, bias = (torch.as_tensor(value).to(self.mean.device, torch.float64) for value in (weight, bias))
        self.head.weight.copy_(weight * self.deviation)
        self.head.bias.copy_(bias + weight @ self.mean.double())
        return self

    def pretrained(self) -> list[nn.Parameter]:
        """The trained weights of the tower."""
        return [parameter for parameter in self.source.parameters() if parameter.requires_grad]

    def penalty(self) -> Tensor | float:
        """The term that is added to the loss in training."""
        return 0.0

    def forward(self, labels: Tensor | None = None, **batch: Tensor) -> SequenceClassifierOutput:
        """Logits (batch, outputs) of encoded examples, and the loss if there are labels.

        The linear layer is computed in float32, also under autocast: bfloat16 keeps 8 bits of a logit, so that OOD scores
        would tie.
        """
        features = self.source(self.source.plain_inputs(batch), "features").float()
        with torch.autocast(features.device.type, enabled=False):
            logits = self.head((features - self.mean) / self.deviation)
        loss = None if labels is None else target_loss(logits, labels, self.problem_type)
        if loss is not None and self.training:
            loss = loss + self.penalty()
        return SequenceClassifierOutput(loss=loss, logits=logits)


class FreshTower(Tower):
    """A tower with random weights, which trains as its architecture does: with its dropout, and with batch norm by batches."""

    def train(self, mode: bool = True) -> FreshTower:
        """Put the network inside the source in training mode too; the source itself would keep it in eval mode."""
        super().train(mode)
        for module in self.source.children():
            module.train(mode)
        return self


def fresh(setting: Setting) -> tuple[Any, dict[str, Any], Callable[[Any], FreshTower]]:
    """The processor, the encoded splits, and a maker of towers with random weights, which the seed of a run draws.

    Args:
        setting: the setting of the baseline.
    """
    source = loaded(setting, random=setting.seed)
    processor = source.plain_processor(setting.recipe.source["name"], file_arguments(setting.recipe.source_kwargs))
    task, width = setting.task, source.spec.widths["features"]

    def make_tower(_: Any) -> FreshTower:
        plain = np.tile([[-1.0], [1.0]], (1, width)).astype(np.float32)  # of mean 0 and deviation 1
        return FreshTower(deepcopy(source), plain, len(task.labels) or 1, task.problem_type)

    return processor, encode(setting.splits, processor), make_tower


def loaded(setting: Setting, **options: Any) -> Source:
    """The source of a recipe in float32, unshared, on the accelerator."""
    recipe = setting.recipe
    kept = {name: value for name, value in recipe.source_kwargs.items() if name not in _FROZEN}
    kept |= {"dtype": torch.float32, "shard": False, **options}
    source, _ = load_source(recipe.model_source, recipe.source.get("kind"), **kept)
    to_accelerator(source)
    return source


class Start:
    """The common start of all towers of one source and task.

    Args:
        setting: the setting of the baseline.

    Attributes:
        source: the frozen source in float32; only this baseline uses it.
        processor: the processor that fills the source's whole canvas.
        data: encoded splits.
        features: the features (n, width) of the training images.
    """

    def __init__(self, setting: Setting):
        recipe, self.setting = setting.recipe, setting
        self.source = loaded(setting)
        self.processor = self.source.plain_processor(recipe.source["name"], file_arguments(recipe.source_kwargs))
        self.data = encode(setting.splits, self.processor)
        self.features = self.read("train")

    @property
    def outputs(self) -> int:
        """The number of logits."""
        return len(self.setting.task.labels) or 1

    def read(self, split: str) -> np.ndarray:
        """The frozen features (n, width) of a split."""
        return kept_readings(self.setting, self.source, self.data[split], self.processor, "features")

    def tower(self, kind: type[Tower] = Tower, **options: Any) -> Any:
        """A network around a copy of the source, with a fresh linear layer."""
        return kind(deepcopy(self.source), self.features, self.outputs, self.setting.task.problem_type, **options)

    def probe(self, strengths: list[float]) -> tuple[float, tuple[np.ndarray, np.ndarray]]:
        """The strength of the linear probe that is best on validation, and the weight and bias of its layer."""
        features = {"train": {"features": self.features}, "validation": {"features": self.read("validation")}}
        labels = {split: labels_of(self.data[split]) for split in features}
        chosen, model = best_linear(self.setting.task, features, labels, strengths, self.outputs)
        return chosen["strength"], (model.weight, model.bias)


class TowerBaseline(Baseline):
    """A baseline that trains an image tower."""

    letters = False
    native = True
    reads = "features"
