"""The most frequent class of train; the mean label of a regression, that of each step of a forecast, and the share of each
label of a multi-label problem.

For a few-shot task the classes are counted in all of train, since the draw has as many examples of each.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from ..tasks.problems import IGNORE
from ..training.encode import encode, labels_of
from .base import Baseline, Outcome, Setting


@dataclass
class MajorityOptions:
    """Options of `majority`; it has none."""


class Majority(Baseline):
    """Predicts the same for every example: a method that does not beat this baseline learned nothing."""

    title = "majority class"
    Options = MajorityOptions

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        started = time.perf_counter()
        task, labels = setting.task, None
        if task.per_token:  # count the labels of letters or tokens
            _, processor = setting.make()
            data = encode(setting.splits, processor, task.options.max_length, task.problem_type)
            labels = {name: labels_of(data[name]) for name in data}
            train = labels.pop("train")
            size = len(task.labels) or len(processor)
            constant = _log_share(np.bincount(train[train != IGNORE], minlength=size))
        elif task.regression:
            labels_of_train = np.asarray(setting.splits["train"]["label"][:])
            constant = labels_of_train.reshape(len(labels_of_train), -1).mean(0)
        elif task.problem_type == "multi_label_classification":
            constant = np.nan_to_num(np.nanmean(np.asarray(setting.splits["train"]["label"], float), axis=0)) - 0.5
        else:
            pool = setting.splits["train"] if task.options.few_shot is None else task.train
            constant = _log_share(np.bincount(pool["label"], minlength=len(task.labels)))
        shape = {
            name: labels[name].shape if labels else (len(setting.splits[name]),) for name in ("validation", "test")
        }
        logits = {name: np.broadcast_to(constant, (*size, len(constant))) for name, size in shape.items()}
        return Outcome(logits["validation"], logits["test"], 0, time.perf_counter() - started, labels=labels)


def _log_share(counts: np.ndarray) -> np.ndarray:
    """The logarithm of each class's share, after adding one example to each class so that no share is zero."""
    return np.log((counts + 1) / (counts + 1).sum())
