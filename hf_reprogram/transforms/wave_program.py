"""Wave program: a trained wave, or a trained spectrogram, that is added to a sound. What the transforms of sounds share.

    domain "waveform":       w~ = w + M * u * W                        W (samples,)
    domain "spectrogram":    S~ = spectrogram(w) + u * W               W (mels, frames)

w is a clip as a waveform, M is 1 where the program acts and 0 elsewhere, and u is the unit. Theta is W where M is 1, which
starts at zero. In training a share of its entries is dropped at random (`dropout`); the published code drops them at test too.

The spectrogram is that of the source (`AudioSource.spectrogram`), in its own units.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError, unknown
from ..options import check_whole
from ..sources.base import Source, SourceSpec
from ..sources.probe import Example, Lines, Probe
from .base import InputTransform, check_same_options
from .drawing import parse_example
from .wave_drawing import WaveDrawing

DOMAINS = ("waveform", "spectrogram")


@dataclass
class WaveProgramOptions:
    """The options of a program on sounds.

    Attributes:
        samples: the length of the source's clip.
        sampling_rate: samples per second.
        domain: where the program is added, "waveform" or "spectrogram".
        spectrogram: mel filters and frames of the source's spectrogram, with domain="spectrogram".
        dropout: the share of the program's entries that are dropped in training.
        l2: lambda in the penalty `lambda * sum (u W)^2`.
        unit: u, the factor of W: its steps are the learning rate times this.
    """

    samples: int
    sampling_rate: int = 16000
    domain: str = "waveform"
    spectrogram: list[int] | None = None
    dropout: float = 0.0
    l2: float = 0.0
    unit: float = 1.0

    def __post_init__(self) -> None:
        check_whole(samples=self.samples, sampling_rate=self.sampling_rate)
        if self.domain not in DOMAINS:
            raise unknown("domain", self.domain, DOMAINS)
        if (self.domain == "spectrogram") != (self.spectrogram is not None):
            raise InputError(
                "domain='spectrogram' and the size of the spectrogram belong together: give both, or neither."
            )
        if self.spectrogram is not None and (
            len(self.spectrogram) != 2 or not all(type(side) is int and 0 < side <= 4096 for side in self.spectrogram)
        ):
            raise InputError(f"spectrogram is {self.spectrogram!r}: give mel filters and frames.")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is {self.dropout!r}: give a share from 0 to below 1.")
        for name, least in (("l2", 0.0), ("unit", 1e-12)):
            if not least <= getattr(self, name) < inf:
                raise InputError(f"{name} is {getattr(self, name)!r}: give a number of at least {least:g}.")

    def size(self) -> tuple[int, ...]:
        """The shape of the whole program."""
        return (self.samples,) if self.spectrogram is None else tuple(self.spectrogram)


class WaveProgramTransform(InputTransform):
    """Adds a program to what `waveform` makes of a batch. A subclass says what that is.

    Theta is `weight`, the program's entries where its mask is 1.

    >>> from .waveform import Waveform, WaveformOptions
    >>> isinstance(Waveform(WaveformOptions(samples=8)), WaveProgramTransform)
    True
    """

    takes = "input_values"
    drawing = "the program, and an example with it and without it, as waves and as spectrograms"
    options: Any
    index: Tensor

    def __init__(self, options: WaveProgramOptions, mask: Tensor | None = None) -> None:
        super().__init__(options)
        size = options.size()
        self._whole = mask is None or bool(mask.all())
        acting = torch.arange(prod(size)) if mask is None else mask.flatten().nonzero()[:, 0]
        if not len(acting):
            raise InputError("The mask leaves no sample to the program, so there is nothing to train: use mask='full'.")
        self.register_buffer("index", acting, persistent=False)
        self.weight = nn.Parameter(torch.zeros(len(acting)))

    def check(self, spec: SourceSpec) -> None:
        """Raise `InputError` unless the source takes clips of this length and rate, and has this spectrogram."""
        ours, theirs = (self.options.samples, self.options.sampling_rate), _clip(spec)
        if ours != theirs:
            raise InputError(
                f"The program is for clips of {ours[0]:,} samples at {ours[1]:,} Hz, and the source takes {theirs[0]:,} at "
                f"{theirs[1]:,} Hz: this adapter belongs to another source."
                if theirs[0]
                else f"The {spec.kind} source takes no sounds: use an audio model."
            )
        size = getattr(spec, "spectrogram", None)
        if self.options.spectrogram is not None and size != tuple(self.options.spectrogram):
            raise InputError(
                f"The program is for spectrograms of {self.options.spectrogram}, and the source has {size}: use "
                "domain='waveform', or a source with such spectrograms."
            )

    def start_from(self, other: InputTransform) -> None:
        """See `InputTransform.start_from`; the options must agree, since the same numbers mean something else otherwise."""
        check_same_options(self.options, other.options, but=("l2", "dropout"))
        super().start_from(other)

    def check_batch(self, batch: dict[str, Tensor]) -> None:
        """Raise `InputError` if a number is missing or infinite."""
        if not bool(batch[self.takes].isfinite().all()):
            raise InputError(
                f"{self.takes} holds a number that is missing or infinite: use the processor of this adapter."
            )

    def waveform(self, data: Tensor) -> Tensor:
        """The clip (batch, samples) that stands for `data`, without the program."""
        raise NotImplementedError  # pragma: no cover - the interface

    def program(self) -> Tensor:
        """The whole program, of `size()` of the options, in the units of what it is added to."""
        weight: Tensor = F.dropout(self.weight, self.options.dropout, self.training) * self.options.unit
        if not self._whole:
            weight = weight.new_zeros(self.options.samples).index_copy(0, self.index, weight)
        return weight.view(self.options.size())

    def penalty(self) -> Tensor | float:
        """The penalty `l2 * sum (u W)^2`."""
        return self.options.l2 * (self.options.unit * self.weight).square().sum() if self.options.l2 else 0.0

    def forward(self, batch: dict[str, Tensor], source: Source) -> dict[str, Any]:
        """`waveform` (batch, samples) or `spectrogram` (batch, mels, frames) for the source."""
        self.check_first(batch)
        clip = self.waveform(batch[self.takes])
        if self.options.domain == "spectrogram":
            return {"spectrogram": source.spectrogram(clip) + self.program()}  # type: ignore[operator]
        return {"waveform": clip + self.program()}

    # ------------------------------------------------------------------------------------------------- inspection

    def inspect(self, probe: Probe) -> dict[str, Any]:
        """`clip` has its `samples` and `sampling_rate`; `program` its `domain`, `numbers`, `share`, mean and largest change."""
        with torch.no_grad():
            acting = (self.options.unit * self.weight).abs()
        options = self.options
        return {
            "clip": {"samples": options.samples, "sampling_rate": options.sampling_rate, **self.layout()},
            "program": {
                "domain": options.domain,
                "numbers": self.weight.numel(),
                "share": self.weight.numel() / prod(options.size()),
                "mean_change": float(acting.mean()),
                "largest_change": float(acting.max()),
            },
        }

    def layout(self) -> dict[str, Any]:
        """What else there is to say of a clip."""
        return {}

    def lines(self, description: dict[str, Any]) -> Lines:
        """The clip, and the size of the program's changes."""
        if "program" not in description:
            return Lines()
        clip, program = description["clip"], description["program"]
        further = "".join(f"; {name.replace('_', ' ')} {value}" for name, value in clip.items() if name not in _TOLD)
        where = "the clip" if program["domain"] == "waveform" else "the spectrogram"
        return Lines(
            body=[
                f"clip: {clip['samples']:,} samples at {clip['sampling_rate']:,} Hz{further}",
                f"program: {program['numbers']:,} numbers, on {program['share']:.0%} of {where}; it changes a value by "
                f"{program['mean_change']:.3g} on average and {program['largest_change']:.3g} at most",
            ]
        )

    @torch.no_grad()
    def picture(self, probe: Probe) -> WaveDrawing:
        """The example with the program and without it."""
        assert probe.example is not None  # `default_example` gives one
        was, self.training = self.training, False
        before = self.waveform(probe.example.data.to(self.weight.device))
        program = self.program()
        self.training = was
        rate, name = self.options.sampling_rate, probe.example.name
        if self.options.domain == "waveform":
            return WaveDrawing(name, rate, before[0].cpu(), (before + program)[0].cpu(), program.cpu())
        plain = probe.source.spectrogram(before)  # type: ignore[operator]
        return WaveDrawing(name, rate, plain[0].cpu(), (plain + program)[0].cpu(), program.cpu())

    def default_example(self, processor: Any) -> Example | None:
        """A tone."""
        return Example(torch.sin(torch.arange(self.options.samples) * 0.2)[None] * 0.3, "a tone")

    def read_example(self, processor: Any, text: str) -> Example:
        """The sound in a file, or the numbers of a series."""
        return parse_example(self.takes, processor, text)


_TOLD = ("samples", "sampling_rate")


def _clip(spec: SourceSpec) -> tuple[int, int]:
    """The samples and the rate of a source's clip; zeros for a source that takes none."""
    return getattr(spec, "samples", 0), getattr(spec, "sampling_rate", 0)
