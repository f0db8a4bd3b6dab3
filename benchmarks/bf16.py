"""A WARP training step in float32 and in bfloat16, in two ways. Optional, and approximate: this is not the same result.

    float32          the source as it is
    bf16 autocast    `TrainingArguments(bf16=True)`: weights stay in float32, matrix products run in bfloat16
    bf16 source      `source_kwargs={"dtype": torch.bfloat16}`: half the memory for the weights; theta and omega stay float32

BERT-base's shape with random weights, batch 16, 128 + 20 tokens, forward and backward to prompts and class vectors. What
is lost is shown as the cosine between the gradients. The gain needs a processor with bfloat16 instructions.
"""

from __future__ import annotations

import copy

import torch
from common import alternate, bert, collate, parser, report, shape, start, step, templated_ids, warp

from hf_reprogram.transforms.template import Template


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__, rounds=4)
    arguments.add_argument("--batch", type=int, default=16)
    arguments.add_argument("--tokens", type=int, default=128, help="tokens without the prompts (default: %(default)s)")
    arguments.add_argument("--prompts", type=int, default=20)
    options = start(arguments)
    source = bert(options)
    template = Template.default(options.prompts, "mask")
    full, half = warp(source, template, num_labels=2), warp(copy.deepcopy(source).bfloat16(), template, num_labels=2)
    with torch.no_grad():
        for ours, theirs in zip(half.trainable().values(), full.trainable().values(), strict=True):
            ours.copy_(theirs)
    generator = torch.Generator().manual_seed(2)
    text = options.tokens - 3  # without [CLS], [MASK], [SEP]
    rows = [templated_ids(template, text, source.config.vocab_size, generator) for _ in range(options.batch)]
    batch = collate(rows, torch.arange(options.batch) % 2)

    def autocast() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            step(full, batch)

    paths = {"float32": lambda: step(full, batch), "bf16 autocast": autocast, "bf16 source": lambda: step(half, batch)}
    gradients = {}
    for name, run in paths.items():
        run()
        model = half if name == "bf16 source" else full
        gradients[name] = torch.cat([parameter.grad.flatten().double() for parameter in model.trainable().values()])
    cosines = {
        name: float(torch.cosine_similarity(gradients[name], gradients["float32"], dim=0))
        for name in ("bf16 autocast", "bf16 source")
    }
    cpu, wall = alternate(paths, options.rounds, warmup=0)
    report(
        "bf16",
        f"{shape(source)}, batch {options.batch}, {options.tokens}+{options.prompts} tokens, forward and backward",
        options,
        cpu,
        wall,
        {f"{name}, against float32": ("float32", name) for name in cosines},
        {f"1 - cosine of the gradients, {name}": (1 - cosine, None) for name, cosine in cosines.items()},
    )


if __name__ == "__main__":
    main()
