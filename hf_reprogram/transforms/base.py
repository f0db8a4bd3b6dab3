"""The interface of an input transform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from torch import Tensor, nn

from ..errors import InputError
from ..first_batch import FirstBatch
from ..sources.base import Source, SourceSpec
from ..sources.probe import Example, Lines, Probe
from .drawing import Drawing, HeatMap, Views

T = TypeVar("T")


class InputTransform(nn.Module):
    """Turns a batch of the target's data into inputs of the source. Its parameters are theta.

    A transform is built from its options alone, a dataclass of plain data that the subclass names in `Options`. So the
    `config.json` of a checkpoint rebuilds it. All parameters are zero at first. The method sets their initial values.

    Attributes:
        takes: the column of a batch that holds the target's data (`hf_reprogram.modalities.base.Modality.takes`).
        transient: the names of state-dict entries that are present in some phases of training only.
        per_token: whether theta has entries for single tokens of the adapter's own tokenizer.
        drawing: the name of the picture that `picture` returns, as a part of a sentence; empty if there is none.
        num_prompts: the number of trained vectors that take up positions in addition to the text's tokens.

    >>> from .prompt_slots import PromptSlots, PromptSlotsOptions
    >>> transform = PromptSlots(PromptSlotsOptions("2 $A $B", width=32, first_slot_id=112))
    >>> transform.check(text_source.spec)  # raises if the source's embeddings are not 32 wide
    >>> transform({"input_ids": torch.tensor([[2, 112, 113, 64, 3]])}, text_source)["inputs_embeds"].shape
    torch.Size([1, 5, 32])
    """

    Options: ClassVar[type]
    takes: ClassVar[str] = "input_ids"
    transient: ClassVar[tuple[str, ...]] = ()
    per_token: ClassVar[bool] = False
    drawing: ClassVar[str] = ""
    num_prompts: int = 0

    def __init__(self, options: Any) -> None:
        super().__init__()
        self.options = options
        self._first = FirstBatch()

    def check(self, spec: SourceSpec) -> None:
        """Raise `InputError` if this transform does not fit a source. The model calls this once, before any training."""

    def check_state(self, spec: SourceSpec) -> None:
        """Raise `InputError` if a number that was loaded points at something that does not exist; called after loading."""

    def start_from(self, other: InputTransform) -> None:
        """Copy theta and all buffers from a trained transform of the same kind and size.

        Raises:
            InputError: the parameters or buffers differ in name or shape.
        """
        theirs, ours = other.state_dict(), self.state_dict()
        for name in sorted({*theirs, *ours}):
            if name in self.transient and (name in theirs) != (name in ours):
                continue
            if name not in theirs or name not in ours or theirs[name].shape != ours[name].shape:
                raise InputError(
                    f"The input transform to start from differs in {name!r}, {_shape(theirs, name)} there and "
                    f"{_shape(ours, name)} here: use the same options, such as as many prompts."
                )
        self.load_state_dict({name: value for name, value in theirs.items() if name in ours}, strict=False)

    def fit(self, features: np.ndarray) -> None:
        """Fit the buffers of a transform of tables to the training rows (n, columns)."""
        raise InputError(f"The transform {type(self).__name__} does not take tables: leave features out.")

    def target_scale(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        """The mean and the deviation (batch, 1) in whose units the mapping predicts the numbers of each example of a batch.

        None stands for those of the training targets. A forecast is made in the units of the series that it goes on from.
        """
        return None

    def token_rows(self, source: Source) -> Tensor | None:
        """The vector (ids, width) of each id of the adapter's tokenizer, if it depends on the id alone; else None.

        With such rows in its embedding table, the source takes the adapter's tokens by itself.
        """
        return None

    def penalty(self) -> Tensor | float:
        """The term that training adds to the loss, such as the paper's own weight decay."""
        return 0.0

    def check_batch(self, batch: dict[str, Tensor]) -> None:
        """Raise `InputError` if the values of a batch cannot come from the adapter's own processor.

        Args:
            batch: as for `forward`. `forward` calls this through `check_first`.
        """

    def check_first(self, batch: dict[str, Tensor]) -> None:
        """Call `check_batch` where reading values costs nothing; see `hf_reprogram.first_batch`."""
        if self._first.due(self, batch[self.takes]):
            self.check_batch(batch)

    def scheduled(self) -> list[str]:
        """The options of this transform that change it in the course of training, through the three methods below."""
        return []

    def begin_epoch(self, epoch: float) -> None:
        """Prepare an epoch of training; `epoch` is the number of epochs that are finished.

        `hf_reprogram.schedule.Schedule` calls this, `end_epoch` and `end_training`.
        """

    def end_epoch(self, source: Source) -> None:
        """Finish an epoch of training, before validation and checkpoints."""

    def end_training(self, source: Source) -> None:
        """Finish training, after the best checkpoint is loaded. This may change `options`."""

    # ------------------------------------------------------------------------------------------------- inspection

    def inspect(self, probe: Probe) -> dict[str, Any]:
        """Describe this transform as plain data that JSON can hold; empty by default."""
        return {}

    def lines(self, description: dict[str, Any]) -> Lines:
        """The description as lines for a terminal.

        Args:
            description: the description of the whole adapter, with the keys that `inspect` returned.
        """
        return Lines()

    def picture(self, probe: Probe) -> Views | HeatMap | Drawing | None:
        """The picture of this transform, which `drawing` names; None if there is nothing to draw."""
        return None

    def default_example(self, processor: Any) -> Example | None:
        """The input on which the transform is shown by default; None if it is not shown on an input."""
        return None

    def read_example(self, processor: Any, text: str) -> Example:
        """The input that a user typed on the command line: the path of an image, numbers, or a text.

        Raises:
            InputError: the transform is not shown on an input, or the text is not an input of this kind.
        """
        raise InputError(f"The input transform {type(self).__name__} is not shown on an example: leave it out.")

    def forward(self, batch: dict[str, Tensor], source: Source) -> dict[str, Any]:
        """The source's inputs by name, from the columns of a batch.

        Args:
            batch: the arguments of the model's `forward` that are not None; the column `takes` is among them.
            source: the frozen source.
        """
        raise NotImplementedError  # pragma: no cover - the interface


@runtime_checkable
class TokenTable(Protocol):
    """A transform that looks up one vector per token of the target.

    >>> from .vocabulary import Vocabulary, VocabularyOptions
    >>> isinstance(Vocabulary(VocabularyOptions(num_tokens=4, width=32)), TokenTable)
    True
    """

    def folded(self, source: Source) -> Tensor:
        """The vectors (rows, width): one row per id of the target's tokenizer, or per window of several ids."""

    def row_ids(self, ids: Tensor) -> Tensor:
        """The row index of every position (batch, tokens), from token ids (batch, tokens)."""


class ParameterCache(Generic[T]):
    """Caches a value that a module computes from its parameters alone.

    The step of a fused optimizer does not change a tensor's version. So a module calls `forget` whenever gradients flow. The
    replicas of `torch.nn.DataParallel` share this object: they may call `forget`, but never store a value.

    >>> cache: ParameterCache[Tensor] = ParameterCache()
    >>> module = nn.Linear(2, 2)
    >>> first = cache.get(module, key=0, compute=lambda: module.weight.detach() * 2)
    >>> cache.get(module, key=0, compute=lambda: module.weight.detach() * 2) is first
    True
    """

    def __init__(self) -> None:
        self._entry: tuple[Any, T] | None = None

    def forget(self) -> None:
        """Drop the value, so that the next call of `get` computes it again."""
        self._entry = None

    def get(self, owner: nn.Module, key: Any, compute: Callable[[], T]) -> T:
        """The cached value if its key is `key`, else a new one.

        Args:
            owner: the module that owns the parameters.
            key: a value that changes whenever the result of `compute` does.
            compute: the computation.
        """
        if getattr(owner, "_is_replica", False):
            return compute()
        if self._entry is None or self._entry[0] != key:
            self._entry = (key, compute())
        return self._entry[1]


def check_same_options(ours: Any, theirs: Any, but: tuple[str, ...] = ()) -> None:
    """Raise `InputError` if any option of two transforms differs, except for those named in `but`.

    >>> from .prompt_slots import PromptSlotsOptions
    >>> ours, theirs = (PromptSlotsOptions("2 $A $B", width=32, first_slot_id=slot) for slot in (112, 113))
    >>> check_same_options(ours, theirs, but=("first_slot_id",))
    """
    for name, value in asdict(ours).items():
        if name not in but and asdict(theirs)[name] != value:
            raise InputError(
                f"The input transform to start from has {name}={asdict(theirs)[name]!r}, and this one has {value!r}: use the "
                "same options, since the same numbers mean something else otherwise."
            )


def _shape(state: dict[str, Tensor], name: str) -> str:
    return " x ".join(map(str, state[name].shape)) if name in state else "missing"
