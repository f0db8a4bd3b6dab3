"""Frozen pretrained models with one interface (`hf_reprogram.sources.base`)."""

from .audio import AudioSource
from .base import Source, SourceSpec
from .dual import DualSource
from .loading import SourceReference, load_source, restore_source
from .text import TextSource
from .vision import VisionSource

__all__ = [
    "AudioSource",
    "DualSource",
    "Source",
    "SourceReference",
    "SourceSpec",
    "TextSource",
    "VisionSource",
    "load_source",
    "restore_source",
]
