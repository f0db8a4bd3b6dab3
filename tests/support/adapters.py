"""Adapters of every modality with random theta and omega over one tiny source each, and examples for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_reprogram import ReprogrammedModel, reprogram
from tests.support import tiny, tiny_audio, tiny_dual, tiny_vision

SERIES = tiny_audio.series(20)[0]
TABLE = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
FILMS = ["bad", "good"]
TOPICS = ["art", "sport", "law"]
TEXTS = ["good film", "a bad bad film", "a", "the film was a good film and a bad story too"]
RESIDUES = ["ACDEFG", "WK", "K", "ACDEFGHIKL"]
IMAGES = tiny_vision.images(4)[0]
SOUNDS = [(wave, tiny_audio.RATE) for wave in tiny_audio.sounds(4)[0]]

# For each source: for each adapter its method, its labels, its options and its examples.
ADAPTERS: dict[str, dict[str, tuple[str, Any, dict[str, Any], list[Any]]]] = {
    "bert": {
        "films": ("warp", FILMS, {"num_prompts": 2}, TEXTS),
        "topics": ("warp", TOPICS, {"num_prompts": 5, "reads": "mask"}, TEXTS),
        "pairs": ("warp", FILMS, {"num_prompts": 1, "reads": "features"}, [("a film", "a good film"), ("bad", "good")]),
        "first": ("warp", FILMS, {"num_prompts": 1, "reads": "first"}, TEXTS),
        "residues": ("r2dl", FILMS, {"tokenizer": "residues", "sparsity": 4}, RESIDUES),
        "letters": (
            "r2dl",
            TOPICS,
            {"tokenizer": "residues", "sparsity": 4, "problem_type": "token_classification", "mapping": "window"},
            RESIDUES,
        ),
        "deep": ("warp", FILMS, {"num_prompts": 2, "deep": True}, TEXTS),
        "tuned": ("warp", FILMS, {"num_prompts": 2, "tune": ["norms"]}, TEXTS),
        "many": (
            "r2dl",
            TOPICS,
            {"tokenizer": "residues", "sparsity": 4, "problem_type": "multi_label_classification"},
            RESIDUES,
        ),
        "grade": ("warp", None, {"num_prompts": 2, "problem_type": "regression"}, TEXTS),
        "digits": ("fpt", FILMS, {"image_size": 16}, IMAGES),
    },
    "vit": {
        "digits": ("elsayed", FILMS, {"mapping": "dense", "image_size": 8}, IMAGES),
        "things": ("ilm_vp", TOPICS, {"mapping": "dense", "image_size": 16}, IMAGES),
        "words": ("elsayed", FILMS, {"label_mapping": "random", "image_size": 8}, IMAGES),
        "residues": ("cross_modal", FILMS, {"tokenizer": "residues", "mapping": "dense"}, RESIDUES),
        "table": ("fraud", FILMS, {"features": TABLE, "mapping": "dense"}, [row.tolist() for row in TABLE[:4]]),
    },
    "clip": {
        "animals": ("reprogrammer", ["cat", "dog"], {"text_program": "low_rank", "alpha": 0.3}, IMAGES),
        "colours": ("reprogrammer", TOPICS, {"text_program": "context", "size": 3}, IMAGES),
    },
    "wav2vec2": {
        "words": ("ar_scr", FILMS, {"mapping": "dense"}, SOUNDS),
        "names": ("ar_scr", TOPICS, {"mapping": "dense"}, SOUNDS),
        "series": (
            "voice2series",
            FILMS,
            {"features": SERIES, "mapping": "dense"},
            [row.tolist() for row in SERIES[:4]],
        ),
    },
}
SOURCES = {"bert": tiny, "vit": tiny_vision, "clip": tiny_dual, "wav2vec2": tiny_audio}
SETTINGS: dict[str, dict[str, Any]] = {"wav2vec2": {"samples": tiny_audio.SAMPLES}}


def source(folder: Path, name: str) -> str:
    """The folder of a new tiny source."""
    return str(SOURCES[name].save_source(folder, name))


def make(source: Any, name: str, adapter: str, seed: int = 0) -> tuple[ReprogrammedModel, Any]:
    """An adapter of `ADAPTERS` with random numbers, and its processor."""
    method, labels, options, _ = ADAPTERS[name][adapter]
    settings = SETTINGS.get(name) if isinstance(source, str) else None
    model, processor = reprogram(source, method, labels, source_kwargs=settings, **options)
    if "features" in options and hasattr(model.transform, "low"):
        model.transform.fit(options["features"])
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval(), processor


def save(folder: Path, source: str, name: str, adapter: str, seed: int = 0) -> str:
    """The folder of an adapter of `ADAPTERS`."""
    model, processor = make(source, name, adapter, seed)
    model.save_pretrained(folder)
    if processor is not None:
        processor.save_pretrained(folder)
    return str(folder)
