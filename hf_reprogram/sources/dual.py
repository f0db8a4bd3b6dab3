"""Frozen text-image dual encoders: CLIP, SigLIP, and any `VisionTextDualEncoderModel`.

    u = g(image) / |g(image)|       v = h(text) / |h(text)|       similarity = scale * u . v

g and h are the two towers with their projections. Besides `features`, the u of a batch of images (batch, width), which any
mapping may read, there are two readings for the similarity mapping, both a `Pair`:

    "pair"        u and v of what the input transform made
    "residual"    these, and the u and v of the same images and texts as they are

What is constant is computed once: the v of texts that nothing trains, and without gradients the v of all texts, are kept until
the texts change. A causal text tower (CLIP's) never sees what comes after the end of a text, so texts are padded to the
longest of them and no further; SigLIP's reads its last position and was trained on full padding, which it gets.

SigLIP's own logits have a trained `logit_bias` besides the scale. It is one constant for every logit, which neither a soft-max
over classes nor an order of scores depends on, and is left out.

Pixels are normalised here, once, as for every image source.
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
from .reading import PATCHING, constant, forward_of
from .text import load_tokenizer, max_tokens
from .vision import VisionFamily, VisionSource

MODEL_TYPES = ("clip", "siglip", "vision-text-dual-encoder")
CHUNK = 1024  # constant texts that the text tower is given at once: ImageNet's classes in 80 templates are 80,000


class Texts(NamedTuple):
    """Texts for the text tower.

    Attributes:
        ids, mask: (..., tokens): token ids, and 1 where there is a token.
        embeds: (..., tokens, embedding width) in place of the ids' embeddings; None for those.
    """

    ids: Tensor
    mask: Tensor
    embeds: Tensor | None = None


class Pair(NamedTuple):
    """What is compared; every vector has length one.

    Attributes:
        image: u (batch, width).
        text: v (..., width), the leading dimensions those of the texts.
        scale: what similarities are multiplied with.
        plain_image, plain_text: the same of the untouched images and texts, for "residual".
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
        resample: how its images are resized, as Pillow numbers it (3: bicubic).
        crop: how many times as long as `image_size` the shorter side is made before the middle is cut out; by default images
            are squeezed.

    `source(inputs, reads)` takes `pixels` (batch, 3, height, width) from 0 to 1, and for the two `Pair`s `texts` and
    `plain_texts` (`Texts`) and `plain`: the untouched pixels, or their u (batch, width) where that is known.

    Raises:
        InputError: the model is no dual encoder that is known.
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
                f"{type(model).__name__} is no dual encoder that is known: give one of {', '.join(MODEL_TYPES)}."
            )
        where = sorted({str(weight.device) for weight in model.parameters()})
        if len(where) > 1:
            raise InputError(
                f"The dual encoder is spread over {', '.join(where)}, and its towers have to meet: load it onto one device."
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
        self._kept: list[tuple[Any, Texts, Tensor]] = []

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
        """What similarities are multiplied with."""
        scale: Tensor = self.model.logit_scale
        return scale.exp().reshape(())

    @property
    def pads_fully(self) -> bool:
        """Whether texts are padded to the tower's full length, since it reads its last position."""
        return bool(self.model.config.model_type == "siglip")

    def image_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Names and weights of all that an image's features depend on."""
        text = {id(weight) for weight in self.model.text_model.state_dict(keep_vars=True).values()}
        for name, weight in self.model.state_dict(keep_vars=True).items():
            if id(weight) not in text and not name.startswith(("text_projection", "logit_")):
                yield name, weight

    def fingerprint(self) -> dict[str, Any]:
        """Identity of the first weights of both towers, of their projections, and of the scale."""
        last = ("visual_projection.", "text_projection.", "text_model.head.")
        projections = (
            weight for name, weight in self.model.state_dict(keep_vars=True).items() if name.startswith(last)
        )
        parts = self.entry, self.embedding.weight, *projections, self.model.logit_scale
        return fingerprint(torch.cat([part.detach().flatten() for part in parts]))

    def tokenize(self, tokenizer: Any, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask (texts, tokens) of texts, padded as the tower needs it.

        Raises:
            InputError: a text is longer than the tower takes.
        """
        limit = self.spec.max_tokens
        padding = {"padding": "max_length", "max_length": limit} if self.pads_fully else {"padding": True}
        tokenizer = getattr(tokenizer, "tokenizer", tokenizer)  # that of a processor of images and texts
        if tokenizer.pad_token is None:
            raise InputError("The tokenizer has no padding token, which texts of several lengths need: give it one.")
        found = tokenizer(list(texts), return_tensors="pt", return_attention_mask=True, padding_side="right", **padding)
        ids, mask = found["input_ids"], found["attention_mask"]
        if ids.shape[1] > limit:
            longest = texts[int(mask.sum(1).argmax())]
            raise InputError(
                f"The text {longest!r} has {int(mask.sum(1).max())} tokens, but the text tower takes {limit}: shorten it."
            )
        return ids, mask

    def text_features(self, texts: Texts) -> Tensor:
        """The v (..., width) of texts (..., tokens), kept where no gradient has to flow into them."""
        trains = torch.is_grad_enabled() and texts.embeds is not None and texts.embeds.requires_grad
        if trains:
            return self._encode(texts)
        key: tuple[Any, ...] = tuple((id(part), part._version) for part in texts if part is not None)
        half = torch.get_autocast_dtype(self.device.type) if torch.is_autocast_enabled(self.device.type) else None
        key += (half, self.device, self.embedding.weight.dtype)
        for known, _, features in self._kept:  # the texts are kept too, so that no other object takes over an id
            if known == key:
                return features
        with constant():
            features = self._encode(texts, CHUNK)
        self._kept = [*self._kept[-1:], (key, texts, features)]
        return features

    def _encode(self, texts: Texts, most: int | None = None) -> Tensor:
        """The v of texts, all at once or at most so many at a time."""
        ids, mask = texts.ids.flatten(0, -2), texts.mask.flatten(0, -2)
        embeds = None if texts.embeds is None else texts.embeds.flatten(0, -3)
        size = most or len(ids)
        rows = [slice(start, start + size) for start in range(0, len(ids), size)]
        found = [self._read_texts(Texts(ids[at], mask[at], None if embeds is None else embeds[at])) for at in rows]
        features: Tensor = F.normalize(torch.cat(found), dim=-1).unflatten(0, texts.ids.shape[:-1])
        return features

    def _read_texts(self, texts: Texts) -> Tensor:
        """What the text tower gives for texts (texts, tokens)."""
        given: Any = nullcontext() if texts.embeds is None else forward_of(self.embedding, lambda _: texts.embeds)
        with PATCHING, given:
            attended = None if self.pads_fully else texts.mask  # SigLIP attends to its padding
            features: Tensor = self.model.get_text_features(input_ids=texts.ids, attention_mask=attended).pooler_output
            return features

    def _run(self, pixels: Tensor) -> Any:
        """The u of normalised pixels."""
        more = {"interpolate_pos_encoding": True} if self._interpolates else {}
        found = self.model.get_image_features(pixel_values=pixels, **more).pooler_output
        return F.normalize(found, dim=-1)

    def forward(self, inputs: dict[str, Any], reads: str) -> Any:
        """`features` as a tensor, or a `Pair`; see the module's docstring."""
        if reads not in ("pair", "residual"):
            return super().forward(inputs, reads)
        image, text = super().forward(inputs, "features"), self.text_features(inputs["texts"])
        if reads == "pair":
            return Pair(image, text, self.scale)
        plain = inputs["plain"]
        if plain is inputs["pixels"]:
            plain = image
        elif plain.dim() == 4:
            with torch.no_grad():
                plain = super().forward({"pixels": plain}, "features")
        return Pair(image, text, self.scale, plain, self.text_features(inputs["plain_texts"]))


class DualFamily(VisionFamily):
    """Text-image dual encoders of transformers."""

    kinds = {"dual": "AutoModel"}
    example = f"a text-image encoder of type {', '.join(MODEL_TYPES)}"
    options = ("image_size", "mean", "std", "bgr", "resample", "crop")
    pooled = ("dual",)

    def kind_of_architecture(self, architecture: str, config: Any) -> str | None:
        """No class says it: one of CLIP's is an image classifier."""
        return None

    def kind_of_config(self, config: Any) -> str | None:
        """See `SourceFamily.kind_of_config`."""
        return "dual" if config.model_type in MODEL_TYPES else None

    def build(self, model: Any, kind: str, settings: dict[str, Any]) -> DualSource:
        """See `SourceFamily.build`."""
        return DualSource(model, **settings)
