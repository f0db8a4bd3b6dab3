"""Batches of similar length against random batches, on RTE's lengths.

The same 50 batches' worth of texts, a training step (forward and backward) on every batch, in three ways:

    fixed       random batches, all padded to the longest text of the data set (or cut and padded to --max-length)
    dynamic     random batches, each padded to its own longest text
    bucketed    batches of similar length: `train_sampling_strategy="group_by_length"`, the default of our runs, through
                transformers' own sampler; the texts are the first of its groups on the whole training set

The source has MiniLM's shape (6 layers x 384), since 150 steps of BERT-base take long; the ratio is about the padding.

Equality: the logits of every text in the three ways.
"""

from __future__ import annotations

from functools import partial

import torch
from common import alternate, bert, collate, parser, report, rte_lengths, shape, start, templated_ids, warp
from transformers.trainer_pt_utils import LengthGroupedSampler

from hf_reprogram.transforms.template import Template


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__, layers=6, width=384, rounds=1)
    arguments.add_argument("--batch", type=int, default=8)
    arguments.add_argument("--batches", type=int, default=50, help="at most 50, the sampler's group (default: 50)")
    arguments.add_argument("--prompts", type=int, default=20)
    arguments.add_argument("--max-length", type=int, help="cut texts to so many tokens, template counted")
    options = start(arguments)
    source = bert(options)
    template = Template.default(options.prompts, "mask")
    model = warp(source, template, num_labels=2)
    around = options.prompts + 3  # slots, [CLS], [MASK], [SEP]
    generator = torch.Generator().manual_seed(2)
    lengths = [min(n, (options.max_length or 512) - around) for n in rte_lengths()]
    rows = [templated_ids(template, n, source.config.vocab_size, generator) for n in lengths]
    labels = torch.randint(2, (len(rows),), generator=generator)

    def split(indices: list[int]) -> list[list[int]]:
        return [indices[i : i + options.batch] for i in range(0, options.batch * options.batches, options.batch)]

    sampler = LengthGroupedSampler(options.batch, lengths=[len(row) for row in rows], generator=generator)
    bucketed = split(list(sampler))
    texts = [index for chosen in bucketed for index in chosen]
    mixed = split([texts[i] for i in torch.randperm(len(texts), generator=generator).tolist()])
    longest = max(map(len, rows))

    def make(chosen: list[int], tokens: int | None = None) -> dict[str, torch.Tensor]:
        return collate([rows[i] for i in chosen], labels[chosen], tokens)

    ways = {"fixed": (mixed, longest), "dynamic": (mixed, None), "bucketed": (bucketed, None)}
    tokens = {
        name: sum(make(chosen, width)["input_ids"].numel() for chosen in batches)
        for name, (batches, width) in ways.items()
    }
    logits = {name: torch.zeros(len(rows), 2) for name in ways}

    def train_on(name: str, number: int) -> None:
        batches, width = ways[name]
        model.zero_grad(set_to_none=True)
        output = model(**make(batches[number], width))
        output.loss.backward()
        logits[name][batches[number]] = output.logits.detach()

    cpu: dict[str, list[float]] = {name: [] for name in ways}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(
        options.rounds
    ):  # the three ways take turns at every batch; a round's time is the sum over batches
        cpu_sum, wall_sum = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0.0)
        for number in range(options.batches):
            paths = {name: partial(train_on, name, number) for name in ways}
            cpu_once, wall_once = alternate(paths, rounds=1, warmup=int(turn == number == 0))
            for name in ways:
                cpu_sum[name] += cpu_once[name][0]
                wall_sum[name] += wall_once[name][0]
        for name in ways:
            cpu[name].append(cpu_sum[name])
            wall[name].append(wall_sum[name])
    error = max(float((logits[name] - logits["fixed"])[texts].abs().max()) for name in ways)
    report(
        "length_buckets" + (f"_{options.max_length}" if options.max_length else ""),
        f"{shape(source)}, {options.batches} batches of {options.batch}, forward and backward, RTE lengths "
        + (f"cut at {options.max_length} tokens" if options.max_length else "not cut"),
        options,
        cpu,
        wall,
        {
            "bucketed, against dynamic padding": ("dynamic", "bucketed"),
            f"bucketed, against padding to {longest}": ("fixed", "bucketed"),
        },
        {"difference in the logits of any text (absolute)": (error, 1e-5)},
        tokens_with_padding=tokens,
    )


if __name__ == "__main__":
    main()
