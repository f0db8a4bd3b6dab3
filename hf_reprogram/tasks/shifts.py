"""The `ood:` section of a recipe: images that a task's adapter was not trained on, and what is asked of it there.

    covariate     other images of the task's classes, with their labels
    corruptions   corrupted copies of the task's own test images (`hf_reprogram.tasks.corruptions`)
    semantic      images of other classes, whose own labels nobody looks at

Nothing is trained or chosen on any of them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, unknown
from ..modalities.base import Modality
from ..modalities.image import IMAGE
from ..modalities.pixels import read_image
from ..ood.metrics import rate
from ..ood.report import LogitScore, score_of
from ..options import check_whole, from_dict
from .corruptions import KINDS, LEVELS, check, corrupt
from .inputs import prepare_inputs
from .labels import known_task
from .options import TaskOptions
from .read import VALIDATION_NAMES, read_splits
from .splits import at_most

if TYPE_CHECKING:
    from datasets import Dataset

    from .task import Task


# Columns and rows of the tables, and FPR95 and the like: no names of sets.
_COLUMNS = ("id", "mean", "corruptions", "covariate mean", "auroc", "aupr", "aggregate")


@dataclass
class SetOptions:
    """A set of images, named as in the `task:` section.

    Attributes:
        dataset, name, revision: where it is; see `hf_reprogram.tasks.options.TaskOptions`.
        image: the column of images; by default the catalog's, or `image` or `img`.
        label: the column of labels, of a covariate set.
        labels: of a covariate set, names in the order of the label values, each one of the task's; by default those that
            the data declares.
        test_split: which split; by default the catalog's, or test, else validation, else the only one.
        drop: rows to leave out, by column: `{column: [values]}`, class names where the column declares some.
    """

    dataset: str
    name: str | None = None
    revision: str | None = None
    image: str | None = None
    label: str | None = None
    labels: list[str | int | float] | None = None
    test_split: str | None = None
    drop: dict[str, list[Any]] = field(default_factory=dict)

    def task(self) -> TaskOptions:
        """What the readers of a task's data take."""
        return TaskOptions(self.dataset, self.name, self.revision, image=self.image, label=self.label)


@dataclass
class CorruptionOptions:
    """Corrupted copies of test images.

    Attributes:
        kinds: keys of `hf_reprogram.tasks.corruptions.KINDS`.
        levels: from 1 to 5.
        images: of how many test images, drawn with the task's `split_seed`; the same ones for each kind and level. Their
            copies are kept in memory, encoded.
    """

    kinds: list[str] = field(default_factory=lambda: [*KINDS])
    levels: list[int] = field(default_factory=lambda: [*LEVELS])
    images: int = 500

    def __post_init__(self):
        for name, given in (("kinds", self.kinds), ("levels", self.levels)):
            if not isinstance(given, list) or not given or len({*map(str, given)}) < len(given):
                raise InputError(f"ood.corruptions.{name} is {given!r}: give a list of at least one, and each once.")
        for kind in self.kinds:
            for level in self.levels:
                check(kind, level)
        check_whole(**{"ood.corruptions.images": self.images})


@dataclass
class ShiftOptions:
    """The `ood:` section.

    Attributes:
        covariate: sets of images of the task's classes, by the name to call them.
        corruptions: corrupted copies of the test images; None for none.
        semantic: sets of images of other classes, by the name to call them.
        max_images: of each covariate and semantic set at most so many, drawn with the task's `split_seed`.
        score: how OOD is told, a key of `hf_reprogram.ood.report.LOGIT_SCORES`.
        temperature: of the scores "msp" and "energy"; with the scale of a text-image encoder (100 of CLIP), "msp" is MCM.
        tpr: share of the OOD images that must be found where FPR is read off.
        alphas: shares of the zero-shot branch to try at evaluation, for mappings that blend it in; chosen on validation.
    """

    covariate: dict[str, Any] = field(default_factory=dict)
    corruptions: dict[str, Any] | CorruptionOptions | None = None
    semantic: dict[str, Any] = field(default_factory=dict)
    max_images: int | None = None
    score: str = "msp"
    temperature: float = 1.0
    tpr: float = 0.95
    alphas: list[float] = field(default_factory=list)

    def __post_init__(self):
        for kind in ("covariate", "semantic"):
            sections = _section(getattr(self, kind), f"ood.{kind}", "{NAME: {dataset: ...}}")
            for name in sections:
                if str(name).lower() in _COLUMNS or str(name).lower().startswith("fpr"):
                    raise InputError(
                        f"ood.{kind} has a set called {str(name)!r}, which is a column or row of the tables: call it "
                        "something else."
                    )
            setattr(self, kind, {str(name): _set(given, f"ood.{kind}.{name}") for name, given in sections.items()})
        if isinstance(self.corruptions, Mapping):
            self.corruptions = from_dict(CorruptionOptions, self.corruptions, "key of ood.corruptions")
        if not (self.covariate or self.corruptions or self.semantic):
            raise InputError("ood names nothing to compare with: give ood.covariate, ood.corruptions or ood.semantic.")
        if self.max_images is not None:
            check_whole(**{"ood.max_images": self.max_images})
        self.told()
        rate(self.tpr)
        for alpha in self.alphas:
            if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
                raise InputError(f"ood.alphas holds {alpha!r}: give shares from 0 to 1.")
        if len({*self.alphas}) < len(self.alphas):
            raise InputError(f"ood.alphas is {self.alphas!r}: give every share once.")

    def told(self) -> LogitScore:
        """The score, from logits (n, classes) to (n,)."""
        return score_of(self.score, self.temperature)


def _set(given: Any, where: str) -> SetOptions:
    if isinstance(given, SetOptions):
        return given
    options = from_dict(SetOptions, _section(given, where, "{dataset: ...}"), f"key of {where}")
    for column, values in _section(options.drop, f"{where}.drop", "{column: [values]}").items():
        if not isinstance(values, list):
            raise InputError(f"{where}.drop.{column} is {values!r}: give a list of values.")
    return options


def _section(given: Any, where: str, form: str) -> Mapping[Any, Any]:
    if not isinstance(given, Mapping):
        raise InputError(f"{where} is {given!r}: write {form}.")
    return given


def check_task(modality: Modality | None, problem: str) -> None:
    """Raise `InputError` unless a task is one of images with a class each; None is a modality that is not known yet."""
    if modality is not None and not modality.pictures:
        what = modality.noun
    elif problem != "single_label_classification":
        what = problem.replace("_", " ")
    else:
        return
    raise InputError(f"ood is for images with one class each, and this is a task of {what}: leave ood out.")


# ------------------------------------------------------------------------------------------------------------ loading


@dataclass
class Shifts:
    """The loaded sets.

    Attributes:
        options: what was asked for.
        splits: by "covariate/NAME", "corruptions/KIND/LEVEL" and "semantic/NAME": images in the column `image`, and but for
            semantic sets class indices of the task in `label`.
    """

    options: ShiftOptions
    splits: dict[str, Dataset]


def load_shifts(options: ShiftOptions, task: Task) -> Shifts:
    """Load every set, open every image, and corrupt the test images.

    Raises:
        InputError: data cannot be found, a column or split is missing, a label is none of the task's, an image is broken, or
            nothing is left of a set.
    """
    check_task(task.modality, task.problem_type)
    splits, seed = {}, task.options.split_seed
    for kind, sets in (("covariate", options.covariate), ("semantic", options.semantic)):
        for name, section in sets.items():
            data = _rows(section, f"ood.{kind}.{name}", options.max_images, seed)
            ready = prepare_inputs(data, IMAGE, [_image_column(section, data)], f"{kind}/{name}", section.task())
            if kind == "covariate":
                ready = ready.add_column("label", _labels(section, data, task.labels, f"ood.covariate.{name}"))
            _read(ready, f"{kind}/{name}")
            splits[f"{kind}/{name}"] = ready
    if isinstance(options.corruptions, CorruptionOptions):
        splits |= _corrupted(options.corruptions, task)
    return Shifts(options, splits)


def _rows(section: SetOptions, where: str, most: int | None, seed: int) -> Any:
    """The raw rows of a set that are used."""
    known, splits = known_task(section.task()), read_splits(section.task())
    usual = ("test", *VALIDATION_NAMES)
    name = section.test_split or (known.test_split if known else None)
    name = name or next((name for name in usual if name in splits), next(iter(splits)) if len(splits) == 1 else "test")
    if name not in splits:
        raise unknown(f"split of {section.dataset!r}", name, splits)
    data = splits[name]
    kept = np.ones(len(data), bool)
    for column, values in section.drop.items():
        kept &= ~_dropped(data, column, values, f"{where}.drop", section.dataset)
    if not kept.any():
        raise InputError(f"No image is left of {where} ({len(data)} before drop): drop fewer, or name another split.")
    return at_most(data.select(np.flatnonzero(kept)), most or len(data), seed)


def _dropped(data: Any, column: str, values: list[Any], where: str, dataset: str) -> np.ndarray:
    """Which rows have one of the values (n,)."""
    from datasets import ClassLabel

    if column not in data.column_names:
        raise unknown(f"column of {dataset!r}", column, data.column_names)
    kind, found = data.features[column], data[column]
    if isinstance(kind, ClassLabel):
        found = [kind.names[value] if value is not None and value >= 0 else None for value in found]
    found = np.array([str(value) for value in found], dtype=object)
    for value in values:
        if str(value) not in found:
            raise InputError(f"{where}.{column} holds {value!r}, which no image of {dataset!r} has: leave it out.")
    return np.isin(found, [str(value) for value in values])


def _image_column(section: SetOptions, data: Any) -> str:
    known = known_task(section.task())
    names = [section.image] if section.image else list(known.columns if known else ("image", "img"))
    return IMAGE.pick(names, data.column_names)[0]


def _labels(section: SetOptions, data: Any, labels: list[str], where: str) -> list[int]:
    """Class indices of the task: by name where values have names, else the values themselves."""
    from datasets import ClassLabel

    known = known_task(section.task())
    column = section.label or (str(known.label) if known else "label")
    if column not in data.column_names:
        raise unknown(f"label column of {section.dataset!r}", column, data.column_names)
    kind = data.features[column]
    declared = kind.names if isinstance(kind, ClassLabel) else known.labels if known else ()
    names = [str(name) for name in section.labels or declared]
    ready = []
    for row, value in enumerate(data[column]):
        called = _name(value, names, labels, isinstance(kind, ClassLabel))
        if called not in labels:
            what = repr(value) if called in (None, value) else f"{value!r} ({called})"
            raise InputError(
                f"Row {row} of {where} has the label {what}, and the task's labels are {', '.join(labels[:12])}: name those of "
                f"this set in {where}.labels, or leave such images out with {where}.drop."
            )
        ready.append(labels.index(called))
    return ready


def _name(value: Any, names: list[str], labels: list[str], placed: bool) -> Any:
    """What a label is called: a number by its place among the names of its set, or without those among the task's.

    Args:
        value: as the set has it.
        names: of the set's labels; there may be none.
        labels: the task's.
        placed: whether numbers are places in any case, as those of declared classes are.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
        return value
    known = names or labels
    if str(int(value)) in known and not placed:  # a name comes before a place: labels 1 and 2 named "1" and "2"
        return str(int(value))
    return known[int(value)] if 0 <= value < len(known) else None


def _read(ready: Any, name: str) -> None:
    """Decode every image once, so that a broken one is found before anything is trained."""
    from datasets import Image

    for row, value in enumerate(ready.cast_column("image", Image(decode=False))["image"]):
        read_image(value, row, name)


def _corrupted(options: CorruptionOptions, task: Task) -> dict[str, Dataset]:
    from datasets import Dataset, Features, Image, Value

    seed = task.options.split_seed
    chosen = at_most(task.test, options.images, seed)
    encoded = chosen.cast_column("image", Image(decode=False))["image"]
    images = [read_image(value, row, "test") for row, value in enumerate(encoded)]
    features = Features({"image": Image(), "label": Value("int64")})
    made = {}
    for kind in options.kinds:
        for level in options.levels:
            copies = [corrupt(image, kind, level, (seed, row)) for row, image in enumerate(images)]
            columns = {"image": [{"bytes": _png(copy), "path": None} for copy in copies], "label": chosen["label"]}
            made[f"corruptions/{kind}/{level}"] = Dataset.from_dict(columns, features=features)
    return made


def _png(image: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)
    return stream.getvalue()
