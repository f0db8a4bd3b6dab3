"""The interface of an input transform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from torch import Tensor, nn

from ..errors import InputError
from ..sources.base import Source, SourceSpec
from ..sources.probe import Example, Lines, Probe
from .drawing import Drawing, HeatMap, Views

T = TypeVar("T")


class InputTransform(nn.Module):
    """Turns a batch of the target's data into inputs of the source. Its parameters are theta, and nothing else.

    A subclass names a dataclass of its options in `Options`; it is built from them alone, so that a checkpoint's
    `config.json` rebuilds it, and starts at zero: whoever creates a new model sets the initial values.
    """

    Options: ClassVar[type]
    takes: ClassVar[str] = "input_ids"  # the column of a batch that holds the target's data
    passing: ClassVar[tuple[str, ...]] = ()  # names in the state that only some phases of training have
    per_token: ClassVar[bool] = False  # whether theta stands for the tokens of the adapter's own tokenizer, one by one
    drawing: ClassVar[str] = ""  # what `picture` draws, as a part of a sentence; empty for nothing
    num_prompts: int = 0  # trained vectors that take places beside the text's tokens

    def __init__(self, options: Any) -> None:
        super().__init__()
        self.options = options

    def check(self, spec: SourceSpec) -> None:
        """Raise `InputError` if this transform does not fit a source; called once, before any training."""

    def start_from(self, other: InputTransform) -> None:
        """Take over theta, and what it stands on, from a trained transform of the same kind and size.

        Raises:
            InputError: the two differ in what they hold.
        """
        theirs, ours = other.state_dict(), self.state_dict()
        for name in sorted({*theirs, *ours}):
            if name in self.passing and (name in theirs) != (name in ours):
                continue
            if name not in theirs or name not in ours or theirs[name].shape != ours[name].shape:
                raise InputError(
                    f"The input transform to start from differs in {name!r}, {_shape(theirs, name)} there and "
                    f"{_shape(ours, name)} here: use the same options, such as as many prompts."
                )
        self.load_state_dict({name: value for name, value in theirs.items() if name in ours}, strict=False)

    def fit(self, features: np.ndarray) -> None:
        """Take from the training rows (n, features) of a table what this transform needs to know of them."""
        raise InputError(f"{type(self).__name__} takes no tables: leave features out.")

    def penalty(self) -> Tensor | float:
        """What training adds to the loss, such as a weight decay of the paper's own."""
        return 0.0

    def begin_epoch(self, epoch: float) -> None:
        """Called before an epoch of training, with how many are done; by `hf_reprogram.training.callbacks.Schedule`."""

    def end_epoch(self, source: Source) -> None:
        """Called after an epoch, before validation and checkpoints."""

    def end_training(self, source: Source) -> None:
        """Called when training has ended and the best checkpoint is loaded; may change `options`."""

    # ------------------------------------------------------------------------------------------------- inspection

    def inspect(self, probe: Probe) -> dict[str, Any]:
        """What there is to tell of this transform, as plain data that JSON can hold; nothing by default."""
        return {}

    def lines(self, found: dict[str, Any]) -> Lines:
        """The same as lines for a terminal.

        Args:
            found: what `inspect` returned, among what is known of the whole adapter.
        """
        return Lines()

    def picture(self, probe: Probe) -> Views | HeatMap | Drawing | None:
        """What there is to draw of this transform, which `drawing` names; None for nothing."""
        return None

    def default_example(self, processor: Any) -> Example | None:
        """The input that this transform is shown on where none is given; None if it is shown on none."""
        return None

    def read_example(self, processor: Any, given: str) -> Example:
        """The input that is written on a command line.

        Raises:
            InputError: the transform is shown on no input, or not on this one.
        """
        raise InputError(f"An example shows nothing of the input transform {type(self).__name__}: leave it out.")

    def forward(self, batch: dict[str, Tensor], source: Source) -> dict[str, Any]:
        """The source's inputs for `batch`, the columns that the model's `forward` was given."""
        raise NotImplementedError  # pragma: no cover - the interface


@runtime_checkable
class TokenTable(Protocol):
    """A transform that looks up a vector for every token of the target."""

    def folded(self, source: Source) -> Tensor:
        """The vectors (rows, width), for every id of the target's tokenizer and more where rows stand for several tokens."""

    def row_ids(self, ids: Tensor) -> Tensor:
        """The row of every position (batch, tokens) of token ids (batch, tokens)."""


class Kept(Generic[T]):
    """What a module makes of its parameters alone, kept while they stay the same.

    A fused optimizer's step leaves no trace in a tensor's version, so a module forgets wherever gradients flow. The copies
    that `torch.nn.DataParallel` makes of it for one call share this object: what they train it forgets, and they keep nothing.
    """

    def __init__(self) -> None:
        self._found: tuple[Any, T] | None = None

    def forget(self) -> None:
        """Make it anew the next time."""
        self._found = None

    def get(self, owner: nn.Module, key: Any, make: Callable[[], T]) -> T:
        """What `make` gives, or gave for the same key.

        Args:
            owner: the module that asks.
            key: equal as long as everything is the same that `make` depends on.
            make: the computation.
        """
        if getattr(owner, "_is_replica", False):
            return make()
        if self._found is None or self._found[0] != key:
            self._found = (key, make())
        return self._found[1]


def check_same_options(ours: Any, theirs: Any, but: tuple[str, ...] = ()) -> None:
    """Raise `InputError` if two transforms' options say different things of the same numbers; those of `but` say nothing."""
    for name, value in asdict(ours).items():
        if name not in but and asdict(theirs)[name] != value:
            raise InputError(
                f"The input transform to start from has {name}={asdict(theirs)[name]!r}, and this one {value!r}: its numbers "
                "mean something else there; use the same options."
            )


def _shape(state: dict[str, Tensor], name: str) -> str:
    return " x ".join(map(str, state[name].shape)) if name in state else "missing"
