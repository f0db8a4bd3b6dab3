"""Examples in memory become the rows that files become."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hf_reprogram.errors import InputError
from hf_reprogram.modalities import MODALITIES
from hf_reprogram.modalities.pixels import image_processor
from hf_reprogram.modalities.waveform import waveform_extractor

RNG = np.random.default_rng(0)


def encoded(name, value, processor=None):
    modality = MODALITIES[name]
    split = modality.as_split([modality.row_of(value)])
    (found,) = (
        modality.encode({"input": split}, processor, None, "single_label_classification")["input"].inputs([0]).values()
    )
    return found[0]


def test_an_image_is_the_same_as_a_file_as_bytes_and_in_memory(tmp_path):
    image = Image.fromarray(RNG.integers(0, 255, (20, 30, 3), dtype=np.uint8))
    image.save(tmp_path / "image.png")
    processor = image_processor((16, 16))
    path = tmp_path / "image.png"
    rows = [encoded("image", value, processor) for value in (image, path, str(path), path.read_bytes())]
    assert rows[0].shape == (3, 16, 16)
    assert all((row == rows[0]).all() for row in rows)


def test_a_sound_is_the_same_as_a_file_as_bytes_and_as_samples(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    samples = RNG.integers(-(2**15), 2**15, 900).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, samples, 8000, format="wav")
    path = tmp_path / "sound.wav"
    path.write_bytes(file.getvalue())
    rows = [
        encoded("audio", value, waveform_extractor(16000, 1600)) for value in (path, file.getvalue(), (samples, 8000))
    ]
    assert rows[0].any()
    assert all((row == rows[0]).all() for row in rows)


def test_numbers_may_be_lists_and_arrays():
    assert encoded("table", np.array([1, 2.5])).tolist() == encoded("table", "1,2.5").tolist() == [1, 2.5]
    assert MODALITIES["series"].row_of([1, 2.5]) == {"series": [1, 2.5]}
    assert MODALITIES["text"].row_of({"text": "a", "text_pair": "b"}) == MODALITIES["text"].row_of(["a", "b"])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("text", 3, "neither a text nor a pair"),
        ("text", ["a", "b", "c"], "neither a text nor a pair"),
        ("text", {"text": "a", "more": "b"}, "neither a text nor a pair"),
        ("image", 3, "of type int, and this adapter takes images"),
        ("image", Path("nowhere.png"), "no image file 'nowhere.png'"),
        ("audio", ([0.0], 0), "the sampling rate 0"),
        ("audio", [0.0], "of type list, and this adapter takes sounds"),
        ("table", [1, "a"], "no row of numbers"),
        ("series", 3, "no series of numbers"),
        ("series", [[1, 2], [3, 4]], "give one channel"),
    ],
)
def test_what_is_no_example_is_refused(name, value, message):
    with pytest.raises(InputError, match=message):
        MODALITIES[name].row_of(value)
