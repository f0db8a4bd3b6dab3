"""Make `AutoConfig`, the `AutoModelFor...` classes and `pipeline` know reprogrammed models.

Registering means importing transformers' auto classes and torch, which takes seconds, while `import hf_reprogram` should
take none. So registration waits for whoever imports `transformers.models.auto.modeling_auto`, which every auto class and
pipeline goes through: a finder at the head of `sys.meta_path` lets the import run as usual and registers right after it.
"""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.util import find_spec

_MODULE = "transformers.models.auto.modeling_auto"


def register() -> None:
    """Register the config and the model with transformers' auto classes; again is harmless."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from .config import ReprogramConfig
    from .model import ReprogrammedModel

    AutoConfig.register(ReprogramConfig.model_type, ReprogramConfig, exist_ok=True)
    AutoModelForSequenceClassification.register(ReprogramConfig, ReprogrammedModel, exist_ok=True)


class _RegisterAfterImport(MetaPathFinder):
    """Wraps the loader of one module, once."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    def __init__(self, loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        sys.modules.setdefault(module.__name__, module)
        register()


def register_when_imported() -> None:
    """Register now if the auto classes are there already, else when they come."""
    if _MODULE in sys.modules:
        register()
    elif not any(isinstance(finder, _RegisterAfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _RegisterAfterImport())
