"""Which source tokens each target token became, as a table and a heat map."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..figures import drawable, pyplot, save
from ..model import ReprogrammedModel
from .adapter import nearest_tokens


def source_tokenizer(model: ReprogrammedModel) -> Any:
    """The source's own tokenizer, or None if it has none or it cannot be fetched."""
    from transformers import AutoTokenizer

    reference = model.config.source
    name = getattr(getattr(model.source.model, "config", None), "_name_or_path", "") or reference["name"]
    try:
        found = AutoTokenizer.from_pretrained(name, revision=reference["revision"]) if name else None
    except (OSError, ValueError):
        return None
    empty = found is not None and len(found) <= len(found.all_special_tokens)  # what a folder without one gives
    return None if empty else found


@torch.no_grad()
def combinations(model: ReprogrammedModel, processor: Any, top: int = 5) -> dict[str, list[tuple[str, float]]]:
    """For each target token the source tokens it is a combination of, largest coefficient first.

    Args:
        model: with a `vocabulary` transform.
        processor: its tokenizer.
        top: source tokens for each.

    Returns:
        {target token: [(source token, coefficient), ...]}; for a free table the nearest source tokens with their cosine.
        A learned atom is called "atom 17", and a source token without a tokenizer "#17".
    """
    transform: Any = model.transform
    letters = processor.convert_ids_to_tokens(list(range(transform.options.num_tokens)))
    names = ["".join(word) for word in product(letters, repeat=transform.options.window)]
    words = source_tokenizer(model)
    if transform.options.sparsity is None:
        table = model.source.embedding.weight
        rows = nearest_tokens(transform.table(model.source), table, words or _Numbers(len(table)), top)
        return dict(zip(names, rows, strict=True))
    found = {}
    for name, support, codes in zip(names, transform.support.tolist(), transform.codes.tolist(), strict=True):
        merged: dict[int, float] = {}
        for atom, code in zip(support, codes, strict=True):
            merged[atom] = merged.get(atom, 0.0) + code
        order = sorted((atom for atom in merged if merged[atom]), key=lambda atom: -abs(merged[atom]))[:top]
        found[name] = [(_call(atom, transform, words), round(merged[atom], 3)) for atom in order]
    return found


class _Numbers:
    """Names tokens by their ids, where there is no tokenizer."""

    def __init__(self, size: int):
        self.size = size

    def __len__(self) -> int:
        return self.size

    def convert_ids_to_tokens(self, index: int) -> str:
        return f"#{index}"


def _call(atom: int, transform: Any, words: Any) -> str:
    if transform.options.num_atoms is not None:
        return f"atom {atom}"
    name = words.convert_ids_to_tokens(atom) if words is not None else None
    return name or f"#{atom}"  # a source may have more rows than its tokenizer has tokens


def plot_combinations(
    found: dict[str, list[tuple[str, float]]], path: str | Path, title: str, colour: str = "coefficient", most: int = 40
) -> Path:
    """Write a heat map as PNG: a row a target token, a column a source token, the coefficient as colour.

    Args:
        found: what `combinations` returns.
        path: where to.
        title: above the map.
        colour: what the numbers are: for a free table the cosine.
        most: rows and columns at most; the source tokens with the largest coefficients are kept.

    Raises:
        InputError: matplotlib is not installed, or no target token has a source token.
    """
    plt = pyplot()
    rows = list(found)[:most]
    weight: dict[str, float] = {}
    for name in rows:
        for word, value in found[name]:
            weight[word] = max(weight.get(word, 0.0), abs(value))
    if not weight:
        raise InputError("There is nothing to plot: no target token is a combination of source tokens.")
    first = dict.fromkeys(found[name][0][0] for name in rows if found[name])  # no row stands empty
    rest = sorted((word for word in weight if word not in first), key=lambda word: -weight[word])
    columns = [*first, *rest][:most]
    values = np.zeros((len(rows), len(columns)))
    for i, name in enumerate(rows):
        for word, value in found[name]:
            if word in columns:
                values[i, columns.index(word)] = value
    order = np.argsort(np.abs(values).argmax(0), kind="stable")  # columns in the order of the rows that use them most
    values, columns = values[:, order], [columns[i] for i in order]
    size = (2 + 0.24 * len(columns), 1.4 + 0.22 * len(rows))
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    limit = np.abs(values).max() or 1.0
    image = axis.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    draw = drawable()
    axis.set_xticks(range(len(columns)), [draw(word) for word in columns], rotation=90, fontsize=7)
    axis.set_yticks(range(len(rows)), [draw(name) for name in rows], fontsize=7)
    axis.set(xlabel="source token", ylabel="target token")
    figure.colorbar(image, ax=axis, shrink=0.8, label=colour)
    figure.suptitle(draw(title), fontsize=9)
    return save(figure, path)
