"""The schedule of training: what the parts of a model do between its epochs.

Some transforms make their codes sparse again or lower a temperature. Label maps are fitted to the outputs of the source, a
dense layer computes the statistics by which it standardizes, and a regression those of its target. Every `Trainer` of
transformers does this by itself, since importing `hf_reprogram` adds the callback `Schedule` to the Trainer's default ones.
A training loop of your own calls the three functions:

    from hf_reprogram.schedule import begin_epoch, end_epoch, end_training

    for epoch in range(3):
        begin_epoch(model, epoch, loader)
        for batch in loader:
            ...
        end_epoch(model)
    end_training(model)

A model that would be trained without what its options ask for refuses its first training step.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from functools import partial
from math import floor, isfinite
from typing import Any

import numpy as np
import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers.trainer_callback import TrainerCallback
from transformers.trainer_utils import HubStrategy

from .calibration import check_untrained
from .errors import InputError
from .gradients import check_private_training, check_training, refused
from .modalities.examples import Examples
from .model import ReprogrammedModel
from .privacy import PoissonBatches
from .publishing import check_public
from .readings import reader, standing_for
from .stock_trainer import models_in, private_in


def begin_epoch(
    model: ReprogrammedModel,
    epoch: float,
    loader: Any,
    batch_size: int = 64,
    half: torch.dtype | None = None,
    validation: Any = None,
    quiet: bool = True,
    soften: bool = True,
) -> None:
    """Prepare an epoch of training. Before the first epoch, this fits the start of omega.

    Args:
        model: the model.
        epoch: the number of epochs that are finished.
        loader: the `DataLoader` of the training data.
        batch_size: examples per batch of a pass over the data, if a part needs one.
        half: the autocast dtype of training, so that a map is fitted in training's precision; None for none.
        validation: the `DataLoader` of the validation data, on which the strength of a start is chosen; by default folds of
            the training data decide.
        quiet: show no progress bar of a pass over the data.
        soften: make a start soft for training (`hf_reprogram.mappings.linear`); False to score the start first, and to call
            this once more before the first step.

    Raises:
        InputError: the data lack what the options ask for, such as the mean of known targets; or the model is calibrated.
    """
    check_untrained(model)
    target, private = model.mapping.target, model.estimated is not None and model.estimated.private
    if target is not None and not target.is_fitted():
        if private:
            raise InputError(
                "dp_sgd protects the training data, and a regression takes the mean and deviation of its targets from them: "
                "call model.mapping.target.fit(targets) with public targets before training."
            )
        target.fit(target_values(loader))
    model.transform.begin_epoch(epoch)
    name = f"the mapping {model.config.mapping['type']!r}"
    read = refused(name) if private else reader(model, loader, batch_size, half, quiet)
    model.mapping.begin_epoch(epoch, read, model.source)
    if not model.mapping.has_started():
        held = None if validation is None else reader(model, validation, batch_size, half, quiet)
        model.mapping.begin(read, held, model.config.problem_type, model.source)
    if soften:
        model.mapping.soften()
    for objective in model.objectives:
        objective.begin_epoch(model, epoch, partial(reader, model, loader, batch_size, half))
    model.in_schedule = True


def end_epoch(model: ReprogrammedModel) -> None:
    """Finish an epoch of training, before validation and checkpoints; see `InputTransform.end_epoch`."""
    model.transform.end_epoch(model.source)
    for objective in model.objectives:
        objective.end_epoch(model)


def end_training(model: ReprogrammedModel) -> None:
    """Finish training, after the best checkpoint is loaded; see `InputTransform.end_training`."""
    model.transform.end_training(model.source)
    model.in_schedule = False


def target_values(loader: Any) -> Tensor:
    """The numbers (n,) that a regression is trained on, from the labels of the training data.

    A data set with a column of labels is asked for the column alone. Otherwise the loader's `collate_fn` makes batches of the
    whole data set.

    Raises:
        InputError: the data set is a stream without a length, or has no labels.

    >>> rows = [{"x": torch.zeros(2), "labels": torch.tensor(280.0)}, {"x": torch.zeros(2), "labels": torch.tensor(320.0)}]
    >>> target_values(DataLoader(rows, batch_size=2))
    tensor([280., 320.])
    """
    data = standing_for(loader.dataset)
    if isinstance(data, Examples) and data.labels is not None:
        return torch.as_tensor(data.labels, dtype=torch.float32)
    remedy = "call model.mapping.target.fit(targets) with the training targets before training."
    if not hasattr(data, "__len__"):
        raise InputError(f"The training data are a stream, so the mean of their targets is not known: {remedy}")
    for name in ("labels", "label", "label_ids"):
        if name in (getattr(data, "column_names", None) or ()):
            return torch.from_numpy(np.asarray(data.with_format(None)[name][:], dtype=np.float32))
    values = []
    with torch.random.fork_rng(devices=[]):
        for batch in DataLoader(data, 64, collate_fn=loader.collate_fn, num_workers=loader.num_workers):
            if "labels" not in batch:
                raise InputError(f"The training data have no labels: {remedy}")
            values.append(batch["labels"].flatten().float().cpu())
    return torch.cat(values)


class Schedule(TrainerCallback):
    """Calls the functions of this module for every `ReprogrammedModel` in a Trainer's model.

    With `eval_on_start` and `load_best_model_at_end`, the start of training is a candidate for the best model: it is scored
    and saved as `checkpoint-0`, so a program is never worse on validation than not training it.

    It also keeps the state of the random numbers at the start of the epoch in every checkpoint. A run that is resumed within
    an epoch then draws the same order of batches again, also if batches are grouped by length.

    >>> from transformers.trainer import DEFAULT_CALLBACKS
    >>> Schedule in DEFAULT_CALLBACKS
    True
    """

    resumed = False  # whether the first epoch since the Trainer started is still to begin

    def on_init_end(self, args, state, control, model=None, optimizer=None, **kwargs):
        """Refuse training arguments that cannot have an effect."""
        if models_in(model) and args.neftune_noise_alpha is not None:
            raise InputError(
                f"neftune_noise_alpha is {args.neftune_noise_alpha}, but the noise is for embeddings that are trained, and "
                "those of a source are frozen: leave it out."
            )
        if models_in(model) and (kind := AcceleratorState._shared_state.get("distributed_type")) in (
            "FSDP",
            "DEEPSPEED",
        ):
            raise InputError(
                f"{kind} would shard theta and omega with the source: leave fsdp and deepspeed out of the training arguments, "
                "shard the frozen source with reprogram(..., source_kwargs={'shard': True}), and make no Accelerator before."
            )
        for each in models_in(model):
            if each.estimated is None:
                continue
            if each.objectives:
                (name,) = each.config.gradients
                raise InputError(f"Objectives need exact gradients, and gradients is {name!r}: leave one of them out.")
            if each.estimated.private:
                check_private_training(args)
            else:
                check_training(each, args, own_optimizer=optimizer is not None)
        if args.push_to_hub:
            for each in models_in(model):
                check_public(each.config.source.get("name", ""))
                args.hub_strategy = HubStrategy.END  # checkpoints would publish the paths that TrainingArguments hold

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        """Begin the first epoch early if the Trainer evaluates before training; go on with the searches of a resumed run."""
        self.on_init_end(args, state, control, model=model, optimizer=kwargs.get("optimizer"))
        self.resumed = True
        if state.global_step and (searches := _searches(model)):
            kept = _kept(state).get("searches") or []
            for search, record in zip(searches, [*kept, *[None] * len(searches)], strict=False):
                search.restore(record, args.seed)
        objectives = [objective for each in models_in(model) for objective in each.objectives]
        kept = _kept(state).get("objectives") if state.global_step else None
        for objective, record in zip(objectives, kept or [None] * len(objectives), strict=True):
            objective.begin(args.seed, record)
        for each in private_in(model):
            batches = getattr(kwargs.get("train_dataloader"), "batch_sampler", None)
            if not isinstance(batches, PoissonBatches):
                raise InputError(
                    "dp_sgd accounts for Poisson batches, and this training's loader draws others: leave get_train_dataloader "
                    "as it is, or give the loader batch_sampler=hf_reprogram.privacy.PoissonBatches(...)."
                )
            each.estimated.begin(batches, state.max_steps, state.global_step)
        if args.eval_on_start:
            self._begin(args, state, model, soften=False, **kwargs)

    def on_evaluate(self, args, state, control, metrics=None, model=None, processing_class=None, **kwargs):
        """Save the start as the best model so far, if it is scored before the first step."""
        if not (self.resumed and args.eval_on_start and args.load_best_model_at_end) or state.global_step:
            return
        name = f"eval_{(args.metric_for_best_model or '').removeprefix('eval_')}"
        value = (metrics or {}).get(name, float("nan"))
        if not isinstance(model, ReprogrammedModel) or not isfinite(value) or not self._acts(state):
            return
        folder = os.path.join(args.output_dir, "checkpoint-0")
        state.best_metric, state.best_global_step, state.best_model_checkpoint = value, 0, folder
        if args.should_save:
            model.save_pretrained(folder)
            state.save_to_json(os.path.join(folder, "trainer_state.json"))

    def on_epoch_begin(self, args, state, control, model=None, **kwargs):
        """Call `begin_epoch`; a run that is resumed within an epoch begins that epoch again."""
        self._begin(args, state, model, **kwargs)
        if not models_in(model):
            return
        epoch, kept = _epoch(state), _kept(state)
        if self.resumed and state.global_step and kept.get("epoch") == epoch:
            torch.set_rng_state(torch.frombuffer(bytearray(b64decode(kept["random"])), dtype=torch.uint8))
        self.resumed = False
        random = b64encode(torch.get_rng_state().numpy().tobytes()).decode()
        _keep(state, {"epoch": epoch, "random": random})

    def _begin(self, args, state, model, train_dataloader=None, soften=True, **kwargs):
        half = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None
        for each in models_in(model) if self._acts(state) else ():
            quiet = args.disable_tqdm or _epoch(state) > 0  # a map that is fitted every epoch would fill the log
            begin_epoch(each, _epoch(state), train_dataloader, args.eval_batch_size, half, quiet=quiet, soften=soften)

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        """Tell objectives, and an estimate of the gradient, the step on which their random numbers depend."""
        for each in models_in(model):
            for objective in each.objectives:
                objective.begin_step(args.seed, state.global_step + 1, state.max_steps)
            if each.estimated is not None:
                each.estimated.begin_step(args.seed, state.global_step + 1)

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        """Leave theta and omega as they are in a step that the source's budget has cut short."""
        for each in models_in(model):
            if each.estimated is not None and each.estimated.spent:
                for parameter in each.trainable().values():
                    parameter.grad = None

    def on_step_end(self, args, state, control, model=None, eval_dataloader=None, **kwargs):
        """Stop where the source's budget allows no further step and validation after it; what was learned is validated."""
        if searches := _searches(model):
            _keep(state, {"searches": [search.record() for search in searches]})
        self._keep_objectives(state, control, model)
        validation = _rows(eval_dataloader) if args.eval_strategy != "no" else 0
        for each in models_in(model):
            if each.estimated is None:
                continue
            if each.estimated.spent or each.source.left < each.estimated.asked + validation:
                control.should_training_stop = True
                each.estimated.stopped |= each.estimated.spent or state.global_step < state.max_steps
                control.should_evaluate |= args.eval_strategy == "steps"
                control.should_save |= args.save_strategy == "steps"
            control.should_evaluate &= each.source.left >= validation

    def on_epoch_end(self, args, state, control, model=None, train_dataloader=None, eval_dataloader=None, **kwargs):
        """Call `end_epoch`, before the Trainer validates and saves; leave out a validation that the budget does not allow."""
        self._keep_objectives(state, control, model)
        for each in models_in(model) if self._acts(state) else ():
            end_epoch(each)
            validation = _rows(eval_dataloader) if args.eval_strategy != "no" else 0
            control.should_evaluate &= each.source.left >= validation
            again = _rows(train_dataloader) if each.mapping.scheduled() else 0  # of a map that is fitted every epoch
            if each.source.left < validation + again:
                control.should_training_stop = True
                if each.estimated is not None:
                    each.estimated.stopped |= state.global_step < state.max_steps

    def on_train_end(self, args, state, control, model=None, **kwargs):
        """Call `end_training`, after the Trainer loaded the best checkpoint."""
        for each in models_in(model) if self._acts(state) else ():
            end_training(each)

    def _keep_objectives(self, state: Any, control: Any, model: nn.Module | None) -> None:
        """Keep what objectives have learned in a checkpoint that is about to be written."""
        if control.should_save and (found := [each for one in models_in(model) for each in one.objectives]):
            _keep(state, {"objectives": [objective.record() for objective in found]})

    def _acts(self, state: Any) -> bool:
        """Whether this is the first `Schedule` of this training: a second one, added by hand, does nothing."""
        return vars(state).setdefault("_schedule", self) is self


def _keep(state: Any, attributes: dict[str, Any]) -> None:
    """Add to what every checkpoint keeps of `Schedule`."""
    state.stateful_callbacks["Schedule"] = {"args": {}, "attributes": {**_kept(state), **attributes}}


def _kept(state: Any) -> dict[str, Any]:
    """What the last checkpoint keeps of `Schedule`."""
    kept: dict[str, Any] = state.stateful_callbacks.get("Schedule", {}).get("attributes", {})
    return kept


def _searches(model: nn.Module | None) -> list[Any]:
    """The searches of "cma_es" of the reprogrammed models in a Trainer's model."""
    found = [each.estimated.search for each in models_in(model) if each.estimated is not None]
    return [search for search in found if search is not None]


def _rows(loader: Any) -> int:
    """The number of examples of a data loader; 0 if it is not known."""
    data: Any = getattr(loader, "dataset", None)
    return len(data) if hasattr(data, "__len__") else 0


def _epoch(state: Any) -> int:
    """The number of finished epochs."""
    return floor(round(state.epoch or 0, 6))
