"""Training the whole network: the same architecture from scratch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from ..sources.text import max_tokens
from ..training.encode import labels_of, tokenize
from ..training.fit import Fit, fit
from .base import Baseline, Outcome, Setting, hub_arguments, plain_tokenizer


@dataclass
class FromScratchOptions:
    """Options of `from_scratch`: learning rates to choose from on validation, on the first seed."""

    learning_rate: list[float] = field(default_factory=lambda: [1e-4, 5e-4])

    def __post_init__(self):
        if isinstance(self.learning_rate, int | float):
            self.learning_rate = [float(self.learning_rate)]


class FromScratch(Baseline):
    """The source's architecture with fresh weights, all of them trained, for as many epochs as the method."""

    title = "from scratch"
    Options = FromScratchOptions

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        from transformers import AutoConfig, AutoModelForSequenceClassification

        recipe, task = setting.recipe, setting.task
        config = AutoConfig.from_pretrained(recipe.source["name"], **hub_arguments(recipe))
        config.num_labels, config.problem_type = max(1, len(task.labels)), task.problem_type

        def make_model() -> Any:
            return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)

        tokenizer = plain_tokenizer(recipe, max_tokens(make_model()))
        config.pad_token_id = tokenizer.pad_token_id
        return best_of(setting, tokenizer, make_model, [{"learning_rate": rate} for rate in self.options.learning_rate])


def best_of(setting: Setting, tokenizer: Any, make_model: Any, grid: list[dict[str, Any]]) -> Outcome:
    """Train `make_model()` with each of the settings in `grid`; the best on validation predicts test.

    Only the first seed goes through the grid: the others take its choice, as the method's own sweep does.
    """
    from transformers import set_seed

    task = setting.task
    data = tokenize(setting.splits, tokenizer, task.options.max_length, task.problem_type)
    best: tuple[float, dict[str, Any], Fit] | None = None
    seconds = 0.0
    for index, options in enumerate([setting.chosen] if setting.chosen else grid):
        set_seed(setting.seed)
        done = fit(
            make_model(),
            tokenizer,
            data,
            task,
            {**setting.training(options), "save_only_model": True},
            folder=setting.folder / str(index),
            seed=setting.seed,
            quiet=setting.quiet,
        )
        seconds += done.seconds
        value = task.benefit(done.validation)
        if best is None or value > best[0]:
            best = (value, options, done)
    assert best is not None
    _, chosen, done = best
    output = done.trainer.predict(data["test"])
    trained = sum(p.numel() for p in done.trainer.model.parameters() if p.requires_grad)
    labels = {name: labels_of(data[name]) for name in ("validation", "test")} if task.per_token else None
    return Outcome(done.logits, output.predictions, trained, seconds, chosen, labels)
