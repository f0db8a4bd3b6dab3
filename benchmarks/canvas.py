"""What a program on the canvas adds to a training step of the source, and what keeping it saves without gradients.

An image classifier in the shape of a ViT-S (12 layers x 384, 14-pixel patches, 112 x 112 pixels), batch 16; `--source` takes
a folder in its place. A step is forward and backward, through the frozen source to the pixels:

    source alone           pixels of the canvas's size are given, and their gradient is the end
    canvas                 hf_reprogram: images of 28 x 28 in the middle, the program around them, gradient to theta
    formula as it stands   the same with whole arrays: clip(pad(x) + M * a * tanh(W), 0, 1)

The canvas's share is its own forward and backward, timed without the source with a given gradient of the pixels, over a step
of the source alone: the difference of two whole steps would be lost in their spread. What is timed without the source
is done 50 times a round.

Equality: pixels and the gradient of theta, of the canvas and of the formula.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from common import alternate, differences, parser, report, start
from torch.nn import functional as F
from transformers import Dinov2Config, Dinov2ForImageClassification

from hf_reprogram.sources import VisionSource, load_source
from hf_reprogram.transforms.canvas import Canvas, CanvasOptions, mask_of

REPEATS = 50


def vision_source(options: argparse.Namespace) -> VisionSource:
    """The source of the command line: a folder's, or random weights."""
    if options.source:
        source, _ = load_source(options.source)
        assert isinstance(source, VisionSource)
        return source
    torch.manual_seed(0)
    width = options.width
    config = Dinov2Config(
        hidden_size=width,
        num_hidden_layers=options.layers,
        num_attention_heads=max(1, width // 64),
        image_size=112,
        patch_size=14,
        num_labels=202,
    )
    return VisionSource(
        Dinov2ForImageClassification(config), 112, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), kind="image_classifier"
    )


def repeated(run: Callable[[], Any]) -> Callable[[], None]:
    """`run`, so many times that what is timed takes longer than looking at the clock."""

    def runs() -> None:
        for _ in range(REPEATS):
            run()

    return runs


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__, width=384, rounds=15)
    arguments.add_argument("--batch", type=int, default=16)
    arguments.add_argument("--image", type=int, default=28, help="side of the images (default: %(default)s)")
    options = start(arguments)
    source = vision_source(options)
    height, width = source.spec.canvas()
    canvas = Canvas(CanvasOptions(height, width, options.image, options.image, amplitude=0.5, background=0.5))
    generator = torch.Generator().manual_seed(1)
    weight = canvas.program.weight
    with torch.no_grad():
        weight.copy_(torch.randn(weight.shape, generator=generator))
    images = torch.rand(options.batch, 3, options.image, options.image, generator=generator)
    labels = torch.arange(options.batch)
    slope = torch.randn(options.batch, 3, height, width, generator=generator)
    mask, index = mask_of(canvas.options), canvas.program.index
    whole = torch.zeros(3, height * width).index_copy(1, index, weight.detach()).view(3, height, width).requires_grad_()
    top, left = (height - options.image) // 2, (width - options.image) // 2
    padding = (left, width - options.image - left, top, height - options.image - top)

    def ours() -> torch.Tensor:
        return canvas({"pixel_values": images}, source)["pixels"]

    def formula() -> torch.Tensor:
        return (F.pad(images, padding, value=0.5) + mask * 0.5 * torch.tanh(whole)).clamp(0, 1)

    given = ours().detach().requires_grad_()

    def step(pixels: torch.Tensor) -> None:
        for leaf in (weight, whole, given):
            leaf.grad = None
        F.cross_entropy(source({"pixels": pixels}, "logits"), labels).backward()

    def backward(pixels: torch.Tensor) -> torch.Tensor:
        weight.grad = whole.grad = None
        pixels.backward(slope)
        return pixels.detach()

    @torch.no_grad()
    def kept() -> torch.Tensor:
        return ours()

    @torch.no_grad()
    def afresh() -> torch.Tensor:
        return formula()

    gradients = [backward(ours()), weight.grad], [backward(formula()), whole.grad.flatten(1)[:, index]]
    checks = {"difference of pixels and theta's gradient (float32, relative)": (differences(*gradients)[1], 1e-6)}
    steps = {
        "source alone": lambda: step(given),
        "canvas": lambda: step(ours()),
        "formula as it stands": lambda: step(formula()),
    }
    parts = {
        "canvas, without the source": lambda: backward(ours()),
        "formula, without the source": lambda: backward(formula()),
        "canvas, without gradients": kept,
        "formula, without gradients": afresh,
    }
    cpu, wall = alternate(steps, options.rounds)
    many = {f"{REPEATS} x {name}": repeated(run) for name, run in parts.items()}
    more_cpu, more_wall = alternate(many, options.rounds)
    cpu, wall = cpu | more_cpu, wall | more_wall
    shares = {
        path: f"{100 * median(cpu[f'{REPEATS} x {path}, without the source']) / REPEATS / median(cpu['source alone']):.2f} %"
        for path in ("canvas", "formula")
    }
    report(
        "canvas",
        f"{options.image} x {options.image} on {height} x {width}, batch {options.batch}, forward and backward",
        options,
        cpu,
        wall,
        {
            "canvas, against the source alone": ("canvas", "source alone"),
            **{
                f"{how}, against the formula": (f"{REPEATS} x formula, {how}", f"{REPEATS} x canvas, {how}")
                for how in ("without the source", "without gradients")
            },
        },
        checks,
        canvas_share_of_a_step=shares["canvas"],
        formula_share_of_a_step=shares["formula"],
    )


if __name__ == "__main__":
    main()
