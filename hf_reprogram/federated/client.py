"""One client: its own examples, and the training of the server's program on them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from math import floor
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from ..model import ReprogrammedModel
from ..readings import reader
from ..schedule import Schedule, end_epoch
from ..training.encode import Tokenized, collator
from ..training.rates import RATES, own_optimizer
from .program import Numbers, numbers_of, set_map, set_numbers, shared_map

FIXED: dict[str, Any] = {  # nothing is validated, saved or logged by a client
    "eval_strategy": "no",
    "save_strategy": "no",
    "logging_strategy": "no",
    "load_best_model_at_end": False,
    "report_to": "none",
    "disable_tqdm": True,
    "max_steps": -1,
}


class Client:
    """A client of federated training.

    Clients in one process share one model: each sets its numbers before it uses it.

    Args:
        model: the program around the frozen source.
        data: the client's encoded examples (`hf_reprogram.training.encode.encode`).
        processor: the program's processor.
        arguments: fields of `TrainingArguments`, and the rates of `hf_reprogram.training.rates`.
        rounds, local_epochs: see `hf_reprogram.federated.options.FederatedOptions`. The learning rate falls over all rounds.
        seed: the seed of the order of the examples; every round has another order.
    """

    def __init__(
        self,
        model: ReprogrammedModel,
        data: Any,
        processor: Any,
        arguments: Mapping[str, Any],
        rounds: int,
        local_epochs: int = 1,
        seed: int = 0,
    ) -> None:
        self.model, self.data, self.processor = model, data, processor
        self.rates = {name: value for name, value in arguments.items() if name in RATES}
        self.arguments = {name: value for name, value in arguments.items() if name not in RATES}
        self.rounds, self.local_epochs, self.seed = rounds, local_epochs, seed

    @property
    def examples(self) -> int:
        """The number of examples, n_k."""
        return len(self.data)

    def counts(self, numbers: Mapping[str, np.ndarray]) -> np.ndarray:
        """The counts of this client for the label map, with these numbers; see `LabelMap.counts`.

        Args:
            numbers: theta and omega of the server.
        """
        set_numbers(self.model, numbers)
        label_map = shared_map(self.model.mapping)
        assert label_map is not None
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}
        chosen = next((dtype for name, dtype in half.items() if self.arguments.get(name)), None)
        loader = DataLoader(self.data, 64, collate_fn=collator(self.processor))
        return label_map.counts(*reader(self.model, loader, 64, chosen)("logits"))

    def train(
        self, numbers: Mapping[str, np.ndarray], label_map: Mapping[str, np.ndarray], number: int
    ) -> tuple[Numbers, float]:
        """Train the server's program for the epochs of one round.

        Args:
            numbers: theta and omega of the server.
            label_map: its label map; see `hf_reprogram.federated.program.map_of`.
            number: that of the round, from 1.

        Returns:
            The client's theta and omega, and the mean loss of the round.
        """
        set_numbers(self.model, numbers)
        set_map(self.model, label_map)
        self.model.in_schedule = True
        with TemporaryDirectory() as folder:
            trainer = self._trainer(folder, number)
            loss = trainer.train().training_loss
        self.model.in_schedule = False
        self.model.eval()
        return numbers_of(self.model), float(loss)

    def _trainer(self, folder: str, number: int) -> Trainer:
        letters = "input_ids" in getattr(self.data, "column_names", ())
        kind = {"train_sampling_strategy": "group_by_length"} if letters else {"remove_unused_columns": False}
        settings = {
            "use_cpu": not torch.accelerator.is_available(),
            "dataloader_pin_memory": False,
            **kind,
            **self.arguments,
            **FIXED,
            "num_train_epochs": self.local_epochs,
            "seed": self.seed + number - 1,
        }
        args = TrainingArguments(output_dir=folder, **settings)
        trainer = _OneRound(
            self.model,
            args,
            train_dataset=Tokenized(self.data) if letters else self.data,
            processing_class=self.processor,
            data_collator=collator(self.processor),
            callbacks=[_ClientSchedule(self.local_epochs * (number - 1))],
            optimizers=(own_optimizer(self.model, args, self.rates), None),
        )
        trainer.number, trainer.rounds = number, self.rounds
        for callback in (Schedule, PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
        return trainer


class _OneRound(Trainer):
    """Trains one round; the learning rate is that of a training of all rounds."""

    number: int
    rounds: int

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The schedule of all rounds, at the first step of this one."""
        scheduler = super().create_scheduler(num_training_steps * self.rounds, optimizer)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that no step of the optimizer comes before
            for _ in range(num_training_steps * (self.number - 1)):
                scheduler.step()
        return scheduler


class _ClientSchedule(TrainerCallback):
    """What the transform does between epochs. The mapping is the server's, and a client never fits it."""

    def __init__(self, finished: int) -> None:
        self.finished = finished  # epochs of earlier rounds

    def on_epoch_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Begin an epoch, counted over all rounds."""
        model.transform.begin_epoch(self.finished + floor(round(state.epoch or 0, 6)))

    def on_epoch_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Finish an epoch."""
        end_epoch(model)
