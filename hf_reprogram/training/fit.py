"""One training run with the stock Trainer, for methods and for baselines that train a network."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..costs import Meter
from ..errors import BudgetSpent, InputError
from ..losses import IGNORE
from ..mappings.linear_fit import losses
from ..model import ReprogrammedModel
from ..progress import in_terminal
from ..schedule import begin_epoch, end_training
from ..tasks.problems import finite
from ..tasks.task import Task
from .callbacks import QuietLog, TenthsLog
from .encode import Tokenized, collator
from .rates import RATES, own_optimizer
from .stream import TrainStream

SELECTION = "selection"  # the name of the number that selects an epoch
DEFAULTS: dict[str, Any] = {  # the method's arguments override these, and the recipe's override both
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
    """The outcome of a training run.

    Attributes:
        trainer: the Trainer, with the best model loaded.
        validation: metrics of that model on the validation split.
        logits: logits of that model on the validation split.
        history: one record per epoch, with `epoch`, `loss` (of training), `eval_loss` and the metrics. Epoch 0 is the start.
        best_epoch: the epoch of that model, which may be a fraction; 0 if no step improved on the start. It is the last one
            with `load_best_model_at_end: false`, as some objectives have it.
        seconds: wall-clock time of training, with the evaluation after every epoch.
        stopped: whether the budget of a source that is paid for has ended training early.
        joules: the energy of that time; None if it cannot be read.
        memory: the largest memory in bytes; see `hf_reprogram.costs.Meter`.
    """

    trainer: Any
    validation: dict[str, float]
    logits: np.ndarray
    history: list[dict[str, float]]
    best_epoch: float
    seconds: float
    stopped: bool = False
    joules: float | None = None
    memory: dict[str, int | None] = field(default_factory=dict)


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
    """Train `model` and select its best epoch on validation, by the first metric of the task, and by the loss among equals.

    The start of a `ReprogrammedModel` is a candidate too, with an omega whose strength validation chose. An objective with
    `keeps_last` keeps the last epoch instead.

    Args:
        model: any classifier that the Trainer takes.
        processor: its processor: a tokenizer pads texts; None for rows of numbers.
        data: encoded `train` and `validation` splits; `train` may be a `TrainStream`.
        task: the task, whose first metric selects.
        arguments: fields of `TrainingArguments`, which override `DEFAULTS`, and the rates of `hf_reprogram.training.rates`.
        folder: the folder for checkpoints.
        seed: the seed of the data order and of dropout.
        callbacks: further Trainer callbacks.
        resume: continue from the last whole checkpoint in `folder`.
        quiet: show no progress bars and no log lines.

    Raises:
        InputError: training arguments contradict each other.
        Diverged: the logits of the best model are not finite.
        BudgetSpent: the budget of the source does not allow to score the start.
    """
    from transformers import Trainer, TrainingArguments
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    on_cpu = {"use_cpu": not torch.accelerator.is_available()}  # transformers refuses bf16 on a CPU without it
    select = {
        "metric_for_best_model": SELECTION,
        "greater_is_better": True,
        "eval_on_start": isinstance(model, ReprogrammedModel),
    }
    fixed_size = {  # there are no lengths to group by, and the model takes every column
        "train_sampling_strategy": "random",
        "remove_unused_columns": False,
    }
    no_bars = quiet or not in_terminal()
    rates = {name: arguments[name] for name in RATES if name in arguments}
    arguments = {name: value for name, value in arguments.items() if name not in RATES}
    stream = data["train"] if isinstance(data["train"], TrainStream) else None
    own_share = {"accelerator_config": {"dispatch_batches": False}} if stream else {}  # batches differ in their padding
    settings = {
        **DEFAULTS,
        **on_cpu,
        **select,
        **({} if task.modality.letters else fixed_size),
        **own_share,
        **keeps_last(model),
        **arguments,
    }
    try:
        args = TrainingArguments(output_dir=os.fspath(folder), seed=seed, disable_tqdm=no_bars, **settings)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"The training settings contradict each other: {str(error).strip().splitlines()[0]}"
        ) from error

    if args.gradient_checkpointing and args.n_gpu > 1:
        raise InputError(
            f"gradient_checkpointing does not work with {args.n_gpu} GPUs in one process: leave it out, or start with "
            "`accelerate launch`."
        )
    if stream:
        stream.batch = args.train_batch_size * args.world_size
        if args.dataloader_num_workers:  # each worker is one thread; without this, every one of them would warn of it
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if args.use_cpu and args.bf16:
        plain_attention(model)

    def compute_metrics(output) -> dict[str, float]:
        scores = task.score(output.predictions, output.label_ids)
        return {**scores, SELECTION: selection(task, scores, output.predictions, output.label_ids)}

    trainer = Trainer(
        model,
        args,
        train_dataset=Tokenized(data["train"]) if task.modality.letters and not stream else data["train"],
        eval_dataset=data["validation"],
        processing_class=processor,
        data_collator=collator(processor, task.per_token),
        compute_metrics=compute_metrics,
        callbacks=list(callbacks),
        optimizers=(own_optimizer(model, args, rates), None),
    )
    trainer.remove_callback(PrinterCallback if no_bars else ProgressCallback)
    if not quiet:
        trainer.add_callback((TenthsLog if no_bars else QuietLog)(task.metrics[0]))
    checkpoint = last_whole_checkpoint(folder) if resume else None
    with Meter() as meter:
        if isinstance(model, ReprogrammedModel) and checkpoint is None:
            half = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None
            loaders = trainer.get_train_dataloader(), trainer.get_eval_dataloader()
            begin_epoch(model, 0, loaders[0], args.eval_batch_size, half, loaders[1], quiet, soften=False)
        try:
            trainer.train(resume_from_checkpoint=checkpoint)
        except BudgetSpent:  # others have a share in it, so that the schedule could not foresee the end
            if trainer.state.best_model_checkpoint is None:
                raise
            trainer._load_best_model()
            end_training(model)
            model.estimated.stopped = True
    trainer.args.train_sampling_strategy = "random"  # grouping by length would reorder the predictions too
    output = trainer.predict(data["validation"], metric_key_prefix="validation")
    logits = finite(output.predictions)
    return Fit(
        trainer=trainer,
        validation=task.score(logits, output.label_ids),
        logits=logits,
        history=learning_curve(trainer.state.log_history),
        best_epoch=best_epoch(trainer.state) if args.load_best_model_at_end else float(trainer.state.epoch or 0),
        seconds=meter.seconds,
        stopped=isinstance(model, ReprogrammedModel) and model.estimated is not None and model.estimated.stopped,
        joules=meter.joules,
        memory=meter.memory,
    )


def selection(task: Task, scores: dict[str, float], logits: Any, labels: Any) -> float:
    """The number that selects an epoch: the benefit of the first metric, less a share of the loss that decides among equals.

    The share is smaller than the smallest difference between two accuracies.

    Args:
        task: the task.
        scores: its metrics.
        logits, labels: those of the validation split, as the metrics take them.
    """
    each = example_losses(task, logits, labels)
    loss = float(np.nanmean(each))
    return task.benefit(scores) - 0.5 / len(each) * loss / (1 + loss)


def example_losses(task: Task, logits: Any, labels: Any) -> np.ndarray:
    """The loss of every example, token or label; see `hf_reprogram.mappings.linear_fit.losses`.

    Args:
        task: the task.
        logits, labels: those of a split, as the metrics take them.
    """
    logits, labels = finite(logits), np.asarray(labels)
    if task.per_token:
        logits, labels = logits[labels != IGNORE], labels[labels != IGNORE]
    return losses(logits.reshape(len(logits), -1), labels, task.loss_type)


def keeps_last(model: Any) -> dict[str, Any]:
    """Training arguments that keep the last epoch, if an objective of the model asks for it."""
    last = isinstance(model, ReprogrammedModel) and any(objective.keeps_last for objective in model.objectives)
    return {"load_best_model_at_end": False} if last else {}


def best_epoch(state: Any) -> float:
    """The epoch of the best model, from the Trainer's state."""
    step = state.best_global_step or 0
    epochs = [record["epoch"] for record in state.log_history if record.get("step") == step and "epoch" in record]
    return float(epochs[0]) if epochs else 0.0


def plain_attention(model: torch.nn.Module) -> None:
    """Let every transformers model in `model` compute attention by matrix products instead of torch's fused kernel.

    The backward pass of that kernel is slow in bfloat16 on a CPU: without it a training step takes 0.5 to 0.7 of the time
    (`benchmarks/attention.py`). The results are equal up to rounding. An attention implementation that the user chose is kept.

    >>> from transformers import BertConfig, BertModel
    >>> shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    >>> model = BertModel(BertConfig(vocab_size=10, **shape))
    >>> plain_attention(model)
    >>> model.config._attn_implementation
    'eager'
    """
    from transformers import PreTrainedModel

    for module in model.modules():
        if isinstance(module, PreTrainedModel) and module.config._attn_implementation == "sdpa":
            module.set_attn_implementation("eager")


def learning_curve(log: list[dict[str, float]]) -> list[dict[str, float]]:
    """One record per epoch from the Trainer's log, with the training loss and the validation metrics.

    >>> learning_curve([{"epoch": 1.0, "loss": 0.7}, {"epoch": 1.0, "eval_loss": 0.6, "eval_accuracy": 0.5}])
    [{'epoch': 1.0, 'loss': 0.7, 'eval_loss': 0.6, 'accuracy': 0.5}]
    """
    epochs: dict[float, dict[str, float]] = {}
    for record in log:
        if "epoch" not in record or "train_runtime" in record:
            continue
        entry = epochs.setdefault(record["epoch"], {"epoch": record["epoch"]})
        for key, value in record.items():
            if key in ("loss", "eval_loss") or (key.startswith("eval_") and key.split("_")[1] not in _TIMINGS):
                if not np.isfinite(value) or key == f"eval_{SELECTION}":
                    continue
                entry[key.removeprefix("eval_") if key != "eval_loss" else key] = float(value)
    return [epochs[epoch] for epoch in sorted(epochs) if len(epochs[epoch]) > 1]


_TIMINGS = ("runtime", "samples", "steps", "model")


def last_whole_checkpoint(folder: str | os.PathLike) -> str | None:
    """The path of the newest checkpoint in `folder` that is complete; None if there is none.

    The Trainer writes `trainer_state.json` last. A process that is killed before leaves a folder without this file or with a
    part of it; training must not resume from such a folder.

    >>> last_whole_checkpoint("no/such/folder") is None
    True
    """
    complete = []
    for path in Path(folder).glob("checkpoint-*"):
        try:
            state = json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
            if int(state["global_step"]):  # the start is made again, with the random numbers of a fresh run
                complete.append((int(state["global_step"]), str(path)))
        except (OSError, ValueError, KeyError):
            continue
    return max(complete)[1] if complete else None
