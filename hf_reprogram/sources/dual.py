"""Frozen text-image dual encoders: CLIP, SigLIP, and any `VisionTextDualEncoderModel`.

    u = g(image) / |g(image)|       v = h(text) / |h(text)|       similarity = scale * u . v

g and h are the two towers with their projections. Any mapping can read "features", the u (batch, width) of a batch of images.
Two more outputs are for the similarity mapping. Both are a `Pair`:

    "pair"        u and v of the transform's images and texts
    "residual"    the same, and u and v of the untouched images and texts

In place of images the inputs may hold their features u, if these were computed before.

Text features are cached unless gradients reach them. A causal text tower (CLIP) does not see the tokens after the end of a
text. Its texts are padded to the longest one only. SigLIP reads its last position and was trained with full padding, so its
texts are padded fully.

SigLIP's own logits have a trained `logit_bias` besides the scale. It is the same for all logits. Neither a soft-max over
classes nor an order of scores depends on it, so it is left out.

The source normalises pixels, as every image source does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from .base import fingerprint
from .quantized import plain
from .reading import PATCHING, Given, constant, forward_of, with_part
from .text import load_tokenizer, max_tokens
from .vision import VisionFamily, VisionSource

MODEL_TYPES = ("clip", "siglip", "vision-text-dual-encoder")
CHUNK = 1024  # texts per call of the text tower without gradients: ImageNet's classes in 80 templates are 80,000 texts


class Texts(NamedTuple):
    """Texts for the text tower.

    Attributes:
        ids: token ids (..., tokens).
        mask: 1 where there is a token, (..., tokens).
        embeds: embeddings (..., tokens, embedding width) that replace those of the ids; None to use the ids'.

    >>> texts = Texts(*dual_source.tokenize(dual_tokenizer, ["a cat", "a dog"]))
    >>> texts.ids.shape
    torch.Size([2, 7])
    """

    ids: Tensor
    mask: Tensor
    embeds: Tensor | None = None


class Pair(NamedTuple):
    """The features of images and texts. Every vector has length one.

    Attributes:
        image: u (batch, width).
        text: v (..., width), with the leading dimensions of the texts.
        scale: the factor of the similarities.
        plain_image, plain_text: u and v of the untouched images and texts, for "residual"; None for "pair".

    >>> pair = Pair(image=torch.eye(24)[:5], text=torch.eye(24)[:2], scale=torch.tensor(100.0))
    >>> (pair.scale * pair.image @ pair.text.T).shape
    torch.Size([5, 2])
    """

    image: Tensor
    text: Tensor
    scale: Tensor
    plain_image: Tensor | None = None
    plain_text: Tensor | None = None


class DualSource(VisionSource):
    """A frozen text-image dual encoder.

    Args:
        model: `CLIPModel`, `SiglipModel` or `VisionTextDualEncoderModel`.
        image_size, mean, std, bgr: as for `VisionSource`.
        resample: the filter that resizes images, by Pillow's number (3 is bicubic).
        crop: the length of an image's shorter side, as a multiple of `image_size`, before the middle is cut out. By default
            images are resized to `image_size` without a cut, whatever their shape.

    `source(inputs, reads)` takes `pixels` (batch, 3, height, width) from 0 to 1. For "pair" it also takes `texts` (`Texts`).
    For "residual" it takes `plain_texts` (`Texts`) too, and `plain`: the untouched pixels, or their u (batch, width) if it is
    known.

    Raises:
        InputError: the model is not one of the known dual encoders.

    >>> texts = Texts(*dual_source.tokenize(dual_tokenizer, ["a cat", "a dog"]))
    >>> pair = dual_source({"pixels": torch.rand(5, 3, 32, 32), "texts": texts}, "pair")
    >>> pair.image.shape, pair.text.shape
    (torch.Size([5, 24]), torch.Size([2, 24]))
    """

    def __init__(
        self,
        model: nn.Module,
        image_size: int | Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        resample: int = 3,
        crop: float | None = None,
        bgr: bool = False,
    ):
        config: Any = getattr(model, "config", None)
        if getattr(config, "model_type", None) not in MODEL_TYPES:
            raise InputError(
                f"{type(model).__name__} is not a known dual encoder: use a model of type {', '.join(MODEL_TYPES)}."
            )
        where = sorted({str(weight.device) for weight in model.parameters()})
        if len(where) > 1:
            raise InputError(
                f"The dual encoder is on the devices {', '.join(where)}, and it must be on one: load it onto one device."
            )
        super().__init__(model, image_size, mean, std, kind="dual", gives="features", bgr=bgr)
        self.settings = {**(self.settings or {}), "resample": resample, "crop": crop}
        width = self.spec.widths["features"]
        self.spec = replace(
            self.spec,
            widths={"features": width, "pair": width, "residual": width},
            embedding_width=self.embedding.weight.shape[1],
            vocab_size=self.embedding.weight.shape[0],
            max_tokens=max_tokens(self.model.text_model),
        )
        self._given = Given()
        # for compiled models; in a list, since it is no part of the source
        self._with_embeds = [with_part(model, self.embedding, self._given)]
        self._cache: list[tuple[Any, Texts, Tensor]] = []
        self._kept = 2

    def load_processor(self, name: str, hub: dict[str, Any]) -> Any:
        """The text tower's tokenizer; see `Source.load_processor`."""
        return load_tokenizer(name, hub)

    @property
    def _tower(self) -> nn.Module:
        tower: nn.Module = self.model.vision_model
        return tower

    @property
    def embedding(self) -> Any:
        """The text tower's input embedding."""
        return self.model.text_model.get_input_embeddings()

    @property
    def scale(self) -> Tensor:
        """The factor of the similarities."""
        scale: Tensor = self.model.logit_scale
        return scale.exp().reshape(())

    @property
    def pads_fully(self) -> bool:
        """Whether texts are padded to the tower's full length; SigLIP needs this, since it reads its last position."""
        return bool(self.model.config.model_type == "siglip")

    def towers(self) -> list[nn.Module]:
        """The text tower and the image tower."""
        return [self.model.text_model, self.model.vision_model]

    def forget(self) -> None:
        """See `Source.forget`."""
        self._cache = []

    def image_weights(self) -> Iterator[tuple[str, Tensor]]:
        """The names and weights on which the features of an image depend."""
        text = {id(weight) for weight in self.model.text_model.state_dict(keep_vars=True).values()}
        for name, weight in self.model.state_dict(keep_vars=True).items():
            if id(weight) not in text and not name.startswith(("text_projection", "logit_")):
                yield name, weight

    def fingerprint(self) -> dict[str, Any]:
        """The digest of the first weights of both towers, their projections and the scale."""
        last = ("visual_projection.", "text_projection.", "text_model.head.")
        projections = (
            weight for name, weight in self.model.state_dict(keep_vars=True).items() if name.startswith(last)
        )
        parts = self.entry, self.embedding.weight, *projections, self.model.logit_scale
        return fingerprint(torch.cat([plain(part).flatten() for part in parts]))

    def tokenize(self, tokenizer: Any, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and mask, both (texts, tokens), of texts, padded as the tower needs it.

        Args:
            tokenizer: the text tower's tokenizer, or a processor that has it.
            texts: any texts.

        Raises:
            InputError: a text is longer than the tower takes, or the tokenizer has no padding token.
        """
        limit = self.spec.max_tokens
        padding = {"padding": "max_length", "max_length": limit} if self.pads_fully else {"padding": True}
        tokenizer = getattr(tokenizer, "tokenizer", tokenizer)  # a processor of images and texts has one
        if tokenizer.pad_token is None:
            raise InputError(
                "The tokenizer has no padding token, which texts of several lengths need: set its pad_token."
            )
        batch = tokenizer(list(texts), return_attention_mask=True, padding_side="right", **padding)
        lengths = [sum(row) for row in batch["attention_mask"]]
        if (longest := max(lengths)) > limit:
            text = texts[lengths.index(longest)]
            raise InputError(f"The text {text!r} has {longest} tokens, but the text tower takes {limit}: shorten it.")
        ids, mask = torch.tensor(batch["input_ids"]), torch.tensor(batch["attention_mask"])
        return ids, mask

    def text_features(self, texts: Texts) -> Tensor:
        """The features v (..., width) of texts (..., tokens), which are cached unless gradients reach them."""
        programmed = texts.embeds is not None and texts.embeds.requires_grad
        if self.pretrained and torch.is_grad_enabled():
            self.forget()  # a step follows
            return self._encode(texts)
        if (programmed and torch.is_grad_enabled()) or torch.compiler.is_compiling():
            return self._encode(texts)
        key: tuple[Any, ...] = tuple((id(part), part._version) for part in texts if part is not None)
        half = torch.get_autocast_dtype(self.device.type) if torch.is_autocast_enabled(self.device.type) else None
        key += (half, self.device, self.embedding.weight.dtype, *self.versions())
        for known, _, features in self._cache:  # the cache holds the texts too, so that no other object gets their id
            if known == key:
                return features
        with constant():
            features = self._encode(texts, CHUNK)
        self._cache = [*self._cache[1 - self._kept :], (key, texts, features)]
        return features

    def _encode(self, texts: Texts, most: int | None = None) -> Tensor:
        """The features v of texts, with at most `most` texts per call of the tower; None for all."""
        ids, mask = texts.ids.flatten(0, -2), texts.mask.flatten(0, -2)
        embeds = None if texts.embeds is None else texts.embeds.flatten(0, -3)
        size = most or len(ids)
        rows = [slice(start, start + size) for start in range(0, len(ids), size)]
        parts = [self._read_texts(Texts(ids[at], mask[at], None if embeds is None else embeds[at])) for at in rows]
        features: Tensor = F.normalize(torch.cat(parts), dim=-1).unflatten(0, texts.ids.shape[:-1])
        return features

    def _read_texts(self, texts: Texts) -> Tensor:
        """The text tower's output (texts, width) for texts (texts, tokens)."""
        attended = None if self.pads_fully else texts.mask  # SigLIP attends to its padding
        if torch.compiler.is_compiling():
            self._given.value = texts.embeds
            view = self.model if texts.embeds is None else self._with_embeds[0]
            found: Tensor = view.get_text_features(input_ids=texts.ids, attention_mask=attended).pooler_output
            self._given.value = None
            return found
        replaced: Any = nullcontext() if texts.embeds is None else forward_of(self.embedding, lambda _: texts.embeds)
        with PATCHING, replaced:
            features: Tensor = self.model.get_text_features(input_ids=texts.ids, attention_mask=attended).pooler_output
            return features

    def _run(self, pixels: Tensor, view: Any = None) -> Any:
        """The features u (batch, width) of normalised pixels."""
        more = {"interpolate_pos_encoding": True} if self._interpolates else {}
        features = self.model.get_image_features(pixel_values=pixels, **more).pooler_output
        return F.normalize(features, dim=-1)

    def forward(self, inputs: dict[str, Any], reads: str) -> Any:
        """The output "features" as a tensor (batch, width), or "pair" and "residual" as a `Pair`."""
        if reads not in ("pair", "residual"):
            return super().forward(inputs, reads)
        pixels, plain = inputs["pixels"], inputs.get("plain")
        image = super().forward(inputs, "features") if pixels.dim() == 4 else pixels
        if plain is pixels:
            plain = image
        elif reads == "residual" and plain is not None and plain.dim() == 4:
            with torch.no_grad():
                plain = super().forward({"pixels": plain}, "features")
        return self._pair(image, plain, inputs, reads)

    def together(self, parts: Sequence[dict[str, Any]], reads: str) -> list[Any]:
        """See `Source.together`: all images are one batch, and class texts are those of their adapter."""
        if reads not in ("pair", "residual"):
            return super().together(parts, reads)
        names = ("pixels", "plain") if reads == "residual" else ("pixels",)
        drawn = {id(part[name]): part[name] for part in parts for name in names if part[name].dim() == 4}
        read = super().together([{"pixels": pixels} for pixels in drawn.values()], "features")
        features = dict(zip(drawn, read, strict=True))

        def known(images: Any) -> Any:
            return features.get(id(images), images)

        return [self._pair(known(part["pixels"]), known(part.get("plain")), part, reads) for part in parts]

    def make_room(self, adapters: int) -> None:
        """See `Source.make_room`: the features of the class texts of so many adapters are kept."""
        self._kept = 2 * max(1, adapters)  # with a program and without

    def _pair(self, image: Tensor, plain: Any, inputs: dict[str, Any], reads: str) -> Pair:
        """The output for the features of images, and for those of the untouched ones with "residual"."""
        text = self.text_features(inputs["texts"])
        if reads == "pair":
            return Pair(image, text, self.scale)
        return Pair(image, text, self.scale, plain, self.text_features(inputs["plain_texts"]))


class DualFamily(VisionFamily):
    """Text-image dual encoders of transformers.

    >>> DualFamily().kind_of_config(dual_source.model.config)
    'dual'
    """

    kinds = {"dual": "AutoModel"}
    example = f"a text-image encoder of type {', '.join(MODEL_TYPES)}"
    options = ("image_size", "mean", "std", "bgr", "resample", "crop")
    pooled = ("dual",)

    def kind_of_architecture(self, architecture: str, config: Any) -> str | None:
        """None: only the config decides, since one of CLIP's classes is an image classifier."""
        return None

    def kind_of_config(self, config: Any) -> str | None:
        """See `SourceFamily.kind_of_config`."""
        return "dual" if config.model_type in MODEL_TYPES else None

    def build(self, model: Any, kind: str, settings: dict[str, Any]) -> DualSource:
        """See `SourceFamily.build`."""
        return DualSource(model, **settings)
