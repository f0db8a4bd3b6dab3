"""Sounds of every rate, length and format become clips, and broken ones are named."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from datasets import Dataset
from scipy.signal import resample

from hf_reprogram import InputError
from hf_reprogram.experiments.draft import draft
from hf_reprogram.modalities import modality_of
from hf_reprogram.modalities.audio import AUDIO, audio_examples
from hf_reprogram.modalities.waveform import at_rate, mono, of_length, read_clip, waveform_extractor
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions

RATE = 16000
EXTRACTOR = waveform_extractor(RATE, RATE)


def tone(samples: int, rate: int = RATE, pitch: float = 440.0) -> np.ndarray:
    """A tone of amplitude 0.5."""
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(samples) / rate).astype(np.float32)


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_a_file_of_every_format_is_read(tmp_path, ending):
    path = tmp_path / f"tone.{ending}"
    soundfile.write(path, tone(RATE), RATE)
    wave, rate = read_clip({"bytes": None, "path": str(path)})
    assert rate == RATE
    assert abs(np.abs(wave[2000:12000]).max() - 0.5) < 0.05


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT"])
def test_every_depth_of_a_wav_has_the_same_scale(tmp_path, subtype):
    soundfile.write(tmp_path / "tone.wav", tone(800), RATE, subtype=subtype)
    wave, _ = read_clip({"bytes": (tmp_path / "tone.wav").read_bytes(), "path": None})
    np.testing.assert_allclose(wave, tone(800), atol=0.01)


def test_another_rate_stereo_one_sample_and_ten_minutes_have_their_defined_clips(tmp_path):
    """The rate is changed, channels are averaged, zeros follow, and the middle is kept without the rest being read."""
    slow = EXTRACTOR.clip(*read_clip({"array": tone(8000, 8000).tolist(), "sampling_rate": 8000}))
    np.testing.assert_allclose(slow[1000:15000], tone(RATE)[1000:15000], atol=0.01)
    both = np.stack([tone(RATE), np.zeros(RATE, np.float32)], 1)
    np.testing.assert_allclose(EXTRACTOR([both])["input_values"][0], tone(RATE) / 2, atol=1e-6)
    short = EXTRACTOR([np.array([0.25], np.float32)])["input_values"][0]
    assert short[0] == 0.25
    assert not short[1:].any()
    path = tmp_path / "long.wav"
    long = np.zeros(600 * 8000, np.float32)
    long[300 * 8000 - 2000 : 300 * 8000 + 2000] = 0.5
    soundfile.write(path, long, 8000)
    wave, rate = read_clip({"bytes": None, "path": str(path)}, most_seconds=2.0)
    assert (len(wave), rate) == (16000, 8000)
    middle = EXTRACTOR.clip(wave, rate)
    assert abs(middle[4200:11800].mean() - 0.5) < 0.01
    assert abs(middle[:3800]).max() < 0.01


def test_a_change_of_rate_agrees_with_a_change_in_the_frequency_domain():
    wave = tone(4000, 8000) + tone(4000, 8000, 1000.0)
    np.testing.assert_allclose(at_rate(wave, 8000, RATE)[500:-500], resample(wave, 8000)[500:-500], atol=0.02)
    assert at_rate(wave, RATE, RATE) is wave


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([2**14, -(2**15)], np.int16), [0.5, -1.0]),
        (np.array([2**14, -(2**15)], np.int64), [0.5, -1.0]),  # a list of whole numbers of a data set
        (np.array([2**30], np.int64), [0.5]),
        (np.array([128, 0], np.uint8), [0.0, -1.0]),
        ([[0.2, 0.4, 0.6], [0.0, 0.0, 0.0]], [0.1, 0.2, 0.3]),
    ],
)
def test_numbers_of_every_type_have_one_scale(values, expected):
    np.testing.assert_allclose(mono(values), expected, atol=1e-6)


def test_the_largest_amplitude_becomes_one_and_silence_stays():
    peak = waveform_extractor(RATE, 4, peak=True)
    assert peak([[0.1, -0.2], [0.0, 0.0]])["input_values"][0].tolist() == [0.5, -1.0, 0.0, 0.0]
    assert not peak([[0.0, 0.0]])["input_values"][0].any()
    assert of_length(np.arange(6.0), 3).tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "There is no sound"),
        ({"array": [], "sampling_rate": 8000}, "A sound is 0 of float64"),
        ({"array": [0.1], "sampling_rate": 0}, "the sampling rate 0"),
        ({"array": [float("nan")], "sampling_rate": 8000}, "missing or infinite"),
        ({"bytes": b"no sound", "path": None}, "cannot be read as a sound"),
        ({"bytes": None, "path": "missing.wav"}, "cannot be read as a sound"),
    ],
)
def test_what_is_no_sound_is_refused(value, message):
    with pytest.raises(InputError, match=message):
        read_clip(value)


def test_a_file_without_samples_is_refused_with_its_row_and_name(tmp_path):
    for name, length in (("one", 100), ("empty", 0)):
        soundfile.write(tmp_path / f"{name}.wav", tone(length), RATE)
    split = AUDIO.as_split(AUDIO.parse([f"{tmp_path}/one.wav", f"{tmp_path}/empty.wav"]))
    with pytest.raises(
        InputError, match=r"Row 1 of the train split \(.*empty.wav\) cannot be used: the sound has no samples"
    ):
        audio_examples(split, EXTRACTOR, "train")


@pytest.mark.parametrize("keep", [0, 2**30])
def test_clips_that_are_kept_and_clips_that_are_read_again_are_the_same(keep):
    rows = Dataset.from_dict({"audio": [[0.1, 0.2], [0.3]], "sampling_rate": [RATE, RATE], "label": [0, 1]})
    examples = audio_examples(rows, waveform_extractor(RATE, 2), "train", keep)
    np.testing.assert_allclose(examples.read([1, 0]), [[0.3, 0.0], [0.1, 0.2]], rtol=1e-6)
    assert examples.labels.tolist() == [0, 1]


def test_a_folder_of_sounds_and_a_table_of_paths_are_data_sets(tmp_path):
    for split, count in (("train", 4), ("test", 2)):
        for label in ("high", "low"):
            (tmp_path / split / label).mkdir(parents=True)
            for place in range(count):
                soundfile.write(tmp_path / split / label / f"{place}.wav", tone(400 + place), 8000)
    task = load_task(TaskOptions(str(tmp_path), validation_share=0.25))
    assert task.modality is AUDIO
    assert task.labels == ["high", "low"]
    assert task.sizes == {"train": 6, "validation": 2, "test": 4}
    (tmp_path / "table.csv").write_text("sound,kind\ntrain/low/0.wav,a\ntrain/low/1.wav,b\n")
    table = Dataset.from_csv(str(tmp_path / "table.csv"), cache_dir=str(tmp_path / "cache"))
    ready = AUDIO.prepare(table, ["sound"], "train", str(tmp_path / "table.csv"))
    assert len(audio_examples(ready, EXTRACTOR, "train")) == 2


def test_columns_are_recognised_and_numbers_without_a_rate_are_refused():
    rows = Dataset.from_dict({"wave": [[1, 2]], "sampling_rate": [8000], "word": ["go"]})
    assert AUDIO.candidates(rows, ["word"]) == ["wave"]
    assert modality_of(AUDIO.prepare(rows, ["wave"], "train", "data").column_names) is AUDIO
    with pytest.raises(InputError, match="add a column sampling_rate"):
        AUDIO.prepare(rows.remove_columns("sampling_rate"), ["wave"], "train", "data")
    with pytest.raises(InputError, match="which is no sound"):
        AUDIO.prepare(rows, ["sampling_rate"], "train", "data")


def test_a_folder_of_sounds_is_drafted_with_a_wave_on_every_sound(tmp_path):
    for label in ("ne", "taip"):
        (tmp_path / label).mkdir()
        for place in range(6):
            soundfile.write(tmp_path / label / f"{place}.wav", tone(400 + place), 8000)
    text, doubts = draft(str(tmp_path))
    assert "method: {name: ar_scr}" in text
    assert "  audio: audio\n" in text
    assert doubts == []


@pytest.mark.parametrize("samples", [0, 2**40, 1.5])
def test_a_length_that_no_clip_has_is_refused(samples):
    with pytest.raises(InputError, match="samples of the feature extractor is"):
        waveform_extractor(RATE, samples)
