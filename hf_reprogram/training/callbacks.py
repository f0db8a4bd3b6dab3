"""Trainer callbacks."""

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
    """Tells the two parts where training is, for those that change on the way.

    Transforms re-sparsify or lower a temperature; label maps are fitted to what the source answers, and a dense layer finds
    what to standardize by.

    The recipe runner adds it; in a script of your own: `Trainer(..., callbacks=[Schedule()])`.
    """

    def on_train_begin(self, args, state, control, **kwargs):
        """An evaluation before training needs what the first epoch begins with."""
        if args.eval_on_start:
            self.on_epoch_begin(args, state, control, **kwargs)

    def on_epoch_begin(self, args, state, control, model=None, train_dataloader=None, **kwargs):
        """See `begin_epoch` of transforms and mappings; a run that is resumed within an epoch begins it again."""
        epoch = floor(round(state.epoch or 0, 6))
        half = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None
        model.transform.begin_epoch(epoch)
        model.mapping.begin_epoch(epoch, reader(model, train_dataloader, args.eval_batch_size, half), model.source)

    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        """See `InputTransform.end_epoch`; the Trainer validates and saves after this."""
        model.transform.end_epoch(model.source)

    def on_train_end(self, args, state, control, model=None, **kwargs):
        """See `InputTransform.end_training`; the best checkpoint is loaded by now."""
        model.transform.end_training(model.source)


def reader(
    model: Any, loader: Any, batch_size: int, half: torch.dtype | None = None
) -> Callable[[str], tuple[Tensor, Tensor]]:
    """What `OutputMapping.begin_epoch` reads the source with: all of the training data, in every process alike.

    `half` is the dtype that training is autocast to, if it is: a map is fitted to the answers that it will be given.

    It draws no random numbers that training would have drawn, and the same ones every time where the data are augmented: a
    run that is resumed reads what the whole run read.
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
                found = batch.pop("labels").cpu()
                inputs = {name: value.to(model.source.device) for name, value in batch.items()}
                with torch.autocast(model.source.device.type, half, enabled=half is not None):
                    values = model.source(model.transform(inputs, model.source), reads).float().cpu()
                if values.dim() == 3 and found.dim() == 2:  # a label a token: of those that are scored
                    values, found = values[found != IGNORE], found[found != IGNORE]
                outputs.append(values)
                labels.append(found)
        model.train(training)
        return torch.cat(outputs), torch.cat(labels)

    return read


class QuietLog(ProgressCallback):
    """Progress bars that carry the last validation score, instead of a printed dictionary an epoch."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Show the loss and the selected metric behind the training bar."""
        if state.is_world_process_zero and self.training_bar is not None and logs:
            name = f"eval_{args.metric_for_best_model}"
            shown = {key.removeprefix("eval_"): f"{logs[key]:.4f}" for key in ("loss", name) if key in logs}
            if shown:
                self.training_bar.set_postfix(shown, refresh=False)


class TenthsLog(TrainerCallback):
    """In a log that is no terminal: a line per tenth of the training steps, with the last loss and validation score."""

    def on_train_begin(self, args, state, control, **kwargs):
        """Training starts, or goes on."""
        self.tenths, self.note = Tenths("training", state.max_steps), ""

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Keep the loss and the selected metric for the next line."""
        name = f"eval_{args.metric_for_best_model}"
        shown = [f"{key.removeprefix('eval_')} {logs[key]:.4f}" for key in ("loss", name) if logs and key in logs]
        self.note = f", {', '.join(shown)}" if shown else self.note

    def on_step_end(self, args, state, control, **kwargs):
        """Another step is done."""
        if state.is_world_process_zero:
            self.tenths.at(state.global_step, self.note)
