"""Source families. A family recognises the checkpoints of its models and builds a `Source` around a model.

Each family is a subclass of `SourceFamily` in a file of this folder, and one line in `SOURCE_FAMILIES`.
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
        "audio": "hf_reprogram.sources.audio:AudioFamily",
        "text": "hf_reprogram.sources.text:TextFamily",
        "vision_module": "hf_reprogram.sources.vision:VisionModuleFamily",
        "audio_module": "hf_reprogram.sources.audio:AudioModuleFamily",
        "image_black_box": "hf_reprogram.sources.black_box:ImageBlackBoxFamily",
        "audio_black_box": "hf_reprogram.sources.black_box:AudioBlackBoxFamily",
        "text_black_box": "hf_reprogram.sources.black_box:TextBlackBoxFamily",
        "module": "hf_reprogram.sources.module:ModuleFamily",
    },
    whole=True,
)


class SourceFamily(ABC):
    """One kind of frozen model, or several kinds that are built in the same way.

    Attributes:
        kinds: for the name of each kind (`SourceSpec.kind`) the `AutoModel...` class of transformers that loads it; None for a
            kind that is always passed as a loaded module.
        takes: the modality's name of the model's own inputs (`Modality.takes`).
        noun: the noun for its models in a sentence.
        example: a kind of model to suggest in messages.
        options: the names of the source's arguments besides the model. An adapter records their values.
        pooled: the kinds whose outputs use a pooler, so that its weights must be in the checkpoint.
        models: addresses `"module:Class"` of models that transformers does not have, with the suffix of the `AutoModelFor...`
            class that loads them.
        without_head: for a kind with a head, the kind as which a checkpoint without the head's weights is loaded.

    >>> family = SOURCE_FAMILIES["text"]()
    >>> list(family.kinds)
    ['masked_lm', 'encoder', 'causal_lm', 'classifier']
    """

    kinds: ClassVar[Mapping[str, str | None]]
    takes: ClassVar[str]
    noun: ClassVar[str]
    example: ClassVar[str] = ""
    options: ClassVar[tuple[str, ...]] = ()
    pooled: ClassVar[tuple[str, ...]] = ()
    models: ClassVar[Mapping[str, str]] = {}
    without_head: ClassVar[Mapping[str, str]] = {}

    def kind_of_architecture(self, architecture: str, config: Any) -> str | None:
        """The kind of a checkpoint that the class `architecture` wrote; None if it does not belong to this family."""
        return None

    def kind_of_config(self, config: Any) -> str | None:
        """The kind of a checkpoint by its config alone, if the class that wrote it is not known; None as above."""
        return None

    def settings(
        self, name: str, config: Any, kind: str, chosen: dict[str, Any], hub: dict[str, Any]
    ) -> dict[str, Any]:
        """All `options` of a model: those that the user set, and the others as in its checkpoint.

        Args:
            name: the Hub id or folder of the model.
            config: the model's config.
            kind: one of `kinds`.
            chosen: the options that the user set.
            hub: the arguments that locate its files (`hf_reprogram.hub_arguments`).
        """
        return chosen

    @abstractmethod
    def build(self, model: Any, kind: str, settings: dict[str, Any]) -> Source:
        """The source around a loaded model.

        Raises:
            InputError: the model does not belong to this family.
        """


def every_family() -> Iterator[SourceFamily]:
    """All registered families, in the order in which they are asked.

    >>> [family.noun for family in every_family()][:2]
    ['image models', 'image models']
    """
    return (SOURCE_FAMILIES[name]() for name in SOURCE_FAMILIES)


def family_of(kind: str) -> SourceFamily:
    """The family of a kind of source.

    >>> family_of("masked_lm").takes
    'input_ids'

    Raises:
        InputError: no family has this kind.
    """
    for family in every_family():
        if kind in family.kinds:
            return family
    kinds = [kind for family in every_family() for kind in family.kinds]
    raise InputError(f"Unknown source kind {kind!r}: choose one of {', '.join(kinds)}.")


def kind_of(architectures: list[str], config: Any) -> str:
    """The kind of a checkpoint, from the classes that wrote it and its config.

    Raises:
        InputError: no family recognises the checkpoint.

    >>> kind_of(["BertForMaskedLM"], text_source.model.config)
    'masked_lm'
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
    """The names (`Modality.takes`) of all inputs that the models of some family have as their own.

    >>> sorted(native_inputs())
    ['input_ids', 'input_values', 'pixel_values']
    """
    return {family.takes for family in every_family()}


def architecture_in(mapping: Mapping[str, Any], config: Any) -> set[str]:
    """The names of the classes that a mapping of transformers has for a config's model type.

    >>> architecture_in({"bert": "BertForMaskedLM"}, text_source.model.config)
    {'BertForMaskedLM'}
    """
    value = mapping.get(config.model_type, ())
    return {value} if isinstance(value, str) else set(value)
