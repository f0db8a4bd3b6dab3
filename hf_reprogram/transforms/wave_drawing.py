"""The picture of a program on sounds: waves above, spectrograms below."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..figures import cut, drawable, pyplot, save

FRAME, HOP = 256, 64  # samples of the spectrograms that are drawn of waves
LEAST = -40.0  # decibels of the brightest colour, so that silence is dark


@dataclass
class WaveDrawing:
    """An example of a program on sounds; see `hf_reprogram.transforms.drawing.Drawing`.

    Attributes:
        example: a description of the example in words.
        sampling_rate: samples per second.
        before, after: a clip (samples,) or its spectrogram (mels, frames), without the program and with it.
        program: what is added, of the same shape.

    >>> drawing = WaveDrawing("a tone", 16000, before=torch.zeros(800), after=torch.ones(800), program=torch.ones(800))
    """

    example: str
    sampling_rate: int
    before: Tensor
    after: Tensor
    program: Tensor

    def plot(self, path: str | Path, title: str) -> Path:
        """Write the drawing as a PNG with a title, and return the path.

        Raises:
            InputError: matplotlib is not installed.
        """
        plt, write = pyplot(), drawable()
        parts = {f"{self.example}": self.before, "with the program": self.after, "the program": self.program}
        waves = self.before.dim() == 1
        figure, axes = plt.subplots(
            2 if waves else 1, 3, figsize=(12, 5 if waves else 3), squeeze=False, layout="constrained"
        )
        for column, (name, values) in enumerate(parts.items()):
            axes[0, column].set_title(write(cut(name, 40)), fontsize=10)
            if waves:
                seconds = torch.arange(len(values)) / self.sampling_rate
                axes[0, column].plot(seconds, values, linewidth=0.5)
                axes[0, column].set_xlabel("seconds")
                self._spectrum(axes[1, column], values)
            else:
                drawn = axes[0, column].imshow(values, origin="lower", aspect="auto", cmap="magma")
                axes[0, column].set_xlabel("frame")
                figure.colorbar(drawn, ax=axes[0, column])
        axes[-1, 0].set_ylabel("kHz" if waves else "mel filter")
        figure.suptitle(write(cut(title, 110)), fontsize=11)
        return save(figure, path)

    def _spectrum(self, axis: Any, wave: Tensor) -> None:
        """The spectrogram of a wave in decibels, down to 80 below its largest value."""
        window = torch.hann_window(FRAME)
        power = torch.stft(wave.float(), FRAME, HOP, window=window, return_complex=True).abs().square()
        decibels = 10 * power.clamp(min=1e-12).log10()
        top = max(float(decibels.max()), LEAST)
        extent = (0, len(wave) / self.sampling_rate, 0, self.sampling_rate / 2000)
        axis.imshow(decibels, origin="lower", aspect="auto", extent=extent, vmin=top - 80, vmax=top, cmap="magma")
        axis.set_xlabel("seconds")
