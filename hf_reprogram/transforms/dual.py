"""Dual: programs on the images and on the class texts of a text-image dual encoder.

    x~ = clip(M * a * squash(W) + up(down(x)), 0, 1)          t~_c = program(embeddings of "a photo of a {c}.")

The image program is a `canvas` over the whole image, for example with a border as its mask. With `resolution` the image is
first resized to that side (bilinear, with antialiasing) and back to the source's (bicubic), both as Pillow does it. The text
program is one of `hf_reprogram.transforms.text_programs`. Either may be left out. Without both this is the zero-shot
classifier.

The tokens of the class texts are buffers, so an adapter knows its classes and needs no tokenizer. The transform also returns
the untouched images and texts, for mappings that blend them in. If the zero-shot features of the images are known
(`image_features`), they take the place of the untouched images: of those that are blended in, and of all if there is no
program on images.

Source: Geng & Chen 2024 (arXiv 2403.10800).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..options import check_indices, check_whole, from_dict
from ..sources.base import Source, SourceSpec
from ..sources.dual import Texts
from ..sources.probe import Example, Lines, Probe
from ..sources.reading import constant
from .base import InputTransform, ParameterCache, check_same_options
from .canvas import Canvas, CanvasOptions
from .drawing import Views, program_lines
from .program import check_pixels, resized
from .text_programs import make_text_program


@dataclass
class DualOptions:
    """Options of `dual`.

    Attributes:
        height, width: the size of the image that the source takes, in pixels.
        classes, templates: the numbers of classes and of templates, one text for each pair of them.
        tokens: the length of the longest class text.
        image: the options of the image program (`hf_reprogram.transforms.canvas`), whose image is the whole canvas; None for no
            image program.
        text: the options of the text program (`hf_reprogram.transforms.text_programs`); None for no text program.
        resolution: the side, in pixels, to which images are first reduced; None to keep them.
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
    """Programs on the images and on the class texts. Theta is `canvas.program.weight` and the parameters of `text`.

    The class texts are the buffers `ids` and `mask` (classes, templates, tokens).

    >>> ids, mask = dual_source.tokenize(dual_tokenizer, ["a cat", "a dog"])
    >>> transform = Dual(DualOptions(height=32, width=32, classes=2, templates=1, tokens=7))
    >>> transform.reset(ids[:, None], mask[:, None], dual_source)
    >>> dual_source(transform({"pixel_values": torch.rand(5, 3, 32, 32)}, dual_source), "pair").text.shape
    torch.Size([2, 1, 24])
    """

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
                f"The image program must cover the image of {options.height} x {options.width} pixels: give it this "
                "image_height and image_width, and leave learn_scale out."
            )
        self.text = None if options.text is None else make_text_program(options.text)
        shape = (options.classes, options.templates, options.tokens)
        self.register_buffer("ids", torch.zeros(shape, dtype=torch.int32))
        self.register_buffer("mask", torch.zeros(shape, dtype=torch.bool))
        self._programmed_texts: ParameterCache[Texts] = ParameterCache()
        self._plain_texts: ParameterCache[Texts] = ParameterCache()

    def check(self, spec: SourceSpec) -> None:
        """Raise `InputError` unless the source is a dual encoder of images and texts of these sizes."""
        if "pair" not in spec.widths:
            raise InputError(
                f"The {spec.kind} source has no text tower for class texts: use a text-image dual encoder."
            )
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
        """Set the class texts, and start the text program.

        Args:
            ids: token ids (classes, templates, tokens).
            mask: 1 where there is a token, of the same shape.
            source: the frozen dual encoder.
        """
        self.ids.copy_(ids)
        self.mask.copy_(mask)
        if self.text is not None:
            self.text.reset(self.plain_texts.ids, source)

    def check_state(self, spec: SourceSpec) -> None:
        """Raise `InputError` if a class text holds a token that the text tower does not have."""
        check_indices("ids", 0, spec.vocab_size, self.ids)

    def start_from(self, other: InputTransform) -> None:
        """Copy the programs of a trained transform, and keep the class texts.

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
                    f"one has {'none' if ours is None else 'one'}: use the same {name}_program."
                )
        if self.canvas is not None and other.canvas is not None:
            self.canvas.start_from(other.canvas)
        if self.text is not None and other.text is not None:
            self.text.start_from(other.text)

    def check_batch(self, batch: dict[str, Tensor]) -> None:
        """See `hf_reprogram.transforms.program.check_pixels`."""
        check_pixels(batch[self.takes])

    def penalty(self) -> Tensor | float:
        """The penalty of the image program."""
        return 0.0 if self.canvas is None else self.canvas.penalty()

    # ------------------------------------------------------------------------------------------------- inspection

    def inspect(self, probe: Probe) -> dict[str, Any]:
        """The description of the image program."""
        return {} if self.canvas is None else self.canvas.inspect(probe)

    def lines(self, description: dict[str, Any]) -> Lines:
        """The size of the image program's changes."""
        return Lines(body=program_lines(description))

    def picture(self, probe: Probe) -> Views | None:
        """The example with the image program and without it."""
        return None if self.canvas is None else self.canvas.picture(probe)

    def default_example(self, processor: Any) -> Example | None:
        """A test card if there is an image program, else None."""
        return None if self.canvas is None else self.canvas.default_example(processor)

    def read_example(self, processor: Any, text: str) -> Example:
        """The image in a file."""
        if self.canvas is None:
            return super().read_example(processor, text)  # raises
        return self.canvas.read_example(processor, text)

    # ------------------------------------------------------------------------------------------------- class texts

    @property
    def plain_texts(self) -> Texts:
        """The class texts without the program; the same object until they change."""

        def widened() -> Texts:
            with constant():
                return Texts(self.ids.long(), self.mask.long())

        if torch.compiler.is_compiling():
            return Texts(self.ids.long(), self.mask.long())
        return self._plain_texts.get(self, (id(self.ids), self.ids._version, self.ids.device), widened)

    def texts(self, source: Source) -> Texts:
        """The class texts with the program; without gradients the same object until theta changes."""
        plain = self.plain_texts
        if self.text is None:
            return plain
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            trained: Texts = self.text(plain, source)
            if torch.compiler.is_compiling() or (trained.embeds is not None and trained.embeds.requires_grad):
                self._programmed_texts.forget()
                return trained
        theta = ((id(p), p._version, p.device, p.dtype) for p in self.text.parameters())
        return self._programmed_texts.get(
            self,
            (id(plain), source.embedding.weight.dtype, *theta, *source.versions()),
            lambda: self._constant_texts(plain, source),
        )

    def _constant_texts(self, plain: Texts, source: Source) -> Texts:
        assert self.text is not None
        with constant():
            texts: Texts = self.text(plain, source)
        return texts

    @property
    def leaves_images(self) -> bool:
        """Whether images stay as they are, so that their features are constant."""
        return self.canvas is None and self.options.resolution is None

    def canvas_of(self, data: Tensor, programmed: bool = True) -> Tensor:
        """Images of the source's size (batch, 3, height, width), with or without the program.

        Args:
            data: images (batch, 3, h, w) of pixels from 0 to 1.
            programmed: whether the resolution is reduced and the program is added.
        """
        images = resized(data, (self.options.height, self.options.width), torch.float32)
        return self._programmed(images) if programmed else images

    def _programmed(self, images: Tensor) -> Tensor:
        """Images of the source's size at the reduced resolution and with the program."""
        if self.options.resolution is not None:
            size = images.shape[2:]
            images = F.interpolate(images, (self.options.resolution,) * 2, mode="bilinear", antialias=True)
            images = F.interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 1)
        return images if self.canvas is None else (images + self.canvas.program.frame()[0]).clamp(0, 1)

    def forward(self, batch: dict[str, Tensor], source: Source) -> dict[str, Any]:
        """The inputs of a dual source from `pixel_values` (batch, 3, h, w).

        Returns:
            `pixels` and `texts` are the images and the class texts with the programs. `plain` and `plain_texts` are those
            without. Images may be features instead (`hf_reprogram.sources.dual`).

        Raises:
            InputError: the batch has texts of its own, as `pipeline("zero-shot-image-classification")` makes them.
        """
        if "input_ids" in batch:
            raise InputError(
                "The batch has texts, and this adapter has its own classes and their texts: pass images alone, with "
                "pipeline('image-classification') in place of 'zero-shot-image-classification'."
            )
        self.check_first(batch)
        known = batch.get("image_features")
        if known is not None and source.pretrained:
            raise InputError(
                "The features of an image change with the weights that tune names, so image_features would be out of date: "
                "leave them out."
            )
        if known is not None and self.leaves_images:
            pixels = plain = known
        else:
            images = self.canvas_of(batch["pixel_values"], programmed=False)
            pixels = images if self.leaves_images else self._programmed(images)
            plain = images if known is None else known
        return {
            "pixels": pixels,
            "plain": plain,
            "texts": self.texts(source),
            "plain_texts": self.plain_texts,
        }
