"""One training run with the stock Trainer: shared by methods and by the baselines that train."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..progress import in_terminal
from ..tasks.metrics import METRICS
from ..tasks.problems import finite
from ..tasks.task import Task
from .callbacks import QuietLog, TenthsLog
from .encode import collator

DEFAULTS: dict[str, Any] = {  # below the method's own, which stand below the recipe's
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "logging_strategy": "epoch",
    "load_best_model_at_end": True,
    "save_total_limit": 1,
    "per_device_eval_batch_size": 64,
    "train_sampling_strategy": "group_by_length",
    "dataloader_pin_memory": False,
    "report_to": "none",
}


@dataclass
class Fit:
    """What a run leaves behind.

    Attributes:
        trainer: with the best model loaded.
        validation: metrics of that model on the validation split.
        logits: its logits there.
        history: per epoch: `epoch`, `loss` (training), `eval_loss` and the metrics.
        seconds: wall-clock time of training, evaluation after every epoch included.
    """

    trainer: Any
    validation: dict[str, float]
    logits: np.ndarray
    history: list[dict[str, float]]
    seconds: float


def fit(
    model: Any,
    processor: Any,
    data: dict[str, Any],
    task: Task,
    arguments: dict[str, Any],
    *,
    folder: str | os.PathLike,
    seed: int,
    callbacks: Sequence[Any] = (),
    resume: bool = False,
    quiet: bool = False,
) -> Fit:
    """Train `model` and select its best epoch on validation.

    Args:
        model: any classifier that the Trainer takes.
        processor: its own: the tokenizer pads; None for rows of numbers.
        data: encoded `train` and `validation` splits.
        task: metrics; the first one selects.
        arguments: fields of `TrainingArguments`.
        folder: for checkpoints.
        seed: of the data order and dropout.
        callbacks: the method's own Trainer callbacks.
        resume: go on from the last whole checkpoint in `folder`.
        quiet: no progress bars and no log lines.
    """
    from transformers import Trainer, TrainingArguments
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    on_cpu = {"use_cpu": not torch.accelerator.is_available()}  # bf16 on a CPU is refused unless this is said
    select = {
        "metric_for_best_model": task.metrics[0],
        "greater_is_better": not METRICS[task.metrics[0]].lower_is_better,
    }
    fixed_size = {  # there are no lengths to group by, and every column is one that the model takes
        "train_sampling_strategy": "random",
        "remove_unused_columns": False,
    }
    no_bars = quiet or not in_terminal()
    settings = {**DEFAULTS, **on_cpu, **select, **({} if task.modality.letters else fixed_size), **arguments}
    try:
        args = TrainingArguments(output_dir=os.fspath(folder), seed=seed, disable_tqdm=no_bars, **settings)
    except (ValueError, TypeError) as error:
        raise InputError(f"The training settings do not go together: {str(error).strip().splitlines()[0]}") from error

    if args.gradient_checkpointing and args.n_gpu > 1:
        raise InputError(
            f"gradient_checkpointing does not work with {args.n_gpu} GPUs in one process: start with `accelerate launch`, or "
            "leave it out."
        )
    if args.use_cpu and args.bf16:
        plain_attention(model)

    def compute_metrics(output) -> dict[str, float]:
        return task.score(output.predictions, output.label_ids)

    trainer = Trainer(
        model,
        args,
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        processing_class=processor,
        data_collator=collator(processor, task.per_token),
        compute_metrics=compute_metrics,
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback if no_bars else ProgressCallback)
    if not quiet:
        trainer.add_callback(TenthsLog() if no_bars else QuietLog())
    started = time.perf_counter()
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(folder) if resume else None)
    seconds = time.perf_counter() - started
    trainer.args.train_sampling_strategy = "random"  # grouping by length would also reorder what is predicted
    output = trainer.predict(data["validation"], metric_key_prefix="validation")
    logits = finite(output.predictions)
    return Fit(
        trainer=trainer,
        validation=task.score(logits, output.label_ids),
        logits=logits,
        history=learning_curve(trainer.state.log_history),
        seconds=seconds,
    )


def plain_attention(model: torch.nn.Module) -> None:
    """Let every transformers model in `model` multiply matrices for its attention in place of torch's fused kernel.

    The backward pass of that kernel is slow in bfloat16 on a CPU: without it a training step takes 0.5 to 0.7 of the time
    (`benchmarks/attention.py`). The results are equal up to rounding; an implementation chosen by hand is kept.
    """
    from transformers import PreTrainedModel

    for module in model.modules():
        if isinstance(module, PreTrainedModel) and module.config._attn_implementation == "sdpa":
            module.set_attn_implementation("eager")


def learning_curve(log: list[dict[str, float]]) -> list[dict[str, float]]:
    """One record an epoch from the Trainer's log: training loss and validation metrics."""
    epochs: dict[float, dict[str, float]] = {}
    for record in log:
        if "epoch" not in record or "train_runtime" in record:
            continue
        entry = epochs.setdefault(record["epoch"], {"epoch": record["epoch"]})
        for key, value in record.items():
            if key in ("loss", "eval_loss") or (key.startswith("eval_") and key.split("_")[1] not in _TIMINGS):
                if not np.isfinite(value):
                    continue
                entry[key.removeprefix("eval_") if key != "eval_loss" else key] = float(value)
    return [epochs[epoch] for epoch in sorted(epochs) if len(epochs[epoch]) > 1]


_TIMINGS = ("runtime", "samples", "steps", "model")


def last_whole_checkpoint(folder: str | os.PathLike) -> str | None:
    """The newest checkpoint that was written to its end, or None.

    The Trainer writes `trainer_state.json` last; a process killed before leaves a folder without it, or with half of
    it, which must not be resumed from.
    """
    found = []
    for path in Path(folder).glob("checkpoint-*"):
        try:
            state = json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
            found.append((int(state["global_step"]), str(path)))
        except (OSError, ValueError, KeyError):
            continue
    return max(found)[1] if found else None
