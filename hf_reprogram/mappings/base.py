"""The interface of an output mapping."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..losses import target_loss
from ..sources.base import Source, SourceSpec
from ..sources.probe import Lines, Probe
from .target_scale import TargetScale


class Reader(Protocol):
    """A function that reads one output of the source for a set of data, through the input transform in its current state.

    >>> def read(reads: str, most: int | None = None):
    ...     return torch.zeros(3, 32), torch.tensor([0, 1, 1])
    >>> read("features")[0].shape
    torch.Size([3, 32])
    """

    def __call__(self, reads: str, most: int | None = None) -> tuple[Tensor, Tensor]:
        """The outputs and the labels, on the CPU.

        Args:
            reads: the name of the output, such as "features".
            most: read at most this many examples, which are drawn at random; None for all.

        Returns:
            Outputs (n, width) and labels (n,) or (n, labels). "tokens" gives (n, tokens, width) with zeros at padding, and
            labels (n, tokens) with `IGNORE` there if there is one label per token.
        """
        raise NotImplementedError  # pragma: no cover - the interface


class OutputMapping(nn.Module):
    """Turns one output of the source into logits over the target's labels. Its parameters are omega.

    A mapping is built from its options alone, a dataclass of plain data that the subclass names in `Options`. So the
    `config.json` of a checkpoint rebuilds it.

    Attributes:
        reads: the name of the source's output that the mapping needs (`hf_reprogram.sources.base`).
        starts: the ways in which omega can start before training, the default first: "probe", "map" or "none".
        row_per_class: whether row i of each parameter belongs to class i, so that another adapter can start from single rows.
        target: the mean and deviation of a regression's target; None for other problems.

    >>> from .dense import Dense, DenseOptions
    >>> mapping = Dense(DenseOptions(num_labels=2, width=32))
    >>> mapping.check(text_source.spec)  # raises if the source's features are not 32 wide
    >>> mapping(torch.zeros(5, 32), text_source).shape
    torch.Size([5, 2])
    """

    Options: ClassVar[type]
    starts: ClassVar[tuple[str, ...]] = ("none",)
    row_per_class: ClassVar[bool] = True

    started: Tensor  # 0 before omega has started, then its softness, and 1 once that is applied
    softness: float = 1.0  # of the start, see `hf_reprogram.mappings.linear_fit.softness`

    def __init__(self, options: Any) -> None:
        super().__init__()
        self.options = options
        self.target: TargetScale | None = None
        if getattr(options, "start", "none") != "none":
            self.register_buffer("started", torch.tensor(0.0))
        self._known_started = False  # avoids a wait for the GPU at every step

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

    def skip_start(self) -> None:
        """Train omega as it is; a start that is not fitted is left out."""
        if not self.has_started():
            self.started.fill_(1.0)

    def has_started(self) -> bool:
        """Whether omega is where training begins: its start is fitted, or is "none"."""
        if not self._known_started:
            self._known_started = "started" not in self._buffers or bool(self.started)
        return self._known_started

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._known_started = False
        super()._load_from_state_dict(*args, **kwargs)

    def begin(self, read: Reader, validation: Reader | None, problem_type: str | None, source: Source) -> None:
        """Fit the start of omega, unless that is done. `hf_reprogram.schedule.begin_epoch` calls this after `begin_epoch`.

        Args:
            read: as for `begin_epoch`.
            validation: the same for the validation data; None if there are none.
            problem_type: as in a transformers config.
            source: the frozen source.
        """
        if not self.has_started():
            self.fit_start(read, validation, problem_type, source)
            self.started.fill_(self.softness)

    @torch.no_grad()
    def soften(self) -> None:
        """Make the start soft before the first step of training. `hf_reprogram.schedule.begin_epoch` calls this."""
        if "started" in self._buffers and 0 < (factor := float(self.started)) < 1:
            for parameter in self.softened():
                parameter.mul_(factor)
            self.started.fill_(1.0)

    def softened(self) -> Iterable[Tensor]:
        """The weights that a factor of all logits scales."""
        return ()

    def fit_start(self, read: Reader, validation: Reader | None, problem_type: str | None, source: Source) -> None:
        """Fit the start of omega that the options name; see `begin` for the arguments."""
        raise NotImplementedError  # pragma: no cover - a mapping with more than one start has its own

    def check_state(self, spec: SourceSpec) -> None:
        """Raise `InputError` if a number that was loaded points at something that does not exist; called after loading."""

    def begin_epoch(self, epoch: float, read: Reader, source: Source) -> None:
        """Prepare an epoch of training. `hf_reprogram.schedule.Schedule` calls this before each one.

        Args:
            epoch: the number of epochs that are finished.
            read: reads the training data. A call is a whole pass over the data, so call it only where it is needed.
            source: the frozen source.
        """

    def affine(self) -> tuple[Tensor, Tensor] | None:
        """W (labels, width) and b (labels,), if the logits are `W x + b` of the output x; None if they are not."""
        return None

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
