"""Registers reprogrammed models with `AutoConfig`, the `AutoModelFor...` classes, `pipeline` and `Trainer`.

Registration imports the auto classes of transformers and torch, which takes seconds, and `import hf_reprogram` must be fast. So
registration waits until a module with the auto classes or the Trainer is imported: a finder at the head of `sys.meta_path` lets
the import run as usual and registers after it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def _register_config() -> None:
    from transformers.models.auto.configuration_auto import AutoConfig

    from .config import ReprogramConfig

    AutoConfig.register(ReprogramConfig.model_type, ReprogramConfig, exist_ok=True)


def _register_model() -> None:
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import AutoConfig

    from .config import ReprogramConfig
    from .modalities import every_modality
    from .model import ReprogrammedModel

    for name in dict.fromkeys(name for modality in every_modality() for name in modality.auto_classes):
        auto_class = getattr(modeling_auto, f"AutoModelFor{name}")
        auto_class.register(ReprogramConfig, ReprogrammedModel, exist_ok=True)
    modeling_auto.AutoModel.register(ReprogramConfig, ReprogrammedModel, exist_ok=True)
    for model, name in _own_models():
        AutoConfig.register(model.config_class.model_type, model.config_class, exist_ok=True)
        getattr(modeling_auto, f"AutoModelFor{name}").register(model.config_class, model, exist_ok=True)


def _register_processor() -> None:
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    from .config import ReprogramConfig
    from .modalities.pixel_processor import PixelImageProcessor

    backends: dict[str, type] = dict.fromkeys(("pil", "torchvision"), PixelImageProcessor)  # Pillow's in place of both
    AutoImageProcessor.register(ReprogramConfig, image_processor_classes=backends, exist_ok=True)


def _register_feature_extractors() -> None:
    from transformers.models.auto.feature_extraction_auto import AutoFeatureExtractor

    from .config import ReprogramConfig
    from .modalities import every_modality

    for modality in every_modality():
        if modality.feature_extractor:
            AutoFeatureExtractor.register(ReprogramConfig, _imported(modality.feature_extractor), exist_ok=True)


def _own_models() -> Iterator[tuple[Any, str]]:
    """The models of sources that transformers does not have, each with the suffix of the class that loads it."""
    from .sources.families import every_family

    return ((_imported(address), name) for family in every_family() for address, name in family.models.items())


def _imported(address: str) -> Any:
    module, _, attribute = address.partition(":")
    return getattr(import_module(module), attribute)


def _register_schedule() -> None:
    from transformers import trainer

    from .schedule import Schedule
    from .stock_trainer import own_batches, own_push

    callbacks: list[Any] = trainer.DEFAULT_CALLBACKS  # of every Trainer
    if Schedule not in callbacks:
        callbacks.append(Schedule)
        trainer.Trainer.push_to_hub = own_push(trainer.Trainer.push_to_hub)  # type: ignore[method-assign]
        make = own_batches(trainer.Trainer.get_train_dataloader)
        trainer.Trainer.get_train_dataloader = make  # type: ignore[method-assign]


_AFTER = {
    "transformers.models.auto.configuration_auto": _register_config,
    "transformers.models.auto.modeling_auto": _register_model,
    "transformers.models.auto.image_processing_auto": _register_processor,
    "transformers.models.auto.feature_extraction_auto": _register_feature_extractors,
    "transformers.trainer": _register_schedule,
}


class _RegisterAfterImport(MetaPathFinder):
    """Wraps the loaders of the two modules. While it looks up a real loader, it ignores itself."""

    busy = False

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname not in _AFTER or self.busy:
            return None
        self.busy = True
        try:
            spec = find_spec(fullname)
        finally:
            self.busy = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, _AFTER[fullname])
        return spec


class _Loader(Loader):
    def __init__(self, loader: Loader, then: Callable[[], None]):
        self.loader, self.then = loader, then

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        self.then()


def register_when_imported() -> None:
    """Register with the auto classes that are imported already now, and with the others when they are imported."""
    for name, register in _AFTER.items():
        if name in sys.modules:
            register()
    if not any(isinstance(finder, _RegisterAfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _RegisterAfterImport())
