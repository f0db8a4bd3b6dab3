"""From prepared splits to what a model takes, with labels, and from that to batches."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate

from ..errors import InputError
from ..modalities.examples import Examples, image_examples, table_examples
from ..progress import progress
from ..tasks.inputs import modality_of
from ..tasks.problems import IGNORE


def load_processor(adapter: str | os.PathLike, takes: str) -> Any:
    """The processor in an adapter's folder or repository, for a transform that `takes` this column.

    That is the tokenizer of texts, the image processor of images (Pillow's, so that pixels are the same everywhere), and
    None for rows of numbers, which need none.
    """
    from transformers import AutoImageProcessor, AutoTokenizer

    if takes == "input_ids":
        return AutoTokenizer.from_pretrained(adapter)
    return AutoImageProcessor.from_pretrained(adapter, backend="pil") if takes == "pixel_values" else None


def encode(
    splits: Any, processor: Any, max_length: int | None = None, problem_type: str = "single_label_classification"
) -> dict[str, Any]:
    """What the model takes, and the labels, of every split: token ids, pixels or rows of numbers.

    Args:
        splits: with the columns of `hf_reprogram.tasks.inputs`, and `label` unless it is to be found.
        processor: the adapter's, or None for rows of numbers.
        max_length, problem_type: of texts, see `tokenize`.
    """
    modality = modality_of(next(iter(splits.values())).column_names)
    if modality == "text":
        return tokenize(splits, processor, max_length, problem_type)
    if modality == "image":
        return {name: image_examples(split, processor, name) for name, split in splits.items()}
    return {name: table_examples(split) for name, split in splits.items()}


def tokenize(
    splits: Any, processor: Any, max_length: int | None, problem_type: str = "single_label_classification"
) -> dict[str, Any]:
    """Token ids of every split, truncated to the tokenizer's limit or `max_length`, the template counted.

    Labels that stand one a letter become one a token: a token takes the label of its first letter, and special tokens
    get `IGNORE`. For infilling the marked tokens are replaced by the mask, and their ids are the labels.

    Args:
        splits: with the columns `text`, for pairs `text_pair`, and `label`.
        processor: a fast tokenizer, the adapter's.
        max_length: tokens; None for the tokenizer's own limit.
        problem_type: a key of `hf_reprogram.tasks.problems.PROBLEMS`.

    Raises:
        InputError: the template alone is longer than `max_length`, or labels a letter meet a tokenizer without offsets.
    """
    pair = "text_pair" in next(iter(splits.values())).column_names
    limit = min(max_length or processor.model_max_length, processor.model_max_length)
    fixed = processor.num_special_tokens_to_add(pair)
    if limit <= fixed:
        raise InputError(
            f"max_length is {limit}, but the template alone takes {fixed} tokens: give more, or use fewer prompts."
        )
    align = _ALIGN.get(problem_type)
    if align is not None and not processor.is_fast:
        raise InputError(f"{type(processor).__name__} does not say which letters a token spans: use a fast tokenizer.")
    cut: dict[str, int] = {}

    def encode(batch, name):
        texts = (batch["text"], batch["text_pair"]) if pair else (batch["text"],)
        found = processor(*texts, truncation=True, max_length=limit, return_offsets_mapping=align is not None)
        cut[name] = cut.get(name, 0) + sum(bool(row.overflowing) for row in found.encodings or ())
        if align is None:
            return found
        return align(found, batch["label"], processor)

    columns = [*(["text", "text_pair"] if pair else ["text"]), *(["label"] if align else [])]
    data = {
        name: split.map(
            encode,
            batched=True,
            fn_kwargs={"name": name},
            remove_columns=columns,
            desc=f"Tokenizing {name}",
            load_from_cache_file=False,
        )
        for name, split in splits.items()
    }
    if limit == processor.model_max_length and any(cut.values()):
        shares = ", ".join(f"{count / len(splits[name]):.1%} of {name}" for name, count in cut.items() if count)
        warnings.warn(
            f"Sequences longer than the {limit} tokens that the source and its tokenizer take were cut: {shares}.",
            stacklevel=2,
        )
    return data


def _label_tokens(found: Any, labels: list[list[int]], processor: Any) -> dict[str, Any]:
    """A class a token, from a class a letter."""
    ready: dict[str, Any] = {name: found[name] for name in ("input_ids", "attention_mask")}
    ready["labels"] = [
        [letters[start] if end > start else IGNORE for start, end in offsets]
        for letters, offsets in zip(labels, found["offset_mapping"], strict=True)
    ]
    return ready


def _hide_tokens(found: Any, marks: list[list[int]], processor: Any) -> dict[str, Any]:
    """The mask in place of marked tokens, and their ids as labels; what the vocabulary does not know is not scored."""
    special = set(processor.all_special_ids)
    ready: dict[str, Any] = {"input_ids": [], "attention_mask": found["attention_mask"], "labels": []}
    for ids, letters, offsets in zip(found["input_ids"], marks, found["offset_mapping"], strict=True):
        hidden = [end > start and any(letters[start:end]) for start, end in offsets]
        ready["input_ids"].append([processor.mask_token_id if hide else i for i, hide in zip(ids, hidden, strict=True)])
        ready["labels"].append(
            [i if hide and i not in special else IGNORE for i, hide in zip(ids, hidden, strict=True)]
        )
    return ready


_ALIGN = {"token_classification": _label_tokens, "infilling": _hide_tokens}


def labels_of(data: Any) -> np.ndarray:
    """The labels of an encoded split: (n,), (n, tasks), or (n, tokens) filled up with `IGNORE`."""
    if isinstance(data, Examples):
        return data.labels
    if "labels" not in data.column_names:
        return np.asarray(data["label"])
    rows = data["labels"]
    labels = np.full((len(rows), max(map(len, rows))), IGNORE)
    for row, values in zip(labels, rows, strict=True):
        row[: len(values)] = values
    return labels


def collator(processor: Any, per_token: bool = False) -> Any:
    """Dynamic padding of texts, and of their labels where there is one a token; images and rows are stacked."""
    from transformers import (
        DataCollatorForTokenClassification,
        DataCollatorWithPadding,
        PreTrainedTokenizerBase,
    )

    if not isinstance(processor, PreTrainedTokenizerBase):
        return default_collate
    if per_token:
        return DataCollatorForTokenClassification(processor, label_pad_token_id=IGNORE)
    return DataCollatorWithPadding(processor)


def batches(
    data: Any,
    processor: Any,
    size: int,
    device: torch.device | str = "cpu",
    desc: str = "",
    quiet: bool = True,
) -> Iterator[tuple[np.ndarray, dict[str, torch.Tensor]]]:
    """The inputs of an encoded split without their labels, in batches, each with its row numbers; texts by length.

    Args:
        data: an encoded split.
        processor: of its making.
        size: examples a batch.
        device: where the inputs go.
        desc: before the progress bar.
        quiet: no progress bar.
    """
    steps = progress(_batches(data, processor, size), desc, -(-len(data) // size), quiet)
    for rows, batch in steps:
        yield rows, {name: values.to(device) for name, values in batch.items()}


def _batches(data: Any, processor: Any, size: int) -> Iterator[tuple[np.ndarray, dict[str, torch.Tensor]]]:
    if isinstance(data, Examples):
        for rows in np.split(np.arange(len(data)), range(size, len(data), size)):
            yield rows, {name: torch.from_numpy(values) for name, values in data.inputs(rows).items()}
        return
    ids = data["input_ids"][:]
    order = np.argsort([len(row) for row in ids], kind="stable")
    for rows in np.split(order, range(size, len(order), size)):
        batch = processor.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt")
        yield rows, {name: batch[name] for name in ("input_ids", "attention_mask")}
