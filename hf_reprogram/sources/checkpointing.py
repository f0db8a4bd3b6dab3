"""Layers of a frozen source that are recomputed in the backward pass, which saves memory."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from ..errors import InputError


def checkpoint_layers(model: nn.Module, family: str, checkpoint: Any, every_n_layers: int) -> None:
    """See `hf_reprogram.sources.base.Source.checkpoint_activations`.

    Args:
        model: the source's model, whose layers are changed.
        family: its name for messages.
        checkpoint: calls a layer as `checkpoint(function, *args)`; None to stop recomputing.
        every_n_layers: every n-th layer is recomputed.

    Raises:
        InputError: the model has no such layers.

    >>> checkpoint_layers(text_source.model, "bert", lambda layer, *inputs: layer(*inputs), every_n_layers=1)
    >>> checkpoint_layers(text_source.model, "bert", None, every_n_layers=1)
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise InputError(f"{family} has no layers that transformers can checkpoint: leave gradient_checkpointing out.")
    for index, layer in enumerate(layers):
        if isinstance(ours := layer.__dict__.get("forward"), _Checkpointed):
            ours.undo(layer)
        if checkpoint is not None and index % every_n_layers == 0:
            layer.forward = _Checkpointed(checkpoint, layer)


class _Checkpointed:
    """Calls `checkpoint(layer.forward, ...)` in place of a layer's forward, which a device map may have replaced before."""

    def __init__(self, checkpoint: Any, layer: nn.Module):
        self.replaced = layer.__dict__.get("forward")
        self.checkpoint, self.forward = checkpoint, self.replaced or type(layer).forward.__get__(layer)

    def undo(self, layer: nn.Module) -> None:
        """Restore the layer's forward."""
        del layer.forward
        if self.replaced is not None:
            layer.forward = self.replaced

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.checkpoint(partial(self.forward, **kwargs), *args)
