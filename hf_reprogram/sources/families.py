"""Source families: what says which models there are, how to recognise them and how to build a `Source` around one.

A family is one file of this folder with a subclass of `SourceFamily`, and one line in `SOURCE_FAMILIES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from ..errors import InputError
from ..registry import Registry
from .base import Source

SOURCE_FAMILIES: Registry[type[SourceFamily]] = Registry(
    "source family",
    "source_families",
    {  # in the order in which they are asked whether a checkpoint is of their kind
        "dual": "hf_reprogram.sources.dual:DualFamily",
        "vision": "hf_reprogram.sources.vision:VisionFamily",
        "text": "hf_reprogram.sources.text:TextFamily",
        "vision_module": "hf_reprogram.sources.vision:VisionModuleFamily",
        "module": "hf_reprogram.sources.module:ModuleFamily",
    },
)


class SourceFamily(ABC):
    """One kind of frozen model, or several that are built alike.

    Attributes:
        kinds: by the name of each kind (`SourceSpec.kind`) the `AutoModel...` class of transformers that loads it; None for a
            kind that is given as a loaded module.
        takes: what the model takes as it is, as a modality calls it (`Modality.takes`).
        noun: what its models are called in a sentence.
        example: one kind of model to suggest where none fits.
        options: arguments of the source beside the model, which may be given with the source and which an adapter records.
        pooled: kinds whose answers come through a pooler, so that its weights must be in the checkpoint.
        without_head: by a kind with a head, the kind that a checkpoint without weights for it is loaded as instead.
    """

    kinds: ClassVar[Mapping[str, str | None]]
    takes: ClassVar[str]
    noun: ClassVar[str]
    example: ClassVar[str] = ""
    options: ClassVar[tuple[str, ...]] = ()
    pooled: ClassVar[tuple[str, ...]] = ()
    without_head: ClassVar[Mapping[str, str]] = {}

    def kind_of_architecture(self, architecture: str, config: Any) -> str | None:
        """The kind of a checkpoint that was written by the class `architecture`; None if it is not of this family."""
        return None

    def kind_of_config(self, config: Any) -> str | None:
        """The kind of a checkpoint by its config alone, where no class that wrote it is known; None as above."""
        return None

    def settings(self, name: str, config: Any, kind: str, given: dict[str, Any], hub: dict[str, Any]) -> dict[str, Any]:
        """All `options` of a model: those `given`, and the others as its checkpoint has them.

        Args:
            name: Hub id or folder of the model.
            config: its own.
            kind: one of `kinds`.
            given: some of the options.
            hub: arguments that locate its files, see `hf_reprogram.hub_arguments`.
        """
        return given

    @abstractmethod
    def build(self, model: Any, kind: str, settings: dict[str, Any]) -> Source:
        """The source around a loaded model.

        Raises:
            InputError: the model is none of this family.
        """


def every_family() -> Iterator[SourceFamily]:
    """All registered families, in the order in which they are asked."""
    return (SOURCE_FAMILIES[name]() for name in SOURCE_FAMILIES)


def family_of(kind: str) -> SourceFamily:
    """The family that has a kind.

    >>> family_of("masked_lm").takes
    'input_ids'

    Raises:
        InputError: no family has it.
    """
    for family in every_family():
        if kind in family.kinds:
            return family
    kinds = [kind for family in every_family() for kind in family.kinds]
    raise InputError(f"Unknown source kind {kind!r}: choose one of {', '.join(kinds)}.")


def kind_of(architectures: list[str], config: Any) -> str:
    """What kind of model a checkpoint is, from the class that wrote it and its config.

    Raises:
        InputError: no family recognises it.
    """
    families = list(every_family())
    for architecture in architectures:
        for family in families:
            if (kind := family.kind_of_architecture(architecture, config)) is not None:
                return kind
    for family in families:
        if (kind := family.kind_of_config(config)) is not None:
            return kind
    examples = [family.example for family in families if family.example]
    raise InputError(
        f"The architecture {', '.join(architectures) or config.model_type!r} is not supported as a source: "
        f"give {', '.join(examples[:-1])}, or {examples[-1]}."
    )


def native_inputs() -> set[str]:
    """What the models of some family take as it is: names as in `Modality.takes`."""
    return {family.takes for family in every_family()}


def architecture_in(mapping: Mapping[str, Any], config: Any) -> set[str]:
    """Names of the classes that a mapping of transformers has for a config's model type."""
    value = mapping.get(config.model_type, ())
    return {value} if isinstance(value, str) else set(value)
