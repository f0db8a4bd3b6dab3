"""A prompt after the text of a causal source: the text's key/value states kept across epochs, against recomputing them.

In a causal model the states of a text do not depend on the prompt behind it, so `model.source.cache_text(bytes)` computes
them once, and later epochs run the prompt's positions alone. One round is an epoch, forward and backward on every batch:

    recomputed              random batches, each padded to its longest text
    recomputed, bucketed    the same texts in batches of similar length, the stronger opponent
    cached, first epoch     fills the cache
    cached                  every epoch after it, on random batches

SmolLM2-135M's shape (30 layers x 576, 3 key/value heads; random weights, or `--source FOLDER`), RTE's lengths.

Equality: loss, and the gradients of prompts and class vectors, of every batch, cached against recomputed.
"""

from __future__ import annotations

import time

import torch
from common import (
    alternate,
    collate,
    differences,
    parser,
    report,
    shape,
    start,
    step,
    templated_ids,
    typical_batch,
    warp,
)
from transformers import AutoModelForCausalLM, LlamaConfig

from hf_reprogram.transforms.template import Template


def smollm2(options) -> torch.nn.Module:
    """SmolLM2-135M's shape with random weights, or the source of the command line, in float32."""
    if options.source:
        return AutoModelForCausalLM.from_pretrained(options.source, dtype=torch.float32)
    heads = options.width // 64
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=options.width,
        intermediate_size=options.width * 8 // 3,
        num_hidden_layers=options.layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 3 if heads % 3 == 0 else heads,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config)


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__, layers=30, width=576, rounds=3)
    arguments.add_argument("--batch", type=int, default=8)
    arguments.add_argument("--batches", type=int, default=2, help="in an epoch (default: %(default)s)")
    arguments.add_argument("--prompts", type=int, default=20)
    options = start(arguments)
    model = warp(smollm2(options), Template.default(options.prompts, "last"), num_labels=2, reads="last")
    config = model.source.model.config
    generator = torch.Generator().manual_seed(2)
    rows = [
        templated_ids(model.transform.template, length, config.vocab_size, generator, special=False)
        for length in typical_batch(options.batch * options.batches)
    ]
    labels = torch.arange(len(rows)) % 2

    def batches(order: list[int]) -> list[dict[str, torch.Tensor]]:
        parts = [order[i : i + options.batch] for i in range(0, len(order), options.batch)]
        return [collate([rows[i] for i in part], labels[part]) for part in parts]

    mixed = batches(torch.randperm(len(rows), generator=generator).tolist())
    similar = batches(list(range(len(rows))))  # `typical_batch` is sorted

    def epoch(data: list[dict[str, torch.Tensor]]) -> list[torch.Tensor]:
        found = []
        for batch in data:
            found.append(torch.tensor(step(model, batch)))
            found += [parameter.grad.clone() for parameter in model.trainable().values()]
        return found

    model.source.cache_text(2**34)
    started = time.process_time(), time.perf_counter()
    first = epoch(mixed)
    once = time.process_time() - started[0], time.perf_counter() - started[1]
    cache = model.source.text_cache

    def recomputed(data: list[dict[str, torch.Tensor]]) -> list[torch.Tensor]:
        model.source.text_cache = None
        found = epoch(data)
        model.source.text_cache = cache
        return found

    expected, cached = recomputed(mixed), epoch(mixed)
    absolute, relative = differences(cached, expected)
    paths = {
        "recomputed": lambda: recomputed(mixed),
        "recomputed, bucketed": lambda: recomputed(similar),
        "cached": lambda: epoch(mixed),
    }
    cpu, wall = alternate(paths, options.rounds, warmup=0)
    cpu["cached, first epoch"], wall["cached, first epoch"] = [once[0]], [once[1]]
    report(
        "causal_text_cache",
        f"{shape(model.source.model)}, an epoch of {options.batches} batches of {options.batch}, forward and backward, RTE "
        f"lengths, {options.prompts} prompts after the text",
        options,
        cpu,
        wall,
        {
            "cached, against recomputing": ("recomputed", "cached"),
            "cached, against recomputing in length buckets": ("recomputed, bucketed", "cached"),
        },
        {
            "difference in loss and gradients (float32, absolute)": (absolute, 1e-5),
            "the same, relative": (relative, 1e-4),
            "difference of the first epoch from the cached ones": (differences(first, cached)[0], 0.0),
        },
        cache_bytes=cache.bytes,
        cache_bytes_per_token=cache.bytes // sum(len(row) - options.prompts for row in rows),
    )


if __name__ == "__main__":
    main()
