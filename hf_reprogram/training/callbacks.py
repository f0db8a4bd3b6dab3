"""Callbacks of the Trainer: the epoch hooks of transforms and mappings, and progress in the log."""

from __future__ import annotations

from collections.abc import Callable
from math import floor
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers.trainer_callback import ProgressCallback, TrainerCallback

from ..losses import IGNORE
from ..progress import Tenths


class Schedule(TrainerCallback):
    """Calls the epoch hooks of the transform and the mapping, for parts that change during training.

    Some transforms make their codes sparse again or lower a temperature. Label maps are fitted to the outputs of the source,
    and a dense layer computes the statistics that it standardises by. Recipes add this callback by themselves.

    >>> from hf_reprogram.training.callbacks import Schedule
    >>> callbacks = [Schedule()]  # for a script of your own: Trainer(..., callbacks=callbacks)
    """

    def on_train_begin(self, args, state, control, **kwargs):
        """Begin the first epoch early if the Trainer evaluates before training."""
        if args.eval_on_start:
            self.on_epoch_begin(args, state, control, **kwargs)

    def on_epoch_begin(self, args, state, control, model=None, train_dataloader=None, **kwargs):
        """Call `begin_epoch` of both parts; a run that is resumed within an epoch begins that epoch again."""
        epoch = floor(round(state.epoch or 0, 6))
        half = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None
        model.transform.begin_epoch(epoch)
        model.mapping.begin_epoch(epoch, reader(model, train_dataloader, args.eval_batch_size, half), model.source)

    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        """Call `InputTransform.end_epoch`, before the Trainer validates and saves."""
        model.transform.end_epoch(model.source)

    def on_train_end(self, args, state, control, model=None, **kwargs):
        """Call `InputTransform.end_training`, after the Trainer loaded the best checkpoint."""
        model.transform.end_training(model.source)


def reader(
    model: Any, loader: Any, batch_size: int, half: torch.dtype | None = None
) -> Callable[[str], tuple[Tensor, Tensor]]:
    """A function with which `OutputMapping.begin_epoch` reads the source's outputs on all training data.

    Every process gets the same outputs. The function does not change the random numbers of training. Where the data are
    augmented it draws the same numbers every time, so that a resumed run reads the same outputs as an uninterrupted one.

    Args:
        model: a `ReprogrammedModel`.
        loader: the training data loader.
        batch_size: examples per batch.
        half: the autocast dtype of training, so that a map is fitted in training's precision; None for none.

    Returns:
        A function of the output to read ("logits", "features" and so on). It returns the outputs of all examples and their
        labels, on the CPU. With one label per token it returns those of the tokens that are scored.
    """

    @torch.no_grad()
    def read(reads: str) -> tuple[Tensor, Tensor]:
        outputs, labels = [], []
        training = model.training
        model.eval()
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(0)
            for batch in DataLoader(
                loader.dataset, batch_size, collate_fn=loader.collate_fn, num_workers=loader.num_workers
            ):
                target = batch.pop("labels").cpu()
                inputs = {name: value.to(model.source.device) for name, value in batch.items()}
                with torch.autocast(model.source.device.type, half, enabled=half is not None):
                    values = model.source(model.transform(inputs, model.source), reads).float().cpu()
                if values.dim() == 3 and target.dim() == 2:  # one label per token: keep the tokens that are scored
                    values, target = values[target != IGNORE], target[target != IGNORE]
                outputs.append(values)
                labels.append(target)
        model.train(training)
        return torch.cat(outputs), torch.cat(labels)

    return read


class QuietLog(ProgressCallback):
    """Progress bars that show the last validation score, instead of one printed dictionary per epoch."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Show the loss and the selected metric after the training bar."""
        if state.is_world_process_zero and self.training_bar is not None and logs:
            name = f"eval_{args.metric_for_best_model}"
            shown = {key.removeprefix("eval_"): f"{logs[key]:.4f}" for key in ("loss", name) if key in logs}
            if shown:
                self.training_bar.set_postfix(shown, refresh=False)


class TenthsLog(TrainerCallback):
    """One line per tenth of the training steps, with the last loss and validation score, for a log that is no terminal."""

    def on_train_begin(self, args, state, control, **kwargs):
        """Start counting steps when training starts or is resumed."""
        self.tenths, self.note = Tenths("training", state.max_steps), ""

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Keep the loss and the selected metric for the next line."""
        name = f"eval_{args.metric_for_best_model}"
        shown = [f"{key.removeprefix('eval_')} {logs[key]:.4f}" for key in ("loss", name) if logs and key in logs]
        self.note = f", {', '.join(shown)}" if shown else self.note

    def on_step_end(self, args, state, control, **kwargs):
        """Count the step, and write a line if another tenth is done."""
        if state.is_world_process_zero:
            self.tenths.at(state.global_step, self.note)
