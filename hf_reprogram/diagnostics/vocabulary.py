"""Which source tokens each target token became, as a table and a heat map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..model import ReprogrammedModel
from .inspection import nearest_tokens


def source_tokenizer(model: ReprogrammedModel) -> Any:
    """The source's own tokenizer, or None if it has none or it cannot be fetched."""
    from transformers import AutoTokenizer

    reference = model.config.source
    name = getattr(getattr(model.source.model, "config", None), "_name_or_path", "") or reference["name"]
    try:
        return AutoTokenizer.from_pretrained(name, revision=reference["revision"]) if name else None
    except (OSError, ValueError):
        return None


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
    count = transform.options.num_tokens
    names = processor.convert_ids_to_tokens(list(range(count)))
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
    return words.convert_ids_to_tokens(atom) if words is not None else f"#{atom}"


def plot_combinations(found: dict[str, list[tuple[str, float]]], path: str | Path, title: str, most: int = 40) -> Path:
    """Write a heat map as PNG: a row a target token, a column a source token, the coefficient as colour.

    Args:
        found: what `combinations` returns.
        path: where to.
        title: above the map.
        most: rows and columns at most; the source tokens with the largest coefficients are kept.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = list(found)[:most]
    weight: dict[str, float] = {}
    for name in rows:
        for word, value in found[name]:
            weight[word] = max(weight.get(word, 0.0), abs(value))
    columns = sorted(weight, key=lambda word: -weight[word])[:most]
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
    axis.set_xticks(range(len(columns)), [_plain(word) for word in columns], rotation=90, fontsize=7)
    axis.set_yticks(range(len(rows)), [_plain(name) for name in rows], fontsize=7)
    axis.set(xlabel="source token", ylabel="target token")
    figure.colorbar(image, ax=axis, shrink=0.8, label="coefficient")
    figure.suptitle(title, fontsize=9)
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    figure.savefig(temporary, dpi=130, format="png")
    plt.close(figure)
    temporary.replace(path)
    return path


def _plain(word: str) -> str:
    """A token as matplotlib can draw it: no dollar signs, and what its font lacks as an escape."""
    shown = word.replace("$", r"\$")
    return shown if all(ord(letter) < 0x250 for letter in shown) else ascii(shown).strip("'")
