"""AR-SCR (Yen et al. 2021, arXiv 2110.03894): adversarial reprogramming for speech commands of other languages.

    w~ = w + W;     P(t) = sum over B_t of P(s)

w is a clip of one word, and theta a wave on all of it. Omega gives every word those of the source's words whose features are
nearest to its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..modalities.waveform import waveform_extractor
from ..sources.base import Source
from .base import MethodInfo, Parts, Target
from .composition import output_mapping
from .waves import WaveMethod, WaveOptions


@dataclass
class ARSCROptions(WaveOptions):
    """Options of AR-SCR, in addition to those of `WaveOptions`.

    Attributes:
        peak: whether the largest amplitude of every clip is 1.
    """

    label_mapping: str = "similarity"
    dropout: float = 0.5
    peak: bool = True


class ARSCR(WaveMethod):
    """A wave on every clip, and a map of the source's words by their features.

    >>> from hf_reprogram import reprogram
    >>> model, extractor = reprogram(audio_source, "ar_scr", ["taip", "ne"], mapping="dense")
    >>> model(**extractor([0.1, 0.2, -0.1], sampling_rate=8000, return_tensors="pt")).logits.shape
    torch.Size([1, 2])
    """

    info = MethodInfo(
        title="Neural Model Reprogramming with Similarity Based Mapping for Low-Resource Spoken Command Recognition",
        authors="Yen, Ku, Yang, Hu, Siniscalchi, Chen, Tsao",
        year=2021,
        arxiv="2110.03894",
        label="AR-SCR",
        source="audio model",
        transform="waveform",
        mapping="label_map",
        differs="the similarity is that of a class's mean features and the rows of the source's last layer, since an adapter "
        "has no data of the source; a clip that is too long loses both ends, where theirs is cropped at random; the best epoch "
        "is chosen on validation",
        pipeline_tag="audio-classification",
    )
    Options = ARSCROptions
    training = {
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "num_train_epochs": 50,
        "per_device_train_batch_size": 32,
        "lr_scheduler_type": "constant",
    }
    tuned = {"omega_learning_rate": 1e-3, "lr_scheduler_type": "cosine"}

    options: ARSCROptions

    def compose(self, source: Source, processor: Any, target: Target) -> Parts:
        """The program, the mapping, and a feature extractor for clips of the source's rate and length."""
        transform = self.wave(self.options, source, "waveform")
        extractor = waveform_extractor(transform["sampling_rate"], transform["samples"], self.options.peak)
        return Parts(transform, output_mapping(self.options, source, target), extractor)
