"""Trainer callbacks."""

from __future__ import annotations

from transformers.trainer_callback import ProgressCallback


class QuietLog(ProgressCallback):
    """Progress bars that carry the last validation score, instead of a printed dictionary an epoch."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Show the loss and the selected metric behind the training bar."""
        if state.is_world_process_zero and self.training_bar is not None and logs:
            name = f"eval_{args.metric_for_best_model}"
            shown = {key.removeprefix("eval_"): f"{logs[key]:.4f}" for key in ("loss", name) if key in logs}
            if shown:
                self.training_bar.set_postfix(shown, refresh=False)
