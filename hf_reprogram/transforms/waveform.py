"""Waveform: a trained wave on every sound of the target.

    w~ = w + u * W         (`hf_reprogram.transforms.wave_program`)

Source: AR-SCR (Yen et al. 2021, arXiv 2110.03894), where W is as long as the clip and half of it is dropped in training.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..errors import InputError
from .wave_program import WaveProgramOptions, WaveProgramTransform


@dataclass
class WaveformOptions(WaveProgramOptions):
    """Options of `waveform`: those of `WaveProgramOptions`."""


class Waveform(WaveProgramTransform):
    """Adds a program to clips.

    >>> waveform = Waveform(WaveformOptions(samples=1600))
    >>> waveform({"input_values": torch.zeros(2, 1600)}, audio_source)["waveform"].shape
    torch.Size([2, 1600])
    """

    Options = WaveformOptions
    options: WaveformOptions

    def __init__(self, options: WaveformOptions) -> None:
        super().__init__(options)

    def waveform(self, data: Tensor) -> Tensor:
        """The clips (batch, samples) as they are.

        Raises:
            InputError: they have another length.
        """
        if data.dim() != 2 or data.shape[1] != self.options.samples:
            raise InputError(
                f"input_values is {' x '.join(map(str, data.shape))}, and this adapter takes (batch, "
                f"{self.options.samples:,}): use the feature extractor that came with it."
            )
        return data.to(self.weight.dtype)
