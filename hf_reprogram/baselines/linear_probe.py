"""A linear model on the features of the frozen source, without any reprogramming."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from ..devices import to_accelerator
from ..errors import InputError, unknown
from ..mappings.linear_fit import STRENGTHS
from ..methods import METHODS
from ..options import check_whole_list
from ..sources.families import native_inputs
from ..sources.loading import load_source
from ..sources.pooling import mean_over_tokens
from ..sources.reading import gather
from ..tasks.inputs import task_modality
from ..tasks.labels import problem_of
from ..training.encode import batches, encode, labels_of
from ..trust import file_arguments
from .base import Baseline, Outcome, Run, Setting, check_choices
from .linear import best_linear
from .token_probe import best_token_probe

if TYPE_CHECKING:
    from ..sources.base import SourceSpec
    from ..tasks.task import Task

READS = ["features", "first", "last"]  # the candidates if the options name none


@dataclass
class LinearProbeOptions:
    """Options of `linear_probe`.

    Attributes:
        reads: the state to read: "features" (the mean over tokens), "first" or "last"; None lets validation choose among
            these. "tokens" concatenates the states of all tokens, for sequences that are aligned. With one label per
            token, the state of every token is read. An image source only has features.
        tokens: "source" reads the text in the source's own tokens, or the image on the source's whole canvas; "target" reads
            it through the method's untrained input transform. By default "source" where the source takes the examples as they
            are, and "target" for tables, for one label per token, and for texts that the method reads in letters.
        strengths: inverse L2 strengths; the first seed chooses one on validation.
        context: with one label per token, the numbers of neighbours on either side whose states are read too; the first seed
            chooses one on validation.
    """

    reads: str | None = None
    tokens: str | None = None
    strengths: list[float] = field(default_factory=lambda: list(STRENGTHS))
    context: list[int] = field(default_factory=lambda: [0, 4])

    def __post_init__(self):
        if self.reads not in (None, "features", "first", "last", "tokens"):
            raise unknown("reads", self.reads, ("features", "first", "last", "tokens"))
        if self.tokens not in (None, "source", "target"):
            raise unknown("tokens", self.tokens, ("source", "target"))
        check_choices("linear_probe", strengths=self.strengths)
        check_whole_list(0, context=self.context)


class LinearProbe(Baseline):
    """Logistic (or ridge) regression on standardised features of the frozen source; a text and its pair are read together."""

    name, title = "linear_probe", "linear probe"
    Options: ClassVar[type] = LinearProbeOptions

    def check(self, recipe: Run) -> None:
        """See `Baseline.check`."""
        super().check(recipe)
        if problem_of(recipe.task_options) == "forecast":
            raise InputError(
                f"The baseline {self.title!r} does not know the units of each series: leave it out, as the untrained start of "
                "the method is this probe."
            )
        modality = task_modality(recipe.task_options)
        if modality is not None and self.options.tokens == "source" and modality.takes not in native_inputs():
            raise InputError(
                f"No source takes {modality.noun} as they are: give linear_probe the option tokens: target, so that it reads "
                "them through the method's input transform."
            )

    def check_source(self, spec: SourceSpec, task: Task) -> None:
        """See `Baseline.check_source`."""
        if self.options.tokens == "source":
            check_native(spec, task)
        reads = ["tokens"] if task.per_token else [self.options.reads] if self.options.reads else READS
        if not set(reads) & set(spec.widths):
            raise InputError(
                f"{self.name} reads {reads[0]!r}, and a source of kind {spec.kind!r} has no such output: leave it out, or "
                "change its option reads."
            )

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        started = time.perf_counter()
        task = setting.task
        before = setting.chosen or {}
        tokens = self.options.tokens or before.get("tokens") or default_tokens(setting)
        source, processor, inputs_of = inputs_for(setting, tokens == "target")
        self.check_source(source.spec, task)
        data = encode(setting.splits, processor, task.options.max_length, task.problem_type)
        labels = {split: labels_of(data[split]) for split in data}
        which = [self.options.reads] if self.options.reads else READS
        which = ["tokens"] if task.per_token else [reads for reads in which if reads in source.spec.widths]
        strengths, contexts = self.options.strengths, self.options.context
        if before:
            which, strengths = [before["features"]], [before["strength"]]
            contexts = [before["context"]] if "context" in before else contexts

        def read_states(split: Any, which: list[str]) -> dict[str, np.ndarray]:
            if tokens == "source" and not task.per_token:
                return kept_states(setting, source, split, processor, which)
            return extract(source, inputs_of, split, processor, which, setting.quiet)

        features = {split: read_states(data[split], which) for split in ("train", "validation", "test")}
        if not task.per_token:
            if "tokens" in which:
                longest = features["train"]["tokens"].shape[1]
                for split in features.values():
                    split["tokens"] = _concatenated(split["tokens"], longest)
            chosen, model = best_linear(task, features, labels, strengths, len(task.labels) or 1)
            logits = {split: model.logits(features[split][chosen["features"]]) for split in ("validation", "test")}
            token_labels = None
        else:
            states = {split: read["tokens"] for split, read in features.items()}
            outputs = len(task.labels) or len(processor)
            chosen, model, logits = best_token_probe(task, states, labels, strengths, contexts, outputs)
            token_labels = {split: labels[split] for split in logits}
        chosen["tokens"] = tokens
        seconds = time.perf_counter() - started

        def predict(split: Any) -> np.ndarray:
            read = chosen["features"]
            return model.logits(read_states(split, [read])[read])

        extra = setting.predict_extra(processor, predict)
        return Outcome(logits["validation"], logits["test"], model.trainable, seconds, chosen, token_labels, extra)


def default_tokens(setting: Setting) -> str:
    """The option `tokens` of a probe by its data: "source" or "target"; see `LinearProbeOptions`."""
    method, modality = setting.recipe.method, setting.task.modality
    given = {key: value for key, value in method.items() if key != "name"}
    options = METHODS[method["name"]].read_options(given, f"option of {method['name']}")
    tokenizer = getattr(options, "tokenizer", None)
    if modality.takes not in native_inputs() or setting.task.per_token or tokenizer not in (None, "words"):
        return "target"
    native = tokenizer is None or setting.make()[0].source.spec.takes == modality.takes
    return "source" if native else "target"


def inputs_for(setting: Setting, untrained: bool) -> tuple[Any, Any, Callable[[dict[str, Any]], dict[str, Any]]]:
    """The frozen source, a processor, and a function from a batch of that processor to the source's inputs.

    Args:
        setting: the setting of the baseline.
        untrained: whether the data go through the method's untrained input transform; otherwise the source takes them as
            they are.

    Raises:
        InputError: the source does not take the data as they are.
    """
    recipe, task = setting.recipe, setting.task
    if untrained:
        model, processor = setting.make()
        to_accelerator(model).eval()
        return model.source, processor, lambda batch: model.transform(batch, model.source)
    source, _ = load_source(recipe.model_source, recipe.source.get("kind"), **recipe.source_kwargs)
    to_accelerator(source)
    check_native(source.spec, task)
    return (
        source,
        source.plain_processor(recipe.source["name"], file_arguments(recipe.source_kwargs)),
        source.plain_inputs,
    )


def check_native(spec: SourceSpec, task: Task) -> None:
    """Raise `InputError` unless a source takes the examples of a task as they are."""
    if spec.takes != task.modality.takes:
        raise InputError(
            f"A source of kind {spec.kind!r} does not take {task.modality.noun} as they are: give the baseline the option "
            "tokens: target, so that it reads them through the method's input transform."
        )


def kept_readings(setting: Setting, source: Any, data: Any, processor: Any, reads: str) -> np.ndarray:
    """One output (n, width) of a frozen source; see `kept_states`."""
    return kept_states(setting, source, data, processor, [reads])[reads]


def kept_states(setting: Setting, source: Any, data: Any, processor: Any, which: list[str]) -> dict[str, np.ndarray]:
    """The outputs of a frozen source for a split that it takes as it is, by name, computed once per run.

    Args:
        setting: the setting of the baseline.
        source: the recipe's source.
        data: an encoded split.
        processor: the source's `plain_processor`.
        which: the outputs to read, such as "features" or "logits". The states of all "tokens" are not kept.
    """
    found: dict[str, np.ndarray] = {}

    def compute(reads: str) -> np.ndarray:
        if reads not in found:
            found.update(extract(source, source.plain_inputs, data, processor, which, setting.quiet))
        return found[reads]

    dtype = source.entry.dtype
    return {
        reads: compute(reads) if reads == "tokens" else setting.once(data, f"{reads} {dtype}", partial(compute, reads))
        for reads in which
    }


def _concatenated(states: np.ndarray, tokens: int) -> np.ndarray:
    """States (n, any, width) as rows (n, tokens * width), truncated or padded with zeros."""
    filled = np.zeros((len(states), tokens, states.shape[2]), states.dtype)
    kept = min(tokens, states.shape[1])
    filled[:, :kept] = states[:, :kept]
    return filled.reshape(len(states), -1)


def read_all(source: Any, inputs: dict[str, Any], which: list[str]) -> dict[str, torch.Tensor]:
    """Several outputs of the source for one batch, by name; all that depend on the states of tokens share one pass.

    Args:
        source: the frozen source.
        inputs: the inputs of the source.
        which: the names of the outputs, such as "features", "first", "last", "tokens" or "logits".
    """
    if len(which) == 1 or not set(which) <= {"features", "first", "last", "tokens"}:
        return {reads: source(inputs, reads) for reads in which}
    hidden, mask = source(inputs, "tokens"), inputs["attention_mask"]
    position = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    ends = {"first": (mask != 0).long().argmax(1), "last": ((mask != 0) * position).argmax(1)}
    outputs = {"tokens": hidden, "features": mean_over_tokens(hidden, mask)}
    outputs |= {name: gather(hidden, index)[:, 0] for name, index in ends.items()}
    return {reads: outputs[reads] for reads in which}


@torch.no_grad()
def extract(
    source: Any, inputs_of: Any, data: Any, processor: Any, which: list[str], quiet: bool, batch_size: int = 64
) -> dict[str, np.ndarray]:
    """The outputs of the frozen source for a split, by name and in the order of `data`.

    Args:
        source: the frozen source.
        inputs_of: a function from a batch to the source's inputs.
        data: an encoded split.
        processor: the processor that encoded it.
        which: the names of the outputs to read.
        quiet: show no progress bar.
        batch_size: examples per batch.

    Returns:
        Arrays (n, width), and for "tokens" (n, tokens, width) with zeros after the end of a text.
    """
    out: dict[str, np.ndarray] = {}
    for rows, batch in batches(data, processor, batch_size, source.device, "Frozen features", quiet):
        for reads, output in read_all(source, inputs_of(batch), which).items():
            states = output.float().cpu().numpy()
            if reads == "tokens":
                shape: tuple[int, ...] = (len(data), max(map(len, data["input_ids"])), states.shape[-1])
                out.setdefault(reads, np.zeros(shape, np.float32))[rows, : states.shape[1]] = states
            else:
                out.setdefault(reads, np.empty((len(data), states.shape[1]), np.float32))[rows] = states
    return out
