"""The parts that methods with an alphabet of the target's own share: the tokenizer and the vocabulary transform."""

from __future__ import annotations

import os
from typing import Any

import torch

from ..errors import InputError, unknown
from ..modalities.processors import open_tokenizer
from ..options import check_whole
from ..sources.base import Source
from ..transforms.target_tokenizers import KINDS, framed_tokenizer, target_tokenizer
from ..transforms.template import special_frame
from .base import Target


def check_vocabulary(options: Any) -> None:
    """Raise `InputError` if an option of the vocabulary is out of range.

    Args:
        options: has `k`, `sparsity`, `init`, `warmup_epochs`, `alternating`, `atoms` and `num_atoms`, as in
            `hf_reprogram.methods.r2dl.R2DLOptions`.

    >>> from hf_reprogram.methods.r2dl import R2DLOptions
    >>> check_vocabulary(R2DLOptions(sparsity=4))
    """
    check_whole(k=options.k, num_atoms=options.num_atoms)
    check_whole(0, warmup_epochs=options.warmup_epochs)
    if options.init not in ("random", "tokens"):
        raise unknown("init", options.init, ("random", "tokens"))
    if options.atoms not in ("tokens", "ksvd"):
        raise unknown("atoms", options.atoms, ("tokens", "ksvd"))
    if options.sparsity is not None and (not isinstance(options.sparsity, int) or options.sparsity < 1):
        raise InputError(f"sparsity is {options.sparsity!r}: give at least 1 atom per token, or null for a free table.")
    if options.sparsity is None and (options.alternating or options.warmup_epochs):
        raise InputError(
            "warmup_epochs and alternating are for sparse codes, and sparsity is null: set sparsity, or leave them out."
        )


def make_tokenizer(
    options: Any, processor: Any, max_tokens: int, target: Target, k: int | None = None, most: int | None = None
) -> tuple[Any, dict[int, int]]:
    """The target's tokenizer, and the source's id of each of its special tokens.

    Args:
        options: has `tokenizer`, `k` and `alphabet`, as in `hf_reprogram.methods.r2dl.R2DLOptions`.
        processor: the source's tokenizer; None for a source without one.
        max_tokens: the largest number of tokens; longer texts are truncated.
        target: the task, whose texts make a vocabulary.
        k: the length of the k-mers; None for that of the options.
        most: the largest number of tokens from the texts; None for all.

    Returns:
        The tokenizer, and a dictionary from the target's to the source's id of each special token.

    Raises:
        InputError: there is no such tokenizer, or it needs texts and the target has none.

    >>> from hf_reprogram.methods.r2dl import R2DLOptions
    >>> letters, special_ids = make_tokenizer(R2DLOptions(), tokenizer, 64, Target(num_labels=2, texts=["ACGT", "GATT"]))
    >>> letters.tokenize("TACA")
    ['T', 'A', 'C', 'A']
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
    try:
        loaded = open_tokenizer(options.tokenizer)
        if len(loaded) <= len(loaded.all_special_tokens):  # true for a folder without a tokenizer
            raise ValueError("its vocabulary is empty.")
    except InputError:
        raise
    except (OSError, ValueError) as error:
        if os.path.isdir(options.tokenizer) or "/" in options.tokenizer:
            raise InputError(f"There is no tokenizer at {options.tokenizer!r}: {str(error).splitlines()[0]}") from error
        raise unknown("target tokenizer", options.tokenizer, KINDS) from error
    return framed_tokenizer(loaded, processor, max_tokens, spell_mask=target.problem_type == "infilling")


def vocabulary(options: Any, source: Source, tokenizer: Any, special_ids: dict[int, int]) -> dict[str, Any]:
    """The `vocabulary` transform for a tokenizer of the target, as plain data `{"type": name, **options}`.

    Args:
        options: has `sparsity`, `atoms`, `num_atoms`, `warmup_epochs` and `alternating`, as in
            `hf_reprogram.methods.r2dl.R2DLOptions`.
        source: the frozen source.
        tokenizer, special_ids: as from `make_tokenizer`.

    >>> from hf_reprogram.methods.r2dl import R2DLOptions
    >>> options = R2DLOptions(tokenizer="residues", sparsity=4)
    >>> residues, special_ids = make_tokenizer(options, tokenizer, 64, Target(num_labels=2))
    >>> vocabulary(options, text_source, residues, special_ids)["num_tokens"]
    20
    """
    source.spec.check_tokens()
    ordinary, unknown_id = min(special_ids), tokenizer.unk_token_id
    if unknown_id != ordinary - 1:  # the unknown token of another tokenizer is among its ordinary tokens
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
        **frame_ids(tokenizer),
    }


def frame_ids(tokenizer: Any) -> dict[str, int | None]:
    """The ids of the tokens before and after every text, as options of a transform; None if there is none.

    >>> frame_ids(tokenizer) == {"begins_with": tokenizer.cls_token_id, "ends_with": tokenizer.sep_token_id}
    True
    """
    before, after = (tokenizer.convert_tokens_to_ids(tokens) for tokens in special_frame(tokenizer))
    return {"begins_with": before[0] if before else None, "ends_with": after[-1] if after else None}


@torch.no_grad()
def initialize_vocabulary(options: Any, model: Any) -> float:
    """Set theta to the sparse codes nearest to an initial table.

    Args:
        options: has `init`, `sparsity` and `atoms`, as in `hf_reprogram.methods.r2dl.R2DLOptions`.
        model: a model with the `vocabulary` transform, which is changed.

    Returns:
        The relative error of the codes, from 0 to 1.

    >>> from hf_reprogram import reprogram
    >>> model, _ = reprogram(text_source, "r2dl", ["no", "yes"], tokenizer="residues", sparsity=4)
    >>> from hf_reprogram.methods.r2dl import R2DLOptions
    >>> round(initialize_vocabulary(R2DLOptions(tokenizer="residues", sparsity=4), model), 4)  # rows of the source's table
    0.0
    """
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
    """A dictionary (count, width) in which the rows of a table have sparse codes, learned by K-SVD.

    Args:
        table: (rows, width).
        count: the number of atoms.
        sparsity: the largest number of atoms per row.
        most: the dictionary is learned from at most this many rows, which are drawn at random.

    >>> learned_atoms(text_source.embed(torch.arange(112)), count=16, sparsity=2).shape
    torch.Size([16, 32])
    """
    from ..dictionary import KSVD

    rows = table[torch.randperm(len(table))[:most].to(table.device)].cpu().numpy()
    learned = KSVD(n_components=count, n_nonzero_coefs=min(sparsity, count), random_state=0).fit(rows)
    return torch.as_tensor(learned.components_, dtype=torch.float32, device=table.device)
