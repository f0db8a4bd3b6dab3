"""Reprogrammer and Residual Reprogrammer (Geng & Chen 2024, arXiv 2403.10800).

    x~ = clip(x + M * tanh(W), 0, 1),  M a border       t~ = program("a photo of a {class}.")       cosine similarity

Theta is a program on the image and one on the embeddings of the class texts. There is no omega, or it is the alpha of the
residual blend.

Without both programs ("none") this is the zero-shot classifier. With text_program="context" alone it is CoOp (Zhou et al. 2022,
arXiv 2109.01134). Context vectors are our default too, with small steps of the border: with 16 images per class the paper's
programs memorise the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, unknown
from ..label_names import numbered_labels
from ..mappings.similarity import check_blend
from ..modalities.pixels import image_processor
from ..options import check_whole
from ..sources.base import Source
from ..sources.dual import DualSource
from ..transforms.text_programs import check_size
from .base import Method, MethodInfo, MethodOptions, Parts, Target

DEVIATIONS = 1.8  # of the source's embeddings: the unit of vectors, so that one rate suits all sources
TEXT_PROGRAMS = ("context", "low_rank", "table", "none")


@dataclass
class ReprogrammerOptions(MethodOptions):
    """Options of Reprogrammer.

    Attributes:
        image_program: "border", "full" or "none".
        border: the width of the border in pixels; by default 16 on an image of 224, and the same share of another size.
        image_unit: the factor of the image program's weights. Its steps are the learning rate times this factor. Those of the
            text program are the rate times 1.8 deviations of the source's embeddings; of "low_rank" a tenth of the rate.
        resolution: the side in pixels to which images are reduced before the program; the paper has 64 or 128 for small
            photographs. By default images are not reduced.
        text_program: "context" (vectors before the text), "low_rank" (an affine map of low rank of the embeddings), "table" (a
            change of the embedding of every token, as in the paper) or "none".
        size: the number of vectors of "context" (by default 16, or as many as fit into the text tower), or the rank of
            "low_rank" (by default 4).
        templates: texts with {} in place of the class; the features of several are averaged.
        class_texts: the text of each class in the templates; by default the classes' names, with spaces in place of
            underscores, as CoOp's own code has them.
        alpha: the share of the zero-shot branch at evaluation: 0.4 in the paper's Residual Reprogrammer, 0 in Reprogrammer.
        learn_alpha: whether alpha is trained, from the value of `alpha`.
        loss: "cross_entropy", or the paper's "contrastive".
    """

    image_program: str = "border"
    border: int | None = None
    image_unit: float = 0.1
    resolution: int | None = None
    text_program: str = "context"
    size: int | None = None
    templates: list[str] = field(default_factory=lambda: ["a photo of a {}."])
    class_texts: list[str] | None = None
    alpha: float = 0.0
    learn_alpha: bool = False
    loss: str = "cross_entropy"

    def __post_init__(self) -> None:
        if self.image_program not in ("border", "full", "none"):
            raise unknown("image_program", self.image_program, ("border", "full", "none"))
        if self.text_program not in TEXT_PROGRAMS:
            raise unknown("text_program", self.text_program, TEXT_PROGRAMS)
        if isinstance(self.templates, str):
            self.templates = [self.templates]
        if not self.templates:
            raise InputError("templates is empty: give at least one, such as 'a photo of a {}.'.")
        for template in self.templates:
            if not isinstance(template, str) or template.count("{}") != 1:
                raise InputError(f"The template {template!r} must have {{}} once, where the class goes.")
        if self.size is not None and self.text_program not in ("low_rank", "context"):
            raise InputError(f"size is {self.size}, but a text program {self.text_program!r} has none: leave it out.")
        if self.border is not None and self.image_program != "border":
            raise InputError(f"border is {self.border}, but image_program is {self.image_program!r}: leave it out.")
        pixels = {"border": self.border, "resolution": self.resolution}
        check_whole(**{name: value for name, value in pixels.items() if value is not None})
        if self.size is not None:
            check_size(self.text_program, self.size)
        check_blend(self.alpha, self.learn_alpha, self.loss)


class Reprogrammer(Method):
    """The `dual` transform with the `similarity` mapping.

    >>> from hf_reprogram import reprogram
    >>> model, processor = reprogram(dual_source, "reprogrammer", ["cat", "dog"], alpha=0.4)
    >>> model(pixel_values=torch.rand(5, 3, 32, 32)).logits.shape
    torch.Size([5, 2])
    """

    info = MethodInfo(
        title="Model Reprogramming Outperforms Fine-tuning on Out-of-distribution Data in Text-Image Encoders",
        authors="Geng, Chen",
        year=2024,
        arxiv="2403.10800",
        label="Reprogrammer",
        source="text-image dual encoder",
        transform="dual",
        mapping="similarity",
        differs="the text program is vectors before the class texts, where the paper changes the whole token table "
        "(text_program: table); the loss is cross-entropy, where the paper's contrastive loss counts images of the same class "
        "as wrong answers (loss: contrastive); images keep their resolution, where the paper reduces it (resolution: 64 or "
        "128); the rate is 3e-2 in units of the source's embeddings for the text and of 0.1 for the image, where the paper has "
        "5e-3 for the image and a tenth of it for the text; "
        "warm-up takes 6 % of the steps, where the paper has 500 steps; there is no weight decay, where the authors' code has "
        "0.1",
        pipeline_tag="image-classification",
    )
    Options = ReprogrammerOptions
    problem_types = ("single_label_classification",)
    training = {
        "learning_rate": 5e-3,
        "weight_decay": 0.0,
        "num_train_epochs": 25,
        "per_device_train_batch_size": 128,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.06,
    }

    tuned = {"learning_rate": 3e-2}
    paper = {"text_program": "table", "image_unit": 1.0, "loss": "contrastive"}

    options: ReprogrammerOptions

    def compose(self, source: Source, processor: Any, target: Target) -> Parts:
        """The programs for a dual encoder's two towers, the similarity, and an image processor that resizes as its own does."""
        if not isinstance(source, DualSource):
            raise InputError(
                f"The {source.spec.kind} source has no text tower for class texts: use a text-image dual encoder such as CLIP."
            )
        options, (height, width) = self.options, source.spec.canvas()
        names = self._names(target)
        if len(names) != target.num_labels:
            raise InputError(f"There are {len(names)} class_texts for {target.num_labels} classes: give one for each.")
        self.ids, self.mask = tokenized(source, processor, names, options.templates)
        check_apart(self.ids, self.mask, target.labels)
        sizes = {"height": height, "width": width}
        longest = int(self.mask.sum(-1).max())
        if options.text_program == "context":
            self._size = max(1, min(16, source.spec.max_tokens - longest)) if options.size is None else options.size
            longest += self._size
        elif options.text_program == "low_rank":
            self._size = 4 if options.size is None else options.size
        if longest > source.spec.max_tokens:
            raise InputError(
                f"A class text and its context have {longest} tokens, but the text tower takes {source.spec.max_tokens}: give "
                "a smaller size, or shorter templates."
            )
        shape = zip(("classes", "templates", "tokens"), self.ids.shape, strict=True)
        transform: dict[str, Any] = {"type": "dual", **sizes, **dict(shape), "resolution": options.resolution}
        transform |= {"image": self._image(sizes), "text": self._text(source)}
        mapping = {"type": "similarity", "num_labels": target.num_labels, "width": source.spec.widths["pair"]}
        mapping |= {name: getattr(options, name) for name in ("alpha", "learn_alpha", "loss")}
        settings = source.settings or {}
        return Parts(transform, mapping, image_processor((height, width), settings["resample"], settings["crop"]))

    def _names(self, target: Target) -> Sequence[str]:
        """The texts of the classes: the option `class_texts`, or the classes' names with spaces in place of underscores."""
        if self.options.class_texts is not None:
            return self.options.class_texts
        if list(target.labels) == numbered_labels(target.num_labels):
            raise InputError(
                f"The {target.num_labels} classes have no names to put into the templates: name them in labels=[...], or give "
                "class_texts."
            )
        return [name.replace("_", " ") for name in target.labels]

    def _image(self, sizes: dict[str, int]) -> dict[str, Any] | None:
        if self.options.image_program == "none":
            return None
        made = {**sizes, **{f"image_{name}": side for name, side in sizes.items()}, "mask": self.options.image_program}
        if self.options.image_program == "border":
            default = max(1, round(min(sizes.values()) * 16 / 224))
            made["border"] = default if self.options.border is None else self.options.border
        made["unit"] = self.options.image_unit
        return made

    def _text(self, source: Source) -> dict[str, Any] | None:
        program = self.options.text_program
        if program == "none":
            return None
        size = len(self.ids.unique()) if program == "table" else self._size
        unit = 0.1  # of a map of embeddings, which has their scale
        if program != "low_rank":
            unit = max(1e-6, round(DEVIATIONS * float(source.embedding.weight.float().std()), 6))
        return {"type": program, "width": source.spec.embedding_width, "size": size, "unit": unit}

    def initialize(self, model: Any, processor: Any) -> None:
        """Set the class texts, and start the programs."""
        model.transform.reset(self.ids, self.mask, model.source)
        model.mapping.reset()


def tokenized(
    source: DualSource, tokenizer: Any, names: Sequence[str], templates: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Token ids and mask, both (classes, templates, tokens), of every class in every template.

    Args:
        source: the dual encoder, which decides the padding.
        tokenizer: that of the text tower.
        names: the text of each class.
        templates: texts with {} in place of the class.

    Raises:
        InputError: a class has no text, or a text is too long.

    >>> ids, mask = tokenized(dual_source, dual_tokenizer, ["cat", "dog"], ["a {}.", "one {}."])
    >>> ids.shape
    torch.Size([2, 2, 10])
    """
    if any(not name.strip() for name in names):
        raise InputError("A class has no name to put into the templates: give every class one, or class_texts.")
    texts = [template.replace("{}", name) for name in names for template in templates]
    ids, mask = source.tokenize(tokenizer, texts)
    shape = (len(names), len(templates))
    return ids.unflatten(0, shape), mask.unflatten(0, shape)


def check_apart(ids: Tensor, mask: Tensor, labels: Sequence[str]) -> None:
    """Refuse classes whose texts are the same tokens, which no image could tell apart.

    Args:
        ids, mask: (classes, templates, tokens), as `tokenized` returns them.
        labels: the names of the classes.

    Raises:
        InputError: two classes have the same tokens in every template.

    >>> ids, mask = tokenized(dual_source, dual_tokenizer, ["cat", "cat"], ["a {}."])
    >>> check_apart(ids, mask, ["cat", "Cat"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The classes 'cat' and 'Cat' have class texts of the same tokens, ...
    """
    seen: dict[bytes, str] = {}
    for label, tokens in zip(labels, (ids * mask).flatten(1), strict=True):
        key = tokens.numpy().tobytes()
        if key in seen:
            raise InputError(
                f"The classes {seen[key]!r} and {label!r} have class texts of the same tokens, so no image tells them apart: "
                "give class_texts that differ."
            )
        seen[key] = label


@torch.no_grad()
def zero_shot_head(model: Any) -> Tensor:
    """The weights (classes, width) of the zero-shot classifier, computed from the model's class texts.

    >>> from hf_reprogram import reprogram
    >>> model, processor = reprogram(dual_source, "reprogrammer", ["cat", "dog"])
    >>> zero_shot_head(model).shape
    torch.Size([2, 24])
    """
    features = model.source.text_features(model.transform.texts(model.source))
    weights: Tensor = model.source.scale * torch.nn.functional.normalize(features.mean(1), dim=-1)
    return weights
