"""A callback that shows how near a program brings target data to the source's own, and whether gradients agree."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.trainer_callback import TrainerCallback

from ..model import ReprogrammedModel
from ..options import check_whole
from ..readings import reader
from .measures import agreement, compared, distances, risk


class Alignment(TrainerCallback):
    """Measures a `ReprogrammedModel` before training and after each epoch of any Trainer.

    Each record has `epoch`, `step`, and what can be measured: `w1`, `w1_null`, `sliced` and `sliced_null` (the distance between
    the source's outputs for target data and for its own data, and that between two halves of its own), `risk` (of Theorem 1, on
    the same target data), `alignment` (of the gradients of training examples) and `unrelated` (what unrelated ones have).
    Records are in `history` and in the Trainer's `state.log_history`. Training itself draws the same random numbers.

    Args:
        reference: the source's outputs (2 rows, width) for data of its own task, from `source_outputs`; None for no distances.
        rows: the number of target examples for distances and risk, from the validation data, or without these from the
            training data.
        examples: the number of training examples for gradients; 0 for none.

    >>> Alignment(rows=8).history
    []
    """

    def __init__(self, reference: Tensor | None = None, rows: int = 256, examples: int = 64) -> None:
        check_whole(rows=rows)
        check_whole(0, examples=examples)
        self.reference, self.rows, self.examples = reference, rows, examples
        self.history: list[dict[str, Any]] = []

    def on_epoch_begin(self, args, state, control, **kwargs):
        """Measure the start, which `hf_reprogram.schedule` has fitted by now."""
        if not state.global_step:
            self._measure(args, state, **kwargs)

    def on_epoch_end(self, args, state, control, **kwargs):
        """Measure the epoch."""
        self._measure(args, state, **kwargs)

    def _measure(self, args, state, model=None, train_dataloader=None, eval_dataloader=None, **kwargs):
        if not isinstance(model, ReprogrammedModel):
            return
        loader = train_dataloader if eval_dataloader is None else eval_dataloader
        record: dict[str, Any] = {"epoch": state.epoch or 0.0, "step": state.global_step}
        read = reader(model, loader, args.eval_batch_size)  # keeps what it has read
        if self.reference is not None:
            outputs, _ = read(compared(model), self.rows)
            record |= distances(outputs, self.reference)
        if (value := risk(model, *read(model.mapping.reads, self.rows))) is not None:
            record["risk"] = value
        if self.examples and (found := agreement(model, train_dataloader, self.examples)) is not None:
            record |= found
        self.history.append(record)
        state.log_history.append(dict(record))
