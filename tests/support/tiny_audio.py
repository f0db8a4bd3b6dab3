"""Tiny random audio sources of every kind, and sounds to classify.

As in `tests.support.tiny`, weights are drawn wide and no bias is zero, so that a wrong shortcut changes the numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import (
    ASTFeatureExtractor,
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
    set_seed,
)

from hf_reprogram.sources import AudioSource
from hf_reprogram.sources.keyword_spotter import KeywordSpotterConfig

SAMPLES, RATE, LABELS = 1600, 16000, 12

_SPEECH = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": [16, 16],
    "conv_kernel": [40, 10],
    "conv_stride": [20, 8],
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "num_feat_extract_layers": 2,
    "classifier_proj_size": 32,
}
_AST = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "patch_size": 4,
    "frequency_stride": 4,
    "time_stride": 4,
    "max_length": 8,
    "num_mel_bins": 16,
}
_WHISPER = {
    "d_model": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 48,
    "num_mel_bins": 16,
    "max_source_positions": 50,
    "vocab_size": 20,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "classifier_proj_size": 32,
}
FAMILIES: dict[str, tuple[str, dict[str, Any], Any]] = {  # model type, sizes, feature extractor
    "wav2vec2": ("wav2vec2", _SPEECH, Wav2Vec2FeatureExtractor(do_normalize=True)),
    "ast": ("audio-spectrogram-transformer", _AST, ASTFeatureExtractor(num_mel_bins=16, max_length=8)),
    "whisper": ("whisper", _WHISPER, WhisperFeatureExtractor(feature_size=16, chunk_length=1)),
    "keyword_spotter": (
        "keyword_spotter",
        {"samples": SAMPLES, "hidden_size": 8},
        Wav2Vec2FeatureExtractor(do_normalize=False),
    ),
}


def make_model(family: str, seed: int = 0, head: bool = True, **config: Any) -> Any:
    """A random model of a family; the same seed makes the same weights."""
    model_type, sizes, _ = FAMILIES[family]
    names = {index: f"word {index}" for index in range(LABELS)}
    labelled = {"id2label": names, "label2id": {name: index for index, name in names.items()}}
    make = AutoModelForAudioClassification if head else AutoModel
    known = KeywordSpotterConfig.model_type
    given = {**labelled, **sizes, **config}
    configuration = KeywordSpotterConfig(**given) if model_type == known else AutoConfig.for_model(model_type, **given)
    set_seed(seed)
    model = make.from_config(configuration)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
            elif "classifier" in name:
                parameter.normal_(std=0.5)
            elif "embed" not in name:
                parameter.mul_(3.0)
    return model.eval()


def save_source(folder: Path, family: str, **options: Any) -> Path:
    """A folder that transformers loads as a pretrained audio model."""
    make_model(family, **options).save_pretrained(folder)
    FAMILIES[family][2].save_pretrained(folder)
    return folder


class Bands(nn.Module):
    """A plain network of waveforms."""

    def __init__(self, width: int = 32, labels: int = LABELS):
        super().__init__()
        self.bands = nn.Conv1d(1, width, 64, stride=16)
        self.head = nn.Linear(width, labels)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """Logits (batch, labels) of waveforms (batch, samples)."""
        energy = self.bands(waveform[:, None]).square().mean(-1)
        logits: torch.Tensor = self.head(torch.log(energy + 1e-3))
        return logits


def make_module(seed: int = 0) -> AudioSource:
    """A frozen plain network."""
    set_seed(seed)
    return AudioSource(Bands(), sampling_rate=RATE, samples=SAMPLES)


def sounds(count: int = 16, seed: int = 0, samples: int = 1000) -> tuple[list[np.ndarray], list[int]]:
    """Noisy tones, which are low (label 0) or high (label 1)."""
    random = np.random.default_rng(seed)
    labels = [index % 2 for index in range(count)]
    time = np.arange(samples) / RATE
    made = [
        (0.3 * np.sin(2 * np.pi * (300, 1200)[label] * time) + 0.1 * random.normal(size=samples)).astype(np.float32)
        for label in labels
    ]
    return made, labels


def series(count: int = 16, seed: int = 0, length: int = 20) -> tuple[np.ndarray, list[int]]:
    """Noisy waves of one turn (label 0) or of three (label 1)."""
    random = np.random.default_rng(seed)
    labels = [index % 2 for index in range(count)]
    turns = np.linspace(0, 2 * np.pi, length)
    rows = [np.sin((1, 3)[label] * turns) + 0.2 * random.normal(size=length) for label in labels]
    return np.stack(rows).astype(np.float32), labels
