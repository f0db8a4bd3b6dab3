"""The names that the examples of docstrings use without making them; `tools/pages.py` explains them on the site.

They are tiny models with random weights. Each source was loaded from a folder, so that `reprogram` finds its tokenizer there,
as it would for a model from the Hub.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_reprogram.sources import load_source
from tests.support import tiny, tiny_audio, tiny_dual, tiny_vision

TEXTS = ["a lovely film", "the plot was dull", "great music", "an awful scene"]


def names(folder: Path) -> dict[str, Any]:
    """Every name with its value; `folder` is empty and takes the models' files."""
    folders = {
        "text_source": tiny.save_source(folder / "text", "bert"),
        "text_classifier": tiny.save_source(folder / "classifier", "bert-classifier"),
        "image_source": tiny_vision.save_source(folder / "image", "vit"),
        "dual_source": tiny_dual.save_source(folder / "dual", "clip"),
    }
    sources = {name: load_source(str(path))[0] for name, path in folders.items()}
    audio = tiny_audio.save_source(folder / "audio", "wav2vec2")
    sources["audio_source"] = load_source(str(audio), samples=tiny_audio.SAMPLES)[0]
    tokenizer, dual_tokenizer = (
        sources[name].load_processor(str(folders[name]), {}) for name in ("text_source", "dual_source")
    )
    made = {**sources, "tokenizer": tokenizer, "dual_tokenizer": dual_tokenizer, "texts": TEXTS}
    return {"np": np, "torch": torch, **made}
