"""Every source x transform x mapping that fits, and how to build and train one; fit is asked of the parts themselves."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from transformers import AutoTokenizer

from hf_reprogram import InputError, ReprogramConfig, ReprogrammedModel, reprogram
from hf_reprogram.mappings import MAPPINGS
from hf_reprogram.methods import METHODS
from hf_reprogram.modalities import modality_taking
from hf_reprogram.registry import Registry
from hf_reprogram.sources import Source, SourceSpec, load_source
from hf_reprogram.training.encode import collator
from hf_reprogram.transforms import TRANSFORMS
from tests.contract import cases
from tests.support import toys  # noqa: F401 - registers a third party's parts

_FOLDER = Path(tempfile.mkdtemp(prefix="contract-"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
PER_TOKEN = ("tokens", "decoder")
NEEDS = {"mask": "mask_position", "pair": "texts", "residual": "plain_texts"}  # inputs that a reading looks for


def ours(registry: Any) -> list[str]:
    """The names in a registry whose parts this package holds."""
    return [name for name in registry.names() if registry[name].__module__.startswith("hf_reprogram.")]


@cache
def loaded(name: str) -> SimpleNamespace:
    """A source of `cases.SOURCES` in memory, what an adapter records of it, and its tokenizer if it has one."""
    source, reference = load_source(cases.SOURCES[name](_FOLDER / name))
    has_tokenizer = reference["name"] and source.spec.vocab_size
    tokenizer = AutoTokenizer.from_pretrained(reference["name"]) if has_tokenizer else None
    return SimpleNamespace(source=source, reference=reference, tokenizer=tokenizer)


class Case(NamedTuple):
    """A source with two parts and what is read between them, or with a method and its options."""

    source: str
    transform: str = ""
    mapping: str = ""
    reads: str = ""
    method: str = ""
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self):
        names = [self.source, self.transform, self.mapping, self.reads, self.method]
        return "-".join([*filter(None, names), *(f"{key}={value}" for key, value in self.options)])

    def make(self, source: Source | None = None) -> tuple[ReprogrammedModel, Any]:
        """An untrained adapter on its source, or on another copy of that, and the processor of its data."""
        on = loaded(self.source)
        source = on.source if source is None else source
        if self.method:
            return _by_method(self, source, on.tokenizer)
        start = cases.TRANSFORMS[self.transform](source, on.tokenizer, self.reads)
        config = ReprogramConfig(
            source=load_source(source)[1],
            transform=start.options,
            mapping=mapping_options(source.spec, self.mapping, self.reads),
            method={"name": "contract"},
            problem_type="single_label_classification",
            id2label=dict(enumerate(cases.LABELS)),
            label2id={name: index for index, name in enumerate(cases.LABELS)},
            pad_token_id=getattr(start.processor, "pad_token_id", None),
        )
        model = ReprogrammedModel(config, source)
        start.initialize(model)
        return model, start.processor


def _by_method(case: Case, source: Source, tokenizer: Any) -> tuple[ReprogrammedModel, Any]:
    takes = TRANSFORMS[METHODS[case.method].info.transform].takes
    given = {
        "input_ids": {"texts": cases.TEXTS},
        "table_values": {"features": cases.FEATURES},
        "past_values": {"features": cases.SERIES},
    }.get(takes, {})
    options = {"labels": cases.LABELS, **given, **dict(case.options)}
    return reprogram(source, method=case.method, processor=tokenizer, **options)


def mapping_options(spec: SourceSpec, mapping: str, reads: str) -> dict[str, Any]:
    """A mapping's options for two classes and what it reads of a source."""
    options = cases.MAPPINGS[mapping].options(spec, reads)
    return {"type": mapping, "num_labels": len(cases.LABELS), "width": spec.widths[reads], **options}


def part_of(registry: Registry, options: dict[str, Any]) -> Any:
    """A transform or a mapping from its name and its options."""
    part = registry[options["type"]]
    return part(part.Options(**{key: value for key, value in options.items() if key != "type"}))


def fits(name: str, transform: str, mapping: str, reads: str) -> bool:
    """Whether two parts can stand around a source: neither refuses it, and the transform gives what is read."""
    spec = loaded(name).source.spec
    if reads not in spec.widths or reads not in cases.MAPPINGS[mapping].reads:
        return False
    if reads in PER_TOKEN and TRANSFORMS[transform].takes != "input_ids":
        return False  # the patches of an image have no labels of their own
    try:
        part_of(MAPPINGS, mapping_options(spec, mapping, reads)).check(spec)
        return NEEDS.get(reads) in (None, *inputs_of(name, transform, reads))
    except InputError:
        return False


@cache
def inputs_of(name: str, transform: str, reads: str) -> tuple[str, ...]:
    """The names of the inputs that a transform makes for a source.

    Raises:
        InputError: it does not fit.
    """
    on = loaded(name)
    start = cases.TRANSFORMS[transform](on.source, on.tokenizer, reads)
    part = part_of(TRANSFORMS, start.options).eval()
    part.check(on.source.spec)
    if part.takes == "table_values":
        part.fit(cases.FEATURES)
    batch, _ = batch_of(part.takes, start.processor, 2)
    with torch.no_grad():
        return tuple(part(batch, on.source))


def rows(takes: str, processor: Any, count: int = 16, per_token: bool = False) -> list[dict[str, Any]]:
    """Labelled examples as the Trainer takes them."""
    inputs, labels = cases.MODALITIES[modality_taking(takes).name](processor, count)
    targets: list[Any] = list(labels)
    if per_token:
        targets = [
            [(label + i) % 2 for i in range(len(row["input_ids"]))] for row, label in zip(inputs, labels, strict=True)
        ]
    return [{**row, "labels": label} for row, label in zip(inputs, targets, strict=True)]


def batch_of(takes: str, processor: Any, count: int = 6) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """A batch without its labels, and these."""
    batch = dict(collator(processor)(rows(takes, processor, count)))
    return {name: value for name, value in batch.items() if name not in ("labels", "token_type_ids")}, batch["labels"]


def on_source(name: str) -> list[Case]:
    """Every transform x mapping x reading that fits a source."""
    return [
        Case(name, transform, mapping, reads)
        for transform in ours(TRANSFORMS)
        for mapping in ours(MAPPINGS)
        for reads in cases.MAPPINGS[mapping].reads
        if fits(name, transform, mapping, reads)
    ]


def cover(*fields: str | tuple[str, ...], among: Iterable[Case]) -> list[Case]:
    """The first cases in which each value of these fields is seen; of several fields each combination of their values."""
    seen: set[tuple[Any, ...]] = set()
    kept = []
    for case in among:
        groups = [(field,) if isinstance(field, str) else field for field in fields]
        values = {(group, *found) for group in groups if all(found := [getattr(case, name) for name in group])}
        if values - seen:
            kept.append(case)
            seen |= values
    return kept


def matrix() -> Iterator[Case]:
    """Every transform x mapping on the first source of what offers the same, with each of its readings; see `cover`.

    On the other sources of that kind each transform, mapping and reading is seen once.
    """
    pairs = (("transform", "mapping"), ("transform", "reads"), ("mapping", "reads"))
    offered = set()
    for name in cases.SOURCES:
        spec = loaded(name).source.spec
        offers = (spec.kind, *spec.widths)
        yield from cover(*(("transform", "mapping", "reads") if offers in offered else pairs), among=on_source(name))
        offered.add(offers)


def by_method() -> Iterator[Case]:
    """The methods' cases."""
    for method, chosen in cases.METHOD_CASES.items():
        yield from (Case(on, method=method, options=tuple(options.items())) for on, options in chosen)


TOYS = [
    Case("bert", "prompt_slots", "toy_cosine", "mask"),
    Case("albert", "toy_shift", "verbalizer", "features"),
    Case("gpt2", "toy_shift", "toy_cosine", "last"),
]
CASES = [*matrix(), *by_method(), *TOYS]


def on_folders() -> list[Case]:
    """For each source that lies in a folder its plainest adapter, of which nothing has to be fitted."""
    plain = ("prompt_slots", "dual", "canvas")
    vectors = ("mask", "first", "last", "features", "pair")
    fit = [case for case in CASES if case.transform in plain and case.reads in vectors]
    return cover("source", among=[case for case in fit if loaded(case.source).reference["name"]])
