"""The interface of an output mapping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from ..errors import InputError
from ..losses import target_loss
from ..sources.base import Source, SourceSpec
from ..sources.probe import Lines, Probe


class OutputMapping(nn.Module):
    """Turns what it `reads` of the source into logits over the target's labels. Its parameters are omega.

    As for a transform, `Options` is a dataclass of plain data and is all that a mapping is built from.
    """

    Options: ClassVar[type]
    row_per_class: ClassVar[bool] = True  # whether a parameter with a row per class may be taken over row by row

    def __init__(self, options: Any) -> None:
        super().__init__()
        self.options = options

    @property
    def reads(self) -> str:
        """Which output of the source it needs; see `hf_reprogram.sources.base`."""
        reads: str = self.options.reads
        return reads

    def check(self, spec: SourceSpec) -> None:
        """Raise `InputError` if the source does not offer what this mapping reads, or offers it in another width."""
        if self.reads not in spec.widths:
            raise InputError(
                f"The mapping reads {self.reads!r}, which a {spec.kind} source does not offer: choose one of "
                f"{', '.join(sorted(spec.widths))}."
            )
        if spec.widths[self.reads] != self.options.width:
            raise InputError(
                f"The mapping reads vectors {self.options.width} wide, but the source's are {spec.widths[self.reads]} wide: "
                "this adapter belongs to another source."
            )

    def begin_epoch(self, epoch: float, read: Callable[[str], tuple[Tensor, Tensor]], source: Source) -> None:
        """Called before an epoch of training, with how many are done; by `hf_reprogram.training.callbacks.Schedule`.

        Args:
            epoch: epochs that are done.
            read: `read("logits")` gives the source's outputs (n, width) for the training data, through the input transform
                as it is now, and their labels (n,); with a label a token, those of the scored tokens. It is a pass over the
                data: call it only where it is needed.
            source: the frozen source.
        """

    def inspect(self, probe: Probe) -> dict[str, Any]:
        """What there is to tell of this mapping, as plain data that JSON can hold; nothing by default."""
        return {}

    def lines(self, found: dict[str, Any]) -> Lines:
        """The same as lines for a terminal.

        Args:
            found: what `inspect` returned, among what is known of the whole adapter.
        """
        return Lines()

    def forward(self, outputs: Tensor, source: Source) -> Tensor:
        """Logits (batch, labels), or (batch, tokens, labels), from the source's outputs.

        The source is at hand for mappings that stand on its own output weights; most need only `outputs`.
        """
        raise NotImplementedError  # pragma: no cover - the interface

    def loss(self, logits: Tensor, labels: Tensor, problem_type: str | None) -> Tensor:
        """The mean loss of a batch; by default that of `hf_reprogram.losses` for the kind of problem."""
        return target_loss(logits, labels, problem_type)


@runtime_checkable
class Blends(Protocol):
    """A mapping that blends the answer of the untouched source in, with the share `alpha`."""

    @property
    def residual(self) -> bool:
        """Whether the untouched source's answer is ever read."""

    def alpha(self) -> Tensor | float:
        """The share in use, 0 to 1."""

    def set_alpha(self, alpha: Tensor | float) -> None:
        """Blend with another share from now on; `InputError` if the share is trained."""
