"""The attention RNN of de Andrade et al. 2018 (arXiv 1808.08929), the source of Voice2Series and AR-SCR.

It hears one second of speech at 16 kHz and names one of 35 English words or "unknown". transformers has no such model, so it is
one here: `AutoModelForAudioClassification.from_pretrained` loads its folder. `tools/keyword_spotter.py` makes a folder from the
authors' Keras weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

BAND = 80  # mel filters
FRAME, HOP = 1024, 128  # samples


class KeywordSpotterConfig(PretrainedConfig):
    """The config of a keyword spotter: its labels are all that varies.

    Args:
        sampling_rate: samples per second.
        samples: of a clip.
        hidden_size: of each direction of the recurrent layers.
        kwargs: as for `PretrainedConfig`, such as `id2label`.

    >>> KeywordSpotterConfig(num_labels=36).samples
    16000
    """

    model_type = "keyword_spotter"

    def __init__(self, sampling_rate: int = 16000, samples: int = 16000, hidden_size: int = 64, **kwargs: Any):
        super().__init__(**kwargs)
        self.sampling_rate, self.samples, self.hidden_size = sampling_rate, samples, hidden_size


class KeywordSpotterForAudioClassification(PreTrainedModel):
    """Log-mel frames, two convolutions along time, two bidirectional LSTMs, attention with one query, three linear layers.

    The query is made of the last state. The authors standardise the spectrograms of a *batch* together, so that
    the answer to a clip depends on the others; here each clip is standardised by itself.

    >>> model = KeywordSpotterForAudioClassification(KeywordSpotterConfig(num_labels=5, hidden_size=4)).eval()
    >>> model(torch.zeros(2, 16000)).logits.shape
    torch.Size([2, 5])
    """

    config_class = KeywordSpotterConfig
    main_input_name = "input_values"
    config: KeywordSpotterConfig
    mel: Tensor
    window: Tensor

    def __init__(self, config: KeywordSpotterConfig):
        super().__init__(config)
        size = config.hidden_size
        self.register_buffer("mel", torch.zeros(FRAME // 2 + 1, BAND))
        self.register_buffer("window", torch.hann_window(FRAME))
        self.conv1 = nn.Conv2d(1, 10, (5, 1), padding=(2, 0))
        self.norm1 = nn.BatchNorm2d(10, eps=1e-3)
        self.conv2 = nn.Conv2d(10, 1, (5, 1), padding=(2, 0))
        self.norm2 = nn.BatchNorm2d(1, eps=1e-3)
        self.lstm = nn.LSTM(BAND, size, num_layers=2, bidirectional=True, batch_first=True)
        self.query = nn.Linear(2 * size, 2 * size)
        self.dense1, self.dense2 = nn.Linear(2 * size, 64), nn.Linear(64, 32)
        self.classifier = nn.Linear(32, int(config.num_labels or 2))
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        """The defaults of torch, and mel filters, which a checkpoint holds too."""
        from transformers.audio_utils import mel_filter_bank

        if module is self:
            rate = self.config.sampling_rate
            bank = mel_filter_bank(FRAME // 2 + 1, BAND, 40.0, rate / 2, rate)
            self.mel.copy_(torch.tensor(bank, dtype=torch.float32))

    def spectrogram(self, waveform: Tensor) -> Tensor:
        """Log-mel frames (batch, frames, 80) of waveforms (batch, samples), with mean 0 and deviation 1 in each clip."""
        frames = -(-waveform.shape[-1] // HOP)
        filled = F.pad(waveform, (0, (frames - 1) * HOP + FRAME - waveform.shape[-1]))
        spectrum = torch.fft.rfft(filled.unfold(-1, FRAME, HOP) * self.window)
        # the gradient of a magnitude of exactly zero is no number
        magnitude = (spectrum.real.square() + spectrum.imag.square()).clamp(min=1e-20).sqrt()
        logs = torch.log(magnitude @ self.mel + 1e-6)
        deviation, mean = torch.std_mean(logs, (1, 2), keepdim=True, correction=0)
        return (logs - mean) / deviation.clamp(min=1e-6)

    def forward(
        self, input_values: Tensor, labels: Tensor | None = None, return_dict: bool | None = None
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """Logits (batch, labels) of waveforms (batch, samples) from -1 to 1, and the cross-entropy if `labels` are given."""
        frames = self.spectrogram(input_values)[:, None]
        frames = self.norm1(F.relu(self.conv1(frames)))
        frames = self.norm2(F.relu(self.conv2(frames)))[:, 0]
        states, _ = self.lstm(frames)
        scores = torch.bmm(states, self.query(states[:, -1]).unsqueeze(-1))
        pooled = torch.bmm(scores.softmax(1).transpose(1, 2), states)[:, 0]
        logits = self.classifier(self.dense2(F.relu(self.dense1(pooled))))
        loss = None if labels is None else F.cross_entropy(logits, labels)
        output = SequenceClassifierOutput(loss=loss, logits=logits)
        return output.to_tuple() if return_dict is False else output
