"""Training, as a user would write it, of the cases of the matrix."""

from __future__ import annotations

import gc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import Trainer, TrainingArguments

from hf_reprogram import ReprogrammedModel
from hf_reprogram.gradients import plain_step
from hf_reprogram.training.encode import collator
from tests.contract.matrix import Case, batch_of, loaded, rows
from tests.support.frozen import Watch, bytes_of


def arguments(folder: Path, **options: Any) -> TrainingArguments:
    """Three large steps on a CPU, without a word."""
    defaults: dict[str, Any] = {
        "max_steps": 3,
        "per_device_train_batch_size": 8,
        "learning_rate": 3e-2,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
        "save_strategy": "no",
        "logging_strategy": "no",
    }
    return TrainingArguments(output_dir=str(folder), **{**defaults, **options})


def per_token(model: ReprogrammedModel) -> bool:
    """Whether there is a row of logits for each token."""
    reads, widths = model.mapping.reads, model.source.spec.widths
    return reads in ("tokens", "decoder") and model.mapping(torch.ones(2, 5, widths[reads]), model.source).dim() == 3


def trainer_for(model: ReprogrammedModel, processor: Any, folder: Path, **options: Any) -> Trainer:
    """The stock Trainer on 16 examples."""
    gc.freeze()  # the Trainer ends with a garbage collection, which need not look at what was there before
    takes = model.transform.takes
    a_token = per_token(model)
    data = rows(takes, processor, per_token=a_token)
    given = {name: options.pop(name) for name in ("compute_metrics",) if name in options}
    return Trainer(
        model,
        arguments(folder, **options),
        train_dataset=data,
        eval_dataset=data,
        data_collator=collator(processor, a_token),
        **given,
    )


def saved(model: ReprogrammedModel, processor: Any, folder: Path) -> Path:
    """The folder of an adapter, as a user would save it."""
    model.save_pretrained(folder)
    if processor is not None:
        processor.save_pretrained(folder)
    return folder


def trained(case: Case, folder: Path) -> SimpleNamespace:
    """An adapter after three steps, saved, with what was seen on the way."""
    torch.manual_seed(0)
    model, processor = case.make()
    before = bytes_of(loaded(case.source).source)
    start = {name: p.detach().clone() for name, p in model.trainable().items()}
    needed = plain_step(model.config.gradients)
    trainer, watch = trainer_for(model, processor, folder / "trainer", **needed), Watch()
    trainer.add_callback(watch)
    trainer.train()
    return SimpleNamespace(
        case=case,
        model=model.eval(),
        processor=processor,
        folder=saved(model, processor, folder / "adapter"),
        before=before,
        start=start,
        watch=watch,
        batch=batch_of(model.transform.takes, processor)[0],
    )
