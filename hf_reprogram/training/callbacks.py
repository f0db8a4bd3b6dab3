"""Callbacks of the Trainer: progress in the log. The epoch hooks of transforms and mappings are in `hf_reprogram.schedule`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from transformers.trainer_callback import ProgressCallback, TrainerCallback

from ..progress import Tenths


class KeepStart(TrainerCallback):
    """Saves the adapter before the first step into a folder, if the Trainer evaluates it (`eval_on_start`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_evaluate(self, args, state, control, model=None, **kwargs):
        """Save it; one that is there belongs to the same run, and is kept."""
        if state.global_step == 0 and args.should_save and not (self.folder / "config.json").exists():
            model.save_pretrained(self.folder)


class Watch(TrainerCallback):
    """Hands every validation score to a function, and ends training at a deadline after one more evaluation.

    Attributes:
        best: the best score so far; None before the first.
        epochs: the epochs that were trained.
        cut: whether the deadline ended training.
    """

    def __init__(self, score: str, report: Callable[[int, float], None], deadline: float | None = None) -> None:
        self.score, self.report, self.deadline = score, report, deadline
        self.best: float | None = None
        self.epochs, self.cut, self._count = 0.0, False, 0

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        """Report the score. What the function raises ends training."""
        value = (metrics or {}).get(self.score)
        if value is not None:
            self.best = value if self.best is None else max(self.best, value)
            self.report(self._count, value)
            self._count += 1

    def on_step_end(self, args, state, control, **kwargs):
        """Stop if the deadline is over."""
        self.epochs = state.epoch or 0.0
        if self.deadline is not None and time.monotonic() > self.deadline and state.global_step < state.max_steps:
            self.cut = control.should_training_stop = True


class QuietLog(ProgressCallback):
    """Progress bars that show the last validation score, instead of one printed dictionary per epoch."""

    def __init__(self, metric: str) -> None:
        super().__init__()
        self.metric = metric

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Show the loss and the metric after the training bar."""
        if state.is_world_process_zero and self.training_bar is not None and logs:
            name = f"eval_{self.metric}"
            shown = {key.removeprefix("eval_"): f"{logs[key]:.4f}" for key in ("loss", name) if key in logs}
            if shown:
                self.training_bar.set_postfix(shown, refresh=False)


class TenthsLog(TrainerCallback):
    """One line per tenth of the training steps, with the last loss and validation score, for a log that is no terminal."""

    def __init__(self, metric: str) -> None:
        self.metric = metric

    def on_train_begin(self, args, state, control, **kwargs):
        """Start counting steps when training starts or is resumed."""
        self.tenths, self.note = Tenths("training", state.max_steps), ""

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Keep the loss and the metric for the next line."""
        name = f"eval_{self.metric}"
        shown = [f"{key.removeprefix('eval_')} {logs[key]:.4f}" for key in ("loss", name) if logs and key in logs]
        self.note = f", {', '.join(shown)}" if shown else self.note

    def on_step_end(self, args, state, control, **kwargs):
        """Count the step, and write a line if another tenth is done."""
        if state.is_world_process_zero:
            self.tenths.at(state.global_step, self.note)
