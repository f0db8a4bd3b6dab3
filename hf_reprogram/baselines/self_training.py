"""A linear probe that also learns from its own answers to unlabelled rows: the baseline of training with few labels.

The probe answers for all unlabelled rows, takes the answers whose probability is above a threshold as labels, is fitted
again, and so on until no row is added (Yarowsky 1995; scikit-learn's `SelfTrainingClassifier`). The strength of the probe is
that of the probe of labelled examples alone, and validation chooses the threshold; the plain probe is a candidate.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..errors import InputError, unknown
from ..mappings.linear_fit import STRENGTHS, mean_loss
from ..training.encode import encode, labels_of
from .base import Baseline, Outcome, Run, Setting, check_choices
from .linear import best_linear
from .linear_probe import default_tokens, extract, inputs_for, kept_states

ROUNDS = 10
UNLABELLED = -1  # of scikit-learn


@dataclass
class SelfTrainingOptions:
    """Options of `self_training`.

    Attributes:
        thresholds: probabilities above which an answer becomes a label; the first seed chooses one on validation.
        reads, tokens, strengths: as for `linear_probe`, but `reads` is one of "features", "first" and "last".
    """

    thresholds: list[float] = field(default_factory=lambda: [0.6, 0.75, 0.9, 0.95])
    reads: str = "features"
    tokens: str | None = None
    strengths: list[float] = field(default_factory=lambda: list(STRENGTHS))

    def __post_init__(self):
        if self.reads not in ("features", "first", "last"):
            raise unknown("reads", self.reads, ("features", "first", "last"))
        if self.tokens not in (None, "source", "target"):
            raise unknown("tokens", self.tokens, ("source", "target"))
        check_choices("self_training", strengths=self.strengths)
        if not self.thresholds or not all(0 < value < 1 for value in self.thresholds):
            raise InputError(f"thresholds of self_training is {self.thresholds!r}: give probabilities between 0 and 1.")


class SelfTraining(Baseline):
    """The linear probe on frozen features, which labels unlabelled rows for itself."""

    title = "self-trained probe"
    Options: ClassVar[type] = SelfTrainingOptions
    classes_only = True
    needs_unlabelled = True

    def check(self, recipe: Run) -> None:
        """See `Baseline.check`."""
        super().check(recipe)
        if recipe.unlabelled is None:
            raise InputError(
                "self_training needs unlabelled rows: write unlabelled: {from_train: 2000}, or leave it out."
            )

    def check_source(self, spec: Any, task: Any) -> None:
        """See `Baseline.check_source`."""
        if self.options.reads not in spec.widths:
            raise InputError(
                f"self_training reads {self.options.reads!r}, and a source of kind {spec.kind!r} has no such output: leave it "
                "out, or change its option reads."
            )

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        started = time.perf_counter()
        task, reads = setting.task, self.options.reads
        before = setting.chosen or {}
        tokens = self.options.tokens or default_tokens(setting)
        source, processor, inputs_of = inputs_for(setting, tokens == "target")
        self.check_source(source.spec, task)
        data = encode(
            {**setting.splits, "unlabelled": setting.unlabelled}, processor, task.options.max_length, task.problem_type
        )

        def read(split: Any) -> np.ndarray:
            if tokens == "source":
                return kept_states(setting, source, split, processor, [reads])[reads]
            return extract(source, inputs_of, split, processor, [reads], setting.quiet)[reads]

        features = {name: read(split) for name, split in data.items()}
        labels = {name: labels_of(data[name]) for name in ("train", "validation")}
        strengths = [before["strength"]] if before else self.options.strengths
        choice, plain = best_linear(
            task, {name: {reads: rows} for name, rows in features.items()}, labels, strengths, len(task.labels)
        )

        def answer_of(threshold: float) -> Any:
            return self_trained(features, labels["train"], choice["strength"], threshold, len(task.labels))

        candidates = [(0.0, plain.logits)] if not before or not before["threshold"] else []
        for threshold in [before["threshold"]] if before else self.options.thresholds:
            if threshold:
                candidates.append((threshold, answer_of(threshold)))

        def value(candidate: Any) -> tuple[float, float]:
            logits = candidate[1](features["validation"])
            score = task.benefit(task.score(logits, labels["validation"]))
            return score, -mean_loss(logits, labels["validation"], task.loss_type)

        threshold, answer = max(candidates, key=value)
        seconds = time.perf_counter() - started
        chosen = {**choice, "threshold": threshold, "tokens": tokens}
        logits = {name: answer(features[name]) for name in ("validation", "test")}
        extra = setting.predict_extra(processor, lambda split: answer(read(split)))
        return Outcome(logits["validation"], logits["test"], plain.trainable, seconds, chosen, extra=extra)


def self_trained(
    features: dict[str, np.ndarray], labels: np.ndarray, strength: float, threshold: float, outputs: int
) -> Any:
    """A function from features (n, width) to log-probabilities (n, classes) of a probe that has labelled rows for itself.

    Args:
        features: of "train" and "unlabelled".
        labels: class indices (n,) of "train".
        strength: the inverse L2 strength, per example as in `hf_reprogram.mappings.linear_fit`.
        threshold: the probability above which an answer becomes a label.
        outputs: the number of classes.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.semi_supervised import SelfTrainingClassifier

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
    rows = np.concatenate([features["train"], features["unlabelled"]])
    marks = np.concatenate([labels, np.full(len(features["unlabelled"]), UNLABELLED)])
    model = SelfTrainingClassifier(probe, threshold=threshold, max_iter=ROUNDS).fit(rows, marks)
    classes = np.asarray(model.classes_)

    def logits(values: np.ndarray) -> np.ndarray:
        found = np.full((len(values), outputs), -30.0, np.float32)
        found[:, classes] = np.log(model.predict_proba(values).clip(1e-12))
        return found

    return logits
