"""Diagnostics of a program: the functions of `hf_reprogram.alignment` for models, in training and after it."""

from .callback import Alignment
from .gradients import per_sample_gradients
from .measures import source_outputs, target_outputs

__all__ = ["Alignment", "per_sample_gradients", "source_outputs", "target_outputs"]
