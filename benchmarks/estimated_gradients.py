"""How near an estimated gradient of theta is to the exact one, by the number of directions q and of numbers d in theta.

A ViT of the shape of vit-tiny with random weights and 12 labels, images of 64 x 64 pixels; `--source` takes a folder in its
place. Programs are a frame of 8 pixels whose cells have sides of 8 pixels or of 1, or the whole canvas. For each the cosine of
the estimate and the gradient of one batch is the mean over `--rounds` draws of directions. Beside it stands sqrt(q / (q + d)),
which is expected of random directions.

Equality: the loss of a step with estimated gradients and of one with exact gradients, on the same batch.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from common import alternate, parser, report, start
from transformers import ViTConfig, ViTForImageClassification

from hf_reprogram import ReprogrammedModel, reprogram
from hf_reprogram.sources import Source, load_source

PROGRAMS = {"frame, cells of 8": 8, "frame, cells of 1": 1, "whole canvas": 0}
DIRECTIONS = (5, 25, 100)


def image_source(options: argparse.Namespace) -> Source:
    """The source of the command line, or random weights."""
    if options.source:
        return load_source(options.source, image_size=options.size)[0]
    torch.manual_seed(0)
    shape = {
        "num_attention_heads": max(1, options.width // 64),
        "intermediate_size": 4 * options.width,
        "image_size": options.size,
    }
    config = ViTConfig(
        hidden_size=options.width, num_hidden_layers=options.layers, num_labels=12, initializer_range=0.1, **shape
    )
    settings = {"image_size": options.size, "mean": [0.5] * 3, "std": [0.5] * 3}
    return load_source(ViTForImageClassification(config), **settings)[0]


def made(source: Source, cell: int, gradients: object) -> ReprogrammedModel:
    """A program with squares of this size on a frame; on the whole canvas for 0."""
    place = {"mask": "border", "border": 8, "cell": cell} if cell else {"mask": "full", "cell": 1}
    model, _ = reprogram(source, "bar", ["no", "yes"], label_mapping="identity", gradients=gradients, **place)
    torch.manual_seed(1)
    with torch.no_grad():
        model.transform.program.weight.normal_(std=0.1)
    return model.train()


def gradient(model: ReprogrammedModel, batch: dict[str, torch.Tensor], step: int = 1) -> tuple[torch.Tensor, float]:
    """The gradient of theta as a vector, and the loss."""
    model.zero_grad(set_to_none=True)
    if model.estimated is not None:
        model.estimated.begin_step(seed=0, step=step)
    loss = model(**batch).loss
    loss.backward()
    return model.transform.program.weight.grad.flatten(), loss.item()


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__, width=192, rounds=2)
    arguments.add_argument("--batch", type=int, default=4)
    arguments.add_argument("--size", type=int, default=64, help="side of the images in pixels (default: %(default)s)")
    options = start(arguments)
    source = image_source(options)
    images = torch.rand(options.batch, 3, options.size, options.size, generator=torch.Generator().manual_seed(2))
    batch = {"pixel_values": images, "labels": torch.arange(options.batch) % 2}
    cosines, error = {}, 0.0
    for name, cell in PROGRAMS.items():
        exact, loss = gradient(made(source, cell, "exact"), batch)
        for kind in ("rgf", "spsa"):
            for q in DIRECTIONS:
                model = made(source, cell, {kind: {"q": q}})
                found = [gradient(model, batch, step) for step in range(1, options.rounds + 1)]
                error = max(error, *(abs(other - loss) for _, other in found))
                cosine = statistics.fmean(float(torch.cosine_similarity(g, exact, 0)) for g, _ in found)
                expected = (q / (q + len(exact))) ** 0.5
                cosines[f"{name} (d = {len(exact):,}), {kind}, q = {q}"] = [round(cosine, 3), round(expected, 3)]
    models = {kind: made(source, 8, how) for kind, how in (("exact", "exact"), ("rgf, q = 25", {"rgf": {"q": 25}}))}
    steps = {name: (lambda model=model: gradient(model, batch)) for name, model in models.items()}
    cpu, wall = alternate(steps, options.rounds)
    report(
        "estimated gradients",
        f"images of {options.size} x {options.size}, batch {options.batch}",
        options,
        cpu,
        wall,
        {"an estimate from 25 directions, against the exact gradient": ("rgf, q = 25", "exact")},
        {"difference of the losses": (error, 1e-4)},
        cosines=cosines,
    )


if __name__ == "__main__":
    main()
