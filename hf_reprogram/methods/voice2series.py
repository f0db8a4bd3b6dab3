"""Voice2Series (Yang, Tsai, Chen 2021, arXiv 2106.09296): an acoustic model classifies time series.

    w~ = place(x) + M * W;     P(t) = mean over B_t of P(s)

x is a series, placed in a clip of the source. Theta is a wave around it. Omega gives every class a block of the source's own
words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..modalities.series_extractor import SeriesExtractor
from ..sources.base import Source, SourceSpec
from .base import MethodInfo, Parts, Target
from .composition import output_mapping
from .waves import WaveMethod, WaveOptions

COPIES = (8, 4, 1)  # that are tried, as far as they fit


@dataclass
class Voice2SeriesOptions(WaveOptions):
    """Options of Voice2Series, in addition to those of `WaveOptions`.

    Attributes:
        placing: "copies" (as in the paper), "stretched", "amplitude" or "frequency", see
            `hf_reprogram.transforms.series_waveform`.
        copies: how often a series stands in the clip.
        mask: where the program acts, "around" the copies or "full".
        amplitude: the factor of the placed series.
        carrier: the frequency in Hz of the tone of "amplitude" and "frequency".
        learn_scale: whether the factor is trained.
        standardize: whether each series is brought to mean 0 and deviation 1.
    """

    label_mapping: str = "identity"
    placing: str | None = None
    copies: int | None = None
    mask: str = "around"
    amplitude: float = 0.1
    carrier: float = 800.0
    learn_scale: bool = False
    standardize: bool = True


class Voice2Series(WaveMethod):
    """A series in a clip, a wave around it, and blocks of the source's words.

    >>> from hf_reprogram import reprogram
    >>> rows = np.random.default_rng(0).normal(size=(20, 30))
    >>> model, processor = reprogram(audio_source, "voice2series", ["calm", "busy"], features=rows, copies=4)
    >>> model(**processor(rows, return_tensors="pt")).logits.shape
    torch.Size([20, 2])
    """

    info = MethodInfo(
        title="Voice2Series: Reprogramming Acoustic Models for Time Series Classification",
        authors="Yang, Tsai, Chen",
        year=2021,
        arxiv="2106.09296",
        label="Voice2Series",
        source="audio model",
        transform="series_waveform",
        mapping="label_map",
        differs="the source is frozen, where the published code trains it by default; the mask is applied, which that code "
        "builds and does not use; W starts at zero; dropout acts in training only; series are brought to mean 0 and deviation "
        "1, and to a tenth of full scale; the best epoch and the placing are chosen on validation, where the code takes the "
        "best on test; the source standardises each clip by itself, and not a batch together",
        pipeline_tag="other",
    )
    Options = Voice2SeriesOptions
    training = {
        "learning_rate": 5e-2,
        "weight_decay": 0.0,
        "num_train_epochs": 30,
        "per_device_train_batch_size": 32,
        "lr_scheduler_type": "cosine",
    }
    tuned = {"learning_rate": 3e-3, "omega_learning_rate": 1e-4}
    paper = {"placing": "copies", "l2": 0.05, "dropout": 0.2}

    options: Voice2SeriesOptions

    def compose(self, source: Source, processor: Any, target: Target) -> Parts:
        """The placed series with its program, the mapping, and a processor for series of one length."""
        options = self.options
        transform = self.wave(options, source, "series_waveform")
        if target.features is None:
            raise InputError("The method 'voice2series' places time series: give the training series as features=...")
        length, samples = len(target.features[0]), transform["samples"]
        placing = options.placing or ("copies" if length <= samples else "stretched")
        fitting = max(1, samples // length) if placing == "copies" else samples
        copies = options.copies or min(COPIES[0] if placing == "copies" else 1, fitting)
        transform |= {"length": length, "placing": placing, "copies": copies}
        transform |= {name: getattr(options, name) for name in ("mask", "amplitude", "carrier", "learn_scale")}
        mapping = output_mapping(options, source, target)
        if options.label_mapping == "identity" and "how" in mapping and options.labels_per_class is None:
            mapping["labels_per_class"] = max(1, source.spec.widths["logits"] // target.num_labels)
        return Parts(transform, mapping, SeriesExtractor(length=length, standardize=options.standardize))

    def alternatives(self, spec: SourceSpec, problem_type: str) -> list[list[dict[str, Any]]]:
        """How the series lies in the clip, and the output mapping; see `Method.alternatives`."""
        groups = super().alternatives(spec, problem_type)
        if self.options.placing is not None or self.options.copies is not None:
            return groups
        copies = [{"placing": "copies", "copies": count} for count in COPIES]
        filling = [{"placing": placing, "copies": 1} for placing in ("stretched", "amplitude", "frequency")]
        return [[*copies, *filling], *groups]
