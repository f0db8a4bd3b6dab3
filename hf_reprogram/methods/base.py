"""What a method is: a paper's choice of input transform, output mapping and defaults."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..sources.base import Source


@dataclass(frozen=True)
class MethodInfo:
    """The paper behind a method, as shown in the table of methods and in model cards.

    Attributes:
        title, authors, year: the paper.
        arxiv: its number there; empty if it is not there.
        source: what kind of frozen model it takes.
        transform, mapping: names in the registries.
        differs: what this implementation does differently, and why; empty if nothing.
        pipeline_tag: the task as the Hub names it.
        venue: where it was published, for a paper that is not on arXiv.
        label: what to call the method in a table or a title.
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
        """Where to find the paper, in words."""
        return f"arXiv:{self.arxiv}" if self.arxiv else self.venue


@dataclass(frozen=True)
class Target:
    """What is to be learned.

    Attributes:
        num_labels: outputs: classes, labels, 1 for a number, 0 where the processor's vocabulary decides (infilling).
        problem_type: "single_label_classification", "regression", "multi_label_classification", "token_classification"
            or "infilling".
        texts: training texts, for methods that take a vocabulary from them.
        features: training rows (n, features) of a table, for methods that draw them.
        labels: names of the classes.
    """

    num_labels: int
    problem_type: str = "single_label_classification"
    texts: Sequence[str] | None = None
    features: Any = None
    labels: Sequence[str] = ()

    @property
    def per_token(self) -> bool:
        """Whether there is a label a token."""
        return self.problem_type in ("token_classification", "infilling")


@dataclass
class Parts:
    """What a method composes.

    Attributes:
        transform, mapping: `{"type": name, **options}` of the two parts.
        processor: of the target's data.
        labels: names of the outputs, where the processor decides them.
    """

    transform: dict[str, Any]
    mapping: dict[str, Any]
    processor: Any
    labels: list[str] | None = None


class Method(ABC):
    """A paper.

    `Options` is a dataclass of what a user may choose, `training` the paper's `TrainingArguments`, and `problem_types`
    what it can be trained for.
    """

    info: ClassVar[MethodInfo]
    Options: ClassVar[type[Any]]
    problem_types: ClassVar[tuple[str, ...]] = ("single_label_classification", "regression")
    training: ClassVar[dict[str, Any]] = {}

    def __init__(self, options: Any):
        self.options = options

    def arguments(self) -> dict[str, Any]:
        """The paper's `TrainingArguments` for these options."""
        return dict(self.training)

    @abstractmethod
    def compose(self, source: Source, processor: Any, target: Target) -> Parts:
        """The two parts for a source with its processor, and the processor for the target's data."""

    @abstractmethod
    def initialize(self, model: Any, processor: Any) -> None:
        """Set theta and omega of a new model."""
