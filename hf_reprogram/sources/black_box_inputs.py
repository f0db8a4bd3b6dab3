"""What a black box takes, images, sounds or texts, and how a batch of them becomes rows that are sent."""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, shown
from ..modalities.pixels import image_processor
from ..modalities.processors import LONGEST, with_padding
from ..modalities.waveform import waveform_extractor
from ..options import check_whole
from .answers import FIXED_TEXTS, fixed_inputs
from .audio import LONGEST as LONGEST_CLIP
from .audio import AudioSpec
from .base import SourceSpec
from .text import load_tokenizer
from .vision import LARGEST_SIDE


class Taken(ABC):
    """One kind of data that a black box takes. A row is what is sent for one example.

    Attributes:
        key: the name of the data among the inputs of the source.
        settings: what an adapter records of it.
        rate: the samples per second of sounds; None for other data.
        tokenizer: what joins tokens into texts; None for other data.

    >>> Images(8).settings, Sounds(1600, 16000).key
    ({'image_size': [8, 8]}, 'waveform')
    """

    key: ClassVar[str]
    settings: dict[str, Any]
    rate: int | None = None
    tokenizer: Any = None

    @abstractmethod
    def spec(self, **shared: Any) -> SourceSpec:
        """The properties of a source that takes this, besides those that all black boxes share."""

    @abstractmethod
    def rows(self, inputs: dict[str, Any]) -> Any:
        """The rows of a batch of the source's inputs, in their order: an array or a list.

        Raises:
            InputError: the inputs have another size than the model's.
        """

    @abstractmethod
    def together(self, rows: list[Any]) -> Any:
        """Rows as a function is asked for them."""

    @abstractmethod
    def body(self, row: Any) -> bytes:
        """What stands for a row in its digest."""

    @abstractmethod
    def fixed(self) -> Any:
        """The 8 rows by whose answers a model is recognised."""

    @abstractmethod
    def processor(self) -> Any:
        """What brings raw data to the model's own inputs, without a program."""

    def digest(self) -> str:
        """What an adapter depends on besides the model; empty if there is nothing."""
        return ""


class _Arrays(Taken):
    """Data of one shape, as float32 arrays."""

    shape: tuple[int, ...]

    def rows(self, inputs: dict[str, Any]) -> Any:
        """See `Taken.rows`."""
        given: Tensor = inputs[self.key]
        if tuple(given.shape[1:]) != self.shape:
            raise InputError(
                f"The {self.key} are {' x '.join(map(str, given.shape[1:]))}, but this source takes "
                f"{' x '.join(map(str, self.shape))}: bring them to this size first."
            )
        return given.detach().float().cpu().numpy()

    def together(self, rows: list[Any]) -> Tensor:
        """See `Taken.together`: one tensor."""
        return torch.from_numpy(np.stack(rows))

    def body(self, row: Any) -> bytes:
        """See `Taken.body`."""
        sent: bytes = row.tobytes()
        return sent

    def fixed(self) -> Any:
        """See `Taken.fixed`."""
        return fixed_inputs(self.shape)


class Images(_Arrays):
    """Images (3, height, width) of pixels from 0 to 1.

    Args:
        image_size: the side in pixels, or (height, width).

    >>> Images((8, 16)).spec(family="mine", widths={"logits": 2}).canvas()
    (8, 16)
    """

    key = "pixels"

    def __init__(self, image_size: Any):
        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        if len(size) != 2:
            raise InputError(f"image_size is {shown(image_size)}: give the side in pixels, or height and width.")
        check_whole(1, " of pixels", LARGEST_SIDE, height=size[0], width=size[1])
        self.size, self.shape, self.settings = size, (3, *size), {"image_size": list(size)}

    def spec(self, **shared: Any) -> SourceSpec:
        """See `Taken.spec`."""
        return SourceSpec(kind="image_black_box", image_size=self.size, takes="pixel_values", **shared)

    def processor(self) -> Any:
        """See `Taken.processor`."""
        return image_processor(self.size)


class Sounds(_Arrays):
    """Sounds (samples,) from -1 to 1.

    Args:
        samples: the length of a clip.
        sampling_rate: the samples per second.

    >>> Sounds(1600, 16000).fixed().shape
    (8, 1600)
    """

    key = "waveform"

    def __init__(self, samples: int, sampling_rate: int):
        for name, value, most in (("sampling_rate", sampling_rate, 384_000), ("samples", samples, LONGEST_CLIP)):
            check_whole(1, "", most, **{name: value})
        self.rate, self.shape = sampling_rate, (samples,)
        self.settings = {"samples": samples, "sampling_rate": sampling_rate}

    def spec(self, **shared: Any) -> SourceSpec:
        """See `Taken.spec`."""
        return AudioSpec(kind="audio_black_box", takes="input_values", **self.settings, **shared)

    def processor(self) -> Any:
        """See `Taken.processor`."""
        return waveform_extractor(self.settings["sampling_rate"], self.shape[0])


class Texts(Taken):
    """Texts, which a tokenizer joins from tokens. Special tokens are left out, since the model puts its own around a text.

    Args:
        tokenizer: the Hub id or folder of a tokenizer, a loaded one, or a list of words, which are joined with spaces.
        max_tokens: the largest number of tokens in a text; by default that of the tokenizer.

    >>> texts = Texts(["cold", "warm", "hot"])
    >>> texts.rows({"input_ids": torch.tensor([[2, 0, 1], [1, 1, 0]]), "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])})
    ['hot cold warm', 'warm warm']
    """

    key = "input_ids"

    def __init__(self, tokenizer: Any, max_tokens: int | None = None):
        if isinstance(tokenizer, list | tuple):
            self.tokenizer = _of_words(tokenizer)
        elif isinstance(tokenizer, str | os.PathLike):
            self.tokenizer = load_tokenizer(os.fspath(tokenizer), {})
        elif callable(getattr(tokenizer, "batch_decode", None)):
            self.tokenizer = tokenizer
        else:
            raise InputError(
                f"tokenizer is {shown(tokenizer)}: give a Hub id, a folder, a tokenizer, or a list of words."
            )
        most = min(self.tokenizer.model_max_length, LONGEST) if max_tokens is None else max_tokens
        check_whole(1, " of tokens", LONGEST, max_tokens=most)
        self.settings = {"max_tokens": most}
        self._vocabulary = self.tokenizer.get_vocab()

    def spec(self, **shared: Any) -> SourceSpec:
        """See `Taken.spec`."""
        count = max(self._vocabulary.values()) + 1
        return SourceSpec(
            kind="text_black_box", takes="input_ids", vocab_size=count, max_tokens=self.settings["max_tokens"], **shared
        )

    def rows(self, inputs: dict[str, Any]) -> Any:
        """See `Taken.rows`: the tokens of each row that are attended to, as a text."""
        ids: Tensor = inputs["input_ids"]
        if ids.shape[1] > self.settings["max_tokens"]:
            raise InputError(
                f"The texts have {ids.shape[1]} tokens, but this source takes {self.settings['max_tokens']}: truncate them."
            )
        mask = inputs.get("attention_mask")
        attended = torch.ones_like(ids) if mask is None else mask
        kept = [row[at != 0].tolist() for row, at in zip(ids.cpu(), attended.cpu(), strict=True)]
        texts: list[str] = self.tokenizer.batch_decode(kept, skip_special_tokens=True)
        return texts

    def together(self, rows: list[Any]) -> list[str]:
        """See `Taken.together`: a list of texts."""
        return rows

    def body(self, row: Any) -> bytes:
        """See `Taken.body`."""
        return str(row).encode()

    def fixed(self) -> Any:
        """See `Taken.fixed`: they do not depend on the tokenizer."""
        return FIXED_TEXTS

    def processor(self) -> Any:
        """See `Taken.processor`."""
        return with_padding(self.tokenizer, self.settings["max_tokens"])

    def digest(self) -> str:
        """The digest of the vocabulary: with another one, a program's tokens are other words."""
        return hashlib.sha256(json.dumps(self._vocabulary, sort_keys=True).encode()).hexdigest()


def taken(
    image_size: Any = None,
    samples: Any = None,
    sampling_rate: Any = None,
    tokenizer: Any = None,
    max_tokens: Any = None,
) -> Taken:
    """What a black box with these arguments takes.

    Raises:
        InputError: they are those of no kind of data, or of several, or a value cannot work.

    >>> taken(samples=1600, sampling_rate=16000).settings
    {'samples': 1600, 'sampling_rate': 16000}
    """
    given = [value is not None for value in (image_size, samples, tokenizer)]
    if (
        sum(given) != 1
        or (samples is None) != (sampling_rate is None)
        or (tokenizer is None and max_tokens is not None)
    ):
        raise InputError(
            "A black box takes images, sounds or texts: give image_size, or samples and sampling_rate, or tokenizer (with "
            "max_tokens if you like), for one of them alone."
        )
    if tokenizer is not None:
        return Texts(tokenizer, max_tokens)
    return Images(image_size) if samples is None else Sounds(samples, sampling_rate)


def black_box_spec(what: Taken, name: str, labels: Sequence[str] | int) -> SourceSpec:
    """The properties of a black box, without asking it anything.

    Args:
        what: what it takes.
        name: what the model is called.
        labels: the names of its labels, or their count.

    Raises:
        InputError: there are fewer than 2 labels, or two of one name.

    >>> black_box_spec(Images(8), "mine", 2).labels
    ('0', '1')
    """
    names = tuple(map(str, range(labels))) if isinstance(labels, int) else tuple(labels)
    if len(names) < 2 or len({*names}) < len(names):
        raise InputError(f"labels is {shown(labels)}: give at least 2 names, each of its own, or their count.")
    return what.spec(family=name, widths={"logits": len(names)}, labels=names)


def _of_words(words: Sequence[Any]) -> Any:
    """A tokenizer of words that spaces separate."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    wrong = next((word for word in words if not isinstance(word, str) or word.split() != [word]), None)
    if wrong is not None or len({*words}) < max(2, len(words)):
        problem = f"holds {shown(wrong)}" if wrong is not None else f"has {len(words)} words, some of them twice"
        raise InputError(f"tokenizer {problem}: give at least 2 words without spaces, each of them once.")
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    every = [*words, *(token for token in special.values() if token not in words)]
    backend = Tokenizer(WordLevel({word: index for index, word in enumerate(every)}, unk_token="[UNK]"))
    backend.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **special)
