"""Frozen audio models: an audio classifier, an audio encoder, or any `nn.Module` from waveforms to logits or features.

A waveform is (batch, samples) of numbers from -1 to 1 everywhere outside of this file. What the model itself takes is the
source's business: it normalises each waveform where the model's feature extractor does, and computes the spectrogram of a model
that takes one (`hf_reprogram.sources.spectrogram`), with gradients. A transform may also compute the spectrogram by
`source.spectrogram`, change it, and pass it in place of the waveform.

A clip has `samples` samples, which is part of the source. Whisper's encoder is cut to them: one second takes 50 of its 1,500
positions, and the computation of the others is saved.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import InputError, shown
from ..modalities.processors import open_feature_extractor
from ..modalities.waveform import waveform_extractor
from .base import Source, SourceSpec, fingerprint
from .checks import check_independent, check_repeatable
from .families import SourceFamily, architecture_in
from .heads import last_linear
from .mixing import form_of
from .quantized import plain
from .reading import PATCHING, input_of, with_part
from .spectrogram import front_end_of, make_front_end

LONGEST = 60 * 48_000  # samples of a clip
RECURRENT = (nn.RNN, nn.LSTM, nn.GRU)
ENCODERS = (
    "audio-spectrogram-transformer",
    "data2vec-audio",
    "hubert",
    "sew",
    "sew-d",
    "unispeech",
    "unispeech-sat",
    "wav2vec2",
    "wav2vec2-conformer",
    "wavlm",
    "whisper",
)


@dataclass(frozen=True)
class AudioSpec(SourceSpec):
    """The properties of an audio source, in addition to those of `SourceSpec`.

    Attributes:
        sampling_rate: samples per second.
        samples: the length of a clip.
        spectrogram: mel filters and frames of the model's spectrogram; None for a model of waveforms.

    >>> audio_source.spec.samples, audio_source.spec.widths
    (1600, {'logits': 12, 'features': 32})
    """

    sampling_rate: int = 0
    samples: int = 0
    spectrogram: tuple[int, int] | None = None


class AudioSource(Source):
    """A frozen model of sounds.

    Args:
        model: a model of `AutoModelForAudioClassification` or `AutoModel`, or any module that takes waveforms (batch, samples)
            and returns logits or features (batch, width).
        sampling_rate: samples per second.
        samples: the length of a clip.
        kind: "audio_classifier" or "audio_encoder" of transformers; by default "audio_module".
        gives: the meaning of a module's output, "logits" or "features".
        labels: the names of a module's labels.
        normalize: whether the model takes waveforms of mean 0 and deviation 1.
        front_end: the settings of its spectrogram (`hf_reprogram.sources.spectrogram.make_front_end`); None if it takes
            waveforms.

    `source(inputs, reads)` takes either `waveform` (batch, samples) or `spectrogram` (batch, mels, frames).

    Raises:
        InputError: the model does not take such clips, or its output has another shape than (batch, logits or features).

    >>> network = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 400, 200), nn.Flatten(), nn.Linear(316, 10))
    >>> source = AudioSource(network, sampling_rate=16000, samples=16000)
    >>> source({"waveform": torch.zeros(3, 16000)}, "features").shape
    torch.Size([3, 316])
    """

    spec: AudioSpec

    def __init__(
        self,
        model: nn.Module,
        sampling_rate: int,
        samples: int,
        kind: str = "audio_module",
        gives: str = "logits",
        labels: Sequence[str] | None = None,
        normalize: bool = False,
        front_end: Mapping[str, Any] | None = None,
    ):
        super().__init__(model)
        for name, value, most in (("sampling_rate", sampling_rate, 384_000), ("samples", samples, LONGEST)):
            if type(value) is not int or not 0 < value <= most:
                raise InputError(f"{name} is {shown(value)}: give a whole number from 1 to {most:,}.")
        if gives not in ("logits", "features"):
            raise InputError(f"gives is {shown(gives)}: give 'logits' or 'features'.")
        if next(model.parameters(), None) is None:
            raise InputError(f"{type(model).__name__} has no weights: give a trained model.")
        self.settings = {"sampling_rate": sampling_rate, "samples": samples}
        if kind == "audio_module":
            self.settings |= {"gives": gives, "labels": list(labels or ())}
        else:
            self.settings |= {"normalize": normalize, "front_end": None if front_end is None else dict(front_end)}
        self._kind, self._gives = kind, "features" if kind == "audio_encoder" else gives
        self._normalize, self._samples = normalize, samples
        self.front_end = None if front_end is None else make_front_end(dict(front_end), samples).to(self.device)
        self._family = getattr(getattr(model, "config", None), "model_type", None) or type(model).__name__
        self._recurrent = any(isinstance(module, RECURRENT) for module in model.modules())
        self._head_name: str | None = None
        self._views: list[Any] = [
            model if front_end is None else self._cut(model, front_end)
        ]  # in a list, since they are no parts of the source
        widths = self._probe(sampling_rate)
        if self._head is not None:  # for compiled models
            self._views.append(with_part(self._views[0], self._head, nn.Identity()))
        names = list(labels or ())
        if kind == "audio_classifier":
            config: Any = model.config
            names = [config.id2label[index] for index in range(config.num_labels)]
        if names and len(names) != widths.get("logits"):
            raise InputError(
                f"There are {len(names)} labels for {widths.get('logits', 0)} logits: give one label for each logit."
            )
        self.spec = AudioSpec(
            kind=kind,
            family=self._family,
            widths=widths,
            labels=tuple(names),
            takes="input_values",
            sampling_rate=sampling_rate,
            samples=samples,
            spectrogram=None if self.front_end is None else self.front_end.size,
        )

    # ------------------------------------------------------------------------------------------------ the source's data

    def plain_processor(self, name: str, hub: dict[str, Any]) -> Any:
        """What brings clips to the source's rate and length."""
        return waveform_extractor(self.spec.sampling_rate, self.spec.samples)

    def plain_inputs(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """The waveforms without a change."""
        return {"waveform": batch["input_values"]}

    def plain_example(self) -> dict[str, Tensor]:
        """One clip of a tone that rises."""
        return {"input_values": _tone(self._samples, self.spec.sampling_rate).to(self.device)[None]}

    @property
    def entry(self) -> Tensor:
        """The model's first weights."""
        weight: Tensor = next(self.model.parameters())
        return weight

    @property
    def _head(self) -> Any:
        """The linear layer whose output is the logits, or None."""
        return None if self._head_name is None else self.model.get_submodule(self._head_name)

    def label_embeddings(self) -> Tensor:
        """The rows of the last linear layer (labels, width)."""
        return super().label_embeddings() if self._head is None else plain(self._head.weight)

    def fingerprint(self) -> dict[str, Any]:
        """The digest of the first weights and of the last layer's, whose rows belong to the source's labels."""
        weights = [self.entry] if self._head is None else [self.entry, self._head.weight]
        return fingerprint(torch.cat([plain(weight).flatten().to(self.device) for weight in weights]))

    # ------------------------------------------------------------------------------------------------------ computation

    def spectrogram(self, waveform: Tensor) -> Tensor:
        """The model's spectrogram (batch, mels, frames) of waveforms (batch, samples).

        Raises:
            InputError: this model takes waveforms.
        """
        if self.front_end is None:
            raise InputError(f"{self._family} takes waveforms and has no spectrogram of its own: change the waveform.")
        made: Tensor = self.front_end(self._checked(waveform).float())
        return made

    def mixes_as(self, inputs: dict[str, Any], reads: str) -> Hashable | None:
        """See `Source.mixes_as`: waveforms with waveforms, and spectrograms with spectrograms."""
        return form_of(inputs)

    def forward(self, inputs: dict[str, Any], reads: str) -> Tensor:
        """See `hf_reprogram.sources.base` for `reads` and the shapes."""
        if reads not in self.spec.widths:
            raise InputError(
                f"The {self.spec.kind} source cannot read {reads!r}: choose one of {', '.join(sorted(self.spec.widths))}."
            )
        data = inputs["spectrogram"] if "spectrogram" in inputs else self._prepared(inputs["waveform"])
        behind = reads == "features" and self._head is not None
        if torch.compiler.is_compiling():
            compiled: Tensor = self._run(data, self._views[1] if behind else self._views[0])
            return compiled
        if not behind:
            output: Tensor = self._run(data, self._views[0])
            return output
        with PATCHING, input_of(self._head) as caught:
            self._run(data, self._views[0])
        return caught[0].to(self.device)

    def _prepared(self, waveform: Tensor) -> Tensor:
        """What the model takes of waveforms."""
        if self.front_end is not None:
            return self.spectrogram(waveform)
        waveform = self._checked(waveform)
        if not self._normalize:
            return waveform
        variance, mean = torch.var_mean(waveform, -1, keepdim=True, correction=0)
        return (waveform - mean) / (variance + 1e-7).sqrt()

    def _checked(self, waveform: Tensor) -> Tensor:
        if waveform.dim() != 2 or waveform.shape[1] != self._samples:
            raise InputError(
                f"The waveforms are {' x '.join(map(str, waveform.shape))}, but this source takes (batch, {self._samples:,}): "
                "bring clips to this length first."
            )
        return waveform

    def _run(self, data: Tensor, view: Any) -> Any:
        """The output of a view of the model (`with_part`) for what it takes."""
        data = data.to(self.entry.dtype)
        # cuDNN has no gradient for a recurrent network in eval mode
        without = self._recurrent and data.is_cuda and torch.is_grad_enabled()
        with torch.backends.cudnn.flags(enabled=False) if without else nullcontext():
            if self._kind == "audio_module":
                output = view(data)
            else:
                name = "input_features" if self._family == "whisper" else "input_values"
                tower = view.get_encoder() if self._kind == "audio_encoder" and name == "input_features" else view
                if self._family == "audio-spectrogram-transformer":
                    data = data.transpose(1, 2)
                output = tower(**{name: data})
        if self._kind == "audio_encoder":
            return output.last_hidden_state.mean(1)
        output = output[0] if isinstance(output, tuple | list) else output
        return getattr(output, "logits", output)

    def _cut(self, model: Any, front_end: Mapping[str, Any]) -> Any:
        """The model, or a view of Whisper whose encoder has as many positions as a clip has."""
        if self._family != "whisper" or self.front_end is None:
            return model
        encoder = model.get_encoder() if self._kind == "audio_encoder" else model.encoder
        positions = self.front_end.size[1] // 2
        whole = encoder.embed_positions.num_embeddings
        if self.front_end.size[1] % 2 or not 0 < positions <= whole:
            each = 2 * int(front_end["hop_length"])
            raise InputError(
                f"samples is {self._samples}: Whisper takes a multiple of {each}, and at most {each * whole}."
            )
        view = with_part(encoder, encoder.embed_positions, _FirstRows(encoder.embed_positions, positions))
        view.config = copy(encoder.config)
        view.config.max_source_positions = positions
        return with_part(model, encoder, view)

    @torch.no_grad()
    def _probe(self, rate: int) -> dict[str, int]:
        """The width of each output. This sets the name of the head."""
        name = type(self.model).__name__
        tone = _tone(self._samples, rate)
        clips = torch.stack([tone, tone.flip(0) * 0.5]).to(self.device)
        try:
            data = self._prepared(clips)
            output, head = last_linear(self.model, lambda: self._run(data, self._views[0]))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise InputError(
                f"{name} does not take clips of {self._samples:,} samples: {str(error).strip().splitlines()[0]}"
            ) from error
        if not isinstance(output, Tensor) or output.dim() != 2 or len(output) != 2:
            shape = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"type {type(output).__name__}"
            raise InputError(
                f"{name} returns an output of {shape} for 2 clips: use a model that returns (batch, logits or features)."
            )
        if not clips.is_meta:
            check_repeatable(name, output, self._run(data, self._views[0]))
            alone = self._run(data[1:], self._views[0])
            check_independent(name, output[1:], alone, "model whose output for a clip depends on this clip alone")
        if self._gives == "features":
            return {"features": output.shape[1]}
        self._head_name = head
        return {"logits": output.shape[1], **({} if head is None else {"features": self._head.in_features})}


class _FirstRows(nn.Module):
    """The first rows of an embedding, which stays the owner of its weights."""

    def __init__(self, embedding: nn.Embedding, rows: int):
        super().__init__()
        self.num_embeddings, self._whole = rows, [embedding]

    def forward(self, ids: Tensor) -> Tensor:
        rows: Tensor = self._whole[0](ids)
        return rows


def _tone(samples: int, rate: int) -> Tensor:
    """A tone (samples,) that rises from 200 to 1,000 Hz, of amplitude 0.3."""
    time = torch.arange(samples) / rate
    share = torch.linspace(0, 1, samples)
    return 0.3 * torch.sin(2 * torch.pi * (200 + 400 * share) * time)


class AudioFamily(SourceFamily):
    """Audio models of transformers.

    >>> AudioFamily().kind_of_architecture("Wav2Vec2ForSequenceClassification", audio_source.model.config)
    'audio_classifier'
    """

    kinds = {"audio_classifier": "AutoModelForAudioClassification", "audio_encoder": "AutoModel"}
    takes = "input_values"
    noun = "audio models"
    example = "an audio classifier or encoder"
    options: ClassVar[tuple[str, ...]] = ("sampling_rate", "samples", "normalize", "front_end")
    models = {"hf_reprogram.sources.keyword_spotter:KeywordSpotterForAudioClassification": "AudioClassification"}

    def kind_of_architecture(self, architecture: str, config: Any) -> str | None:
        """See `SourceFamily.kind_of_architecture`."""
        from transformers.models.auto.modeling_auto import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES

        known = architecture_in(MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES, config)
        return (
            "audio_classifier"
            if architecture in {*known, *(address.partition(":")[2] for address in self.models)}
            else None
        )

    def kind_of_config(self, config: Any) -> str | None:
        """See `SourceFamily.kind_of_config`."""
        return "audio_encoder" if config.model_type in ENCODERS else None

    def settings(
        self, name: str, config: Any, kind: str, chosen: dict[str, Any], hub: dict[str, Any]
    ) -> dict[str, Any]:
        """See `SourceFamily.settings`. The options are those of the feature extractor; a clip of any length has one second."""
        if {*self.options} <= {*chosen}:
            return chosen
        try:
            extractor = open_feature_extractor(name, hub)
        except (OSError, ValueError, ImportError) as error:
            raise InputError(
                f"There is no feature extractor for {name!r} ({str(error).strip().splitlines()[0]}): add its "
                "preprocessor_config.json to the model."
            ) from error
        front_end, filled = front_end_of(extractor)
        rate = extractor.sampling_rate
        own = {
            "sampling_rate": rate,
            "samples": getattr(config, "samples", None) or filled or rate,
            "normalize": front_end is None and bool(getattr(extractor, "do_normalize", False)),
            "front_end": front_end,
        }
        return {**own, **chosen}

    def build(self, model: Any, kind: str, settings: dict[str, Any]) -> AudioSource:
        """See `SourceFamily.build`."""
        return AudioSource(model, kind=kind, **settings)


class AudioModuleFamily(SourceFamily):
    """Modules of waveforms, which are passed as an `AudioSource`.

    >>> AudioModuleFamily().options
    ('sampling_rate', 'samples', 'gives', 'labels')
    """

    kinds = {"audio_module": None}
    takes = "input_values"
    noun = "audio models"
    options = ("sampling_rate", "samples", "gives", "labels")

    def build(self, model: Any, kind: str, settings: dict[str, Any]) -> AudioSource:
        """See `SourceFamily.build`."""
        if not {"sampling_rate", "samples"} <= {*settings}:
            raise InputError(
                "A module of waveforms needs sampling_rate and samples: pass it as AudioSource(model, ...)."
            )
        return AudioSource(model, **settings)
