"""Black boxes: models that only answer, as a Python function or an endpoint. No gradient flows back through them.

A black box of images or of sounds classifies with labels of its own. Its only output is "logits": those of the model, or the
logarithms of its probabilities. Of answers that name the most probable labels alone, as (label, score) pairs, the rest of the
probability is spread evenly over the labels that are not named. Gradients of theta are estimated (`hf_reprogram.gradients`).

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
from ..modalities.pixels import image_processor
from ..modalities.waveform import waveform_extractor
from ..options import check_whole
from .answers import ANSWERS, FIXED, fixed_inputs, to_logits
from .audio import LONGEST, AudioSpec
from .base import Source, SourceSpec
from .endpoints import Endpoint, Stopped
from .families import SourceFamily
from .ledger import Ledger
from .vision import LARGEST_SIDE

TOLERANCE = 1e-3  # of a probability among these answers


class BlackBox(Source):
    """A model of images or sounds that only answers.

    Args:
        ask: an `Endpoint`, or any function that takes images (batch, 3, height, width) of pixels from 0 to 1 or sounds (batch,
            samples) from -1 to 1, as float32 tensors on the CPU, and returns (batch, labels) numbers or, for each row, a list
            of (label, score) pairs.
        labels: the names of its labels, in the order of the numbers; or their count.
        image_size: of images, the side in pixels or (height, width).
        samples, sampling_rate: of sounds, the length of a clip and the samples per second.
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
    """

    differentiable = False
    _place: Tensor

    def __init__(
        self,
        ask: Endpoint | Callable[[Tensor], Any],
        labels: Sequence[str] | int,
        *,
        image_size: int | Sequence[int] | None = None,
        samples: int | None = None,
        sampling_rate: int | None = None,
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
        named = name or getattr(ask, "address", "") or getattr(ask, "__name__", type(ask).__name__)
        self.spec = black_box_spec(named, labels, image_size, samples, sampling_rate)
        names = self.spec.labels
        self.settings = {"labels": list(names), "answers": answers}
        self.settings |= (
            {"image_size": list(self.spec.canvas())}
            if samples is None
            else {"samples": samples, "sampling_rate": sampling_rate}
        )
        self._ask, self._answers, self._batch_size, self._offline = ask, answers, batch_size, offline
        self._rate, self.reserved = sampling_rate, 0
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
    def _key(self) -> str:
        return "pixels" if self.spec.takes == "pixel_values" else "waveform"

    @property
    def entry(self) -> Tensor:
        """No weight of the model can be had; the place of the adapter's own."""
        return self._place

    def plain_processor(self, name: str, hub: dict[str, Any]) -> Any:
        """What brings images or sounds to the model's size."""
        if isinstance(self.spec, AudioSpec):
            return waveform_extractor(self.spec.sampling_rate, self.spec.samples)
        return image_processor(self.spec.canvas())

    def plain_inputs(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """The images or sounds without a change."""
        return {self._key: batch[self.spec.takes]}

    def plain_example(self) -> dict[str, Tensor]:
        """One fixed input."""
        return {self.spec.takes: torch.from_numpy(fixed_inputs(self._shape)[:1]).to(self.device)}

    def fingerprint(self) -> dict[str, Any]:
        """The digest of name, version and labels, and the largest probabilities for 8 fixed inputs."""
        return {
            "dtype": "float32",
            "shape": [FIXED, len(self.spec.labels)],
            "sha256": self._identity,
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

    @property
    def _shape(self) -> tuple[int, ...]:
        spec = self.spec
        return (spec.samples,) if isinstance(spec, AudioSpec) else (3, *spec.canvas())

    # ------------------------------------------------------------------------------------------------------ computation

    def forward(self, inputs: dict[str, Any], reads: str) -> Tensor:
        """The logits (batch, labels); see `hf_reprogram.sources.base`.

        Raises:
            InputError: the inputs have another shape, or the model gives no answer.
            BudgetSpent: the budget does not allow to ask for those that are not in the ledger. None of them is sent then.
        """
        if reads != "logits" or self._key not in inputs:
            raise InputError(
                f"The black box answers {self._key} with logits alone: it has no {reads!r} of {', '.join(inputs)}."
            )
        given: Tensor = inputs[self._key]
        if tuple(given.shape[1:]) != self._shape:
            raise InputError(
                f"The {self._key} are {' x '.join(map(str, given.shape[1:]))}, but this source takes "
                f"{' x '.join(map(str, self._shape))}: bring them to this size first."
            )
        if not len(given):
            return given.new_zeros(0, len(self.spec.labels))
        rows = given.detach().float().cpu().numpy()
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
        return torch.from_numpy(logits).to(given.device)

    def _encoded(self, rows: np.ndarray) -> tuple[list[bytes], list[bytes]]:
        """What stands for each row when it is sent, and its digest."""
        if isinstance(self._ask, Endpoint):
            bodies = [self._ask.encode(row, self._rate) for row in rows]
        else:
            bodies = [row.tobytes() for row in rows]
        return bodies, [hashlib.sha256(body).digest() for body in bodies]

    def _fetch(self, missing: Mapping[bytes, int], rows: np.ndarray, bodies: list[bytes]) -> None:
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
                answer = self._ask(torch.from_numpy(rows[[missing[digest] for digest in part]]))
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
        rows = fixed_inputs(self._shape)
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


def black_box_spec(
    name: str, labels: Sequence[str] | int, image_size: Any, samples: int | None, sampling_rate: int | None
) -> SourceSpec:
    """The properties of a black box, without asking it anything; the arguments are those of `BlackBox`.

    Raises:
        InputError: they do not fit together.

    >>> black_box_spec("mine", ["dark", "bright"], 8, None, None).canvas()
    (8, 8)
    """
    names = tuple(map(str, range(labels))) if isinstance(labels, int) else tuple(labels)
    if len(names) < 2 or len({*names}) < len(names):
        raise InputError(f"labels is {shown(labels)}: give at least 2 names, each of its own, or their count.")
    if (image_size is None) == (samples is None) or (samples is None) != (sampling_rate is None):
        raise InputError(
            "A black box takes images or sounds: give image_size, or samples and sampling_rate, but not both."
        )
    shared: dict[str, Any] = {"family": name, "widths": {"logits": len(names)}, "labels": names}
    if samples is not None:
        for key, value, most in (("sampling_rate", sampling_rate, 384_000), ("samples", samples, LONGEST)):
            check_whole(1, "", most, **{key: value})
        shared |= {"samples": samples, "sampling_rate": sampling_rate}
        return AudioSpec(kind="audio_black_box", takes="input_values", **shared)
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(size) != 2:
        raise InputError(f"image_size is {shown(image_size)}: give the side in pixels, or height and width.")
    check_whole(1, " of pixels", LARGEST_SIDE, height=size[0], width=size[1])
    return SourceSpec(kind="image_black_box", image_size=size, takes="pixel_values", **shared)


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
