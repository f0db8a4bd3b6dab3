"""What methods that give the target an alphabet of its own share: its tokenizer, and the options of its vocabulary."""

from __future__ import annotations

import os
from typing import Any

import torch

from ..errors import InputError, unknown
from ..options import check_whole
from ..sources.base import Source
from ..transforms.target_tokenizers import KINDS, framed_tokenizer, target_tokenizer
from .base import Target


def check_vocabulary(options: Any) -> None:
    """Raise `InputError` if options are out of range: `k`, `sparsity`, `init`, `warmup_epochs`, `alternating` and atoms.

    They are those of `hf_reprogram.methods.r2dl.R2DLOptions`.
    """
    check_whole(k=options.k, num_atoms=options.num_atoms)
    check_whole(0, warmup_epochs=options.warmup_epochs)
    if options.init not in ("random", "tokens"):
        raise unknown("init", options.init, ("random", "tokens"))
    if options.atoms not in ("tokens", "ksvd"):
        raise unknown("atoms", options.atoms, ("tokens", "ksvd"))
    if options.sparsity is not None and (not isinstance(options.sparsity, int) or options.sparsity < 1):
        raise InputError(f"sparsity is {options.sparsity!r}: give at least 1 atom a token, or null for a free table.")
    if options.sparsity is None and (options.alternating or options.warmup_epochs):
        raise InputError(
            "A free table has nothing to re-sparsify: give a sparsity, or leave warm-up and alternation out."
        )


def make_tokenizer(
    options: Any, processor: Any, max_tokens: int, target: Target, k: int | None = None, most: int | None = None
) -> tuple[Any, dict[int, int]]:
    """The target's tokenizer and the source's id of each of its special tokens; options as in `R2DLOptions`.

    Args:
        options: with `tokenizer`, `k` and `alphabet`.
        processor: the source's tokenizer; None for a source that has none.
        max_tokens: the longest input.
        target: its texts make a vocabulary.
        k: in place of the options' own.
        most: tokens that are taken from the texts, at most.
    """
    if options.tokenizer in KINDS:
        return target_tokenizer(
            processor,
            options.tokenizer,
            max_tokens,
            texts=target.texts,
            k=options.k if k is None else k,
            alphabet=options.alphabet,
            spell_mask=target.problem_type == "infilling",
            most=most,
        )
    from transformers import AutoTokenizer

    try:
        given = AutoTokenizer.from_pretrained(options.tokenizer)
        if len(given) <= len(given.all_special_tokens):  # what transformers makes of a folder without one
            raise ValueError("its vocabulary is empty.")
    except (OSError, ValueError) as error:
        if os.path.isdir(options.tokenizer) or "/" in options.tokenizer:
            raise InputError(f"No tokenizer at {options.tokenizer!r}: {str(error).splitlines()[0]}") from error
        raise unknown("target tokenizer", options.tokenizer, KINDS) from error
    return framed_tokenizer(given, processor, max_tokens, spell_mask=target.problem_type == "infilling")


def vocabulary(options: Any, source: Source, tokenizer: Any, special_ids: dict[int, int]) -> dict[str, Any]:
    """Options of the `vocabulary` transform for a tokenizer of the target."""
    ordinary, unknown_id = min(special_ids), tokenizer.unk_token_id
    if unknown_id != ordinary - 1:  # a given tokenizer's unknown token stands among the others and is one of them
        unknown_id = None
    return {
        "type": "vocabulary",
        "num_tokens": ordinary if unknown_id is None else unknown_id,
        "width": source.spec.embedding_width,
        "special_ids": {str(ours): theirs for ours, theirs in special_ids.items()},
        "unknown_id": unknown_id,
        "sparsity": options.sparsity,
        "num_atoms": options.num_atoms if options.atoms == "ksvd" and options.sparsity is not None else None,
        "warmup_epochs": options.warmup_epochs,
        "alternating": options.alternating,
    }


@torch.no_grad()
def initialize_vocabulary(options: Any, model: Any) -> float:
    """Set theta to the nearest sparse code of an initial table; returns the relative error of the code."""
    transform, source = model.transform, model.source
    count, table = transform.options.num_rows, source.embedding.weight
    every = source.embed(torch.arange(len(table), device=table.device)).float()
    if options.init == "tokens":
        usable = every.norm(dim=1) > 0
        usable[list(transform.options.special_ids.values())] = False
        words = usable.nonzero()[:, 0]
        if count > len(words):
            raise InputError(f"init='tokens' needs {count} source tokens, but there are {len(words)}: use 'random'.")
        target = every[words[torch.randperm(len(words))[:count].to(table.device)]]
    else:
        target = every.mean(0) + every.std(0) * torch.randn(count, every.shape[1]).to(table.device)
    if transform.options.num_atoms is not None:
        transform.atoms.copy_(learned_atoms(every, transform.options.num_atoms, options.sparsity))
    error: float = transform.fit_table(target, source)
    return error


def learned_atoms(table: torch.Tensor, count: int, sparsity: int, most: int = 4096) -> torch.Tensor:
    """A dictionary of `count` atoms in which the rows of a table are sparse, learned by K-SVD from `most` rows."""
    from ..dictionary import KSVD

    rows = table[torch.randperm(len(table))[:most].to(table.device)].cpu().numpy()
    learned = KSVD(n_components=count, n_nonzero_coefs=min(sparsity, count), random_state=0).fit(rows)
    return torch.as_tensor(learned.components_, dtype=torch.float32, device=table.device)
