"""A training step in bfloat16 on a CPU with torch's fused attention, and with plain matrix products in its place.

    fused    transformers' default, `attn_implementation="sdpa"`
    plain    `attn_implementation="eager"`, what `training.fit` takes for runs in bfloat16 on a CPU

A masked LM (12 layers x 384) with WARP's prompts, and an image classifier in the shape of a ViT-S with a program around the
image, batch 16, forward and backward to theta. Equality: the gradient of theta in float32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from canvas import vision_source
from common import alternate, bert, collate, differences, parser, report, shape, start, step, templated_ids, warp

from hf_reprogram import reprogram
from hf_reprogram.transforms.template import Template


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__, width=384, rounds=8)
    arguments.add_argument("--batch", type=int, default=16)
    arguments.add_argument("--tokens", type=int, default=64, help="tokens without the prompts (default: %(default)s)")
    options = start(arguments)
    options.source = None
    generator = torch.Generator().manual_seed(2)
    labels = torch.arange(options.batch) % 2

    text = bert(options)
    template = Template.default(8, "mask")
    rows = [
        templated_ids(template, options.tokens - 3, text.config.vocab_size, generator) for _ in range(options.batch)
    ]
    of_text = warp(text, template, num_labels=2), collate(rows, labels)

    images = vision_source(options)
    canvas, _ = reprogram(images, method="elsayed", labels=["no", "yes"])
    pixels = torch.rand(options.batch, 3, 28, 28, generator=generator)  # a quarter of the canvas
    models = {
        "text": (text, *of_text),
        "images": (images.model, canvas.train(), {"pixel_values": pixels, "labels": labels}),
    }

    def way(name: str, attention: str, bf16: bool = True) -> Callable[[], torch.Tensor]:
        source, model, batch = models[name]

        def run() -> torch.Tensor:
            source.set_attn_implementation(attention)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                step(model, batch)
            return torch.cat([p.grad.flatten() for p in model.transform.parameters() if p.grad is not None])

        return run

    checks = {}
    for name in models:
        gradients = [[way(name, attention, bf16=False)()] for attention in ("eager", "sdpa")]
        checks[f"difference of theta's gradient (float32, relative), {name}"] = (differences(*gradients)[1], 1e-4)
    ways = ("fused", "sdpa"), ("plain", "eager")
    paths = {f"{name}, {called}": way(name, attention) for name in models for called, attention in ways}
    cpu, wall = alternate(paths, options.rounds)
    report(
        "attention",
        f"{shape(text)}, batch {options.batch}, {options.tokens}+8 tokens and 112 x 112 pixels, bf16, forward and backward",
        options,
        cpu,
        wall,
        {f"plain attention, against fused, {name}": (f"{name}, fused", f"{name}, plain") for name in models},
        checks,
    )


if __name__ == "__main__":
    main()
