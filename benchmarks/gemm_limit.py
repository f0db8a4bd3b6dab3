"""How near a training step is to the machine's limit: its matrix products alone, over the whole step.

Every matrix product of a step (forward, and backward to theta and omega) is noted with its shapes, and the same products are
then computed one after the other, on random numbers and with nothing between them. Their share of the step's time is the
fraction of the limit; the rest are norms, activations, soft-maxes, what a program adds, and Python.

    warp, canvas, r2dl                a step of the program, in the shape of BERT-base or ViT-S
    ... alone                         its matrix products

Attention is computed by plain matrix products here, so that they can be noted. Equality: the count of multiplications in the
noted products, and in those that are computed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from canvas import vision_source
from common import alternate, bert, collate, parser, report, start, step, templated_ids, typical_batch, warp
from torch.utils._python_dispatch import TorchDispatchMode

from hf_reprogram import ReprogramConfig, ReprogrammedModel
from hf_reprogram.sources import Source, load_source
from hf_reprogram.transforms.template import Template

_FIRST = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}  # the place of the first factor among the arguments


class Products(TorchDispatchMode):
    """Notes the shapes, strides and dtype of both factors of every matrix product within its context."""

    def __init__(self) -> None:
        super().__init__()
        self.factors: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in _FIRST:
            left, right = (args[_FIRST[name] + place] for place in (0, 1))
            self.factors.append((_like(left), _like(right)))
        return func(*args, **(kwargs or {}))


def _like(factor: torch.Tensor) -> torch.Tensor:
    """Random numbers with the shape and the strides of a factor, in memory of their own."""
    with torch.utils._python_dispatch._disable_current_modes():
        return torch.randn_like(factor)


def multiplications(factors: list[tuple[torch.Tensor, torch.Tensor]]) -> int:
    """The multiplications of numbers in matrix products."""
    return sum(left.numel() * right.shape[-1] for left, right in factors)


def warp_step(options: argparse.Namespace) -> Callable[[], Any]:
    """A step of WARP with 20 prompts on a batch of 8 texts."""
    template = Template.default(20, "mask")
    source = bert(options)
    source.set_attn_implementation("eager")
    model = warp(source, template, 2)
    generator = torch.Generator().manual_seed(0)
    vocab = model.source.spec.vocab_size
    rows = [templated_ids(template, length, vocab, generator) for length in typical_batch(8)]
    batch = collate(rows, torch.arange(8) % 2)
    return lambda: step(model, batch)


def r2dl_step(options: argparse.Namespace) -> Callable[[], Any]:
    """A step of R2DL with 30 target tokens, 16 atoms each, on 8 sequences of 64 tokens."""
    network = bert(options)
    network.set_attn_implementation("eager")
    source, reference = load_source(network)
    transform = {"type": "vocabulary", "num_tokens": 30, "width": source.spec.embedding_width, "sparsity": 16}
    model = _model(source, reference, transform, "features")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        model.transform.fit_table(torch.randn(30, source.spec.embedding_width, generator=generator) * 0.05, source)
    ids = torch.randint(30, (8, 64), generator=generator)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.arange(8) % 2}
    return lambda: step(model, batch)


def canvas_step(options: argparse.Namespace) -> Callable[[], Any]:
    """A step of a program around images of 28 x 28 on a canvas of 112 x 112, for a batch of 16."""
    small = argparse.Namespace(**{**vars(options), "width": options.width // 2})  # ViT-S has half of BERT-base's width
    source = vision_source(small)
    source.model.set_attn_implementation("eager")
    _, reference = load_source(source)
    side = {"height": 112, "width": 112, "image_height": 28, "image_width": 28}
    model = _model(source, reference, {"type": "canvas", **side}, "features")
    generator = torch.Generator().manual_seed(0)
    batch = {"pixel_values": torch.rand(16, 3, 28, 28, generator=generator), "labels": torch.arange(16) % 2}
    return lambda: step(model, batch)


def _model(source: Source, reference: dict[str, Any], transform: dict[str, Any], reads: str) -> ReprogrammedModel:
    mapping = {"type": "dense", "num_labels": 2, "width": source.spec.widths[reads], "reads": reads, "start": "none"}
    names = {0: "no", 1: "yes"}
    config = ReprogramConfig(
        source=reference,
        transform=transform,
        mapping=mapping,
        id2label=names,
        problem_type="single_label_classification",
    )
    return ReprogrammedModel(config, source).train()


def main() -> None:
    """Compare, print, write."""
    options = start(parser(__doc__, rounds=3))
    paths: dict[str, Callable[[], Any]] = {}
    checks = {}
    for name, make in {"warp": warp_step, "r2dl": r2dl_step, "canvas": canvas_step}.items():
        paths[name] = run = make(options)
        run()  # the first batch has its values checked
        with Products() as noted:
            run()
        factors = noted.factors

        def alone(factors: list[tuple[torch.Tensor, torch.Tensor]] = factors) -> int:
            return sum(torch.matmul(left, right).numel() * left.shape[-1] for left, right in factors)

        paths[f"{name} alone"] = alone
        checks[f"multiplications of {name}"] = (abs(alone() - multiplications(factors)), 0)
    cpu, wall = alternate(paths, options.rounds)
    names = ("warp", "r2dl", "canvas")
    report(
        "gemm_limit",
        f"{options.layers} layers x {options.width} (canvas: {options.width // 2}), float32, forward and backward",
        options,
        cpu,
        wall,
        {f"a step of {name}, against its matrix products": (name, f"{name} alone") for name in names},
        checks,
        fraction={name: round(min(cpu[f"{name} alone"]) / min(cpu[name]), 3) for name in names},
    )


if __name__ == "__main__":
    main()
