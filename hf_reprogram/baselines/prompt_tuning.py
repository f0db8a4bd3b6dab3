"""PEFT's prompt tuning (Lester et al. 2021, arXiv 2104.08691) with as many prompts, on the same source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from ..errors import InputError
from .base import Baseline, Outcome, Setting
from .finetuning import best_of
from .linear_probe import plain_tokenizer


@dataclass
class PromptTuningOptions:
    """Options of `prompt_tuning`: learning rates to choose from on validation."""

    learning_rate: list[float] = field(default_factory=lambda: [1e-3, 1e-2, 3e-2])

    def __post_init__(self):
        if isinstance(self.learning_rate, int | float):
            self.learning_rate = [float(self.learning_rate)]


class PromptTuning(Baseline):
    """Virtual tokens before the text and a trained classification head, as PEFT does it."""

    title = "PEFT prompt tuning"
    Options = PromptTuningOptions

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        try:
            from peft import PromptTuningConfig, TaskType, get_peft_model
        except ImportError as error:
            raise InputError("The baseline prompt_tuning needs peft: pip install 'hf_reprogram[baselines]'.") from error
        from transformers import AutoModelForSequenceClassification

        if setting.num_prompts < 1:
            raise InputError("The baseline prompt_tuning needs at least 1 prompt: leave it out where num_prompts is 0.")
        name = setting.recipe.source["name"]

        def make_model() -> Any:
            model = AutoModelForSequenceClassification.from_pretrained(
                name,
                num_labels=max(1, len(setting.task.labels)),
                problem_type=setting.task.problem_type,
                dtype=torch.float32,
            )
            model.config.pad_token_id = tokenizer.pad_token_id
            return get_peft_model(
                model, PromptTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=setting.num_prompts)
            )

        from transformers import AutoConfig

        limit = AutoConfig.from_pretrained(name).max_position_embeddings
        tokenizer = plain_tokenizer(name, limit - setting.num_prompts)
        grid = [{"learning_rate": rate} for rate in self.options.learning_rate]
        return best_of(setting, tokenizer, make_model, grid)
