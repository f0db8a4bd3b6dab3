"""What a method is: a paper's choice of input transform, output mapping and defaults."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from ..sources.base import Source


@dataclass(frozen=True)
class MethodInfo:
    """The paper behind a method, as shown in the table of methods and in model cards.

    Attributes:
        title, authors, year, arxiv: the paper.
        source: what kind of frozen model it takes.
        transform, mapping: names in the registries.
        differs: what this implementation does differently, and why; empty if nothing.
        pipeline_tag: the task as the Hub names it.
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


@dataclass
class Parts:
    """What a method composes: options of the two parts and the processor of the target's data."""

    transform: dict[str, Any]
    mapping: dict[str, Any]
    processor: Any


class Method(ABC):
    """A paper. `Options` is a dataclass of what a user may choose; `training` the paper's `TrainingArguments`."""

    info: ClassVar[MethodInfo]
    Options: ClassVar[type]
    training: ClassVar[dict[str, Any]] = {}

    def __init__(self, options: Any):
        self.options = options

    def arguments(self) -> dict[str, Any]:
        """The paper's `TrainingArguments` for these options."""
        return dict(self.training)

    @abstractmethod
    def compose(self, source: Source, processor: Any, num_labels: int) -> Parts:
        """The two parts for a source, and the processor for the target's data."""

    @abstractmethod
    def initialize(self, model: Any, processor: Any) -> None:
        """Set theta and omega of a new model."""
