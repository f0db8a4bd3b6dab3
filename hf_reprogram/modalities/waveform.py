"""What every sound becomes before anything else looks at it: one channel of numbers from -1 to 1, at one sampling rate.

Files are read by soundfile (wav, flac, ogg, mp3), which `pip install 'hf_reprogram[audio]'` installs. Rates are changed by
`scipy.signal.resample_poly`, a polyphase filter that keeps what is above the lower of the two bands out. scikit-learn
needs scipy already, so it is no further dependency.
"""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import numpy as np

from ..errors import InputError

MOST_BITS = 32


def mono(values: Any) -> np.ndarray:
    """The samples (n,) of a sound as float32, of which full scale is from -1 to 1.

    Args:
        values: (n,), (n, channels) or (channels, n); channels are averaged. Whole numbers are divided by what their type can
            reach; 64 bits stand for 16, if all numbers fit into these, else for 32.

    Raises:
        InputError: there are no samples, or one is not finite.

    >>> mono(np.array([16384, -32768], np.int16)).tolist(), mono(np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 0.0]])).tolist()
    ([0.5, -1.0], [0.5, 0.5, 0.0])
    """
    wave = np.asarray(values)
    if wave.dtype.kind not in "iuf" or wave.ndim not in (1, 2) or not wave.size:
        raise InputError(f"A sound is {' x '.join(map(str, wave.shape)) or 'a value'} of {wave.dtype}: give numbers.")
    if wave.dtype.kind != "f":
        bits = 8 * wave.dtype.itemsize
        if bits > MOST_BITS:
            bits = 16 if np.abs(wave).max() <= 2**15 else MOST_BITS
        centre = 2 ** (bits - 1) if wave.dtype.kind == "u" else 0
        wave = (wave.astype(np.float64) - centre) / 2 ** (bits - 1)
    if wave.ndim == 2:
        wave = wave.mean(int(wave.shape[1] <= wave.shape[0]), dtype=np.float64)
    wave = wave.astype(np.float32)
    if not np.isfinite(wave).all():
        raise InputError("A sound has a number that is missing or infinite: give finite numbers.")
    return wave


def at_rate(wave: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """A sound (n,) at another sampling rate (about n * wanted / rate,), in samples per second.

    >>> at_rate(np.zeros(80, np.float32), 8000, 16000).shape
    (160,)
    """
    if rate == wanted:
        return wave
    from scipy.signal import resample_poly

    ratio = Fraction(wanted, rate)
    made: np.ndarray = resample_poly(wave, ratio.numerator, ratio.denominator).astype(np.float32)
    return made


def of_length(wave: np.ndarray, samples: int) -> np.ndarray:
    """The middle of a sound (n,) if it is longer than `samples`, else the sound with zeros behind it (samples,).

    >>> of_length(np.arange(5.0), 3).tolist(), of_length(np.ones(1), 3).tolist()
    ([1.0, 2.0, 3.0], [1.0, 0.0, 0.0])
    """
    beyond = len(wave) - samples
    if beyond >= 0:
        return wave[beyond // 2 : beyond // 2 + samples]
    return np.concatenate([wave, np.zeros(-beyond, wave.dtype)])


def read_clip(value: Any, most_seconds: float | None = None) -> tuple[np.ndarray, int]:
    """A sound (n,) from -1 to 1, and its sampling rate.

    Args:
        value: `{"array": ..., "sampling_rate": ...}`, or `{"bytes": ..., "path": ...}` of an encoded sound.
        most_seconds: of a longer file the middle is read alone.

    Raises:
        InputError: there is no sound, or it cannot be read.

    >>> read_clip({"array": [0.0, 0.5], "sampling_rate": 8000})
    (array([0. , 0.5], dtype=float32), 8000)
    """
    if value and value.get("array") is not None:
        rate = value.get("sampling_rate")
        if type(rate) is not int or rate < 1:
            raise InputError(f"A sound has the sampling rate {rate!r}: give samples per second, such as 16000.")
        return mono(value["array"]), rate
    if not value or (value.get("bytes") is None and value.get("path") is None):
        raise InputError("There is no sound: leave the row out.")
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise InputError("Sound files are read by soundfile: run pip install 'hf_reprogram[audio]'.") from error
    try:
        with soundfile.SoundFile(value["path"] if value.get("bytes") is None else io.BytesIO(value["bytes"])) as file:
            frames, rate = file.frames, file.samplerate
            if most_seconds is not None and file.seekable() and frames > (most := round(most_seconds * rate)):
                file.seek((frames - most) // 2)
                frames = most
            wave = file.read(frames, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        raise InputError(f"It cannot be read as a sound: {' '.join(str(error).split()).rstrip('.')}.") from error
    if not len(wave):
        raise InputError("The sound has no samples: leave it out.")
    return mono(wave), rate


def waveform_extractor(sampling_rate: int, samples: int, peak: bool = False) -> Any:
    """A feature extractor that brings sounds of any kind to one rate and length.

    Args:
        sampling_rate: samples per second.
        samples: the length of a clip.
        peak: whether the largest amplitude of each clip becomes 1.
    """
    from .waveform_extractor import WaveformExtractor

    return WaveformExtractor(sampling_rate=sampling_rate, samples=samples, peak=peak)
