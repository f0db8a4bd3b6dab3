"""How well an attack tells a run's training examples from test examples, before and after training."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError
from ..privacy import membership_auc
from ..tasks.task import Task
from ..training.encode import encode, labels_of
from ..training.features import add_zero_shot_features
from ..training.fit import example_losses
from ..training.predict import predict_logits
from .job import Job

_PROBLEMS = ("single_label_classification", "regression")


def check_problem(job: Job) -> None:
    """Raise `InputError` if membership is asked for, and examples have no single loss each."""
    if job.recipe.membership is not None and job.task.problem_type not in _PROBLEMS:
        raise InputError(
            f"membership compares one loss of each example, and the problem is a {job.task.problem_type}: leave it out."
        )


def membership_record(job: Job, seed: int, processor: Any, models: list[Any], test: list[np.ndarray]) -> dict[str, Any]:
    """The ROC-AUC of `hf_reprogram.privacy.membership_auc` for the start and for the trained model.

    Args:
        job: a job whose recipe has `membership`, the number of examples of each kind.
        seed: that of the run.
        processor: the adapter's processor.
        models: the start and the trained model.
        test: their logits on the test split.

    Returns:
        `examples` of each kind; `start` and `trained` by the losses; and `calibrated`, by how much training has lowered them.
    """
    recipe, task = job.recipe, job.task
    train = task.splits(seed)["train"]
    count = min(recipe.membership or 0, len(train), len(task.test))
    random = np.random.default_rng(seed)
    members, others = (np.sort(random.choice(len(rows), count, replace=False)) for rows in (train, task.test))
    given = train.select(members)
    data = encode({"test": given}, processor, task.options.max_length, task.problem_type)["test"]
    bf16 = bool(recipe.training.get("bf16"))
    add_zero_shot_features(models[0], processor, {"test": data}, bf16=bf16, quiet=job.quiet)
    of_test = encode({"test": task.test.select(others)}, processor, task.options.max_length, task.problem_type)["test"]
    losses = []
    for model, logits in zip(models, test, strict=True):
        own = predict_logits(model, processor, data, bf16=bf16, quiet=job.quiet)
        losses.append((_losses(task, own, data), _losses(task, logits[others], of_test)))
    (start, other_start), (trained, other_trained) = losses
    return {
        "examples": count,
        "start": membership_auc(start, other_start),
        "trained": membership_auc(trained, other_trained),
        "calibrated": membership_auc(trained, other_trained, start, other_start),
    }


def _losses(task: Task, logits: np.ndarray, data: Any) -> np.ndarray:
    return example_losses(task, logits, labels_of(data))
