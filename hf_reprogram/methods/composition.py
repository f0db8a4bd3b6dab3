"""What the methods for image sources share: a program on the canvas, and what is made of the source's answer.

    x~ = clip(place(x) + M * a * squash(W), 0, 1)        y = omega(f(x~))

A method is its paper's choice among these options, in a file of its own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from ..errors import InputError, unknown
from ..mappings.label_map import AGGREGATES, SETS, WEIGHTS
from ..mappings.rvp import HOW
from ..modalities.pixels import image_processor, to_rgb
from ..sources.base import Source
from ..transforms.canvas import MASKS, run_lengths
from .base import Method, Parts, Target

READS = ("logits", "probabilities", "features")


@dataclass
class OutputOptions:
    """What the source's answer becomes.

    Attributes:
        mapping: "label_map" (sets or weights of the source's own labels), "rvp" (sets with trained weights) or "dense" (a
            trained linear layer).
        label_mapping: how the labels are found for a label map or "rvp": "random", "identity", "frequency", "optimal",
            "iterative", "blm", "blm_plus" or "similarity" (`hf_reprogram.mappings.label_map`), or "given". A random one is
            drawn from torch's generator, so that every seed of a run has its own.
        assignment: with "given", for each class the source's labels, by name or by index.
        labels_per_class: source labels a class; by default min(10, source labels / classes). BLM weighs all labels, and a
            method's own number is then left out.
        aggregate: of a label map: "mean_probability", "sum_probability", "max_logit" or "mean_logit"; by default the first,
            for BLM the last and for "similarity" the second.
        reads: what a dense layer sits on: "logits", "probabilities" or "features".
    """

    mapping: str = "label_map"
    label_mapping: str = "frequency"
    assignment: list[list[int | str]] | None = None
    labels_per_class: int | None = None
    aggregate: str | None = None
    reads: str = "features"
    further: ClassVar[tuple[str, ...]] = ()  # label mappings of a method's own

    def __post_init__(self) -> None:
        for name, choices in (("mapping", ("label_map", "rvp", "dense")), ("reads", READS)):
            if getattr(self, name) not in choices:
                raise unknown(name, getattr(self, name), choices)
        every = (*SETS, *WEIGHTS, *self.further)
        known = (*HOW, *self.further) if self.mapping == "rvp" else every
        if self.label_mapping not in known:
            raise unknown(f"label mapping of {self.mapping}", self.label_mapping, known)
        if self.aggregate is not None and self.aggregate not in AGGREGATES:
            raise unknown("aggregate", self.aggregate, AGGREGATES)
        if self.label_mapping in WEIGHTS and self.labels_per_class == type(self).labels_per_class:
            self.labels_per_class = None
        if self.aggregate is not None and self.mapping != "label_map":
            raise InputError(f"aggregate is for mapping='label_map', and mapping is {self.mapping!r}: leave it out.")
        if (self.label_mapping == "given") != (self.assignment is not None):
            raise InputError("label_mapping='given' and assignment belong together: give both, or neither.")


def output_mapping(options: OutputOptions, source: Source, target: Target) -> dict[str, Any]:
    """The mapping that `options` name, for a source and a target.

    Raises:
        InputError: the source has no labels to map, or the target is no classification.
    """
    widths = source.spec.widths
    if options.mapping == "dense":
        reads = "features" if options.reads == "features" else "logits"
        if reads not in widths:
            raise InputError(
                f"reads={options.reads!r} is not something this {source.spec.kind} source offers: choose one of "
                f"{', '.join(name for name in READS if ('features' if name == 'features' else 'logits') in widths)}."
            )
        return {
            "type": "dense",
            "num_labels": target.num_labels,
            "width": widths[reads],
            "reads": reads,
            "probabilities": options.reads == "probabilities",
            "unit": widths[reads] ** -0.5,
        }
    if "logits" not in widths or target.problem_type != "single_label_classification":
        raise InputError(
            f"mapping={options.mapping!r} takes the labels of a source classifier to those of a classification; this is a "
            f"{source.spec.kind} source and a {target.problem_type.replace('_', ' ')}: use mapping='dense'."
        )
    shared = {
        "type": options.mapping,
        "num_labels": target.num_labels,
        "width": widths["logits"],
        "how": options.label_mapping,
        "labels_per_class": None if options.assignment else options.labels_per_class,
        "assignment": [[_index(label, source.spec.labels) for label in labels] for labels in options.assignment or ()],
    }
    if options.label_mapping == "random":
        shared["seed"] = int(torch.randint(2**31, ()))
    return shared if options.mapping == "rvp" else {**shared, "aggregate": options.aggregate}


def _index(label: int | str, names: Sequence[str]) -> int:
    """The index of a source label that is given by name, or by index."""
    if isinstance(label, str):
        if label not in names:
            raise unknown("label of the source", label, names)
        if (count := names.count(label)) > 1:
            raise InputError(
                f"The source has {count} labels called {label!r}: give the index of the one that is meant."
            )
        return names.index(label)
    return label


@dataclass
class CanvasProgramOptions(OutputOptions):
    """A program on the canvas, and what the source's answer becomes.

    Attributes:
        image_size: side of the image on the canvas, in pixels, or [height, width]; by default the whole canvas, and a
            quarter of its sides where the program surrounds the image.
        place: "center", or [top, left].
        copies: of the image on the canvas.
        learn_scale: whether the image's scale is trained too.
        mask: where the program acts: "surround", "border", "full", or the file of an image of the canvas's size, on whose
            white pixels it does.
        border: pixels of a border.
        squash: what bounds the program: "tanh", "sigmoid", "clamp" or "none".
        amplitude: a, what the squashed program is multiplied with; pixels go from 0 to 1.
        background: of the canvas where no image lies.
        l2: weight of the squared program in the loss.
    """

    image_size: int | list[int] | None = None
    place: str | list[int] = "center"
    copies: int = 1
    learn_scale: bool = False
    mask: str = "surround"
    border: int = 0
    squash: str = "tanh"
    amplitude: float = 1.0
    background: float = 0.0
    l2: float = 0.0


def size_on_canvas(options: CanvasProgramOptions, canvas: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the image on the canvas."""
    size = options.image_size
    if size is None:
        return (canvas[0] // 4, canvas[1] // 4) if options.mask == "surround" else canvas
    sides = [size, size] if isinstance(size, int) else list(size)
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise InputError(f"image_size is {size!r}: give the side in pixels, or [height, width].")
    return sides[0], sides[1]


def read_mask(file: str, size: tuple[int, int]) -> np.ndarray:
    """A mask (height, width) from an image file: whether a pixel is nearer to white than to black.

    Raises:
        InputError: there is no such image, it has another size, or it is of a kind that `to_rgb` refuses.
    """
    from PIL import Image

    try:
        with Image.open(file) as image:
            mask = np.asarray(to_rgb(image).convert("L")) > 127
    except OSError as error:
        raise InputError(
            f"mask is {file!r}: choose one of {', '.join(MASKS[:-1])}, or give the file of an image ({error})."
        ) from error
    if mask.shape != size:
        raise InputError(
            f"The mask {file!r} is {mask.shape[0]} x {mask.shape[1]}, but the canvas {size[0]} x {size[1]}: resize it."
        )
    return mask


class ImageMethod(Method):
    """A program on the images of a frozen image model; a subclass says which."""

    problem_types = ("single_label_classification", "regression", "multi_label_classification")
    options: Any

    def compose(self, source: Source, processor: Any, target: Target) -> Parts:
        """The program, the mapping, and an image processor for the size that images have on the canvas."""
        size = self.size(source.spec.canvas())
        return Parts(self.program(source, size), output_mapping(self.options, source, target), image_processor(size))

    def size(self, canvas: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the target's images, for a canvas of a size."""
        return canvas

    @abstractmethod
    def program(self, source: Source, size: tuple[int, int]) -> dict[str, Any]:
        """`{"type": name, **options}` of the input transform, for images of a size."""

    def initialize(self, model: Any, processor: Any) -> None:
        """A fresh mapping; programs start at zero."""
        model.mapping.reset()


class CanvasMethod(ImageMethod):
    """The `canvas` transform with the options of `CanvasProgramOptions`."""

    options: CanvasProgramOptions

    def size(self, canvas: tuple[int, int]) -> tuple[int, int]:
        """See `size_on_canvas`."""
        return size_on_canvas(self.options, canvas)

    def program(self, source: Source, size: tuple[int, int]) -> dict[str, Any]:
        """See `ImageMethod.program`."""
        height, width = source.spec.canvas()
        sizes = {"height": height, "width": width, "image_height": size[0], "image_width": size[1]}
        made = {"type": "canvas", **sizes, **{name: getattr(self.options, name) for name in _PROGRAM}}
        if made["mask"] in MASKS[:-1]:
            return made
        return {**made, "mask": "given", "mask_runs": run_lengths(read_mask(made["mask"], (height, width)))}


_PROGRAM = ("place", "copies", "learn_scale", "mask", "border", "squash", "amplitude", "background", "l2")
