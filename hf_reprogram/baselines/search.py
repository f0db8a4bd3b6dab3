"""Choosing the hyperparameters of a baseline's network: it is trained with each choice, and validation decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..tasks.problems import Diverged
from ..training.encode import encode, labels_of
from ..training.fit import Fit, fit
from .base import Outcome, Setting


@dataclass
class Best:
    """The result of `best_of`.

    Attributes:
        setting: the setting of the baseline.
        processor: the processor of the network's inputs.
        data: encoded splits.
        chosen: the choice that was best on validation.
        fit: the training run with that choice; `fit.trainer.model` is the network of its best epoch.
        seconds: wall-clock time of all training runs.
    """

    setting: Setting
    processor: Any
    data: dict[str, Any]
    chosen: dict[str, Any]
    fit: Fit
    seconds: float

    def predict(self, split: Any) -> np.ndarray:
        """Logits of the network for an encoded split."""
        return self.fit.trainer.predict(split).predictions

    def outcome(self) -> Outcome:
        """The network's predictions; `fit.logits` are its logits on validation."""
        trained = sum(p.numel() for p in self.fit.trainer.model.parameters() if p.requires_grad)
        tokens = ("validation", "test") if self.setting.task.per_token else ()
        labels = {name: labels_of(self.data[name]) for name in tokens} or None
        test, extra = self.predict(self.data["test"]), self.setting.predict_extra(self.processor, self.predict)
        return Outcome(self.fit.logits, test, trained, self.seconds, self.chosen, labels, extra)


def best_of(
    setting: Setting,
    processor: Any,
    make_network: Callable[[dict[str, Any]], Any],
    grid: list[dict[str, Any]],
    *,
    data: dict[str, Any] | None = None,
    **training: Any,
) -> Best:
    """Train `make_network(choice)` with each choice of `grid`, and keep the one that is best on validation.

    Only the first seed tries the whole grid. The other seeds use its choice, as in the method's own sweep. A choice with which
    training diverges is skipped.

    Args:
        setting: the setting of the baseline.
        processor: the processor of the network's inputs.
        make_network: a function from a choice to a network that the Trainer takes.
        grid: the choices, each with a `learning_rate` and the other options that `make_network` reads.
        data: encoded splits; None to encode those of `setting`.
        training: `TrainingArguments` that override those of the recipe.

    Raises:
        Diverged: every choice diverged.
    """
    from transformers import set_seed

    task = setting.task
    if data is None:
        data = encode(setting.splits, processor, task.options.max_length, task.problem_type)
    best: tuple[float, dict[str, Any], Fit] | None = None
    seconds = 0.0
    for index, choice in enumerate([setting.chosen] if setting.chosen else grid):
        set_seed(setting.seed)
        arguments = setting.training({**training, "learning_rate": choice["learning_rate"], "save_only_model": True})
        folder = setting.folder / str(index)
        try:
            done = fit(
                make_network(choice),
                processor,
                data,
                task,
                arguments,
                folder=folder,
                seed=setting.seed,
                quiet=setting.quiet,
            )
        except Diverged:
            continue
        seconds += done.seconds
        value = task.benefit(done.validation)
        if best is None or value > best[0]:
            best = (value, choice, done)
    if best is None:
        raise Diverged("The baseline diverged with every learning rate that it tried: give smaller ones.")
    return Best(setting, processor, data, best[1], best[2], seconds)
