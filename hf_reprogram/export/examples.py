"""Examples on which an export is compared with its adapter, and the words that describe its answers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..modalities import modality_taking


def example_batch(model: Any, processor: Any) -> dict[str, Tensor]:
    """Two examples of an adapter's data, as its processor encodes them.

    Args:
        model: a `ReprogrammedModel`.
        processor: its processor.

    Raises:
        InputError: the transform has no example of its own.
    """
    takes = model.transform.takes
    if takes == "input_ids":
        texts = some_texts(processor)
        batch = processor(texts, padding=True, truncation=True, return_tensors="pt")
        return {name: batch[name] for name in ("input_ids", "attention_mask")}
    shown = model.transform.default_example(processor)
    if shown is not None:
        data = shown.data.float()
    elif takes == "pixel_values":
        size = processor.crop_size if processor.do_center_crop else processor.size
        data = torch.full((1, 3, size["height"], size["width"]), 0.6)
    else:
        raise InputError(
            f"There is no example of {modality_taking(takes).noun} for this adapter, so it cannot be checked."
        )
    return {takes: torch.cat([data, data * torch.linspace(0.2, 1, data.shape[-1])])}


def some_texts(processor: Any) -> list[str]:
    """Two texts of several lengths, of tokens that a tokenizer has."""
    special = set(processor.all_special_ids)
    ids = [index for index in range(processor.vocab_size) if index not in special]
    drawn = torch.randint(len(ids), (12,), generator=torch.Generator().manual_seed(0)).tolist()
    tokens = processor.convert_ids_to_tokens([ids[place] for place in drawn])
    return [processor.convert_tokens_to_string(tokens[:count]) for count in (5, 12)]


def shown_texts(processor: Any) -> list[str]:
    """Two texts for a README: English where the tokenizer knows its words, else `some_texts`."""
    english = ["A lovely film.", "The second act is dull and far too long."]
    unknown = processor.unk_token_id
    known = all(unknown not in ids for ids in processor(english)["input_ids"])
    return english if known else some_texts(processor)


def difference(found: Tensor, expected: Tensor, mask: Tensor | None = None) -> float:
    """The largest difference of logits, as a share of the largest logit where that is above 1.

    Args:
        found, expected: (batch, labels) or (batch, tokens, labels).
        mask: 1 at the tokens (batch, tokens) that count.

    >>> difference(torch.tensor([[1.0, 2.5]]), torch.tensor([[1.0, 2.0]]))
    0.25
    """
    apart = (found.float() - expected.float()).abs()
    if mask is not None and apart.dim() == 3:
        apart = apart * mask[..., None]
    return float(apart.max()) / max(1.0, float(expected.abs().max()))


def tolerance(model: Any) -> float:
    """The largest `difference` that counts as rounding: 1e-4 in float32, and 5e-2 in half precision."""
    return 1e-4 if next(model.source.parameters()).dtype == torch.float32 else 5e-2


def answer_in_words(model: Any) -> str:
    """What the logits are, for a README."""
    problem, names = model.config.problem_type, ", ".join(f"{i}: {name}" for i, name in enumerate(model.label_names))
    if problem == "regression":
        return "The logits are the predicted numbers, in the target's own units."
    if problem == "multi_label_classification":
        return f"The sigmoid of a logit is the probability of its label. The labels are {names}."
    return f"The soft-max of the logits is the probability of each label. The labels are {names}."
