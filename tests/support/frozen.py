"""What shows that a source stayed as it was while something else was trained."""

from __future__ import annotations

import torch
from transformers import TrainerCallback


def bytes_of(module) -> dict[str, bytes]:
    """Every parameter and buffer as bytes, non-persistent buffers included."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {
        name: tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes() for name, tensor in tensors.items()
    }


class Watch(TrainerCallback):
    """Records, before every optimizer step, who is in training mode and who has a gradient."""

    def __init__(self):
        self.steps, self.training, self.gradients, self.mapping_trains = 0, set(), set(), True

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        """Look at the model between the backward pass and the step."""
        self.steps += 1
        self.training |= {name for name, module in model.source.named_modules() if module.training}
        self.gradients |= {
            name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0
        }
        self.mapping_trains &= model.mapping.training
