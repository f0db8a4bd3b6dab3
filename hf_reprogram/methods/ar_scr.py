"""AR-SCR (Yen et al. 2021, arXiv 2110.03894): adversarial reprogramming for speech commands of other languages.

    w~ = w + W;     P(t) = sum over B_t of P(s)

w is a clip of one word, and theta a wave on all of it. Omega gives every word those of the source's words whose features are
nearest to its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..modalities.waveform import waveform_extractor
from ..sources.base import Source, SourceSpec
from .base import Method, MethodInfo, Parts, Target
from .composition import OutputOptions, mapping_alternatives, output_mapping


@dataclass
class ARSCROptions(OutputOptions):
    """Options of AR-SCR, in addition to those of `OutputOptions`.

    Attributes:
        domain: what the program is added to, "waveform" or, for a source that has one, "spectrogram".
        peak: whether the largest amplitude of every clip is 1.
        dropout: the share of the program that is dropped in training.
        l2: the weight of the squared program in the loss.
    """

    label_mapping: str = "similarity"
    domain: str = "waveform"
    peak: bool = True
    dropout: float = 0.5
    l2: float = 0.0


class ARSCR(Method):
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
    problem_types = ("single_label_classification", "regression", "multi_label_classification")
    training = {
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "num_train_epochs": 50,
        "per_device_train_batch_size": 32,
        "lr_scheduler_type": "constant",
    }
    soft_start = True
    tuned = {"omega_learning_rate": 1e-3, "lr_scheduler_type": "cosine"}

    options: ARSCROptions

    def compose(self, source: Source, processor: Any, target: Target) -> Parts:
        """The program, the mapping, and a feature extractor for clips of the source's rate and length."""
        options, spec = self.options, source.spec
        samples, rate = getattr(spec, "samples", 0), getattr(spec, "sampling_rate", 0)
        if not samples:
            raise InputError(f"The {spec.kind} source takes no sounds: use an audio model.")
        transform: dict[str, Any] = {
            "type": "waveform",
            "samples": samples,
            "sampling_rate": rate,
            **{name: getattr(options, name) for name in ("domain", "dropout", "l2")},
        }
        if options.domain == "spectrogram":
            transform["spectrogram"] = list(getattr(spec, "spectrogram", None) or ()) or None
        return Parts(
            transform, output_mapping(options, source, target), waveform_extractor(rate, samples, options.peak)
        )

    def alternatives(self, spec: SourceSpec, problem_type: str) -> list[list[dict[str, Any]]]:
        """The output mapping; see `Method.alternatives`."""
        return [mapping_alternatives(self.options, spec)]

    def initialize(self, model: Any, processor: Any) -> None:
        """Start a fresh mapping. The program starts at zero."""
        model.mapping.reset()
