"""The interface of a method: a paper's choice of input transform, output mapping and defaults."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..errors import InputError, unknown
from ..mappings import MAPPINGS
from ..options import from_dict
from ..sources.base import Source, SourceSpec


@dataclass(frozen=True)
class MethodInfo:
    """The paper behind a method, as shown in the table of methods and in model cards.

    Attributes:
        title, authors, year: the paper.
        arxiv: the paper's number on arXiv; empty if it is not there.
        source: the kinds of frozen models that the method takes, in words.
        transform, mapping: the names of the two parts in their registries.
        differs: the differences of this implementation from the paper, separated by semicolons; empty if there are none.
        pipeline_tag: the task as the Hub names it.
        venue: the conference or journal of a paper that is not on arXiv.
        label: the method's name in a table or a title.

    >>> from hf_reprogram.methods import METHODS
    >>> METHODS["warp"].info.title
    'WARP: Word-level Adversarial ReProgramming'
    """

    title: str
    authors: str
    year: int
    arxiv: str
    source: str
    transform: str
    mapping: str
    differs: str = ""
    pipeline_tag: str = "text-classification"
    venue: str = ""
    label: str = "reprogramming"

    @property
    def where(self) -> str:
        """The place of the paper: its arXiv number or its venue."""
        return f"arXiv:{self.arxiv}" if self.arxiv else self.venue


@dataclass(frozen=True)
class Target:
    """The task that a method is composed for.

    Attributes:
        num_labels: the number of outputs: classes or labels; 1 for a regression; 0 for infilling, where the vocabulary decides.
        problem_type: "single_label_classification", "regression", "multi_label_classification", "token_classification"
            or "infilling".
        texts: the training texts, for methods that take a vocabulary from them.
        features: the training rows (n, columns) of a table, for methods that draw them.
        labels: the names of the classes.

    >>> Target(num_labels=2, labels=["no", "yes"]).per_token
    False
    """

    num_labels: int
    problem_type: str = "single_label_classification"
    texts: Sequence[str] | None = None
    features: Any = None
    labels: Sequence[str] = ()

    @property
    def per_token(self) -> bool:
        """Whether there is one label per token."""
        return self.problem_type in ("token_classification", "infilling")


@dataclass
class MethodOptions:
    """The options of every method.

    Attributes:
        preset: "paper" for the paper's own settings where ours differ (`Method.paper`), in options and training alike.
        start: omega before training: "probe" (the linear probe of what the untrained input transform gives), "map" (the label
            map that fits it best) or "none" (as the paper has it). The default is the first of these that the output mapping
            has; see `hf_reprogram.mappings.linear`.
    """

    preset: str | None = field(default=None, kw_only=True)
    start: str | None = field(default=None, kw_only=True)


@dataclass
class Parts:
    """The two parts that a method composes, and the processor.

    Attributes:
        transform, mapping: the two parts as plain data, `{"type": name, **options}`.
        processor: the processor of the target's data; None if it needs none.
        labels: the names of the outputs, if the processor decides them.

    >>> from hf_reprogram.methods.elsayed import Elsayed, ElsayedOptions
    >>> parts = Elsayed(ElsayedOptions()).compose(image_source, None, Target(num_labels=2))
    >>> parts.transform["type"], parts.mapping["type"]
    ('canvas', 'label_map')
    """

    transform: dict[str, Any]
    mapping: dict[str, Any]
    processor: Any
    labels: list[str] | None = None


class Method(ABC):
    """A paper's method. It chooses the two parts for a source and a target, and sets their initial values.

    Attributes:
        info: the paper.
        Options: the dataclass of the options that a user may choose.
        problem_types: the problems that the method can be trained for, as in `Target.problem_type`.
        training: the paper's `TrainingArguments` by name.
        tuned: those that we change where omega starts from a probe, in units that suit every source.
        paper: the options that preset="paper" sets.
        soft_start: whether omega's start as a probe is made soft before training. That helps an input transform of many numbers
            and a classification of few labels (`hf_reprogram.mappings.linear_fit.softness`).
        tune: the parts of the source that the method trains too, where the source has them (`hf_reprogram.sources.tuning`).
        gradients: how theta's gradient is estimated (`hf_reprogram.gradients`); by default it is exact where it can be.
        searched: values of options that a recipe with `method: auto` tries, the default first.

    >>> from hf_reprogram.methods.warp import Warp
    >>> Warp(Warp.Options(num_prompts=4)).arguments()["learning_rate"]
    0.01
    >>> Warp(Warp.read_options({"preset": "paper"}, "option of warp")).arguments()["learning_rate"]
    0.001
    """

    info: ClassVar[MethodInfo]
    Options: ClassVar[type[Any]]
    problem_types: ClassVar[tuple[str, ...]] = ("single_label_classification", "regression")
    training: ClassVar[dict[str, Any]] = {}
    tuned: ClassVar[dict[str, Any]] = {}
    paper: ClassVar[dict[str, Any]] = {}
    soft_start: ClassVar[bool] = False
    tune: ClassVar[tuple[str, ...]] = ()
    gradients: ClassVar[dict[str, dict[str, Any]]] = {}
    searched: ClassVar[dict[str, tuple[Any, ...]]] = {}

    def __init__(self, options: Any):
        self.options = options

    @classmethod
    def read_options(cls, given: Mapping[str, Any], where: str) -> Any:
        """The method's options from plain data. A preset sets those that are not given.

        Args:
            given: options by name.
            where: the name of this set of options in an error message, such as "option of warp".

        Raises:
            InputError: an option is unknown or cannot be used.

        >>> from hf_reprogram.methods.warp import Warp
        >>> Warp.read_options({"preset": "paper"}, "option of warp").start
        'none'
        """
        preset = given.get("preset") if isinstance(given, Mapping) else None
        if preset not in (None, "paper"):
            raise unknown("preset", preset, ("paper",))
        return from_dict(cls.Options, {"start": "none", **cls.paper, **given} if preset else given, where)

    def alternatives(self, spec: SourceSpec, problem_type: str) -> list[list[dict[str, Any]]]:
        """Options that a recipe chooses on validation if its user gives none of them.

        Args:
            spec: the source.
            problem_type: as in `Target.problem_type`.

        Returns:
            Groups of choices, each of which is a dictionary of options. A recipe tries every combination of one choice per
            group. The first of a group is the method's own.
        """
        return []

    def started(self, mapping: dict[str, Any]) -> dict[str, Any]:
        """An output mapping as plain data, with its start.

        Raises:
            InputError: the mapping has no such start.
        """
        kind = MAPPINGS[mapping["type"]]
        own = mapping.pop("start", kind.starts[0])
        start = own if self.options.start is None else self.options.start
        if start == "none" and kind.starts == ("map",):  # the paper's own map
            return mapping
        if start not in kind.starts:
            raise InputError(
                f"start is {start!r}, and omega is a mapping {mapping['type']!r}, which starts from "
                f"{' or '.join(map(repr, kind.starts))}: choose one of these, or another mapping."
            )
        if not hasattr(kind.Options, "start") or start == "none":
            return mapping
        soft = {"soft": True} if start == "probe" and self.soft_start and hasattr(kind.Options, "soft") else {}
        return {**mapping, "start": start, **soft}

    def arguments(self) -> dict[str, Any]:
        """The `TrainingArguments` for these options: the paper's, changed by `tuned` unless start="none"."""
        return {**self.training, **({} if self.options.start == "none" else self.tuned)}

    @abstractmethod
    def compose(self, source: Source, processor: Any, target: Target) -> Parts:
        """The two parts and the processor for a target.

        Args:
            source: the frozen source.
            processor: the source's own processor, such as its tokenizer; None if it has none.
            target: the task.

        Raises:
            InputError: the method does not fit the source or the target.
        """

    @abstractmethod
    def initialize(self, model: Any, processor: Any) -> None:
        """Set the initial theta and omega of a new model.

        Args:
            model: the `ReprogrammedModel`, which is changed.
            processor: the processor that `compose` returned.
        """
