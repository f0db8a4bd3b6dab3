"""Front ends of audio models that take spectrograms: from waveforms to what transformers' feature extractors make of them.

transformers computes spectrograms in NumPy, through which no gradient flows. These modules give the same numbers, up to
rounding, in torch, so that a program can act on the waveform too.

    LogMel        Whisper's: power, mel filters, log10, at most 8 below the clip's maximum, scaled
    FilterBank    AST's, which is Kaldi's: pre-emphasis, no mean, power, mel filters, log, scaled by a mean and a deviation
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError

FRAME, HOP = 400, 160  # samples of a frame of AST's, and from one to the next


class LogMel(nn.Module):
    """Whisper's log-mel spectrogram (Radford et al. 2022, arXiv 2212.04356).

    Args:
        mels: the number of mel filters.
        sampling_rate: samples per second.
        n_fft: samples of a frame.
        hop_length: samples from one frame to the next.
        samples: the length of a waveform, of which a whole number of frames is read.

    >>> LogMel(mels=80, sampling_rate=16000, n_fft=400, hop_length=160, samples=16000)(torch.zeros(2, 16000)).shape
    torch.Size([2, 80, 100])
    """

    filters: Tensor
    window: Tensor

    def __init__(self, mels: int, sampling_rate: int, n_fft: int, hop_length: int, samples: int):
        from transformers.audio_utils import mel_filter_bank

        super().__init__()
        self.n_fft, self.hop = n_fft, hop_length
        filters = mel_filter_bank(1 + n_fft // 2, mels, 0.0, 8000.0, sampling_rate, norm="slaney", mel_scale="slaney")
        self.register_buffer("filters", torch.tensor(filters, dtype=torch.float32), persistent=False)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.size = (mels, samples // hop_length)

    def forward(self, waveform: Tensor) -> Tensor:
        """The spectrogram (batch, mels, frames) of waveforms (batch, samples) from -1 to 1."""
        spectrum = torch.stft(waveform, self.n_fft, self.hop, window=self.window, return_complex=True)[..., :-1]
        power = spectrum.real.square() + spectrum.imag.square()
        logs = (self.filters.T @ power).clamp(min=1e-10).log10()
        floor = logs.amax((1, 2), keepdim=True) - 8.0
        return (torch.maximum(logs, floor) + 4.0) / 4.0


class FilterBank(nn.Module):
    """AST's log filter bank (Gong et al. 2021, arXiv 2104.01778).

    Args:
        mels: the number of mel filters.
        sampling_rate: samples per second.
        frames: the number of frames; a shorter clip is filled up with zeros, a longer one is cut.
        mean, std: `(value - mean) / (2 std)` is returned.

    >>> FilterBank(mels=128, sampling_rate=16000, frames=1024, mean=-4.27, std=4.57)(torch.zeros(2, 16000)).shape
    torch.Size([2, 128, 1024])
    """

    filters: Tensor
    window: Tensor

    def __init__(self, mels: int, sampling_rate: int, frames: int, mean: float, std: float):
        from transformers.audio_utils import mel_filter_bank

        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # AST's lowest filters lie between two frequencies and are zero
            filters = mel_filter_bank(
                257, mels, 20, sampling_rate // 2, sampling_rate, mel_scale="kaldi", triangularize_in_mel_space=True
            )
        self.register_buffer("filters", torch.tensor(filters, dtype=torch.float32), persistent=False)
        self.register_buffer("window", torch.hann_window(FRAME, periodic=False), persistent=False)
        self.size, self.mean, self.std = (mels, frames), mean, std

    def forward(self, waveform: Tensor) -> Tensor:
        """The spectrogram (batch, mels, frames) of waveforms (batch, samples) from -1 to 1."""
        frames = waveform.unfold(-1, FRAME, HOP)
        frames = frames - frames.mean(-1, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
        emphasised = torch.cat([frames[..., :1] * (1 - 0.97), frames[..., 1:] - 0.97 * before[..., 1:]], -1)
        spectrum = torch.fft.rfft(emphasised * self.window, 512)
        power = spectrum.real.square() + spectrum.imag.square()
        logs = (power @ self.filters).clamp(min=torch.finfo(torch.float32).eps).log()[:, : self.size[1]]
        filled = F.pad(logs, (0, 0, 0, self.size[1] - logs.shape[1]))
        return ((filled - self.mean) / (2 * self.std)).transpose(1, 2)


def make_front_end(settings: dict[str, Any], samples: int) -> LogMel | FilterBank:
    """The front end that settings describe, in evaluation mode.

    Args:
        settings: `type`, "log_mel" or "filter_bank", and the arguments of its class but for `samples`.
        samples: the length of a waveform.

    Raises:
        InputError: the settings are none of a front end.

    >>> make_front_end({"type": "log_mel", "mels": 80, "sampling_rate": 16000, "n_fft": 400, "hop_length": 160}, 320).size
    (80, 2)
    """
    kinds: dict[str, Any] = {"log_mel": LogMel, "filter_bank": FilterBank}
    arguments = {key: value for key, value in settings.items() if key != "type"}
    kind = settings.get("type")
    if kind == "log_mel":
        arguments["samples"] = samples
    try:
        made: LogMel | FilterBank = kinds[str(kind)](**arguments)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"The front end {settings} cannot be made ({error}): leave front_end out.") from error
    return made.eval()


def front_end_of(extractor: Any) -> tuple[dict[str, Any] | None, int | None]:
    """The settings of a feature extractor's front end, None for one of waveforms; and the samples that it fills up to.

    Args:
        extractor: a feature extractor of transformers.

    Raises:
        InputError: its spectrograms are of another kind.

    >>> from transformers import WhisperFeatureExtractor
    >>> front_end_of(WhisperFeatureExtractor(chunk_length=10))[1]
    160000
    """
    name, rate = type(extractor).__name__, extractor.sampling_rate
    if name == "WhisperFeatureExtractor":
        sizes = {"n_fft": extractor.n_fft, "hop_length": extractor.hop_length}
        return {"type": "log_mel", "mels": extractor.feature_size, "sampling_rate": rate, **sizes}, extractor.n_samples
    if name == "ASTFeatureExtractor":
        mean, std = (extractor.mean, extractor.std) if extractor.do_normalize else (0.0, 0.5)
        frames = extractor.max_length
        bank = {"mels": extractor.num_mel_bins, "sampling_rate": rate, "frames": frames, "mean": mean, "std": std}
        return {"type": "filter_bank", **bank}, (frames - 1) * HOP + FRAME
    if hasattr(extractor, "mel_filters") or getattr(extractor, "feature_size", 1) != 1:
        raise InputError(
            f"The spectrograms of {name} are not known here: use a model of waveforms such as Wav2Vec2, or Whisper or AST."
        )
    return None, None
