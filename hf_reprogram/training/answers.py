"""What the logits of an adapter say, as plain data: a label and its score, the scores of all labels, or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def answers_of(
    model: Any, processor: Any, logits: Sequence[np.ndarray], ids: Sequence[Sequence[int]] | None = None
) -> list[dict[str, Any]]:
    """One answer per example.

    Args:
        model: the `ReprogrammedModel`.
        processor: its processor.
        logits: (labels,) for each example, or (tokens, labels).
        ids: with one label per token, the tokens of each example.

    Returns:
        `label` and `score`; with several labels `scores` by label; of a regression `value`, of a forecast `values`; with one
        label per token `tokens` and `labels`.

    >>> from hf_reprogram import reprogram
    >>> model, processor = reprogram(text_source, "warp", ["no", "yes"], num_prompts=2)
    >>> answers_of(model, processor, [np.zeros(2)])
    [{'label': 'no', 'score': 0.5}]
    """
    if ids is not None:
        return _per_token(model, processor, logits, ids)
    values, names = np.stack(logits).astype(np.float64), model.label_names
    if model.config.problem_type == "regression":
        if len(names) > 1:  # the steps of a forecast
            return [{"values": row} for row in values.tolist()]
        return [{"value": value} for value in values[:, 0].tolist()]
    shares = scores_of(model, values)
    if model.config.problem_type == "multi_label_classification":
        return [{"scores": dict(zip(names, row, strict=True))} for row in shares.tolist()]
    return [{"label": names[i], "score": row[i]} for i, row in zip(shares.argmax(1), shares.tolist(), strict=True)]


def scores_of(model: Any, logits: np.ndarray) -> np.ndarray:
    """The score of each label (n, labels) from logits of the same shape: a soft-max, or a share for each of several labels.

    Args:
        model: the `ReprogrammedModel`, whose problem is a classification.
        logits: (n, labels).
    """
    values = np.asarray(logits, np.float64)
    if model.config.problem_type == "multi_label_classification":
        return 1 / (1 + np.exp(-values))
    powers = np.exp(values - values.max(-1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(-1, keepdims=True)
    return shares


def special_ids(processor: Any) -> set[int]:
    """The ids of a tokenizer's special tokens, which have no label.

    >>> sorted(special_ids(tokenizer))[:3]
    [0, 1, 2]
    """
    return {index for index, token in processor.added_tokens_decoder.items() if token.special}


def _per_token(
    model: Any, processor: Any, logits: Sequence[np.ndarray], ids: Sequence[Sequence[int]]
) -> list[dict[str, Any]]:
    names = model.label_names
    special = special_ids(processor)
    answers = []
    for row, values in zip(ids, logits, strict=True):
        kept = [place for place, index in enumerate(row) if index not in special]
        tokens = processor.convert_ids_to_tokens([row[place] for place in kept])
        answers.append({"tokens": tokens, "labels": [names[int(values[place].argmax())] for place in kept]})
    return answers
