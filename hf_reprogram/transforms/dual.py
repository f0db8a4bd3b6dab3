"""Dual: programs on the images and on the class texts of a text-image dual encoder.

    x~ = clip(M * a * squash(W) + up(down(x)), 0, 1)          t~_c = program(embeddings of "a photo of a {c}.")

The image program is a `canvas` over the whole image, its mask a border; `resolution` takes the image down to that side
(bilinear, with antialiasing) and back to the source's (bicubic), both as Pillow does it, before it. The text program is one of
`hf_reprogram.transforms.text_programs`. Either may be left out; without both this is the zero-shot classifier.

The class texts' tokens are buffers: an adapter knows its classes and needs no tokenizer. The untouched image and texts are
passed on beside the others, for mappings that blend the two; an image's known zero-shot features (`image_features`) in its
place.

Source: Geng & Chen 2024 (arXiv 2403.10800).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..options import check_whole, from_dict
from ..sources.base import Source, SourceSpec
from ..sources.dual import Texts
from ..sources.probe import Example, Lines, Probe
from ..sources.reading import constant
from .base import InputTransform, Kept, check_same_options
from .canvas import Canvas, CanvasOptions
from .drawing import Views, program_lines
from .program import prepared
from .text_programs import make_text_program


@dataclass
class DualOptions:
    """Options of `dual`.

    Attributes:
        height, width: of the image that the source takes, in pixels.
        classes, templates, tokens: how many class texts there are, and how long they are.
        image: options of the image program (`hf_reprogram.transforms.canvas`), whose image is the whole canvas; None for none.
        text: options of the text program (`hf_reprogram.transforms.text_programs`); None for none.
        resolution: side to which images are taken down first, in pixels.
    """

    height: int
    width: int
    classes: int
    templates: int
    tokens: int
    image: dict[str, Any] | None = None
    text: dict[str, Any] | None = None
    resolution: int | None = None

    def __post_init__(self) -> None:
        check_whole(
            height=self.height, width=self.width, classes=self.classes, templates=self.templates, tokens=self.tokens
        )
        if self.resolution is not None:
            check_whole(resolution=self.resolution)
            if self.resolution > min(self.height, self.width):
                raise InputError(
                    f"resolution is {self.resolution}, but the source's image has {self.height} x {self.width} pixels: give "
                    "fewer, or leave it out."
                )


class Dual(InputTransform):
    """Theta is `canvas.program` and `text`; the class texts are the buffers `ids` and `mask` (classes, templates, tokens)."""

    Options = DualOptions
    options: DualOptions
    takes = "pixel_values"
    drawing = "an image program, and an example with it and without it"
    ids: Tensor
    mask: Tensor

    def __init__(self, options: DualOptions) -> None:
        super().__init__(options)
        self.canvas = (
            None if options.image is None else Canvas(from_dict(CanvasOptions, options.image, "option of image"))
        )
        if self.canvas is not None and (
            self.canvas.options.image != (options.height, options.width) or self.canvas.options.learn_scale
        ):
            raise InputError(
                f"The image program is for the whole image of {options.height} x {options.width} pixels as it is: give it this "
                "image_height and image_width, and leave learn_scale out."
            )
        self.text = None if options.text is None else make_text_program(options.text)
        shape = (options.classes, options.templates, options.tokens)
        self.register_buffer("ids", torch.zeros(shape, dtype=torch.int32))
        self.register_buffer("mask", torch.zeros(shape, dtype=torch.bool))
        self._programmed_texts: Kept[Texts] = Kept()
        self._plain_texts: Kept[Texts] = Kept()

    def check(self, spec: SourceSpec) -> None:
        """The source must take images and texts of these sizes."""
        if "pair" not in spec.widths:
            raise InputError(f"A {spec.kind} source has no text tower for class texts: use a text-image dual encoder.")
        if spec.canvas() != (self.options.height, self.options.width):
            raise InputError(
                f"The image is {self.options.height} x {self.options.width}, but the source takes "
                f"{' x '.join(map(str, spec.canvas()))}: this adapter belongs to another source."
            )
        if self.options.tokens > spec.max_tokens:
            raise InputError(
                f"A class text has {self.options.tokens} tokens, but the text tower takes {spec.max_tokens}: this adapter "
                "belongs to another source."
            )

    @torch.no_grad()
    def reset(self, ids: Tensor, mask: Tensor, source: Source) -> None:
        """Take the class texts (classes, templates, tokens), and start the text program."""
        self.ids.copy_(ids)
        self.mask.copy_(mask)
        if self.text is not None:
            self.text.reset(self.plain_texts.ids, source)

    def start_from(self, other: InputTransform) -> None:
        """Take over the programs of a trained transform, and keep the class texts.

        Raises:
            InputError: the programs differ in size or meaning.
        """
        assert isinstance(other, Dual)
        texts = ("classes", "templates", "tokens")
        check_same_options(self.options, other.options, but=(*texts, "image", "text"))  # the programs compare these two
        for ours, theirs, name in ((self.canvas, other.canvas, "image"), (self.text, other.text, "text")):
            if (ours is None) != (theirs is None):
                raise InputError(
                    f"The input transform to start from has {'no' if theirs is None else 'a'} program of its {name}s, and this "
                    f"one {'none' if ours is None else 'one'}: use the same {name}_program."
                )
        if self.canvas is not None and other.canvas is not None:
            self.canvas.start_from(other.canvas)
        if self.text is not None and other.text is not None:
            self.text.start_from(other.text)

    def penalty(self) -> Tensor | float:
        """That of the image program."""
        return 0.0 if self.canvas is None else self.canvas.penalty()

    # ------------------------------------------------------------------------------------------------- inspection

    def inspect(self, probe: Probe) -> dict[str, Any]:
        """What the image program tells of itself."""
        return {} if self.canvas is None else self.canvas.inspect(probe)

    def lines(self, found: dict[str, Any]) -> Lines:
        """How far the image program moves a pixel."""
        return Lines(body=program_lines(found))

    def picture(self, probe: Probe) -> Views | None:
        """The example with the image program and without it."""
        return None if self.canvas is None else self.canvas.picture(probe)

    def default_example(self, processor: Any) -> Example | None:
        """A test card, where there is an image program."""
        return None if self.canvas is None else self.canvas.default_example(processor)

    def read_example(self, processor: Any, given: str) -> Example:
        """The image in a file."""
        if self.canvas is None:
            return super().read_example(processor, given)  # refuses
        return self.canvas.read_example(processor, given)

    # ------------------------------------------------------------------------------------------------- class texts

    @property
    def plain_texts(self) -> Texts:
        """The class texts as they are; the same object until they change."""

        def widened() -> Texts:
            with constant():
                return Texts(self.ids.long(), self.mask.long())

        return self._plain_texts.get(self, (id(self.ids), self.ids._version, self.ids.device), widened)

    def texts(self, source: Source) -> Texts:
        """The class texts with the program; without gradients the same object until theta changes, or is trained again."""
        plain = self.plain_texts
        if self.text is None:
            return plain
        if torch.is_grad_enabled():
            trained: Texts = self.text(plain, source)
            if trained.embeds is not None and trained.embeds.requires_grad:
                self._programmed_texts.forget()
                return trained
        theta = ((id(p), p._version, p.device, p.dtype) for p in self.text.parameters())
        return self._programmed_texts.get(
            self, (id(plain), source.embedding.weight.dtype, *theta), lambda: self._constant_texts(plain, source)
        )

    def _constant_texts(self, plain: Texts, source: Source) -> Texts:
        assert self.text is not None
        with constant():
            texts: Texts = self.text(plain, source)
        return texts

    def canvas_of(self, data: Tensor, programmed: bool = True) -> Tensor:
        """Images (batch, 3, h, w) from 0 to 1 as the source sees them, or as they are: (batch, 3, height, width)."""
        images = prepared(data, (self.options.height, self.options.width), torch.float32)
        return self._programmed(images) if programmed else images

    def _programmed(self, images: Tensor) -> Tensor:
        """Images of the source's size and from 0 to 1 already, taken down and with the program over them."""
        if self.options.resolution is not None:
            size = images.shape[2:]
            images = F.interpolate(images, (self.options.resolution,) * 2, mode="bilinear", antialias=True)
            images = F.interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 1)
        return images if self.canvas is None else (images + self.canvas.program.frame()[0]).clamp(0, 1)

    def forward(self, batch: dict[str, Tensor], source: Source) -> dict[str, Any]:
        """`pixel_values` to `pixels`, `plain`, `texts` and `plain_texts`; see `hf_reprogram.sources.dual`."""
        plain = self.canvas_of(batch["pixel_values"], programmed=False)
        touched = self.canvas is not None or self.options.resolution is not None
        return {
            "pixels": self._programmed(plain) if touched else plain,
            "plain": batch.get("image_features", plain),
            "texts": self.texts(source),
            "plain_texts": self.plain_texts,
        }
