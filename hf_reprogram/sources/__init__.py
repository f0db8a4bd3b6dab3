"""Frozen pretrained models with one interface (`hf_reprogram.sources.base`)."""

from .audio import AudioSource
from .base import Source, SourceSpec
from .black_box import BlackBox
from .dual import DualSource
from .endpoints import InferenceEndpoint, JsonEndpoint
from .loading import SourceReference, load_source, restore_source
from .text import TextSource
from .vision import VisionSource

__all__ = [
    "AudioSource",
    "BlackBox",
    "DualSource",
    "InferenceEndpoint",
    "JsonEndpoint",
    "Source",
    "SourceReference",
    "SourceSpec",
    "TextSource",
    "VisionSource",
    "load_source",
    "restore_source",
]
