"""The section `cost` of `results.json`: what a program takes in numbers, bytes, operations, seconds, memory and energy.

The operations are counted when the first seed is scored, after training and on models of their own, so that no random number
and no weight of the run is touched. The training step is one of the untrained start, with the method's own gradient; what is
done between epochs is not in it, nor what objectives add. The prediction is one of the trained adapter, with all that can be
kept kept.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..costs import count_flops, flops_per_example
from ..reports.results import summarize
from ..sources.black_box import BlackBox
from ..sources.quantized import quantization_of
from ..sources.remote import RemoteSource
from ..sources.sharding import is_sharded
from ..sources.tuning import values_of
from ..training.encode import collator, encode
from ..training.features import add_zero_shot_features
from .job import Job

EXAMPLES = 64  # training texts, of which the one of median length is counted
NUMBER_BYTES = 4  # of a baseline's trained number


def numbers_of(model: Any) -> dict[str, int | None]:
    """The count of numbers in theta, omega, the tuned weights of the source, and its frozen ones.

    Args:
        model: a `ReprogrammedModel`.

    Returns:
        Counts by "theta", "omega", "tuned" and "frozen"; the last is None where no weight of the source is at hand.

    >>> from hf_reprogram import reprogram
    >>> model, tokenizer = reprogram(text_source, "warp", ["no", "yes"], num_prompts=4)
    >>> {**numbers_of(model), "frozen": None}
    {'theta': 128, 'omega': 66, 'tuned': 0, 'frozen': None}
    """
    trained = model.trainable()
    tuned = sum(weight.numel() for weight in values_of(model.source).values())
    counts = {
        part: sum(weight.numel() for name, weight in trained.items() if name.startswith(f"{prefix}."))
        for part, prefix in (("theta", "transform"), ("omega", "mapping"))
    }
    packed = quantization_of(model.source.model) is not None  # a number of 4 bits is half a number of its tensor
    every = model.source.model.num_parameters() if packed else sum(w.numel() for w in model.source.parameters())
    return {**counts, "tuned": tuned, "frozen": every - tuned if not isinstance(model.source, _ELSEWHERE) else None}


_ELSEWHERE = (BlackBox, RemoteSource)


def rows_sent(model: Any) -> int:
    """How often a training example goes through the source in a step: once, or more where the gradient is estimated.

    >>> from hf_reprogram import reprogram
    >>> rows_sent(reprogram(text_source, "warp", ["no", "yes"], gradients={"spsa": {"q": 5}})[0])
    11
    """
    if model.estimated is None or not any(weight.requires_grad for weight in model.transform.parameters()):
        return 1
    rows: int = model.estimated.estimator.rows
    return rows


def uncounted(source: Any) -> str | None:
    """Why the operations of a source cannot be counted, in a sentence; None if they can.

    >>> uncounted(text_source) is None
    True
    """
    if isinstance(source, _ELSEWHERE):
        return "The source is not in this process, so that its operations cannot be counted."
    if (quantization := quantization_of(source.model)) is not None:
        return f"The source is quantized ({quantization}), and the products of its layers are not counted."
    if is_sharded(source):
        return "The layers of the source are shared out over processes, and no process counts all of them."
    return None


def flops_of(job: Job, model: Any, load_start: Callable[[], Any], processor: Any) -> dict[str, Any]:
    """The operations of one example, by `hf_reprogram.costs.flops`.

    A count that fails costs no result: its reason takes its place.

    Args:
        job: the job.
        model: the trained adapter, in eval mode.
        load_start: loads its untrained start.
        processor: the adapter's.

    Returns:
        `forward` for a prediction and `training` for a step with its backward pass, each per example in a batch of
        `batch_size`; or None with a `reason`.
    """
    batch_size = int(job.recipe.training_arguments.get("per_device_train_batch_size", 8))
    found: dict[str, Any] = {"forward": None, "training": None, "batch_size": batch_size}
    if (why := uncounted(model.source)) is not None:
        return {**found, "reason": why}
    cuda = [model.source.device] if model.source.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=cuda), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is to be said of the example was said in training
            make = _batches(job, model, processor)
            forward = _forward(job, model, make)
            found["forward"] = flops_per_example(lambda size: count_flops(lambda: forward(size)), batch_size)
            step = _step(job, load_start(), make)
            step(1)  # computes what is kept from then on
            found["training"] = flops_per_example(lambda size: count_flops(lambda: step(size)), batch_size)
    except Exception as error:  # of a measurement, which must not lose the run
        return {**found, "reason": (str(error).strip() or type(error).__name__).splitlines()[0]}
    return found


def _batches(job: Job, model: Any, processor: Any) -> Callable[[int], dict[str, torch.Tensor]]:
    """A function that makes a batch of so many times one training example, of median length if there are lengths."""
    task = job.task
    train = task.splits(job.recipe.seeds[0])["train"]
    letters = task.modality.letters
    few = train.select(range(min(EXAMPLES, len(train)) if letters else 1))
    data = encode({"train": few}, processor, task.options.max_length, task.problem_type)
    add_zero_shot_features(model, processor, data, bf16=bool(job.recipe.training.get("bf16")), quiet=True)
    rows = data["train"]
    lengths = [len(ids) for ids in rows["input_ids"]] if letters else [1]
    row = rows[int(np.argsort(lengths, kind="stable")[len(lengths) // 2])]
    known = {*inspect.signature(type(model).forward).parameters, "label"}
    row = {name: value for name, value in row.items() if name in known}
    collate = collator(processor, task.per_token)
    device = model.source.device

    def make(size: int) -> dict[str, torch.Tensor]:
        return {name: value.to(device) for name, value in collate([dict(row) for _ in range(size)]).items()}

    return make


def _autocast(job: Job, model: Any) -> Any:
    """The precision of training."""
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
    half = next((kinds[name] for name in kinds if job.recipe.training_arguments.get(name)), None)
    return torch.autocast(model.source.device.type, half, enabled=half is not None)


def _forward(job: Job, model: Any, make: Callable[[int], dict[str, torch.Tensor]]) -> Callable[[int], Any]:
    """A prediction of so many examples, of which nothing is known before."""

    @torch.no_grad()
    def run(size: int) -> None:
        batch = make(size)
        with _autocast(job, model):
            model(**{name: value for name, value in batch.items() if name not in ("labels", "image_features")})

    return run


def _step(job: Job, start: Any, make: Callable[[int], dict[str, torch.Tensor]]) -> Callable[[int], Any]:
    """A training step on so many examples, without that of an optimizer."""
    arguments = job.recipe.training_arguments
    start.train()
    start.in_schedule = True
    start.transform.begin_epoch(0.0)
    if job.recipe.cache_text is not None:
        start.source.cache_text(int(job.recipe.cache_text * 2**30))
    if arguments.get("gradient_checkpointing"):
        start.gradient_checkpointing_enable(arguments.get("gradient_checkpointing_kwargs"))

    def run(size: int) -> None:
        if start.estimated is not None:
            start.estimated.begin_step(0, 1)
        with _autocast(job, start):
            loss = start(**make(size)).loss
        loss.backward()
        start.zero_grad()

    return run


# ------------------------------------------------------------------------------------------------------- the section


def cost_section(outcomes: list[dict[str, Any]], adapter_bytes: int, examples: int) -> dict[str, Any]:
    """The section `cost` of `results.json`.

    Args:
        outcomes: the content of `fit.json` and `test.json` of every seed; what one of them lacks, which an earlier version
            wrote, is None.
        adapter_bytes: the size of the adapter's weights.
        examples: the size of the test split.

    >>> fitted = {"seconds": 9.0, "numbers": {"theta": 96}, "rows_sent": 1, "memory": {"process": 1000}, "joules": None}
    >>> section = cost_section([{**fitted, "test_seconds": 2.0}], adapter_bytes=900, examples=100)
    >>> section["shipped_bytes"], section["seconds"]["prediction"]["mean"], section["joules"], section["flops"]
    (900, 0.02, None, None)
    """
    first = outcomes[0]
    return {
        "flops": next((outcome["flops"] for outcome in outcomes if outcome.get("flops")), None),
        "rows_sent": first.get("rows_sent"),
        "numbers": first.get("numbers"),
        "shipped_bytes": adapter_bytes,
        "seconds": {
            "train": _over_seeds([outcome["seconds"] for outcome in outcomes]),
            "prediction": _over_seeds([_share(outcome.get("test_seconds"), examples) for outcome in outcomes]),
        },
        "memory": {
            where: _over_seeds([(outcome.get("memory") or {}).get(where) for outcome in outcomes])
            for where in ("process", "accelerator")
        },
        "joules": _over_seeds([outcome.get("joules") for outcome in outcomes]),
    }


def _share(seconds: float | None, examples: int) -> float | None:
    return None if seconds is None else seconds / examples


def _over_seeds(values: list[float | None]) -> dict[str, float] | None:
    """Mean, deviation and number; None if a seed has no value."""
    known = [{"value": value} for value in values if value is not None]
    return summarize(known)["value"] if len(known) == len(values) else None
