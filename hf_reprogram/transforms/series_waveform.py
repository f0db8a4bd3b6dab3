"""Series waveform: a time series of the target placed in a clip of the source, with a trained wave around or over it.

    w~ = exp(log_scale) * a * place(x) + M * u * W         (`hf_reprogram.transforms.wave_program`)

x (batch, length) is a series of mean 0 and deviation 1.

    placing        place(x)
    "copies"       m copies as they are, one sample per number, the s-th from s * T * ((L // T) // m) on; zeros elsewhere
    "stretched"    m copies in a row, stretched by linear interpolation so that they fill the clip
    "amplitude"    a tone of `carrier` Hz whose amplitude is sigmoid(x), stretched as above
    "frequency"    a tone whose frequency is `carrier` Hz times 2 ** (x / 2), stretched as above

T is the series' length and L the clip's. M is 1 where no copy lies (mask "around"), or everywhere ("full"). With `learn_scale`
log_scale is trained too, from zero.

Source: Voice2Series (Yang, Tsai, Chen 2021, arXiv 2106.09296). Its code builds M and does not apply it. The other placings are
ours: they bring a series of 100 numbers, 6 ms as they are, into the times and frequencies of speech.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError, unknown
from ..options import check_whole
from ..sources.probe import Example
from .wave_program import WaveProgramOptions, WaveProgramTransform

PLACINGS = ("copies", "stretched", "amplitude", "frequency")


@dataclass
class SeriesWaveformOptions(WaveProgramOptions):
    """Options of `series_waveform`, in addition to those of `WaveProgramOptions`.

    Attributes:
        length: T, the numbers of a series.
        placing: "copies", "stretched", "amplitude" or "frequency".
        copies: m, how often a series stands in the clip.
        mask: where the program acts, "around" the copies or "full"; every placing but "copies" fills the clip.
        amplitude: a, the factor of the placed series.
        carrier: the frequency of the tone in Hz.
        learn_scale: whether the factor is trained.
    """

    length: int = 1
    placing: str = "copies"
    copies: int = 1
    mask: str = "around"
    amplitude: float = 0.1
    carrier: float = 800.0
    learn_scale: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(length=self.length, copies=self.copies)
        for name, value, choices in (("placing", self.placing, PLACINGS), ("mask", self.mask, ("around", "full"))):
            if value not in choices:
                raise unknown(name, value, choices)
        if self.placing == "copies" and self.length * self.copies > self.samples:
            raise InputError(
                f"{self.copies} copies of a series of {self.length:,} numbers do not fit into a clip of {self.samples:,} "
                "samples: give fewer copies, or placing='stretched'."
            )
        if self.copies > self.samples:
            raise InputError(f"copies is {self.copies}, and a clip has {self.samples:,} samples: give fewer.")
        if not 0 < self.carrier < self.sampling_rate / 2:
            raise InputError(
                f"carrier is {self.carrier!r}: give Hz below half of the sampling rate, {self.sampling_rate / 2:g}."
            )
        if not 0 < self.amplitude < 1e6:
            raise InputError(f"amplitude is {self.amplitude!r}: give a number above 0.")

    def starts(self) -> list[int]:
        """The first sample of each copy, with placing="copies".

        >>> SeriesWaveformOptions(samples=16, length=3, copies=2).starts()
        [0, 6]
        """
        step = self.length * ((self.samples // self.length) // self.copies)
        return [copy * step for copy in range(self.copies)]

    def acts(self) -> Tensor | None:
        """The mask M (samples,); None if the program acts everywhere."""
        if self.mask == "full" or self.placing != "copies" or self.domain == "spectrogram":
            return None
        mask = torch.ones(self.samples, dtype=torch.bool)
        for start in self.starts():
            mask[start : start + self.length] = False
        return mask


class SeriesWaveform(WaveProgramTransform):
    """Places series in clips, with a program around or over them.

    >>> placed = SeriesWaveform(SeriesWaveformOptions(samples=1600, length=3, copies=2, amplitude=1.0))
    >>> placed({"past_values": torch.ones(1, 3)}, audio_source)["waveform"].nonzero()[:, 1].tolist()
    [0, 1, 2, 798, 799, 800]
    """

    Options = SeriesWaveformOptions
    options: SeriesWaveformOptions
    takes = "past_values"

    def __init__(self, options: SeriesWaveformOptions) -> None:
        super().__init__(options, options.acts())
        if options.learn_scale:
            self.log_scale = nn.Parameter(torch.zeros(()))

    def fit(self, features: np.ndarray) -> None:
        """Nothing is fitted: the processor has brought each series to mean 0 and deviation 1."""

    def waveform(self, data: Tensor) -> Tensor:
        """Placed series (batch, samples), without the program.

        Args:
            data: series (batch, length).

        Raises:
            InputError: they have another length.
        """
        options = self.options
        if data.dim() != 2 or data.shape[1] != options.length:
            raise InputError(
                f"past_values is {' x '.join(map(str, data.shape))}, and this adapter takes (batch, {options.length}): use the "
                "processor that came with it."
            )
        series = data.to(self.weight.dtype)
        placed = self._copies(series) if options.placing == "copies" else self._filling(series)
        scale = options.amplitude * (self.log_scale.exp() if options.learn_scale else 1.0)
        return placed * scale

    def _copies(self, series: Tensor) -> Tensor:
        clip = series.new_zeros(len(series), self.options.samples)
        for start in self.options.starts():
            clip[:, start : start + self.options.length] = series
        return clip

    def _filling(self, series: Tensor) -> Tensor:
        options = self.options
        each = -(-options.samples // options.copies)
        long = F.interpolate(series[:, None], size=each, mode="linear", align_corners=True)[:, 0]
        long = long.repeat(1, options.copies)[:, : options.samples]
        if options.placing == "stretched":
            return long
        steps = torch.arange(options.samples, device=series.device, dtype=torch.float32) / options.sampling_rate
        if options.placing == "amplitude":
            return torch.sin(2 * pi * options.carrier * steps) * long.sigmoid()
        turns = (options.carrier * 2 ** (long.float() / 2)).cumsum(-1) / options.sampling_rate
        return torch.sin(2 * pi * turns).to(series.dtype)

    def layout(self) -> dict[str, Any]:
        """How the series lies in the clip."""
        options = self.options
        layout: dict[str, Any] = {"length": options.length, "placing": options.placing, "copies": options.copies}
        return {**layout, "scale": self.log_scale.exp().item()} if options.learn_scale else layout

    def default_example(self, processor: Any) -> Example:
        """A wave of two turns."""
        turns = torch.linspace(0, 4 * pi, self.options.length)
        return Example(torch.sin(turns)[None] * 2**0.5, "a wave of two turns")
