"""Black boxes: models that only answer, as a Python function or an endpoint. No gradient flows back through them.

A black box of images, sounds or texts classifies with labels of its own. Its only output is "logits": those of the model, or
the logarithms of its probabilities. Of answers that name the most probable labels alone, as (label, score) pairs, the rest of
the probability is spread evenly over the labels that are not named. Theta's gradient is estimated (`hf_reprogram.gradients`).
A black box of texts has no embeddings: a program for it is made of tokens, which a tokenizer joins into the text that is sent.

Rows that stand twice in a call are sent once, and an answer is kept in a ledger, by the digest of what was sent
(`hf_reprogram.sources.ledger`). The model behind may be exchanged without a word. So 8 fixed inputs are asked whenever a black
box is made: an adapter refuses one whose answers to them have changed, and so does a ledger.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import BudgetSpent, InputError, shown
from ..options import check_whole
from .answers import ANSWERS, FIXED, to_logits
from .base import Source
from .black_box_inputs import Taken, black_box_spec, taken
from .endpoints import Endpoint, Stopped
from .families import SourceFamily
from .ledger import Ledger

TOLERANCE = 1e-3  # of a probability among these answers


class BlackBox(Source):
    """A model of images, sounds or texts that only answers.

    Args:
        ask: an `Endpoint`, or any function that takes images (batch, 3, height, width) of pixels from 0 to 1 or sounds (batch,
            samples) from -1 to 1, as float32 tensors on the CPU, or a list of texts, and returns (batch, labels) numbers or,
            for each row, a list of (label, score) pairs.
        labels: the names of its labels, in the order of the numbers; or their count.
        image_size: of images, the side in pixels or (height, width).
        samples, sampling_rate: of sounds, the length of a clip and the samples per second.
        tokenizer: of texts, what gives the tokens of which a program is made and joins them: the Hub id or folder of a
            tokenizer, a loaded one, or a list of words, which are joined with spaces. It need not be the model's own.
        max_tokens: of texts, the largest number of tokens; by default that of the tokenizer.
        answers: "probabilities" or "logits"; pairs are always probabilities.
        name, version: what the model is called, for adapters and ledgers.
        budget: the largest number of samples that may ever be sent, attempts that fail and all runs with the ledger included;
            None for no limit.
        price_per_1000: the price of 1,000 samples, for `usage`.
        ledger: the file in which answers are kept; by default they are kept in memory.
        offline: answer from the ledger alone, and send nothing.
        batch_size: the largest number of rows in a call of a function; None for all at once.

    Attributes:
        reserved: the samples that training leaves in the budget for what follows it, such as the test split.

    Raises:
        InputError: an argument cannot work, the answers are of another form, or the model is not the one of the ledger.
        BudgetSpent: the budget does not allow the 8 fixed inputs.

    >>> def ask(images):  # how bright is it?
    ...     bright = images.mean((1, 2, 3))
    ...     return torch.stack([1 - bright, bright], 1)
    >>> source = BlackBox(ask, labels=["dark", "bright"], image_size=8, budget=1000)
    >>> source({"pixels": torch.full((2, 3, 8, 8), 0.25)}, "logits").exp()
    tensor([[0.7500, 0.2500],
            [0.7500, 0.2500]])
    >>> source.usage()  # the two rows are equal, and 8 fixed inputs were asked before
    {'sent': 9, 'cached': 1, 'failed': 0, 'cost': 0.0, 'left': 991}

    >>> def ask_texts(texts):  # is it warm?
    ...     return [[("warm", 0.9)] if "warm" in text else [("cold", 0.6)] for text in texts]
    >>> source = BlackBox(ask_texts, labels=["cold", "warm"], tokenizer=["a", "cold", "warm", "day"])
    >>> source({"input_ids": torch.tensor([[0, 2, 3]])}, "logits").exp()  # "a warm day"
    tensor([[0.1000, 0.9000]])
    """

    differentiable = False
    _taken: Taken
    _place: Tensor

    def __init__(
        self,
        ask: Endpoint | Callable[[Any], Any],
        labels: Sequence[str] | int,
        *,
        image_size: int | Sequence[int] | None = None,
        samples: int | None = None,
        sampling_rate: int | None = None,
        tokenizer: Any = None,
        max_tokens: int | None = None,
        answers: str = "probabilities",
        name: str = "",
        version: str = "",
        budget: int | None = None,
        price_per_1000: float = 0.0,
        ledger: str | os.PathLike[str] | None = None,
        offline: bool = False,
        batch_size: int | None = None,
    ):
        super().__init__(nn.Identity())
        if not callable(ask) and not isinstance(ask, Endpoint):
            raise InputError(f"ask is {shown(ask)}: give a function or an endpoint.")
        if answers not in ANSWERS:
            raise InputError(f"answers is {shown(answers)}: choose one of {', '.join(ANSWERS)}.")
        if batch_size is not None:
            check_whole(batch_size=batch_size)
        self._taken = taken(image_size, samples, sampling_rate, tokenizer, max_tokens)
        named = name or getattr(ask, "address", "") or getattr(ask, "__name__", type(ask).__name__)
        self.spec = black_box_spec(self._taken, named, labels)
        names = self.spec.labels
        self.settings = {"labels": list(names), "answers": answers, **self._taken.settings}
        self._ask, self._answers, self._batch_size, self._offline = ask, answers, batch_size, offline
        self.reserved = 0
        self._identity = hashlib.sha256(repr((named, version, names, answers)).encode()).hexdigest()
        self.register_buffer("_place", torch.zeros(()), persistent=False)
        self.ledger = Ledger(ledger, budget, price_per_1000)
        if self.ledger.note("model", self._identity) != self._identity:
            raise InputError(
                f"The ledger {shown(os.fspath(ledger or ''))} belongs to a model of another name, version or labels than "
                f"{named!r}: take another file."
            )
        self._fixed = self._check_provider()

    # ------------------------------------------------------------------------------------------------ the source's data

    @property
    def entry(self) -> Tensor:
        """No weight of the model can be had; the place of the adapter's own."""
        return self._place

    def load_processor(self, name: str, hub: dict[str, Any]) -> Any:
        """Of texts, the tokenizer; see `Source.load_processor`."""
        return self._taken.tokenizer

    def plain_processor(self, name: str, hub: dict[str, Any]) -> Any:
        """What brings images, sounds or texts to the model's size."""
        return self._taken.processor()

    def plain_inputs(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """The images, sounds or texts without a change."""
        if self._taken.tokenizer is not None:
            return {name: batch[name] for name in ("input_ids", "attention_mask")}
        return {self._taken.key: batch[self.spec.takes]}

    def plain_example(self) -> dict[str, Tensor]:
        """One fixed input; see `Source.plain_example`."""
        if self._taken.tokenizer is not None:
            return super().plain_example()
        return {self.spec.takes: self._taken.together([*self._taken.fixed()][:1]).to(self.device)}

    def fingerprint(self) -> dict[str, Any]:
        """The digest of name, version, labels and tokens, and the largest probabilities for 8 fixed inputs."""
        vocabulary = self._taken.digest()
        return {
            "dtype": "float32",
            "shape": [FIXED, len(self.spec.labels)],
            "sha256": hashlib.sha256((self._identity + vocabulary).encode()).hexdigest()
            if vocabulary
            else self._identity,
            "sample": [],
            "answers": [round(float(row.max()), 4) for row in np.asarray(self._fixed)],
        }

    @property
    def left(self) -> float:
        """The number of samples that the budget still allows to train with; offline, as when the answers were bought."""
        budget = self.ledger.budget
        if self._offline and budget is not None:
            return max(0, budget - self.ledger.reached - self.reserved)
        return max(0, self.ledger.left - self.reserved)

    def usage(self) -> dict[str, float]:
        """The samples that were sent, answered from the ledger, and failed, their cost, and what is left of the budget."""
        return self.ledger.usage()

    # ------------------------------------------------------------------------------------------------------ computation

    def forward(self, inputs: dict[str, Any], reads: str) -> Tensor:
        """The logits (batch, labels); see `hf_reprogram.sources.base`.

        Raises:
            InputError: the inputs have another shape, or the model gives no answer.
            BudgetSpent: the budget does not allow to ask for those that are not in the ledger. None of them is sent then.
        """
        if reads != "logits" or self._taken.key not in inputs:
            raise InputError(
                f"The black box answers {self._taken.key} with logits alone: it has no {reads!r} of {', '.join(inputs)}."
            )
        device = inputs[self._taken.key].device
        rows = self._taken.rows(inputs)
        if not len(rows):
            return torch.zeros(0, len(self.spec.labels), device=device)
        bodies, digests = self._encoded(rows)
        first: dict[bytes, int] = {}
        for index, digest in enumerate(digests):
            first.setdefault(digest, index)
        answers = self.ledger.known(first)
        missing = {digest: index for digest, index in first.items() if digest not in answers}
        self.ledger.add("cached", len(rows) - len(missing))
        if missing:
            self._fetch(missing, rows, bodies)
            answers |= self.ledger.known(missing)
        logits = np.stack([answers[digest] for digest in digests])
        return torch.from_numpy(logits).to(device)

    def _encoded(self, rows: Sequence[Any]) -> tuple[list[bytes], list[bytes]]:
        """What stands for each row when it is sent, and its digest."""
        if isinstance(self._ask, Endpoint):
            bodies = [self._ask.encode(row, self._taken.rate) for row in rows]
        else:
            bodies = [self._taken.body(row) for row in rows]
        return bodies, [hashlib.sha256(body).digest() for body in bodies]

    def _fetch(self, missing: Mapping[bytes, int], rows: Sequence[Any], bodies: list[bytes]) -> None:
        """Ask for rows that are not in the ledger, and keep the answers there as they come."""
        if self._offline:
            raise InputError(
                f"offline is set, and {len(missing)} of the inputs are not in the ledger: leave offline out to ask for them."
            )
        if self.ledger.left < len(missing):
            raise BudgetSpent(
                f"The budget is {self.ledger.budget:,} samples, of which {self.ledger.left:,} are left, and {len(missing):,} "
                "more are needed: raise budget."
            )
        if isinstance(self._ask, Endpoint):
            self._fetch_each(self._ask, missing, bodies)
            return
        digests, size = [*missing], self._batch_size or len(missing)
        for start in range(0, len(digests), size):
            part = digests[start : start + size]
            self.ledger.reserve(len(part))
            try:
                answer = self._ask(self._taken.together([rows[missing[digest]] for digest in part]))
            except BaseException:
                self.ledger.add("failed", len(part))
                raise
            logits = to_logits(answer, len(part), self.spec.labels, self._answers)
            for digest, row in zip(part, logits, strict=True):
                self.ledger.keep(digest, row)

    def _fetch_each(self, endpoint: Endpoint, missing: Mapping[bytes, int], bodies: list[bytes]) -> None:
        """Ask for each row in a request of its own, several at once; the first failure ends the others."""
        stop, failures, labels = threading.Event(), list[BaseException](), self.spec.labels

        def fetch(digest: bytes, index: int) -> None:
            if stop.is_set():
                return
            try:
                answer = endpoint.ask(
                    bodies[index], lambda: self.ledger.reserve(1), lambda: self.ledger.add("failed", 1), stop
                )
                self.ledger.keep(digest, to_logits([answer], 1, labels, self._answers)[0])
            except Stopped:
                return
            except BaseException as error:
                failures.append(error)
                stop.set()

        with ThreadPoolExecutor(min(endpoint.concurrency, len(missing))) as pool:
            asked = [pool.submit(fetch, digest, index) for digest, index in missing.items()]
            try:
                wait(asked)
            except BaseException:  # such as an interrupt from the keyboard
                stop.set()
                raise
        if failures:
            raise failures[0]

    def _check_provider(self) -> list[list[float]]:
        """The probabilities for the fixed inputs, asked anew unless nothing can be asked.

        Raises:
            InputError: they are not those of the ledger.
        """
        before = self.ledger.note("fixed", None)
        if before is not None and (self._offline or self.ledger.left < FIXED):
            return list(before)  # nothing new can be asked of another model
        rows = self._taken.fixed()
        bodies, digests = self._encoded(rows)
        self._fetch({digest: index for index, digest in enumerate(digests)}, rows, bodies)
        known = self.ledger.known(digests)
        logits = torch.from_numpy(np.stack([known[digest] for digest in digests]))
        now = [[round(value, 4) for value in row] for row in logits.double().softmax(1).tolist()]
        recorded: list[list[float]] = self.ledger.note("fixed", now)
        if (moved := float(np.abs(np.subtract(recorded, now)).max())) > TOLERANCE:
            raise InputError(
                f"The answers to {FIXED} fixed inputs are not those of the ledger, by up to {moved:.3f}: the provider has "
                "exchanged the model, so take a new ledger."
            )
        return now


class ImageBlackBoxFamily(SourceFamily):
    """Models of images that only answer, which are passed as a `BlackBox`.

    >>> ImageBlackBoxFamily().options
    ('labels', 'answers', 'image_size')
    """

    kinds = {"image_black_box": None}
    takes = "pixel_values"
    noun = "image models"
    options: ClassVar[tuple[str, ...]] = ("labels", "answers", "image_size")

    def build(self, model: Any, kind: str, settings: dict[str, Any]) -> BlackBox:
        """Refuse a model: only its user knows how to ask."""
        raise InputError(f"A black box is passed as BlackBox(ask, labels=...), not as a {type(model).__name__}.")


class AudioBlackBoxFamily(ImageBlackBoxFamily):
    """Models of sounds that only answer, which are passed as a `BlackBox`.

    >>> AudioBlackBoxFamily().takes
    'input_values'
    """

    kinds = {"audio_black_box": None}
    takes = "input_values"
    noun = "audio models"
    options = ("labels", "answers", "samples", "sampling_rate")


class TextBlackBoxFamily(ImageBlackBoxFamily):
    """Models of texts that only answer, which are passed as a `BlackBox`.

    >>> TextBlackBoxFamily().options
    ('labels', 'answers', 'max_tokens')
    """

    kinds = {"text_black_box": None}
    takes = "input_ids"
    noun = "text models"
    options = ("labels", "answers", "max_tokens")
