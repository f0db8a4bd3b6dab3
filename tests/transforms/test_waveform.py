"""Waveform programs: placing by hand, mask, scale, dropout and penalty."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hf_reprogram import InputError
from hf_reprogram.transforms.series_waveform import SeriesWaveform, SeriesWaveformOptions
from hf_reprogram.transforms.waveform import Waveform, WaveformOptions
from tests.support import tiny_audio
from tests.support.tiny_audio import SAMPLES

SOURCE = tiny_audio.make_module()


def placed(series, **options):
    """A clip of 24 samples at 24 Hz, without the program."""
    made = SeriesWaveform(SeriesWaveformOptions(samples=24, sampling_rate=24, carrier=3.0, amplitude=1.0, **options))
    return made.waveform(torch.tensor([series]))[0]


def test_copies_lie_where_the_published_code_puts_them():
    """S * T * ((L // T) // m): with T = 5, L = 24 and m = 2 a copy starts at 0 and at 10."""
    clip = placed([1.0, 2.0, 3.0, 4.0, 5.0], length=5, copies=2)
    expected = np.zeros(24)
    expected[:5] = expected[10:15] = [1, 2, 3, 4, 5]
    assert clip.tolist() == expected.tolist()


def test_the_program_acts_around_the_copies_or_everywhere():
    around = SeriesWaveform(SeriesWaveformOptions(samples=24, length=5, copies=2))
    full = SeriesWaveform(SeriesWaveformOptions(samples=24, length=5, copies=2, mask="full"))
    assert (around.weight.numel(), full.weight.numel()) == (14, 24)
    torch.nn.init.ones_(around.weight)
    clip = around({"past_values": torch.zeros(1, 5)}, SOURCE)["waveform"][0]
    assert clip.sum() == 14
    assert not clip[:5].any()
    assert not clip[10:15].any()


def test_a_stretched_series_fills_the_clip():
    clip = placed([0.0, 1.0], length=2, placing="stretched", copies=2)
    np.testing.assert_allclose(clip[:12], np.linspace(0, 1, 12), atol=1e-6)
    assert torch.equal(clip[:12], clip[12:])


def test_a_tone_carries_the_series_in_its_amplitude_or_in_its_frequency():
    loud = placed([8.0, 8.0], length=2, placing="amplitude")
    quiet = placed([-8.0, -8.0], length=2, placing="amplitude")
    assert loud.abs().max() > 0.9
    assert quiet.abs().max() < 0.01
    time = torch.arange(1, 25) / 24
    torch.testing.assert_close(
        placed([0.0, 0.0], length=2, placing="frequency"), torch.sin(2 * torch.pi * 3 * time), atol=1e-5, rtol=0
    )
    higher = placed([2.0, 2.0], length=2, placing="frequency")
    torch.testing.assert_close(higher, torch.sin(2 * torch.pi * 6 * time), atol=1e-4, rtol=0)


def test_the_scale_of_the_series_is_learned():
    made = SeriesWaveform(SeriesWaveformOptions(samples=SAMPLES, length=20, copies=4, learn_scale=True))
    rows = torch.from_numpy(tiny_audio.series(4)[0])
    SOURCE(made({"past_values": rows}, SOURCE), "logits").logsumexp(-1).sum().backward()
    assert made.log_scale.grad.abs() > 0


def test_dropout_acts_in_training_only_and_the_penalty_is_the_squared_program():
    made = Waveform(WaveformOptions(samples=1000, dropout=0.5, l2=0.1, unit=2.0))
    torch.nn.init.ones_(made.weight)
    batch = {"input_values": torch.zeros(1, 1000)}
    made.train()
    torch.manual_seed(0)
    trained = made(batch, SOURCE)["waveform"]
    assert set(trained.unique().tolist()) == {0.0, 4.0}
    assert 0.4 < (trained == 0).float().mean() < 0.6
    assert made.eval()(batch, SOURCE)["waveform"].unique().tolist() == [2.0]
    assert made.penalty().item() == pytest.approx(0.1 * 4 * 1000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 10, "copies": 3}, "3 copies of a series of 10 numbers do not fit"),
        ({"length": 2, "placing": "folded"}, "placing"),
        ({"length": 2, "mask": "half"}, "mask"),
        ({"length": 2, "carrier": 9000.0}, "carrier is 9000.0"),
        ({"length": 2, "amplitude": 0}, "amplitude is 0"),
        ({"length": 2, "dropout": 1}, "dropout is 1"),
        ({"length": 2, "l2": -1}, "l2 is -1"),
        ({"length": 2, "domain": "spectrogram"}, "belong together"),
        ({"length": 2, "domain": "spectrogram", "spectrogram": [0, 4]}, "spectrogram is"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        SeriesWaveform(SeriesWaveformOptions(samples=24, **options))


def test_a_clip_or_series_of_another_length_and_missing_numbers_are_refused():
    made = Waveform(WaveformOptions(samples=24))
    with pytest.raises(InputError, match=r"this adapter takes \(batch, 24\)"):
        made({"input_values": torch.zeros(1, 25)}, SOURCE)
    with pytest.raises(InputError, match="missing or infinite"):
        made({"input_values": torch.full((1, 24), float("nan"))}, SOURCE)
    series = SeriesWaveform(SeriesWaveformOptions(samples=24, length=5))
    with pytest.raises(InputError, match=r"this adapter takes \(batch, 5\)"):
        series({"past_values": torch.zeros(1, 6)}, SOURCE)


def test_a_source_with_another_clip_or_spectrogram_is_refused():
    Waveform(WaveformOptions(samples=SAMPLES)).check(SOURCE.spec)
    with pytest.raises(InputError, match="belongs to another source"):
        Waveform(WaveformOptions(samples=24)).check(SOURCE.spec)
    with pytest.raises(InputError, match="use domain='waveform'"):
        Waveform(WaveformOptions(samples=SAMPLES, domain="spectrogram", spectrogram=[80, 100])).check(SOURCE.spec)
