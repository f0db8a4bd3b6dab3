"""The `training` section of a recipe: fields of `TrainingArguments`, checked by type and range when the recipe is read."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import fields
from enum import Enum
from functools import cache
from typing import Any, NamedTuple, get_args, get_type_hints

import torch

from ..errors import InputError, unknown
from ..options import check_types
from ..training.rates import RATES

ROUNDS = ("bf16_full_eval", "fp16_full_eval")
RESERVED = (
    "output_dir",
    "seed",
    "data_seed",
    "resume_from_checkpoint",
    "run_name",
    "report_to",
    "push_to_hub",
    "hub_token",
)


class _Range(NamedTuple):
    """The numbers from `least` to `most`; without the ends where `open_least` or `open_most` says so."""

    least: float
    most: float = float("inf")
    open_least: bool = False
    open_most: bool = False

    def holds(self, value: float) -> bool:
        above = value > self.least if self.open_least else value >= self.least
        return above and (value < self.most if self.open_most else value <= self.most)

    def __str__(self) -> str:
        low = f"a number above {self.least:g}" if self.open_least else f"a number of at least {self.least:g}"
        return (
            low if self.most == float("inf") else f"{low} and {'below' if self.open_most else 'at most'} {self.most:g}"
        )


_POSITIVE, _NOT_NEGATIVE, _ONE_OR_MORE = _Range(0, open_least=True), _Range(0), _Range(1)
_SHARE = _Range(0, 1, open_most=True)
_RANGES = {
    **dict.fromkeys(("learning_rate", "num_train_epochs", "adam_epsilon"), _POSITIVE),
    **dict.fromkeys(("logging_steps", "eval_steps", "save_steps"), _POSITIVE),
    **dict.fromkeys(("weight_decay", "max_grad_norm", "warmup_steps", "eval_delay"), _NOT_NEGATIVE),
    **dict.fromkeys(("dataloader_num_workers", "neftune_noise_alpha"), _NOT_NEGATIVE),
    **dict.fromkeys(("adam_beta1", "adam_beta2", "label_smoothing_factor"), _SHARE),
    **dict.fromkeys(("per_device_train_batch_size", "per_device_eval_batch_size"), _ONE_OR_MORE),
    **dict.fromkeys(("gradient_accumulation_steps", "eval_accumulation_steps", "save_total_limit"), _ONE_OR_MORE),
    **dict.fromkeys(("dataloader_prefetch_factor", "torch_empty_cache_steps", "ddp_timeout"), _ONE_OR_MORE),
}


def check_training(values: Mapping[str, Any]) -> None:
    """Refuse fields of `TrainingArguments` that a run could not use, before anything is loaded.

    Args:
        values: the section `training` as plain data.

    Raises:
        InputError: a key is unknown or set by the run itself, or a value has the wrong type or is out of its range.

    >>> check_training({"learning_rate": 1e-2, "per_device_train_batch_size": 8})
    >>> check_training({"learning_rate": -1.0})
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: training.learning_rate is -1.0: give a number above 0.
    """
    known, hints = _known()
    for key, value in values.items():
        if key in RESERVED:
            raise InputError(f"training.{key} is set by the run itself: leave it out.")
        if key in ROUNDS and value:
            raise InputError(
                f"training.{key} would round the trained parameters permanently: leave it out, and set bf16 or fp16."
            )
        if key in RATES:
            check_types({key: value}, {key: float}, "key of training")
            if not value > 0:
                raise InputError(f"training.{key} is {value!r}: give a number above 0.")
            continue
        if key not in known:
            raise unknown("key of training", key, (*known, *RATES))
        if known[key] is not None and isinstance(value, str):
            raise InputError(f"training.{key} is {value!r}: give a number such as {known[key]}.")
        check_types({key: value}, hints, "key of training")
        if key == "max_steps" and value != -1 and value < 1:
            raise InputError(f"training.max_steps is {value!r}: give a whole number of at least 1, or -1 for no limit.")
        if key in _RANGES and value is not None and not _RANGES[key].holds(value):
            raise InputError(f"training.{key} is {value!r}: give {_RANGES[key]}.")
        for choices in (kind for kind in get_args(hints[key]) if isinstance(kind, type) and issubclass(kind, Enum)):
            names = [choice.value for choice in choices]
            if isinstance(value, str) and value not in names:
                raise unknown(f"value of training.{key}", value, names)


def emulates_bf16() -> bool:
    """Whether training runs on a processor without instructions for bfloat16, where a product takes about 6 times as long."""
    return not torch.accelerator.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX2"


def warn_of_emulated_bf16(values: Mapping[str, Any]) -> None:
    """Warn if bfloat16 is asked for on a processor without instructions for it, where it is several times slower.

    Args:
        values: the section `training` as plain data.
    """
    if values.get("bf16") and emulates_bf16():
        warnings.warn(
            "training.bf16 is true, and this processor has no instructions for bfloat16, so it is several times slower than "
            "float32: give --set training.bf16=false.",
            stacklevel=2,
        )


@cache
def _known() -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of `TrainingArguments`: the default value of those that are numbers, else None, and their types."""
    from transformers import TrainingArguments

    numbers = {
        field.name: field.default if type(field.default) in (int, float) else None
        for field in fields(TrainingArguments)
        if field.init
    }
    return numbers, get_type_hints(TrainingArguments)
