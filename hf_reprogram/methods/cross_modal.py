"""Cross-modal adversarial reprogramming (Neekhara, Hussain, Du, Dubnov, Koushanfar, McAuley 2022, arXiv 2102.07325).

    image = clip(base + unpatch(eps * tanh(theta[tokens])), 0, 1)         logit_t = max over s in B_t of f(image)_s

theta: a patch of pixels per token of the target's tokenizer; the patches of a text are an image, in reading order.  omega: for
each class, m of the source's most likely labels for the base image; or a dense layer.

A text may have as many tokens as the canvas has patches: 196 of 16 pixels on a canvas of 224, 576 on one of 384.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..errors import InputError
from ..mappings.assignment import labels_per_class
from ..mappings.label_map import WEIGHTS
from ..modalities.pixels import read_base
from ..options import check_whole
from ..sources.base import Source
from ..transforms.token_patches import GREY
from .base import Method, MethodInfo, Parts, Target
from .composition import OutputOptions, output_mapping
from .vocabulary import make_tokenizer

OTHERWISE = 16  # the side of a patch on a source that does not project patches, the paper's


@dataclass
class CrossModalOptions(OutputOptions):
    """Options of cross-modal reprogramming; those of the mapping are described in `OutputOptions`.

    Theta has 3 * patch_size ** 2 numbers a token, so that a tokenizer of few tokens makes a small adapter. "words" takes
    the most frequent words of the training texts, lower-cased, and reads every other word as the unknown token; a given
    tokenizer keeps its whole vocabulary, 23 million numbers for BERT's on patches of 16 pixels.

    Attributes:
        label_mapping: also "response": the labels that the source answers the base with, the most likely ones dealt to the
            classes in turn.
        aggregate: by default "max_logit", for BLM "mean_logit".
        tokenizer: "words", "characters", "kmers", "residues", "smiles" (`hf_reprogram.transforms.target_tokenizers`), or
            the Hub id or folder of any fast tokenizer.
        max_vocabulary: the most tokens that are taken from the training texts; null for all.
        k: length of the k-mers.
        alphabet: letters of "characters" and "kmers", where the texts or DNA should not decide.
        patch_size: side of a token's patch in pixels; by default that of the source's own patches, or 16.
        bounded: whether the program is a small change of the base; else a patch may take any colour.
        eps: of a bounded program: how far a pixel may move, in units of the source's deviation of its channel.
        base_image: file of the image that a bounded program changes; by default grey.
        l2: times the mean squared norm of a patch in theta, added to the loss.
    """

    label_mapping: str = "response"
    tokenizer: str = "words"
    max_vocabulary: int | None = 2000
    k: int = 3
    alphabet: list[str] | None = None
    patch_size: int | None = None
    bounded: bool = False
    eps: float = 0.2
    base_image: str | None = None
    l2: float = 1e-4
    further: ClassVar[tuple[str, ...]] = ("response",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.alphabet, str):
            self.alphabet = list(self.alphabet)
        for name in ("max_vocabulary", "patch_size"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise InputError(f"{name} is {value!r}: give a whole number, 1 or more, or null.")
        check_whole(k=self.k)
        if self.base_image is not None and not self.bounded:
            raise InputError("base_image is for bounded=True: an unbounded program leaves nothing of it.")
        if not self.eps > 0:
            raise InputError(f"eps is {self.eps!r}: give a number more than 0.")


class CrossModal(Method):
    """Token patches and a label map around a frozen image classifier."""

    info = MethodInfo(
        title="Cross-modal Adversarial Reprogramming",
        authors="Neekhara, Hussain, Du, Dubnov, Koushanfar, McAuley",
        year=2022,
        arxiv="2102.07325",
        label="cross-modal",
        source="image classifier; with a dense mapping also an image encoder",
        transform="token_patches",
        mapping="label_map",
        differs="epochs of larger steps in place of 100,000 small ones; the labels that the base is most likely to be, where "
        "the authors' code takes the least likely; a vocabulary of the target's own words by default; the penalty is on "
        "theta and not on the image",
    )
    Options = CrossModalOptions
    problem_types = ("single_label_classification", "regression", "multi_label_classification")
    training = {
        "learning_rate": 1e-2,
        "weight_decay": 0.0,
        "num_train_epochs": 20,
        "per_device_train_batch_size": 16,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0.06,
        "max_grad_norm": 1.0,
    }

    options: CrossModalOptions

    def compose(self, source: Source, processor: Any, target: Target) -> Parts:
        """A tokenizer of the target's texts as long as the canvas allows, patches for its tokens, and the mapping."""
        options = self.options
        height, width = source.spec.canvas()
        side = options.patch_size or source.spec.patch_size or OTHERWISE
        transform: dict[str, Any] = {
            "type": "token_patches",
            "patch_size": side,
            "height": height,
            "width": width,
            "base_image": options.base_image is not None,
            "l2": options.l2,
        }
        if options.bounded:
            assert source.settings is not None  # as it has a canvas
            transform["eps"] = [options.eps * value for value in source.settings["std"]]
            if max(transform["eps"]) > 1:
                raise InputError(
                    f"eps is {options.eps:g}, which moves a pixel by {max(transform['eps']):.3g} of the range from 0 to 1 on "
                    f"this source: give at most {1 / max(source.settings['std']):.3g}, or bounded=False."
                )
        places = (height // side) * (width // side)
        tokenizer, _ = make_tokenizer(options, None, places, target, most=options.max_vocabulary)
        transform |= {"num_tokens": len(tokenizer), "pad_id": tokenizer.pad_token_id}
        transform["frequent"] = most_frequent(tokenizer, target.texts or ())
        return Parts(transform, self._mapping(source, target), tokenizer)

    def _mapping(self, source: Source, target: Target) -> dict[str, Any]:
        mapping = output_mapping(self.options, source, target)
        if mapping["type"] == "label_map" and mapping["how"] not in WEIGHTS:
            mapping["aggregate"] = mapping["aggregate"] or "max_logit"
        if mapping.get("how") != "response":
            return mapping
        del mapping["how"]
        each = labels_per_class(target.num_labels, mapping["width"], mapping.pop("labels_per_class"))
        canvas = source.spec.canvas()
        base = torch.full((3, *canvas), GREY)
        if self.options.base_image is not None:
            base = read_base(self.options.base_image, canvas) / 255
        return {**mapping, "assignment": response_sets(source, base, target.num_labels, each)}

    def initialize(self, model: Any, processor: Any) -> None:
        """Patches near the base, and a fresh mapping."""
        model.transform.reset()
        if self.options.base_image is not None:
            model.transform.base_image.copy_(read_base(self.options.base_image, model.source.spec.canvas()))
        model.mapping.reset()


def most_frequent(tokenizer: Any, texts: Sequence[str], most: int = 10) -> list[int]:
    """The ids of the commonest tokens of texts, special ones left out."""
    counts = Counter(chain.from_iterable(tokenizer(list(texts), truncation=True)["input_ids"]) if texts else ())
    special = set(tokenizer.all_special_ids)
    ordered = sorted((-count, token) for token, count in counts.items() if token not in special)
    return [token for _, token in ordered[:most]]


@torch.no_grad()
def response_sets(source: Source, base: Tensor, num_labels: int, each: int) -> list[list[int]]:
    """For each class `each` source labels: those most likely for a base image (3, height, width), dealt in turn."""
    logits = source({"pixels": base[None].to(source.device)}, "logits")[0]
    most_likely = logits.argsort(descending=True)[: num_labels * each]
    sets: list[list[int]] = most_likely.view(each, num_labels).T.tolist()
    return sets
