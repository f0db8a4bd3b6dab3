"""Frozen pretrained models behind one interface: see `hf_reprogram.sources.base`."""

from .base import Source, SourceSpec
from .loading import SourceReference, load_source, restore_source
from .text import TextSource

__all__ = ["Source", "SourceReference", "SourceSpec", "TextSource", "load_source", "restore_source"]
