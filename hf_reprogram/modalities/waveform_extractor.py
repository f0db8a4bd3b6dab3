"""The feature extractor of an adapter for sounds: arrays of any rate, length and number of channels become clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
from transformers.feature_extraction_utils import BatchFeature

from ..errors import InputError
from .waveform import at_rate, mono, of_length

MOST = 2**22  # samples of a clip, or per second


class WaveformExtractor(SequenceFeatureExtractor):
    """Brings sounds to one channel, one sampling rate and one length.

    A sound that is longer than a clip loses both ends, and a shorter one gets zeros behind it.

    Args:
        sampling_rate: samples per second of a clip.
        samples: the length of a clip.
        peak: whether the largest amplitude of each clip becomes 1; silence stays silence.
        kwargs: as for `SequenceFeatureExtractor`.

    >>> extractor = WaveformExtractor(sampling_rate=16000, samples=4, peak=True)
    >>> extractor([0.0, 0.25, -0.5], sampling_rate=16000, return_tensors="np")["input_values"].tolist()
    [[0.0, 0.5, -1.0, 0.0]]
    """

    model_input_names = ["input_values"]

    def __init__(self, sampling_rate: int = 16000, samples: int = 16000, peak: bool = False, **kwargs: Any):
        for name in ("feature_size", "padding_value"):
            kwargs.pop(name, None)
        super().__init__(feature_size=1, sampling_rate=sampling_rate, padding_value=0.0, **kwargs)
        for name, value in (("sampling_rate", sampling_rate), ("samples", samples)):
            if type(value) is not int or not 0 < value <= MOST:
                raise InputError(
                    f"{name} of the feature extractor is {value!r}: give a whole number from 1 to {MOST:,}."
                )
        self.samples, self.peak = samples, bool(peak)

    def __call__(
        self, raw_speech: Any, sampling_rate: int | None = None, return_tensors: str | None = None, **kwargs: Any
    ) -> BatchFeature:
        """Clips as `input_values` (batch, samples).

        Args:
            raw_speech: one sound (n,) or several, as arrays or lists; whole numbers are brought to -1 to 1 by their type.
            sampling_rate: of the sounds; by default that of a clip.
            return_tensors: "pt" or "np"; by default lists of arrays.
            kwargs: of other feature extractors, such as `padding`; clips have one length, so they have no effect.

        Raises:
            InputError: a sound has no samples, or one that is not finite.
        """
        several = isinstance(raw_speech, Sequence) and len(raw_speech) > 0 and np.ndim(raw_speech[0]) > 0
        sounds = list(raw_speech) if several or np.ndim(raw_speech) > 1 else [raw_speech]
        clips = [self.clip(mono(sound), sampling_rate or self.sampling_rate) for sound in sounds]
        made = BatchFeature({"input_values": clips})
        return made.convert_to_tensors(return_tensors) if return_tensors else made

    def clip(self, wave: np.ndarray, rate: int) -> np.ndarray:
        """A clip (samples,) of one channel (n,) at a sampling rate."""
        made = of_length(at_rate(wave, rate, self.sampling_rate), self.samples)
        highest = np.abs(made).max()
        return made / highest if self.peak and highest > 0 else made
