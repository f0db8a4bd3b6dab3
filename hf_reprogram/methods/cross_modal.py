"""Cross-modal adversarial reprogramming (Neekhara, Hussain, Du, Dubnov, Koushanfar, McAuley 2022, arXiv 2102.07325).

    image = clip(base + unpatch(eps * tanh(theta[tokens])), 0, 1)         logit_t = max over s in B_t of f(image)_s

Theta is one patch of pixels per token of the target's tokenizer. The patches of a text form an image, in reading order. Omega
gives each class m of the source's most likely labels for the base image, or is a dense layer.

A text may have as many tokens as the canvas has patches: with patches of 16 pixels, 196 on a canvas of 224 x 224 pixels and 576
on one of 384 x 384.
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
from ..mappings.label_map_options import WEIGHTS
from ..modalities.pixels import read_base
from ..options import check_whole
from ..sources.base import Source, SourceSpec
from ..transforms.token_patches import GREY
from .base import Method, MethodInfo, Parts, Target
from .composition import OutputOptions, mapping_alternatives, output_mapping
from .vocabulary import make_tokenizer

PAPERS_PATCH = 16  # the side of a patch, in pixels, on a source that does not project patches


@dataclass
class CrossModalOptions(OutputOptions):
    """Options of cross-modal reprogramming, in addition to those of `OutputOptions`.

    Theta has 3 * patch_size ** 2 numbers per token, so a tokenizer of few tokens makes a small adapter. "words" takes the most
    frequent words of the training texts, lower-cased, and reads every other word as the unknown token. Any other tokenizer
    keeps its whole vocabulary, which is 23 million numbers for BERT's on patches of 16 pixels.

    Attributes:
        label_mapping: "response" (the source's most likely labels for the base image, which go to the classes in turn), or the
            choice of the source labels as in the other methods: "random", "identity", "frequency", "optimal", "iterative",
            "blm", "blm_plus", "similarity" or "given".
        aggregate: of a label map: "max_logit", "mean_probability", "sum_probability" or "mean_logit"; by default "max_logit",
            and "mean_logit" for BLM.
        tokenizer: "words", "characters", "kmers", "residues", "smiles" (`hf_reprogram.transforms.target_tokenizers`), or
            the Hub id or folder of any fast tokenizer.
        max_vocabulary: the largest number of tokens from the training texts; null for all.
        k: the length of the k-mers.
        alphabet: the letters of "characters" and "kmers"; by default the letters of the texts, and ACGT.
        patch_size: the side of a token's patch in pixels; by default that of the source's own patches, or 16.
        bounded: whether the program is a small change of the base; else a patch may take any colour.
        eps: the largest change of a pixel by a bounded program, in units of the source's deviation of its channel.
        base_image: the file of the image that a bounded program changes; by default the base is grey.
        l2: the weight of the penalty, which is the mean squared norm of a patch in theta.
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
    own_label_mappings: ClassVar[tuple[str, ...]] = ("response",)

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
            raise InputError(
                "base_image is for bounded=True, since an unbounded program covers it: give both, or neither."
            )
        if not self.eps > 0:
            raise InputError(f"eps is {self.eps!r}: give a number more than 0.")


class CrossModal(Method):
    """Token patches and a label map around a frozen image classifier.

    >>> from hf_reprogram import reprogram
    >>> model, tokenizer = reprogram(image_source, "cross_modal", ["no", "yes"], texts=texts, tokenizer="words")
    >>> len(tokenizer), model.num_trainable()  # 3 * 8 * 8 numbers per token
    (14, 2688)
    >>> model(**tokenizer(texts, padding=True, return_tensors="pt")).logits.shape
    torch.Size([4, 2])
    """

    info = MethodInfo(
        title="Cross-modal Adversarial Reprogramming",
        authors="Neekhara, Hussain, Du, Dubnov, Koushanfar, McAuley",
        year=2022,
        arxiv="2102.07325",
        label="cross-modal",
        source="image classifier; with a dense mapping also an image encoder",
        transform="token_patches",
        mapping="label_map",
        differs="training has a few epochs of large steps, where the authors' has 100,000 small steps; classes get the "
        "source's most likely labels for the base image, where the authors' code takes the least likely; the vocabulary is "
        "the target's own words by default; the penalty is on theta, where theirs is on the image",
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
    tuned = {"omega_learning_rate": 1e-2}

    options: CrossModalOptions

    def compose(self, source: Source, processor: Any, target: Target) -> Parts:
        """A tokenizer that truncates to the canvas's number of patches, the patches of its tokens, and the mapping."""
        options = self.options
        height, width = source.spec.canvas()
        side = options.patch_size or source.spec.patch_size or PAPERS_PATCH
        transform: dict[str, Any] = {
            "type": "token_patches",
            "patch_size": side,
            "height": height,
            "width": width,
            "base_image": options.base_image is not None,
            "l2": options.l2,
        }
        if options.bounded:
            assert source.settings is not None  # a source with a canvas has settings
            transform["eps"] = [options.eps * value for value in source.settings["std"]]
            if max(transform["eps"]) > 1:
                raise InputError(
                    f"eps is {options.eps:g}, which changes a pixel by {max(transform['eps']):.3g} of the range from 0 to 1 on "
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

    def alternatives(self, spec: SourceSpec, problem_type: str) -> list[list[dict[str, Any]]]:
        """The output mapping; see `Method.alternatives`."""
        return [mapping_alternatives(self.options, spec)]

    def initialize(self, model: Any, processor: Any) -> None:
        """Start with patches near the base, and a fresh mapping."""
        model.transform.reset()
        if self.options.base_image is not None:
            model.transform.base_image.copy_(read_base(self.options.base_image, model.source.spec.canvas()))
        model.mapping.reset()


def most_frequent(tokenizer: Any, texts: Sequence[str], most: int = 10) -> list[int]:
    """The ids of the `most` most frequent tokens of texts, without special tokens.

    >>> tokenizer.convert_ids_to_tokens(most_frequent(tokenizer, ["a film", "a plot", "a plot"], most=2))
    ['a', 'plot']
    """
    counts = Counter(chain.from_iterable(tokenizer(list(texts), truncation=True)["input_ids"]) if texts else ())
    special = set(tokenizer.all_special_ids)
    ordered = sorted((-count, token) for token, count in counts.items() if token not in special)
    return [token for _, token in ordered[:most]]


@torch.no_grad()
def response_sets(source: Source, base: Tensor, num_labels: int, each: int) -> list[list[int]]:
    """Sets of source labels that are most likely for a base image. The labels go to the classes in turn.

    Args:
        source: the frozen image classifier.
        base: the image (3, height, width), of pixels from 0 to 1.
        num_labels: the number of classes.
        each: the number of source labels per class.

    >>> sets = response_sets(image_source, torch.full((3, 32, 32), 0.5), num_labels=2, each=3)
    >>> [len(labels) for labels in sets]
    [3, 3]
    """
    logits = source({"pixels": base[None].to(source.device)}, "logits")[0]
    most_likely = logits.argsort(descending=True)[: num_labels * each]
    sets: list[list[int]] = most_likely.view(each, num_labels).T.tolist()
    return sets
