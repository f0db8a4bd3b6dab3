"""The parts that the methods for image sources share: a program on the canvas, and a mapping of the source's output.

    x~ = clip(place(x) + M * a * squash(W), 0, 1)        y = omega(f(x~))

Each paper's choice among these options has a file of its own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from ..errors import InputError, unknown
from ..mappings.label_map_options import AGGREGATES, SETS, WEIGHTS
from ..mappings.rvp import HOW
from ..modalities.pixels import image_processor, to_rgb
from ..sources.base import Source, SourceSpec
from ..transforms.canvas import MASKS, run_lengths
from .base import Method, MethodOptions, Parts, Target

FRAME = 1 / 14  # the width of a frame, as a share of the canvas's side: 16 of 224 pixels
SHARES = (1 / 2, 1 / 4)  # of the canvas's sides, for images that a program surrounds
READS = ("logits", "probabilities", "features")


@dataclass
class OutputOptions(MethodOptions):
    """The options of the output mapping.

    Attributes:
        mapping: "label_map" (sets or weights of the source's own labels), "rvp" (sets with trained weights) or "dense" (a
            trained linear layer).
        label_mapping: the choice of the source labels for "label_map" or "rvp": "random", "identity", "frequency", "optimal",
            "iterative", "blm", "blm_plus", "similarity", "similarity_in_order", "similarity_optimal"
            (`hf_reprogram.mappings.label_map`) or "given". A random one is drawn
            from torch's generator, so each seed of a run has its own.
        assignment: the source labels of each class, by name or by index, with label_mapping="given".
        labels_per_class: the number of source labels per class; by default min(10, source labels / classes). BLM has weights
            for all labels, and does not use it.
        aggregate: of a label map: "mean_probability", "sum_probability", "max_logit" or "mean_logit". The default is
            "mean_logit" for BLM, "sum_probability" for a similarity, else "mean_probability".
        reads: the input of a dense layer: "logits", "probabilities" or "features".

    >>> OutputOptions(mapping="dense", aggregate="max_logit")
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: aggregate is for mapping='label_map', and mapping is 'dense': leave it out.
    """

    mapping: str = "label_map"
    label_mapping: str = "frequency"
    assignment: list[list[int | str]] | None = None
    labels_per_class: int | None = None
    aggregate: str | None = None
    reads: str = "features"
    own_label_mappings: ClassVar[tuple[str, ...]] = ()  # those that one method has in addition

    def __post_init__(self) -> None:
        for name, choices in (("mapping", ("label_map", "rvp", "dense")), ("reads", READS)):
            if getattr(self, name) not in choices:
                raise unknown(name, getattr(self, name), choices)
        every = (*SETS, *WEIGHTS, *self.own_label_mappings)
        known = (*HOW, *self.own_label_mappings) if self.mapping == "rvp" else every
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
    """The mapping that `options` choose, as plain data `{"type": name, **options}`.

    Raises:
        InputError: the source lacks the output that the mapping reads, or a label map is chosen although the source has no
            labels or the target is not a single-label classification.

    >>> output_mapping(OutputOptions(mapping="dense"), image_source, Target(num_labels=2))["width"]
    32
    """
    widths = source.spec.widths
    if options.mapping == "dense":
        reads = "features" if options.reads == "features" else "logits"
        if reads not in widths:
            raise InputError(
                f"reads={options.reads!r} names no output of the {source.spec.kind} source: choose one of "
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
            f"mapping={options.mapping!r} needs a source classifier and a single-label classification, and the source's kind "
            f"is {source.spec.kind}, the problem {target.problem_type.replace('_', ' ')}: use mapping='dense'."
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
    """The index of a source label, from its name or its index."""
    if isinstance(label, str):
        if label not in names:
            raise unknown("label of the source", label, names)
        if (count := names.count(label)) > 1:
            raise InputError(f"The source has {count} labels called {label!r}: give the index of one of them.")
        return names.index(label)
    return label


@dataclass
class CanvasProgramOptions(OutputOptions):
    """The options of a program on the canvas, and those of the output mapping.

    Attributes:
        image_size: the side of the image on the canvas in pixels, or [height, width]; by default a quarter of the canvas's
            sides with mask="surround", else the whole canvas.
        place: the place of the image, "center" or [top, left].
        copies: the number of copies of the image on the canvas.
        learn_scale: whether the image's scale is trained too.
        mask: the pixels where the program acts: "surround", "border", "full", or the file of an image of the canvas's size, in
            which these pixels are white.
            The default is "surround" if an image_size, a place, copies or a learned scale is given. Otherwise it is "border" on
            the whole image, so that a program of zeros changes nothing.
        border: the width in pixels of the frame with mask="border"; by default 1/14 of the canvas's side, as 16 of 224 pixels.
        squash: the function that bounds the program: "tanh", "sigmoid", "clamp" or "none"; by default the paper's, and "tanh"
            on the frame of a whole image.
        amplitude: a, the factor of the squashed program; pixels go from 0 to 1.
        background: the value of the canvas outside of the image, from 0 (black) to 1 (white).
        l2: the weight of the squared program in the loss.
        cell: the side in pixels of squares in each of which the program has one value; by default 1, and the width of the frame
            where gradients are estimated, which need programs of few numbers.
    """

    image_size: int | list[int] | None = None
    place: str | list[int] = "center"
    copies: int = 1
    learn_scale: bool = False
    mask: str | None = None
    border: int | None = None
    squash: str | None = None
    amplitude: float = 1.0
    background: float = 0.0
    l2: float = 0.0
    cell: int | None = None
    papers_squash: ClassVar[str] = "tanh"

    def acting(self, canvas: tuple[int, int]) -> dict[str, Any]:
        """The mask, the border and the squash on a canvas of height and width `canvas`.

        >>> CanvasProgramOptions().acting((224, 224))
        {'mask': 'border', 'border': 16, 'squash': 'tanh'}
        >>> CanvasProgramOptions(image_size=8).acting((32, 32))
        {'mask': 'surround', 'border': 0, 'squash': 'tanh'}
        """
        placed = self.image_size is not None or self.copies > 1 or self.place != "center" or self.learn_scale
        mask = self.mask or ("surround" if placed and self.border is None else "border")
        frame = max(1, round(min(canvas) * FRAME)) if mask == "border" else 0
        own = "tanh" if self.mask is None and mask == "border" else self.papers_squash
        return {
            "mask": mask,
            "border": frame if self.border is None else self.border,
            "squash": self.squash or own,
        }


def size_on_canvas(options: CanvasProgramOptions, canvas: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the image on a canvas of height and width `canvas`, in pixels.

    >>> size_on_canvas(CanvasProgramOptions(), (32, 32)), size_on_canvas(CanvasProgramOptions(mask="full"), (32, 32))
    ((32, 32), (32, 32))
    """
    size = options.image_size
    if size is None:
        return (canvas[0] // 4, canvas[1] // 4) if options.acting(canvas)["mask"] == "surround" else canvas
    sides = [size, size] if isinstance(size, int) else list(size)
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise InputError(f"image_size is {size!r}: give the side in pixels, or [height, width].")
    return sides[0], sides[1]


def read_mask(file: str, size: tuple[int, int]) -> np.ndarray:
    """A mask (height, width) from an image file, which is True where a pixel is nearer to white than to black.

    Raises:
        InputError: there is no such image, it has another size, or `to_rgb` refuses its kind.

    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.NamedTemporaryFile(suffix=".png") as file:
    ...     Image.new("L", (4, 2), color=255).save(file.name)
    ...     read_mask(file.name, size=(2, 4)).tolist()
    [[True, True, True, True], [True, True, True, True]]
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


def mapping_alternatives(options: OutputOptions, spec: SourceSpec) -> list[dict[str, Any]]:
    """The method's own output mapping, and a dense layer on the features; see `Method.alternatives`.

    >>> mapping_alternatives(OutputOptions(), image_source.spec)[1]
    {'mapping': 'dense', 'label_mapping': 'frequency', 'reads': 'features'}
    """
    own = {name: getattr(options, name) for name in ("mapping", "label_mapping", "reads")}
    features = {**own, "mapping": "dense", "reads": "features"}
    possible = [own] if own["mapping"] == "dense" or "logits" in spec.widths else []
    return [*possible, *([features] if "features" in spec.widths and features != own else [])]


class ImageMethod(Method):
    """A method with a program on the images of a frozen image model. A subclass chooses the program.

    >>> from hf_reprogram.methods.smm import SMM, SMMOptions
    >>> method = SMM(SMMOptions())
    >>> isinstance(method, ImageMethod), method.program(image_source, (32, 32))["type"]
    (True, 'sample_mask')
    """

    problem_types = ("single_label_classification", "regression", "multi_label_classification")
    tuned = {"omega_learning_rate": 1e-3}
    options: Any

    def compose(self, source: Source, processor: Any, target: Target) -> Parts:
        """The program, the mapping, and an image processor for the images' size on the canvas."""
        size = self.size(source.spec.canvas())
        return Parts(self.program(source, size), output_mapping(self.options, source, target), image_processor(size))

    def alternatives(self, spec: SourceSpec, problem_type: str) -> list[list[dict[str, Any]]]:
        """The output mapping; see `Method.alternatives`."""
        return [mapping_alternatives(self.options, spec)]

    def size(self, canvas: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the target's images on a canvas of height and width `canvas`; by default the whole canvas."""
        return canvas

    @abstractmethod
    def program(self, source: Source, size: tuple[int, int]) -> dict[str, Any]:
        """The input transform as plain data, `{"type": name, **options}`, for images of height and width `size`."""

    def initialize(self, model: Any, processor: Any) -> None:
        """Start a fresh mapping. The program starts at zero."""
        model.mapping.reset()


class CanvasMethod(ImageMethod):
    """A method with the `canvas` transform and the options of `CanvasProgramOptions`.

    >>> from hf_reprogram.methods.elsayed import Elsayed, ElsayedOptions
    >>> Elsayed(ElsayedOptions(image_size=16)).size((32, 32))
    (16, 16)
    """

    paper = {"mask": "surround"}

    options: CanvasProgramOptions

    def alternatives(self, spec: SourceSpec, problem_type: str) -> list[list[dict[str, Any]]]:
        """The output mapping, and the image on the canvas: whole with a frame that starts at nothing, or smaller."""
        groups = super().alternatives(spec, problem_type)
        if self.options.mask is not None:
            return groups
        whole = {**self.options.acting(spec.canvas()), "image_size": None}
        sizes = [[round(length * share) for length in spec.canvas()] for share in SHARES]
        smaller = [
            {"mask": "surround", "border": 0, "squash": self.options.papers_squash, "image_size": size}
            for size in sizes
        ]
        return [[whole, *smaller], *groups]

    def size(self, canvas: tuple[int, int]) -> tuple[int, int]:
        """See `size_on_canvas`."""
        return size_on_canvas(self.options, canvas)

    def program(self, source: Source, size: tuple[int, int]) -> dict[str, Any]:
        """See `ImageMethod.program`."""
        height, width = source.spec.canvas()
        sizes = {"height": height, "width": width, "image_height": size[0], "image_width": size[1]}
        made = {"type": "canvas", **sizes, **{name: getattr(self.options, name) for name in _PROGRAM}}
        frame = max(1, round(min(height, width) * FRAME))
        made["cell"] = self.options.cell or (frame if self.gradients else 1)
        made |= self.options.acting((height, width))
        if made["mask"] in MASKS[:-1]:
            return made
        return {**made, "mask": "given", "mask_runs": run_lengths(read_mask(made["mask"], (height, width)))}


_PROGRAM = ("place", "copies", "learn_scale", "amplitude", "background", "l2")
