"""`Programs`: many adapters over one frozen source, whose requests go through it in one mixed batch.

    y_i = OutputMapping_i(f(InputTransform_i(x_i)))        for the adapter of each request i, with one call of f

Adapters of one source differ in theta and omega alone. So each makes its rows of the source's input, the rows of all are one
batch, and each reads its rows of the output. Adding an adapter loads a few KB, and switching between adapters costs nothing.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from .config import ReprogramConfig
from .devices import to_accelerator
from .errors import InputError
from .modalities import modality_taking
from .modalities.base import Modality
from .modalities.examples import Examples
from .model import ReprogrammedModel
from .sources.base import Source
from .sources.loading import load_source, restore_source
from .training.adapter import load_adapter
from .training.answers import answers_of
from .training.encode import encode
from .training.predict import EXAMPLES, TOKENS, batches_by_length, tokens_on


class PlainModel:
    """A source that answers with labels of its own, in the place of an adapter: nothing stands before or behind it.

    Args:
        source: a classifier of images or sounds.

    Raises:
        InputError: the source is none.

    >>> PlainModel(text_source)
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The source of kind 'masked_lm' has no labels for images or sounds: serve adapters of it.
    """

    def __init__(self, source: Source):
        spec = source.spec
        if spec.takes not in ("pixel_values", "input_values") or "logits" not in spec.widths or not spec.labels:
            raise InputError(
                f"The source of kind {spec.kind!r} has no labels for images or sounds: serve adapters of it."
            )
        self.source, self.label_names = source, list(spec.labels)
        self.transform = SimpleNamespace(takes=spec.takes)
        self.mapping = SimpleNamespace(reads="logits")
        self.config = SimpleNamespace(
            problem_type="single_label_classification",
            method={"name": None},
            transform={"type": None},
            mapping={"type": None},
        )

    def inputs(self, batch: dict[str, torch.Tensor]) -> dict[str, Any]:
        """The source's inputs for a batch: the images or sounds as they are."""
        return self.source.plain_inputs(batch)

    def logits_and_loss(
        self, output: torch.Tensor, batch: dict[str, torch.Tensor], labels: None
    ) -> tuple[torch.Tensor, None]:
        """The source's output as it is; there is no loss."""
        return output, None

    def num_trainable(self) -> int:
        """Nothing is trained."""
        return 0


@dataclass(frozen=True)
class Program:
    """An adapter that has been added.

    Attributes:
        name: its name here.
        model: the adapter around the shared source, or around its own copy if it tunes weights of the source; or the source.
        processor: makes what the model takes of an example; None where examples need none.
        modality: that of its examples.
    """

    name: str
    model: ReprogrammedModel | PlainModel
    processor: Any
    modality: Modality


@dataclass(frozen=True)
class Request:
    """An example that an adapter's processor has encoded.

    Attributes:
        program: the adapter.
        inputs: what its model takes, by name, for this example.
        tokens: how much of a batch it takes up.
    """

    program: Program
    inputs: dict[str, Any]
    tokens: int


class Programs:
    """Adapters of one frozen source, which is loaded once.

    An answer in a mixed batch is that of the adapter alone: bit for bit where all shapes are the same, else up to the rounding
    of another batch size, which is below 1e-5 of the largest logit in float32 and 2e-2 in bfloat16. Adapters share a call of
    the source if their mappings read the same output. Those with prompts before every layer have a call of their own, and so
    do those that tune weights of the source, which have a copy of these. All methods may be called from several threads.

    Args:
        source: a Hub id, a folder, a loaded model or a `Source`.
        kind: as for `hf_reprogram.sources.loading.load_source`.
        source_kwargs: as for `load_source`.

    Raises:
        InputError: the source cannot be loaded.

    >>> from hf_reprogram import reprogram
    >>> programs = Programs(text_source)
    >>> for name, labels in (("films", ["bad", "good"]), ("topics", ["art", "sport", "law"])):
    ...     programs.add(name, *reprogram(text_source, "warp", labels, num_prompts=2))
    >>> answers = programs.predict([("films", "a lovely film"), ("topics", "a lovely film")])
    >>> answers[0]["label"] in ["bad", "good"], answers[1]["label"] in ["art", "sport", "law"]
    (True, True)
    """

    def __init__(self, source: str | os.PathLike[str] | nn.Module, kind: str | None = None, **source_kwargs: Any):
        self.source, self.record = load_source(source, kind, **source_kwargs)
        to_accelerator(self.source)
        self._programs: dict[str, Program] = {}
        self._changing = threading.Lock()

    @classmethod
    def recorded_by(
        cls, adapter: str | os.PathLike[str], source: str | os.PathLike[str] | None = None, **source_kwargs: Any
    ) -> Programs:
        """Programs over the source as an adapter has recorded it, with its kind, dtype and settings. The adapter is not added.

        Args:
            adapter: a folder or a Hub id.
            source: where the source is, if it is not where the adapter recorded it.
            source_kwargs: as for `load_source`.

        Raises:
            InputError: there is no adapter, or the source is not the recorded one.
        """
        try:
            config = ReprogramConfig.from_pretrained(adapter)
        except (OSError, ValueError) as error:
            raise InputError(f"There is no adapter at {os.fspath(adapter)!r}: {str(error).splitlines()[0]}") from error
        if not config.source:
            raise InputError(f"{os.fspath(adapter)!r} is not an adapter of hf_reprogram.")
        return cls(restore_source(config.source, source, **source_kwargs))

    @property
    def names(self) -> list[str]:
        """The names of the adapters, in the order in which they were added."""
        return list(self._programs)

    def __len__(self) -> int:
        return len(self._programs)

    def __contains__(self, name: object) -> bool:
        return name in self._programs

    def __getitem__(self, name: str) -> Program:
        """An adapter by its name.

        Raises:
            InputError: there is none of this name.
        """
        program = self._programs.get(name)
        if program is None:
            known = ", ".join(map(repr, self.names)) or "none so far"
            raise InputError(f"There is no adapter {name!r} here: add it, or choose one of those here ({known}).")
        return program

    def add(self, name: str, adapter: str | os.PathLike[str] | ReprogrammedModel, processor: Any = None) -> None:
        """Add an adapter.

        Args:
            name: a new name.
            adapter: a folder or a Hub id; or a loaded model, of which theta and omega are shared and not copied.
            processor: that of a loaded model.

        Raises:
            InputError: the name is taken; the adapter was trained on another source; or it fills in masked tokens, for which
                one call of the source is not enough.
        """
        if not isinstance(name, str) or not name:
            raise InputError(f"The name of an adapter is {name!r}: give a text.")
        self._check_free(name)
        if isinstance(adapter, ReprogrammedModel):
            model = self._around_ours(adapter)
        else:
            model, processor = load_adapter(adapter, self.source)
        if model.mapping.reads == "decoder":
            raise InputError(
                f"The adapter {name!r} fills in masked tokens one after the other, which takes several calls of the source: "
                "use hf_reprogram.training.infilling.infill."
            )
        program = Program(name, model.eval(), processor, modality_taking(model.transform.takes))
        with self._changing:
            self._check_free(name)
            self._programs = {**self._programs, name: program}  # a reader in another thread has the old one
            self.source.make_room(len(self._programs))

    def add_plain(self, name: str) -> None:
        """Add the source itself, which answers with labels of its own.

        Args:
            name: a new name.

        Raises:
            InputError: the name is taken, or the source has no labels for images or sounds.
        """
        model = PlainModel(self.source)
        program = Program(
            name, model, self.source.plain_processor(self.record["name"], {}), modality_taking(model.transform.takes)
        )
        with self._changing:
            self._check_free(name)
            self._programs = {**self._programs, name: program}

    def remove(self, name: str) -> None:
        """Remove an adapter. Requests that were prepared for it can still be answered.

        Raises:
            InputError: there is none of this name.
        """
        with self._changing:
            removed = self[name]
            self._programs = {key: program for key, program in self._programs.items() if program is not removed}

    def prepare(self, name: str, example: Any) -> Request:
        """Encode an example for an adapter.

        Args:
            name: of the adapter.
            example: what `row_of` of its modality takes: a text or a pair of texts; an image of Pillow, its bytes or its path;
                a sound as (samples, samples per second), its bytes or its path; the numbers of a row or a series.

        Raises:
            InputError: there is no such adapter, or the example is none that it takes.
        """
        return self.prepare_for(self[name], example)

    def prepare_for(self, program: Program, example: Any) -> Request:
        """The same for an adapter that may have been removed since.

        Raises:
            InputError: the example is none that the adapter takes.
        """
        modality = program.modality
        try:
            data = encode({"input": modality.as_split([modality.row_of(example)])}, program.processor)["input"]
            if isinstance(data, Examples):
                return Request(
                    program, {key: values[0] for key, values in data.inputs([0]).items()}, TOKENS // EXAMPLES
                )
            return Request(program, {"input_ids": data["input_ids"][0]}, len(data["input_ids"][0]))
        except InputError as error:
            raise InputError(re.sub(r"^Row 0 of the input split", "The input", str(error))) from error

    def predict(self, requests: Sequence[tuple[str, Any]]) -> list[dict[str, Any]]:
        """The answers to requests for any of the adapters, in their order.

        Args:
            requests: pairs of an adapter's name and an example (`prepare`).

        Returns:
            An answer for each, as `hf_reprogram.training.answers.answers_of` has them.

        Raises:
            InputError: a request cannot be answered; the message says which.
        """
        prepared = []
        for place, (name, example) in enumerate(requests):
            try:
                prepared.append(self.prepare(name, example))
            except InputError as error:
                raise InputError(f"Request {place} for {name!r}: {error}") from error
        return [self.answer(request, logits) for request, logits in zip(prepared, self.logits(prepared), strict=True)]

    def answer(self, request: Request, logits: np.ndarray) -> dict[str, Any]:
        """The answer to a request from its logits; see `hf_reprogram.training.answers.answers_of`."""
        ids = [request.inputs["input_ids"]] if logits.ndim == 2 else None
        return answers_of(request.program.model, request.program.processor, [logits], ids)[0]

    @torch.no_grad()
    def logits(self, requests: Sequence[Request]) -> list[np.ndarray]:
        """The logits (labels,) of every request in their order, or (tokens, labels) with one label per token.

        Requests of similar length share a batch, which holds as many as `hf_reprogram.training.predict.TOKENS` allows.

        Args:
            requests: as from `prepare`.

        Raises:
            InputError: an adapter cannot take one of the inputs.
        """
        found: list[np.ndarray] = [np.empty(0)] * len(requests)
        for places in batches_by_length([request.tokens for request in requests], tokens_on(self.source.device)):
            answers = _mixed([requests[place] for place in places])
            for place, values in zip(places, answers, strict=True):
                found[place] = values
        return found

    def _check_free(self, name: str) -> None:
        if name in self._programs:
            raise InputError(f"There is an adapter {name!r} already: remove it first, or give another name.")

    def _around_ours(self, model: ReprogrammedModel) -> ReprogrammedModel:
        """A view of a loaded model around the shared source, with the same theta and omega."""
        if model.source is self.source or model.config.tune:
            restore_source(model.config.source, self.source)  # refuses another one
            return model
        view = copy(model)
        view._modules = dict(model._modules)
        view.source = restore_source(model.config.source, self.source)
        return view


def _mixed(requests: Sequence[Request]) -> list[np.ndarray]:
    """The logits of requests that are one batch."""
    groups: dict[int, list[int]] = {}
    for place, request in enumerate(requests):
        groups.setdefault(id(request.program), []).append(place)
    calls: dict[tuple[int, str], list[_Part]] = {}
    for places in groups.values():
        model = requests[places[0]].program.model
        batch = _batch([requests[place] for place in places])
        part = _Part(places, model, batch, model.inputs(batch))
        calls.setdefault((id(model.source), model.mapping.reads), []).append(part)
    found: list[np.ndarray] = [np.empty(0)] * len(requests)
    for (_, reads), parts in calls.items():
        outputs = parts[0].model.source.together([part.inputs for part in parts], reads)
        for part, output in zip(parts, outputs, strict=True):
            logits = part.model.logits_and_loss(output, part.batch, None)[0].float().cpu().numpy()
            for place, values in zip(part.places, logits, strict=True):
                per_token = values.ndim == 2
                found[place] = values[: len(requests[place].inputs["input_ids"])] if per_token else values
    return found


@dataclass
class _Part:
    """The requests of one adapter in a batch.

    Attributes:
        places: of the requests.
        model: the adapter.
        batch: what it takes.
        inputs: of the source for the batch.
    """

    places: list[int]
    model: ReprogrammedModel | PlainModel
    batch: dict[str, torch.Tensor]
    inputs: dict[str, Any]


def _batch(requests: Sequence[Request]) -> dict[str, torch.Tensor]:
    """What the model of some requests for one adapter takes."""
    program = requests[0].program
    device = program.model.source.device
    if "input_ids" in requests[0].inputs:
        rows = {"input_ids": [request.inputs["input_ids"] for request in requests]}
        padded = program.processor.pad(rows, return_tensors="pt")
        return {name: padded[name].to(device) for name in ("input_ids", "attention_mask")}
    names = requests[0].inputs
    stacked = {name: np.stack([request.inputs[name] for request in requests]) for name in names}
    return {name: torch.from_numpy(values).to(device) for name, values in stacked.items()}
