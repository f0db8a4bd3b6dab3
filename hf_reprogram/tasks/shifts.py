"""The `ood:` section of a recipe: sets of images outside of the training distribution, on which an adapter is evaluated.

    covariate     other images of the task's classes, with their labels
    corruptions   corrupted copies of the task's own test images (`hf_reprogram.tasks.corruptions`)
    semantic      images of other classes; their own labels are not read

Nothing is trained or chosen on any of these sets.
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
from .labels import known_task, number_of
from .memory import held
from .options import TaskOptions
from .read import VALIDATION_NAMES, read_splits
from .splits import at_most

if TYPE_CHECKING:
    from datasets import Dataset

    from .task import Task


# Names of columns and rows of the tables, which a set may not have; nor may it be named like FPR95.
_COLUMNS = ("id", "mean", "corruptions", "covariate mean", "auroc", "aupr", "aggregate")


@dataclass
class SetOptions:
    """One set of images. The keys are those of the `task:` section.

    Attributes:
        dataset, name, revision: the address of the data; see `hf_reprogram.tasks.options.TaskOptions`.
        image: the column of images; by default the catalog's, or `image` or `img`.
        label: the column of labels, for a covariate set.
        labels: the label names in the order of the label values, for a covariate set. Each must be a label of the task. By
            default the names that the data declares.
        test_split: the split to read; by default the catalog's, or test, else validation, else the only one.
        max_test: the number of images to draw from this set at most; by default `ood.max_images`.
        drop: rows to leave out, as `{column: [values]}`, with class names if the column declares them.
    """

    dataset: str
    name: str | None = None
    revision: str | None = None
    image: str | None = None
    label: str | None = None
    labels: list[str | int | float] | None = None
    test_split: str | None = None
    max_test: int | None = None
    drop: dict[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self):
        self.dataset = held(self.dataset)
        if self.max_test is not None:
            check_whole(**{"max_test of a set of ood": self.max_test})

    def task(self) -> TaskOptions:
        """The same address as a `task:` section, for the functions that read a task's data."""
        return TaskOptions(self.dataset, self.name, self.revision, image=self.image, label=self.label)


@dataclass
class CorruptionOptions:
    """Corrupted copies of test images.

    Attributes:
        kinds: keys of `hf_reprogram.tasks.corruptions.KINDS`.
        levels: severities from 1 to 5.
        images: the number of test images, drawn with the task's `split_seed`; each kind and level has the same ones. Their
            encoded copies are kept in memory.
    """

    kinds: list[str] = field(default_factory=lambda: [*KINDS])
    levels: list[int] = field(default_factory=lambda: [*LEVELS])
    images: int = 500

    def __post_init__(self):
        for name, values in (("kinds", self.kinds), ("levels", self.levels)):
            if not isinstance(values, list) or not values or len({*map(str, values)}) < len(values):
                raise InputError(
                    f"ood.corruptions.{name} is {values!r}: give a list with at least one entry, each once."
                )
        for kind in self.kinds:
            for level in self.levels:
                check(kind, level)
        check_whole(**{"ood.corruptions.images": self.images})


@dataclass
class ShiftOptions:
    """The `ood:` section.

    Attributes:
        covariate: sets of images of the task's classes, by their names.
        corruptions: corrupted copies of the test images; None for none.
        semantic: sets of images of other classes, by their names.
        max_images: the largest number of images of each covariate and semantic set, drawn with the task's `split_seed`.
        score: the score that detects OOD images, a key of `hf_reprogram.ood.report.LOGIT_SCORES`.
        temperature: the temperature of the scores "msp" and "energy". If it is the scale of a text-image encoder (100 for
            CLIP), "msp" is MCM.
        tpr: the share of OOD images that must be detected where FPR is read.
        alphas: shares of the zero-shot branch to try at evaluation, for mappings that blend it in. Validation chooses.

    >>> options = ShiftOptions(semantic={"textures": {"dataset": "images", "name": "dtd"}})
    >>> options.semantic["textures"].dataset, options.score
    ('images', 'msp')
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
                        f"ood.{kind} has a set named {str(name)!r}, which is the name of a column or row of the tables: choose "
                        "another name."
                    )
            setattr(self, kind, {str(name): _set(section, f"ood.{kind}.{name}") for name, section in sections.items()})
        if isinstance(self.corruptions, Mapping):
            self.corruptions = from_dict(CorruptionOptions, self.corruptions, "key of ood.corruptions")
        if not (self.covariate or self.corruptions or self.semantic):
            raise InputError("ood names no set of images: give ood.covariate, ood.corruptions or ood.semantic.")
        if self.max_images is not None:
            check_whole(**{"ood.max_images": self.max_images})
        self.score_function()
        rate(self.tpr)
        for alpha in self.alphas:
            if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
                raise InputError(f"ood.alphas holds {alpha!r}: give shares from 0 to 1.")
        if len({*self.alphas}) < len(self.alphas):
            raise InputError(f"ood.alphas is {self.alphas!r}: give every share once.")

    def score_function(self) -> LogitScore:
        """The function from logits (n, classes) to OOD scores (n,); a larger score means more OOD."""
        return score_of(self.score, self.temperature)


def _set(section: Any, where: str) -> SetOptions:
    if isinstance(section, SetOptions):
        return section
    options = from_dict(SetOptions, _section(section, where, "{dataset: ...}"), f"key of {where}")
    for column, values in _section(options.drop, f"{where}.drop", "{column: [values]}").items():
        if not isinstance(values, list):
            raise InputError(f"{where}.drop.{column} is {values!r}: give a list of values.")
    return options


def _section(value: Any, where: str, form: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{where} is {value!r}: write {form}.")
    return value


def check_task(modality: Modality | None, problem: str) -> None:
    """Raise `InputError` unless a task is a single-label classification of images.

    Args:
        modality: the modality of the task; None if it is not known yet.
        problem: a key of `hf_reprogram.tasks.problems.PROBLEMS`.
    """
    if modality is not None and not modality.pictures:
        kind = modality.noun
    elif problem != "single_label_classification":
        kind = problem.replace("_", " ")
    else:
        return
    raise InputError(f"ood is for images with one class each, and this is a task of {kind}: leave ood out.")


# ------------------------------------------------------------------------------------------------------------ loading


@dataclass
class Shifts:
    """The loaded sets.

    Attributes:
        options: the `ood:` section.
        splits: the sets by "covariate/NAME", "corruptions/KIND/LEVEL" and "semantic/NAME". The column `image` holds the
            images. The column `label` holds class indices of the task; semantic sets have no labels.
    """

    options: ShiftOptions
    splits: dict[str, Dataset]


def load_shifts(options: ShiftOptions, task: Task) -> Shifts:
    """Load every set, open every image, and make the corrupted copies of the test images.

    Args:
        options: the `ood:` section.
        task: the loaded task, whose test split is in distribution.

    Raises:
        InputError: data cannot be found, a column or split is missing, a label does not belong to the task, an image is
            broken, or a set has no image left.
    """
    check_task(task.modality, task.problem_type)
    splits, seed = {}, task.options.split_seed
    for kind, sets in (("covariate", options.covariate), ("semantic", options.semantic)):
        for name, section in sets.items():
            data = _rows(section, f"ood.{kind}.{name}", section.max_test or options.max_images, seed)
            ready = prepare_inputs(data, IMAGE, [_image_column(section, data)], f"{kind}/{name}", section.task())
            if kind == "covariate":
                ready = ready.add_column("label", _labels(section, data, task.labels, f"ood.covariate.{name}"))
            _read(ready, f"{kind}/{name}")
            splits[f"{kind}/{name}"] = ready
    if isinstance(options.corruptions, CorruptionOptions):
        splits |= _corrupted(options.corruptions, task)
    return Shifts(options, splits)


def _rows(section: SetOptions, where: str, most: int | None, seed: int) -> Any:
    """The raw rows of a set without those that are dropped, at most `most` of them."""
    known, splits = known_task(section.task()), read_splits(section.task())
    names = ("test", *VALIDATION_NAMES)
    name = section.test_split or (known.test_split if known else None)
    name = name or next((name for name in names if name in splits), next(iter(splits)) if len(splits) == 1 else "test")
    if name not in splits:
        raise unknown(f"split of {section.dataset!r}", name, splits)
    data = splits[name]
    kept = np.ones(len(data), bool)
    for column, values in section.drop.items():
        kept &= ~_dropped(data, column, values, f"{where}.drop", section.dataset)
    if not kept.any():
        raise InputError(f"No image of {where} is left ({len(data)} before drop): drop fewer, or name another split.")
    return at_most(data.select(np.flatnonzero(kept)), most or len(data), seed)


def _dropped(data: Any, column: str, values: list[Any], where: str, dataset: str) -> np.ndarray:
    """A mask (n,) of the rows that have one of the values in a column."""
    from datasets import ClassLabel

    if column not in data.column_names:
        raise unknown(f"column of {dataset!r}", column, data.column_names)
    kind, entries = data.features[column], data[column]
    if isinstance(kind, ClassLabel):
        entries = [kind.names[entry] if entry is not None and entry >= 0 else None for entry in entries]
    entries = np.array([str(entry) for entry in entries], dtype=object)
    for value in values:
        if str(value) not in entries:
            raise InputError(f"{where}.{column} holds {value!r}, which no image of {dataset!r} has: leave it out.")
    return np.isin(entries, [str(value) for value in values])


def _image_column(section: SetOptions, data: Any) -> str:
    known = known_task(section.task())
    names = [section.image] if section.image else list(known.columns if known else ("image", "img"))
    return IMAGE.pick(names, data.column_names)[0]


def _labels(section: SetOptions, data: Any, labels: list[str], where: str) -> list[int]:
    """The class index in the task of each row: by the name of its raw label, or by the raw label if it has no name."""
    from datasets import ClassLabel

    known = known_task(section.task())
    column = section.label or (str(known.label) if known else "label")
    if column not in data.column_names:
        raise unknown(f"label column of {section.dataset!r}", column, data.column_names)
    kind = data.features[column]
    declared = kind.names if isinstance(kind, ClassLabel) else known.labels if known else ()
    names = _names(section.labels or [], list(declared), where)
    indices = []
    for row, value in enumerate(data[column]):
        name = _name(value, names, labels, isinstance(kind, ClassLabel))
        if name not in labels:
            shown = repr(value) if name in (None, value) else f"{value!r} ({name})"
            raise InputError(
                f"Row {row} of {where} has the label {shown}, and the task's labels are {', '.join(labels[:12])}: name the "
                f"labels of this set in {where}.labels, or leave such images out with {where}.drop."
            )
        indices.append(labels.index(name))
    return indices


def _names(given: list[Any], declared: list[str], where: str) -> list[str]:
    """The label names of a set by index: those that the recipe gives, or that the data declares.

    Raises:
        InputError: the recipe gives a declared name another index.
    """
    names = [str(name) for name in given]
    if not names or {*names} == {*declared}:
        return declared or names
    for index, name in enumerate(names):
        if name in declared and declared[index : index + 1] != [name]:
            raise InputError(
                f"{where}.labels has {name!r} at place {index}, and the data declares it at place {declared.index(name)}: give "
                f"the names in the order of the data, which is {', '.join(declared[:12])}."
            )
    return names


def _name(value: Any, names: list[str], labels: list[str], is_index: bool) -> Any:
    """The class name of a raw label. A number is an index into the names of its set or, if it has none, of the task.

    Args:
        value: the raw label of the set.
        names: the label names of the set; may be empty.
        labels: the label names of the task.
        is_index: whether numbers are always indices, as those of declared classes are.
    """
    if isinstance(value, str) and value not in labels and (number := number_of(value)) is not None:
        value = number  # a csv file holds texts
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
        return value
    known = names or labels
    if str(int(value)) in known and not is_index:  # names come before indices: values 1 and 2 may be named "1" and "2"
        return str(int(value))
    return known[int(value)] if 0 <= value < len(known) else None


def _read(ready: Any, name: str) -> None:
    """Decode every image once, so that a broken one is refused before training."""
    from datasets import Image

    for row, value in enumerate(ready.cast_column("image", Image(decode=False))["image"]):
        read_image(value, row, name)


def _corrupted(options: CorruptionOptions, task: Task) -> dict[str, Dataset]:
    from datasets import Dataset, Features, Image, Value

    seed = task.options.split_seed
    originals = at_most(task.test, options.images, seed)
    encoded = originals.cast_column("image", Image(decode=False))["image"]
    images = [read_image(value, row, "test") for row, value in enumerate(encoded)]
    features = Features({"image": Image(), "label": Value("int64")})
    splits = {}
    for kind in options.kinds:
        for level in options.levels:
            copies = [corrupt(image, kind, level, (seed, row)) for row, image in enumerate(images)]
            columns = {"image": [{"bytes": _png(copy), "path": None} for copy in copies], "label": originals["label"]}
            splits[f"corruptions/{kind}/{level}"] = Dataset.from_dict(columns, features=features)
    return splits


def _png(image: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)
    return stream.getvalue()
