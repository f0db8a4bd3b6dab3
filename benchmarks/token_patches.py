"""From tokens to the first layer of a ViT: each token's patch projected once, against an image and its convolution.

    image      the patches of a batch laid out as images, normalised, and projected by the source's own convolution
    folded     the patches of the tokens that occur projected, then a lookup; without gradients the table is kept

ViT-S/16's shape (384 wide, 12 layers, random weights), a canvas of 224, a batch of 16 texts of 98 to 196 tokens, for 70
tokens (k-mers of DNA, all alike frequent) and 2,000 (words, in Zipf's frequencies). The path alone is timed in training,
forward and backward to the table, and at inference, where the table is folded before the clock starts; the whole step is
forward and backward through all layers.

Equality: the first layer's output and the table's gradient of folded against image, relative to their largest value.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import torch
from common import alternate, differences, parser, report, start
from transformers import ViTConfig, ViTForImageClassification

from hf_reprogram.sources import VisionSource
from hf_reprogram.transforms.token_patches import TokenPatches, TokenPatchesOptions

PATCH, HALF = 16, 0.5  # mean and deviation of ViT's pixels


def vit(width: int, layers: int, canvas: int) -> VisionSource:
    """A frozen ViT with random weights and ImageNet's number of labels."""
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 64),
        intermediate_size=4 * width,
        image_size=canvas,
        patch_size=PATCH,
        num_labels=1000,
    )
    model = ViTForImageClassification(config)
    return VisionSource(model, canvas, [HALF] * 3, [HALF] * 3, kind="image_classifier")


def texts(batch: int, places: int, tokens: int, zipf: bool) -> dict[str, torch.Tensor]:
    """Random ids below `tokens`, half the canvas to all of it long; the last token pads."""
    generator = torch.Generator().manual_seed(0)
    weight = 1 / torch.arange(1, tokens) if zipf else torch.ones(tokens - 1)
    ids = torch.multinomial(weight.expand(batch, -1), places, replacement=True, generator=generator)
    lengths = torch.linspace(places // 2, places, batch).long()
    mask = (torch.arange(places) < lengths[:, None]).long()
    return {"input_ids": ids.where(mask.bool(), torch.tensor(tokens - 1)), "attention_mask": mask}


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__, layers=12, width=384, rounds=5)
    arguments.add_argument("--canvas", type=int, default=224, help="side of the image in pixels (default: %(default)s)")
    arguments.add_argument("--batch", type=int, default=16, help="texts a batch (default: %(default)s)")
    arguments.add_argument("--repeat", type=int, default=3, help="batches a round of the path (default: %(default)s)")
    options = start(arguments)
    if options.source:
        arguments.error("the source is a random ViT here: leave --source out")
    source = vit(options.width, options.layers, options.canvas)
    convolution = source.model.vit.embeddings.patch_embeddings.projection
    places = (options.canvas // PATCH) ** 2
    gradient = torch.randn(options.batch, places, options.width, generator=torch.Generator().manual_seed(1))
    ways: dict[str, Callable[[], object]] = {}
    ratios, checks = {}, {}

    def again(run: Callable[[], object]) -> None:
        for _ in range(options.repeat):
            run()

    def backward(transform: TokenPatches, path: Callable[[], torch.Tensor]) -> torch.Tensor:
        transform.zero_grad(set_to_none=True)
        path().backward(gradient)
        return transform.table.grad

    def step(transform: TokenPatches, inputs: Callable[[], dict[str, torch.Tensor]]) -> None:
        transform.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(source(inputs(), "logits"), torch.zeros(options.batch).long()).backward()

    for name, tokens in (("k-mers", 70), ("words", 2000)):
        transform = TokenPatches(TokenPatchesOptions(tokens, tokens - 1, PATCH, options.canvas, options.canvas))
        torch.manual_seed(2)
        transform.reset(std=1.0)
        batch = texts(options.batch, places, tokens, zipf=name == "words")

        def pixels(transform=transform, batch=batch) -> dict[str, torch.Tensor]:
            return {"pixels": transform.image(transform.placed(batch))}

        def image(pixels=pixels) -> torch.Tensor:
            return convolution((pixels()["pixels"] - HALF) / HALF).flatten(2).transpose(1, 2)

        def folded(transform=transform, batch=batch) -> torch.Tensor:
            return transform(batch, source)["patches"]

        kept = copy.deepcopy(transform)  # an evaluation of its own, which no training step interrupts
        for way, path, at_rest, inputs in (
            ("image", image, image, pixels),
            ("folded", folded, partial(folded, kept), partial(transform, batch, source)),
        ):
            ways[f"{name}, training, {way}"] = partial(again, partial(backward, transform, path))
            ways[f"{name}, inference, {way}"] = partial(again, torch.no_grad()(at_rest))
            ways[f"{name}, whole step, {way}"] = partial(step, transform, inputs)
        for what in ("training", "inference", "whole step"):
            ratios[f"{name}, {what}"] = (f"{name}, {what}, image", f"{name}, {what}, folded")
        with torch.no_grad():
            found, expected = [folded()], [image()]
        _, error = differences([*found, backward(transform, folded)], [*expected, backward(transform, image)])
        checks[f"{name}: output and gradient, relative"] = (error, 1e-5)
    cpu, wall = alternate(ways, options.rounds)
    report(
        "token_patches",
        f"{options.layers} layers x {options.width}, canvas of {options.canvas}, batch of {options.batch} texts up to "
        f"{places} tokens, {options.repeat} batches a round of the path",
        options,
        cpu,
        wall,
        ratios,
        checks,
    )


if __name__ == "__main__":
    main()
