"""The types of the options of `reprogram`, by method, for editors and type checkers; never imported at run time.

`python tools/option_types.py` writes this file: change the `Options` of a method, then run it.
"""

from __future__ import annotations

import os
from typing import Any, Literal, Protocol, TypedDict, Unpack, overload

from torch import nn

from ..model import ReprogrammedModel


class CommonOptions(TypedDict, total=False):
    """The options of every method."""

    problem_type: str
    texts: Any
    features: Any
    processor: Any
    source_kind: str | None
    source_kwargs: dict[str, Any] | None
    init_from: str | os.PathLike[str] | None
    tune: Any
    gradients: Any


class ARSCROptions(CommonOptions, total=False):
    """The options of the method `ar_scr`."""

    preset: str | None
    start: str | None
    mapping: str
    label_mapping: str
    assignment: list[list[int | str]] | None
    labels_per_class: int | None
    aggregate: str | None
    reads: str
    domain: str
    dropout: float
    l2: float
    peak: bool


class BAROptions(CommonOptions, total=False):
    """The options of the method `bar`."""

    preset: str | None
    start: str | None
    mapping: str
    label_mapping: str
    assignment: list[list[int | str]] | None
    labels_per_class: int | None
    aggregate: str | None
    reads: str
    image_size: int | list[int] | None
    place: str | list[int]
    copies: int
    learn_scale: bool
    mask: str | None
    border: int | None
    squash: str | None
    amplitude: float
    background: float
    l2: float
    cell: int | None
    focal: float


class BBTOptions(CommonOptions, total=False):
    """The options of the method `bbt`."""

    preset: str | None
    start: str | None
    num_prompts: int
    template: str | None
    prompt_init: str | None
    init_words: list[str]
    verbalizer: dict[str, str] | None
    reads: str | None
    deep: bool
    subspace: int | None


class BLMOptions(CommonOptions, total=False):
    """The options of the method `blm`."""

    preset: str | None
    start: str | None
    mapping: str
    label_mapping: str
    assignment: list[list[int | str]] | None
    labels_per_class: int | None
    aggregate: str | None
    reads: str
    image_size: int | list[int] | None
    place: str | list[int]
    copies: int
    learn_scale: bool
    mask: str | None
    border: int | None
    squash: str | None
    amplitude: float
    background: float
    l2: float
    cell: int | None


class CrossModalOptions(CommonOptions, total=False):
    """The options of the method `cross_modal`."""

    preset: str | None
    start: str | None
    mapping: str
    label_mapping: str
    assignment: list[list[int | str]] | None
    labels_per_class: int | None
    aggregate: str | None
    reads: str
    tokenizer: str
    max_vocabulary: int | None
    k: int
    alphabet: list[str] | None
    patch_size: int | None
    bounded: bool
    eps: float
    base_image: str | None
    l2: float


class ElsayedOptions(CommonOptions, total=False):
    """The options of the method `elsayed`."""

    preset: str | None
    start: str | None
    mapping: str
    label_mapping: str
    assignment: list[list[int | str]] | None
    labels_per_class: int | None
    aggregate: str | None
    reads: str
    image_size: int | list[int] | None
    place: str | list[int]
    copies: int
    learn_scale: bool
    mask: str | None
    border: int | None
    squash: str | None
    amplitude: float
    background: float
    l2: float
    cell: int | None


class FPTOptions(CommonOptions, total=False):
    """The options of the method `fpt`."""

    preset: str | None
    start: str | None
    image_size: int
    patch: int
    channels: int


class FPTNumbersOptions(CommonOptions, total=False):
    """The options of the method `fpt_numbers`."""

    preset: str | None
    start: str | None
    patch: int
    standardize: bool


class FraudOptions(CommonOptions, total=False):
    """The options of the method `fraud`."""

    preset: str | None
    start: str | None
    mapping: str
    label_mapping: str
    assignment: list[list[int | str]] | None
    labels_per_class: int | None
    aggregate: str | None
    reads: str
    side: int | None
    squash: str
    amplitude: float
    base: float
    base_image: str | None
    l2: float


class ILMVPOptions(CommonOptions, total=False):
    """The options of the method `ilm_vp`."""

    preset: str | None
    start: str | None
    mapping: str
    label_mapping: str
    assignment: list[list[int | str]] | None
    labels_per_class: int | None
    aggregate: str | None
    reads: str
    image_size: int | list[int] | None
    place: str | list[int]
    copies: int
    learn_scale: bool
    mask: str | None
    border: int | None
    squash: str | None
    amplitude: float
    background: float
    l2: float
    cell: int | None


class KloberdanzOptions(CommonOptions, total=False):
    """The options of the method `kloberdanz`."""

    preset: str | None
    start: str | None
    mapping: str
    label_mapping: str
    assignment: list[list[int | str]] | None
    labels_per_class: int | None
    aggregate: str | None
    reads: str
    image_size: int | list[int] | None
    place: str | list[int]
    copies: int
    learn_scale: bool
    mask: str | None
    border: int | None
    squash: str | None
    amplitude: float
    background: float
    l2: float
    cell: int | None


class NeekharaOptions(CommonOptions, total=False):
    """The options of the method `neekhara`."""

    preset: str | None
    start: str | None
    tokenizer: str
    k: int
    alphabet: list[str] | None
    kernel_size: int
    temperature: tuple[float, float]
    temperature_epochs: int
    label_mapping: str
    labels_per_class: int | None


class ReprogrammerOptions(CommonOptions, total=False):
    """The options of the method `reprogrammer`."""

    preset: str | None
    start: str | None
    image_program: str
    border: int | None
    image_unit: float
    resolution: int | None
    text_program: str
    size: int | None
    templates: list[str]
    class_texts: list[str] | None
    alpha: float
    learn_alpha: bool
    loss: str


class ReprogBERTOptions(CommonOptions, total=False):
    """The options of the method `reprogbert`."""

    preset: str | None
    start: str | None
    tokenizer: str
    k: int
    alphabet: list[str] | None
    sparsity: int | None
    init: str
    warmup_epochs: int
    alternating: bool
    atoms: str
    num_atoms: int


class R2DLOptions(CommonOptions, total=False):
    """The options of the method `r2dl`."""

    preset: str | None
    start: str | None
    tokenizer: str
    k: int
    overlapping: bool
    alphabet: list[str] | None
    sparsity: int | None
    init: str
    warmup_epochs: int
    alternating: bool
    atoms: str
    num_atoms: int
    mapping: str
    context: int
    max_positions: int
    labels_per_class: int | None
    reads: str | None
    dropout: float
    standardize: bool | None


class SMMOptions(CommonOptions, total=False):
    """The options of the method `smm`."""

    preset: str | None
    start: str | None
    mapping: str
    label_mapping: str
    assignment: list[list[int | str]] | None
    labels_per_class: int | None
    aggregate: str | None
    reads: str
    layers: int | None
    poolings: int
    channels: int
    l2: float


class SPSAGCOptions(CommonOptions, total=False):
    """The options of the method `spsa_gc`."""

    preset: str | None
    start: str | None
    mapping: str
    label_mapping: str
    assignment: list[list[int | str]] | None
    labels_per_class: int | None
    aggregate: str | None
    reads: str
    image_size: int | list[int] | None
    place: str | list[int]
    copies: int
    learn_scale: bool
    mask: str | None
    border: int | None
    squash: str | None
    amplitude: float
    background: float
    l2: float
    cell: int | None


class TimeLLMOptions(CommonOptions, total=False):
    """The options of the method `time_llm`."""

    preset: str | None
    start: str | None
    patch: int
    stride: int
    d_model: int
    heads: int
    d_ff: int
    prototypes: int
    prototype_codes: str
    sparsity: int
    prompt: bool
    description: str
    use_source: bool
    dropout: float


class Voice2SeriesOptions(CommonOptions, total=False):
    """The options of the method `voice2series`."""

    preset: str | None
    start: str | None
    mapping: str
    label_mapping: str
    assignment: list[list[int | str]] | None
    labels_per_class: int | None
    aggregate: str | None
    reads: str
    domain: str
    dropout: float
    l2: float
    placing: str | None
    copies: int | None
    mask: str
    amplitude: float
    carrier: float
    learn_scale: bool
    standardize: bool


class WarpOptions(CommonOptions, total=False):
    """The options of the method `warp`."""

    preset: str | None
    start: str | None
    num_prompts: int
    template: str | None
    prompt_init: str | None
    init_words: list[str]
    verbalizer: dict[str, str] | None
    reads: str | None
    deep: bool
    subspace: int | None


class Reprogram(Protocol):
    """`hf_reprogram.reprogram`, with the options of each method of this package.

    A method of a third party, or one whose name is known only at run time, is not among them:
    call `hf_reprogram.methods.reprogramming.reprogram`, the same function, which takes any name and any options.
    """

    @overload
    def __call__(
        self,
        source: str | os.PathLike[str] | nn.Module,
        method: Literal["ar_scr"],
        labels: Any = None,
        **options: Unpack[ARSCROptions],
    ) -> tuple[ReprogrammedModel, Any]: ...

    @overload
    def __call__(
        self,
        source: str | os.PathLike[str] | nn.Module,
        method: Literal["bar"],
        labels: Any = None,
        **options: Unpack[BAROptions],
    ) -> tuple[ReprogrammedModel, Any]: ...

    @overload
    def __call__(
        self,
        source: str | os.PathLike[str] | nn.Module,
        method: Literal["bbt"],
        labels: Any = None,
        **options: Unpack[BBTOptions],
    ) -> tuple[ReprogrammedModel, Any]: ...

    @overload
    def __call__(
        self,
        source: str | os.PathLike[str] | nn.Module,
        method: Literal["blm"],
        labels: Any = None,
        **options: Unpack[BLMOptions],
    ) -> tuple[ReprogrammedModel, Any]: ...

    @overload
    def __call__(
        self,
        source: str | os.PathLike[str] | nn.Module,
        method: Literal["cross_modal"],
        labels: Any = None,
        **options: Unpack[CrossModalOptions],
    ) -> tuple[ReprogrammedModel, Any]: ...

    @overload
    def __call__(
        self,
        source: str | os.PathLike[str] | nn.Module,
        method: Literal["elsayed"],
        labels: Any = None,
        **options: Unpack[ElsayedOptions],
    ) -> tuple[ReprogrammedModel, Any]: ...

    @overload
    def __call__(
        self,
        source: str | os.PathLike[str] | nn.Module,
        method: Literal["fpt"],
        labels: Any = None,
        **options: Unpack[FPTOptions],
    ) -> tuple[ReprogrammedModel, Any]: ...

    @overload
    def __call__(
        self,
        source: str | os.PathLike[str] | nn.Module,
        method: Literal["fpt_numbers"],
        labels: Any = None,
        **options: Unpack[FPTNumbersOptions],
    ) -> tuple[ReprogrammedModel, Any]: ...

    @overload
    def __call__(
        self,
        source: str | os.PathLike[str] | nn.Module,
        method: Literal["fraud"],
        labels: Any = None,
        **options: Unpack[FraudOptions],
    ) -> tuple[ReprogrammedModel, Any]: ...

    @overload
    def __call__(
        self,
        source: str | os.PathLike[str] | nn.Module,
        method: Literal["ilm_vp"],
        labels: Any = None,
        **options: Unpack[ILMVPOptions],
    ) -> tuple[ReprogrammedModel, Any]: ...

    @overload
    def __call__(
        self,
        source: str | os.PathLike[str] | nn.Module,
        method: Literal["kloberdanz"],
        labels: Any = None,
        **options: Unpack[KloberdanzOptions],
    ) -> tuple[ReprogrammedModel, Any]: ...

    @overload
    def __call__(
        self,
        source: str | os.PathLike[str] | nn.Module,
        method: Literal["neekhara"],
        labels: Any = None,
        **options: Unpack[NeekharaOptions],
    ) -> tuple[ReprogrammedModel, Any]: ...

    @overload
    def __call__(
        self,
        source: str | os.PathLike[str] | nn.Module,
        method: Literal["reprogrammer"],
        labels: Any = None,
        **options: Unpack[ReprogrammerOptions],
    ) -> tuple[ReprogrammedModel, Any]: ...

    @overload
    def __call__(
        self,
        source: str | os.PathLike[str] | nn.Module,
        method: Literal["reprogbert"],
        labels: Any = None,
        **options: Unpack[ReprogBERTOptions],
    ) -> tuple[ReprogrammedModel, Any]: ...

    @overload
    def __call__(
        self,
        source: str | os.PathLike[str] | nn.Module,
        method: Literal["r2dl"],
        labels: Any = None,
        **options: Unpack[R2DLOptions],
    ) -> tuple[ReprogrammedModel, Any]: ...

    @overload
    def __call__(
        self,
        source: str | os.PathLike[str] | nn.Module,
        method: Literal["smm"],
        labels: Any = None,
        **options: Unpack[SMMOptions],
    ) -> tuple[ReprogrammedModel, Any]: ...

    @overload
    def __call__(
        self,
        source: str | os.PathLike[str] | nn.Module,
        method: Literal["spsa_gc"],
        labels: Any = None,
        **options: Unpack[SPSAGCOptions],
    ) -> tuple[ReprogrammedModel, Any]: ...

    @overload
    def __call__(
        self,
        source: str | os.PathLike[str] | nn.Module,
        method: Literal["time_llm"],
        labels: Any = None,
        **options: Unpack[TimeLLMOptions],
    ) -> tuple[ReprogrammedModel, Any]: ...

    @overload
    def __call__(
        self,
        source: str | os.PathLike[str] | nn.Module,
        method: Literal["voice2series"],
        labels: Any = None,
        **options: Unpack[Voice2SeriesOptions],
    ) -> tuple[ReprogrammedModel, Any]: ...

    @overload
    def __call__(
        self,
        source: str | os.PathLike[str] | nn.Module,
        method: Literal["warp"] = "warp",
        labels: Any = None,
        **options: Unpack[WarpOptions],
    ) -> tuple[ReprogrammedModel, Any]: ...
