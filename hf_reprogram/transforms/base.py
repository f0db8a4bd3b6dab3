"""The interface of an input transform."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from ..sources.base import Source, SourceSpec


class InputTransform(nn.Module):
    """Turns a batch of the target's data into inputs of the source. Its parameters are theta, and nothing else.

    A subclass names a dataclass of its options in `Options`; it is built from them alone, so that a checkpoint's
    `config.json` rebuilds it, and starts at zero: whoever creates a new model sets the initial values.
    """

    Options: ClassVar[type]

    def __init__(self, options: Any):
        super().__init__()
        self.options = options

    def check(self, spec: SourceSpec) -> None:
        """Raise `InputError` if this transform does not fit a source; called once, before any training."""

    def begin_epoch(self, epoch: float) -> None:
        """Called before an epoch of training, with how many are done; by `hf_reprogram.training.callbacks.Schedule`."""

    def end_epoch(self, source: Source) -> None:
        """Called after an epoch, before validation and checkpoints."""

    def end_training(self, source: Source) -> None:
        """Called when training has ended and the best checkpoint is loaded; may change `options`."""

    def forward(self, batch: dict[str, Tensor], source: Source) -> dict[str, Any]:
        """The source's inputs for `batch`, the columns that the model's `forward` was given."""
        raise NotImplementedError  # pragma: no cover - the interface
