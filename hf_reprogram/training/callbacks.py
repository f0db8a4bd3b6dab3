"""Trainer callbacks."""

from __future__ import annotations

from dataclasses import asdict
from math import floor

from transformers.trainer_callback import ProgressCallback, TrainerCallback


class Schedule(TrainerCallback):
    """Tells the input transform where training is, for those that change on the way (re-sparsifying, temperature).

    The recipe runner adds it; in a script of your own: `Trainer(..., callbacks=[Schedule()])`.
    """

    def on_epoch_begin(self, args, state, control, model=None, **kwargs):
        """See `InputTransform.begin_epoch`; a run that is resumed within an epoch begins it again."""
        model.transform.begin_epoch(floor(round(state.epoch or 0, 6)))

    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        """See `InputTransform.end_epoch`; the Trainer validates and saves after this."""
        model.transform.end_epoch(model.source)

    def on_train_end(self, args, state, control, model=None, **kwargs):
        """See `InputTransform.end_training`; the best checkpoint is loaded by now."""
        model.transform.end_training(model.source)
        model.config.transform = {"type": model.config.transform["type"], **asdict(model.transform.options)}


class QuietLog(ProgressCallback):
    """Progress bars that carry the last validation score, instead of a printed dictionary an epoch."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Show the loss and the selected metric behind the training bar."""
        if state.is_world_process_zero and self.training_bar is not None and logs:
            name = f"eval_{args.metric_for_best_model}"
            shown = {key.removeprefix("eval_"): f"{logs[key]:.4f}" for key in ("loss", name) if key in logs}
            if shown:
                self.training_bar.set_postfix(shown, refresh=False)
