"""What the methods for audio models share: a wave on a clip of the source, and a mapping of the source's words.

    w~ = w + M * W        y = omega(f(w~))

How a clip w comes from an example, and where the mask M lets the wave act, is for each paper's own file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..sources.base import Source, SourceSpec
from .base import Method
from .composition import OutputOptions, mapping_alternatives


@dataclass
class WaveOptions(OutputOptions):
    """The options of a wave, in addition to those of `OutputOptions`.

    Attributes:
        domain: what the program is added to, "waveform" or, for a source that has one, "spectrogram".
        dropout: the share of the program that is dropped in training.
        l2: the weight of the squared program in the loss.
    """

    domain: str = "waveform"
    dropout: float = 0.0
    l2: float = 0.0


class WaveMethod(Method):
    """A method that trains a wave on clips.

    >>> options = WaveOptions(dropout=0.5)
    >>> WaveMethod.wave(options, audio_source, "waveform")["dropout"]
    0.5
    """

    problem_types = ("single_label_classification", "regression", "multi_label_classification")
    soft_start = True

    options: WaveOptions

    @staticmethod
    def wave(options: WaveOptions, source: Source, transform: str) -> dict[str, Any]:
        """The options that every transform of waveforms has, as plain data `{"type": transform, "samples": ..., ...}`.

        Args:
            options: the method's options.
            source: the source.
            transform: the transform's name.

        Raises:
            InputError: the source takes no sounds.
        """
        spec = source.spec
        samples, rate = getattr(spec, "samples", 0), getattr(spec, "sampling_rate", 0)
        if not samples:
            raise InputError(f"The {spec.kind} source takes no sounds: use an audio model.")
        made = {"type": transform, "samples": samples, "sampling_rate": rate}
        made |= {name: getattr(options, name) for name in ("domain", "dropout", "l2")}
        if options.domain == "spectrogram":
            made["spectrogram"] = list(getattr(spec, "spectrogram", None) or ()) or None
        return made

    def alternatives(self, spec: SourceSpec, problem_type: str) -> list[list[dict[str, Any]]]:
        """The output mapping; see `Method.alternatives`."""
        return [mapping_alternatives(self.options, spec)]

    def initialize(self, model: Any, processor: Any) -> None:
        """Start a fresh mapping. The program starts at zero."""
        model.mapping.reset()
