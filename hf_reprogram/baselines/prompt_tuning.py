"""PEFT's prompt tuning (Lester et al. 2021, arXiv 2104.08691) on the same source, with as many prompts as the method."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import torch

from ..errors import InputError
from ..hub_arguments import repository_files
from ..sources.text import max_tokens, plain_tokenizer
from ..trust import file_arguments, weight_arguments
from .base import Baseline, Outcome, Run, Setting, check_choices
from .search import best_of


@dataclass
class PromptTuningOptions:
    """Options of `prompt_tuning`.

    Attributes:
        learning_rate: one learning rate or a list of them. The baseline trains once with each on the first seed and keeps the
            one that is best on validation; the other seeds train with that one.
    """

    learning_rate: list[float] = field(default_factory=lambda: [1e-3, 1e-2, 3e-2])

    def __post_init__(self):
        if isinstance(self.learning_rate, int | float):
            self.learning_rate = [float(self.learning_rate)]
        check_choices("prompt_tuning", learning_rate=self.learning_rate)


class PromptTuning(Baseline):
    """PEFT's prompt tuning: trained virtual tokens before the text, and a trained classification head."""

    title = "PEFT prompt tuning"
    Options = PromptTuningOptions
    letters = True
    native = True

    def check(self, recipe: Run) -> None:
        """See `Baseline.check`."""
        super().check(recipe)
        if find_spec("peft") is None:
            raise InputError("The baseline prompt_tuning needs peft: pip install 'hf_reprogram[baselines]'.")
        if recipe.method.get("num_prompts") == 0:
            raise InputError("The baseline prompt_tuning needs prompts, and num_prompts is 0: leave it out.")

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        from peft import PromptTuningConfig, TaskType, get_peft_model
        from transformers import AutoModelForSequenceClassification

        recipe, task = setting.recipe, setting.task

        def make_source() -> Any:
            return AutoModelForSequenceClassification.from_pretrained(
                recipe.source["name"],
                num_labels=max(1, len(task.labels)),
                problem_type=task.problem_type,
                dtype=torch.float32,
                **weight_arguments({**file_arguments(recipe.source_kwargs), **repository_files(recipe.source_kwargs)}),
            )

        def make_model(_: Any) -> Any:
            model = make_source()
            model.config.pad_token_id = tokenizer.pad_token_id
            prompts = PromptTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=setting.num_prompts)
            return get_peft_model(model, prompts)

        tokenizer = plain_tokenizer(
            recipe.source["name"], max_tokens(make_source()) - setting.num_prompts, file_arguments(recipe.source_kwargs)
        )
        grid = [{"learning_rate": rate} for rate in self.options.learning_rate]
        return best_of(setting, tokenizer, make_model, grid).outcome()
