"""The interface of an output mapping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from ..errors import InputError
from ..losses import target_loss
from ..sources.base import Source, SourceSpec
from ..sources.probe import Lines, Probe
from .target_scale import TargetScale


class OutputMapping(nn.Module):
    """Turns one output of the source into logits over the target's labels. Its parameters are omega.

    A mapping is built from its options alone, a dataclass of plain data that the subclass names in `Options`. So the
    `config.json` of a checkpoint rebuilds it.

    Attributes:
        reads: the name of the source's output that the mapping needs (`hf_reprogram.sources.base`).
        row_per_class: whether row i of each parameter belongs to class i, so that another adapter can start from single rows.
        target: the mean and deviation of a regression's target; None for other problems.

    >>> from .dense import Dense, DenseOptions
    >>> mapping = Dense(DenseOptions(num_labels=2, width=32))
    >>> mapping.check(text_source.spec)  # raises if the source's features are not 32 wide
    >>> mapping(torch.zeros(5, 32), text_source).shape
    torch.Size([5, 2])
    """

    Options: ClassVar[type]
    row_per_class: ClassVar[bool] = True

    def __init__(self, options: Any) -> None:
        super().__init__()
        self.options = options
        self.target: TargetScale | None = None

    @property
    def reads(self) -> str:
        """The name of the source's output that the mapping needs (`hf_reprogram.sources.base`)."""
        reads: str = self.options.reads
        return reads

    def check(self, spec: SourceSpec) -> None:
        """Raise `InputError` if the source lacks the output that this mapping reads, or if the widths differ."""
        if self.reads not in spec.widths:
            raise InputError(
                f"The mapping reads {self.reads!r}, which the {spec.kind} source does not have: choose one of "
                f"{', '.join(sorted(spec.widths))}."
            )
        if spec.widths[self.reads] != self.options.width:
            raise InputError(
                f"The mapping reads vectors {self.options.width} wide, but the source's are {spec.widths[self.reads]} wide: "
                "this adapter belongs to another source."
            )

    def scheduled(self) -> list[str]:
        """The options of this mapping that `begin_epoch` must carry out before the mapping can be trained."""
        return []

    def check_state(self, spec: SourceSpec) -> None:
        """Raise `InputError` if a number that was loaded points at something that does not exist; called after loading."""

    def begin_epoch(self, epoch: float, read: Callable[[str], tuple[Tensor, Tensor]], source: Source) -> None:
        """Prepare an epoch of training. `hf_reprogram.schedule.Schedule` calls this before each one.

        Args:
            epoch: the number of epochs that are finished.
            read: `read("logits")` returns the source's outputs (n, width) for the training data, through the input transform
                in its current state, and the labels (n,). With one label per token, n counts the scored tokens. A call is
                a whole pass over the data, so call it only where it is needed.
            source: the frozen source.
        """

    def inspect(self, probe: Probe) -> dict[str, Any]:
        """Describe this mapping as plain data that JSON can hold; empty by default."""
        return {}

    def lines(self, description: dict[str, Any]) -> Lines:
        """The description as lines for a terminal.

        Args:
            description: the description of the whole adapter, with the keys that `inspect` returned.
        """
        return Lines()

    def forward(self, outputs: Tensor, source: Source) -> Tensor:
        """Logits (batch, labels), or (batch, tokens, labels) with one label per token.

        Args:
            outputs: the output that the mapping `reads`, (batch, width) or (batch, tokens, width).
            source: the frozen source, for mappings that use its output weights.
        """
        raise NotImplementedError  # pragma: no cover - the interface

    def loss(self, logits: Tensor, labels: Tensor, problem_type: str | None) -> Tensor:
        """The mean loss of a batch; by default `hf_reprogram.losses.target_loss`."""
        return target_loss(logits, labels, problem_type)


@runtime_checkable
class Blends(Protocol):
    """A mapping that can blend the output of the untouched source with that of the reprogrammed one.

    >>> from .similarity import Similarity, SimilarityOptions
    >>> isinstance(Similarity(SimilarityOptions(num_labels=2, width=24)), Blends)
    True
    """

    @property
    def residual(self) -> bool:
        """Whether the mapping ever reads the output of the untouched source."""

    def alpha(self) -> Tensor | float:
        """The share of the untouched source in the blend, from 0 to 1."""

    def set_alpha(self, alpha: Tensor | float) -> None:
        """Set the share of the untouched source; raises `InputError` if the share is trained."""
