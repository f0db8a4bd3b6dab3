"""What a program on sounds adds to a training step of its source, and 1,000 clips against the source alone.

A keyword spotter of the shape that Voice2Series has (one second at 16 kHz), with random weights, batch 32; `--source` takes a
folder in its place. A step is forward and backward, through the frozen source to the waveform:

    source alone     clips are given, and their gradient is the end
    waveform         hf_reprogram: a trained wave on clips, gradient to theta
    series           hf_reprogram: series of 100 numbers, eight copies in a clip, a trained wave around them

Predictions are without gradients, in batches of 64: `plain` calls the source on clips, `program` the adapter on the same.

With `--source` a model of spectrograms, such as Whisper, two steps of a program on that of one second are timed instead:

    computed         hf_reprogram: the spectrogram of each clip is computed in every step
    kept             it was computed before, as if it were kept from epoch to epoch: all that a cache could save

Equality: the logits of a program of zeros and of the source alone; the gradient of the wave and the sum of the clips' own.
"""

from __future__ import annotations

import argparse

import torch
from common import alternate, differences, parser, report, start
from torch.nn import functional as F

from hf_reprogram.sources import AudioSource, load_source
from hf_reprogram.sources.keyword_spotter import KeywordSpotterConfig, KeywordSpotterForAudioClassification
from hf_reprogram.transforms.series_waveform import SeriesWaveform, SeriesWaveformOptions
from hf_reprogram.transforms.waveform import Waveform, WaveformOptions


def audio_source(options: argparse.Namespace) -> AudioSource:
    """The source of the command line: a folder's, or random weights."""
    if options.source:
        source, _ = load_source(options.source)
        assert isinstance(source, AudioSource)
        if source.spec.spectrogram and source.spec.samples > source.spec.sampling_rate:
            source, _ = load_source(options.source, samples=source.spec.sampling_rate)
            assert isinstance(source, AudioSource)
        return source
    torch.manual_seed(0)
    config = KeywordSpotterConfig(num_labels=36, hidden_size=options.width)
    return AudioSource(KeywordSpotterForAudioClassification(config), 16000, 16000, kind="audio_classifier")


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__, width=64, rounds=9)
    arguments.add_argument("--batch", type=int, default=32)
    arguments.add_argument("--clips", type=int, default=1000, help="clips to predict (default: %(default)s)")
    options = start(arguments)
    source = audio_source(options)
    if source.spec.spectrogram:
        spectrograms(source, options)
        return
    samples, rate = source.spec.samples, source.spec.sampling_rate
    generator = torch.Generator().manual_seed(1)
    clips = 0.1 * torch.randn(options.batch, samples, generator=generator)
    series = torch.randn(options.batch, 100, generator=generator)
    labels = torch.arange(options.batch) % 36
    given = clips.clone().requires_grad_()
    waveform = Waveform(WaveformOptions(samples=samples, sampling_rate=rate))
    placed = SeriesWaveform(SeriesWaveformOptions(samples=samples, sampling_rate=rate, length=100, copies=8))

    def loss(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return F.cross_entropy(source(inputs, "logits"), labels)

    def alone() -> None:
        given.grad = None
        loss({"waveform": given}).backward()

    def programmed() -> None:
        waveform.weight.grad = None
        loss(waveform({"input_values": clips}, source)).backward()

    def of_series() -> None:
        placed.weight.grad = None
        loss(placed({"past_values": series}, source)).backward()

    many = 0.1 * torch.randn(options.clips, samples, generator=generator)

    @torch.no_grad()
    def plain() -> torch.Tensor:
        return torch.cat([source({"waveform": part}, "logits") for part in many.split(64)])

    @torch.no_grad()
    def program() -> torch.Tensor:
        return torch.cat([source(waveform({"input_values": part}, source), "logits") for part in many.split(64)])

    alone()
    programmed()
    ours, theirs = [program(), waveform.weight.grad], [plain(), given.grad.sum(0)]
    checks = {"difference of logits and of theta's gradient (float32, relative)": (differences(ours, theirs)[1], 1e-4)}
    waveform.train()
    cpu, wall = alternate({"source alone": alone, "waveform": programmed, "series": of_series}, options.rounds)
    more_cpu, more_wall = alternate({"plain": plain, "program": program}, max(1, options.rounds // 3))
    report(
        "sounds",
        f"clips of {samples:,} samples, batch {options.batch}, forward and backward; {options.clips:,} clips predicted",
        options,
        cpu | more_cpu,
        wall | more_wall,
        {
            "a wave on clips, against the source alone": ("waveform", "source alone"),
            "series in clips, against the source alone": ("series", "source alone"),
            "1,000 clips, against the source alone": ("program", "plain"),
        },
        checks,
    )


def spectrograms(source: AudioSource, options: argparse.Namespace) -> None:
    """What keeping the spectrograms of clips would save in a step of a program that is added to them."""
    samples, rate, size = source.spec.samples, source.spec.sampling_rate, source.spec.spectrogram
    clips = 0.1 * torch.randn(options.batch, samples, generator=torch.Generator().manual_seed(1))
    program = Waveform(
        WaveformOptions(samples=samples, sampling_rate=rate, domain="spectrogram", spectrogram=list(size or ()))
    )
    with torch.no_grad():
        known = source.spectrogram(clips)

    def step(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        program.weight.grad = None
        source(inputs, min(source.spec.widths)).square().mean().backward()
        assert program.weight.grad is not None
        return program.weight.grad.clone()

    paths = {
        "computed": lambda: step(program({"input_values": clips}, source)),
        "kept": lambda: step({"spectrogram": known + program.program()}),
    }
    checks = {
        "difference of theta's gradient (float32, relative)": (
            differences(*([run()] for run in paths.values()))[1],
            1e-5,
        )
    }
    cpu, wall = alternate(paths, options.rounds)
    report(
        "sounds",
        f"clips of {samples:,} samples, batch {options.batch}, forward and backward to the spectrogram",
        options,
        cpu,
        wall,
        {"a step, against one with kept spectrograms": ("computed", "kept")},
        checks,
    )


if __name__ == "__main__":
    main()
