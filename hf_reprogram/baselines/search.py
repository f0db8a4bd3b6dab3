"""Training a baseline's network with each of several settings; the best on validation predicts."""

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
    """What `best_of` found.

    Attributes:
        setting: of the baseline.
        processor: of the network's inputs.
        data: encoded splits.
        chosen: the setting that was best on validation.
        fit: the training with it, the network of its best epoch in `fit.trainer.model`.
        seconds: of all the training.
    """

    setting: Setting
    processor: Any
    data: dict[str, Any]
    chosen: dict[str, Any]
    fit: Fit
    seconds: float

    def predict(self, split: Any) -> np.ndarray:
        """Logits of an encoded split by the network as it is now."""
        return self.fit.trainer.predict(split).predictions

    def outcome(self) -> Outcome:
        """What the network predicts; `fit.logits` are its logits on validation."""
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

    Only the first seed goes through the grid: the others take its choice, as the method's own sweep does. A choice with which
    training diverges is passed over.

    Args:
        setting: of the baseline.
        processor: of the network's inputs.
        make_network: from a choice to a network that the Trainer takes.
        grid: choices, each with a `learning_rate` and whatever else `make_network` looks at.
        data: encoded splits, where they are there already.
        training: `TrainingArguments` of the baseline's own.

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
        raise Diverged("A baseline diverged with every setting that it tried: give it a smaller learning_rate.")
    return Best(setting, processor, data, best[1], best[2], seconds)
