"""Model reprogramming for Hugging Face: train a small input transform and output mapping around a frozen model.

    from hf_reprogram import reprogram
    model, processor = reprogram("FacebookAI/roberta-large", method="warp", labels=["no", "yes"], num_prompts=20)

Importing this package is cheap: torch and transformers are imported when something is first used, and the auto classes
of transformers learn of `ReprogrammedModel` when they are imported, before this package or after it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import auto

__version__ = "0.1.0"

_HOMES = {
    "ReprogramConfig": "config",
    "ReprogrammedModel": "model",
    "Programs": "programs",
    "reprogram": "methods.reprogramming",
    "InputError": "errors",
}
__all__ = sorted(_HOMES)

if TYPE_CHECKING:
    from .config import ReprogramConfig as ReprogramConfig
    from .errors import InputError as InputError
    from .methods.option_types import Reprogram
    from .methods.reprogramming import reprogram as _reprogram
    from .model import ReprogrammedModel as ReprogrammedModel
    from .programs import Programs as Programs

    reprogram: Reprogram = _reprogram  # the same function, with the options of each method


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


auto.register_when_imported()
