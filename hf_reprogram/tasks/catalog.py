"""The tasks whose columns, labels and metrics are known: GLUE, and CB and COPA of SuperGLUE.

Where a benchmark hides the labels of its test split, the official validation split is the *test* split here, as in the
papers' tables, and nothing is ever selected on it: a validation split is carved from train instead.

Sources: GLUE (Wang et al. 2019, arXiv 1804.07461), SuperGLUE (Wang et al. 2019, arXiv 1905.00537).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class KnownTask:
    """A task of ours.

    Attributes:
        text: one or two columns.
        labels: names by label value; empty for a regression, several labels and infilling.
        metrics: names from `hf_reprogram.tasks.metrics`; the first is the one selected on.
        test_split: which official split is the test split; None carves one.
        train_split: which official split is trained on.
        average: how F1 is averaged, "binary" (of class 1) or "macro".
        problem: a key of `hf_reprogram.tasks.problems.PROBLEMS`.
        label: the label column; several columns where there are several labels an example, the string of letters where
            there is one a token, the string of marks for infilling.
        scored: for one label a token, a column of as many 0 and 1: what is 0 is not scored.
        marks: for infilling, the marks whose positions are hidden and guessed.
        split: how validation and test are carved where the benchmark has none, see `TaskOptions`.
        prepare: turns an example into one whose `text` columns exist, if the data set has them in another form.
    """

    text: tuple[str, ...]
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    test_split: str | None = "validation"
    train_split: str = "train"
    average: str = "binary"
    problem: str = "single_label_classification"
    label: str | tuple[str, ...] = "label"
    scored: str | None = None
    marks: str = "1"
    split: str = "seeded"
    prepare: Callable[[dict[str, Any]], dict[str, Any]] | None = None


def _copa(example: dict[str, Any]) -> dict[str, Any]:
    """Premise and question as the text, the two choices as its pair: which choice is right is a class of the pair."""
    question = {"cause": "What was the cause of this?", "effect": "What happened as a result?"}[example["question"]]
    return {
        "text": f"{example['premise']} {question}",
        "text_pair": f"first: {example['choice1']} second: {example['choice2']}",
    }


_NLI = ("entailment", "neutral", "contradiction")
_GLUE, _SUPER_GLUE = "nyu-mll/glue", "aps/super_glue"

CATALOG: dict[tuple[str, str], KnownTask] = {
    (_GLUE, "sst2"): KnownTask(("sentence",), ("negative", "positive"), ("accuracy",)),
    (_GLUE, "cola"): KnownTask(("sentence",), ("unacceptable", "acceptable"), ("matthews", "accuracy")),
    (_GLUE, "mrpc"): KnownTask(("sentence1", "sentence2"), ("not_equivalent", "equivalent"), ("accuracy", "f1")),
    (_GLUE, "qqp"): KnownTask(("question1", "question2"), ("not_duplicate", "duplicate"), ("accuracy", "f1")),
    (_GLUE, "stsb"): KnownTask(("sentence1", "sentence2"), (), ("pearson", "spearman"), problem="regression"),
    (_GLUE, "mnli"): KnownTask(("premise", "hypothesis"), _NLI, ("accuracy",), test_split="validation_matched"),
    (_GLUE, "qnli"): KnownTask(("question", "sentence"), ("entailment", "not_entailment"), ("accuracy",)),
    (_GLUE, "rte"): KnownTask(("sentence1", "sentence2"), ("entailment", "not_entailment"), ("accuracy",)),
    (_GLUE, "wnli"): KnownTask(("sentence1", "sentence2"), ("not_entailment", "entailment"), ("accuracy",)),
    (_SUPER_GLUE, "cb"): KnownTask(
        ("premise", "hypothesis"), ("entailment", "contradiction", "neutral"), ("accuracy", "f1"), average="macro"
    ),
    (_SUPER_GLUE, "copa"): KnownTask(("text", "text_pair"), ("choice1", "choice2"), ("accuracy",), prepare=_copa),
}
ALIASES = {"glue": _GLUE, "super_glue": _SUPER_GLUE}
