"""Audio sources give what transformers gives, and refuse what they cannot read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, WhisperFeatureExtractor

from hf_reprogram import InputError
from hf_reprogram.sources import AudioSource, load_source
from hf_reprogram.sources.spectrogram import front_end_of, make_front_end
from tests.support import tiny_audio
from tests.support.tiny_audio import RATE, SAMPLES


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folder of each family."""
    where = tmp_path_factory.mktemp("audio")
    return {name: str(tiny_audio.save_source(where / name, name)) for name in tiny_audio.FAMILIES}


@pytest.mark.parametrize("family", ["wav2vec2", "ast", "whisper"])
@torch.no_grad()
def test_logits_are_those_of_transformers_with_its_own_feature_extractor(folders, family):
    """The clip has the length to which the feature extractor fills up."""
    source, record = load_source(folders[family])
    clip = tiny_audio.sounds(2, samples=source.spec.samples)[0]
    theirs = AutoModelForAudioClassification.from_pretrained(folders[family]).eval()
    encoded = AutoFeatureExtractor.from_pretrained(folders[family])(clip, sampling_rate=RATE, return_tensors="pt")
    expected = theirs(**{name: encoded[name] for name in ("input_values", "input_features") if name in encoded}).logits
    ours = source({"waveform": torch.from_numpy(np.stack(clip))}, "logits")
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3)
    assert record["settings"]["sampling_rate"] == RATE


@torch.no_grad()
def test_whisper_is_cut_to_the_clip_and_keeps_its_weights(folders):
    """A clip of one fifth takes one fifth of the positions; the others are not computed."""
    source, _ = load_source(folders["whisper"], samples=3200)
    before = {name: value.clone() for name, value in source.state_dict().items()}
    assert source.spec.spectrogram == (16, 20)
    seen = []
    source.model.encoder.layers[0].register_forward_hook(lambda _, args, __: seen.append(args[0].shape))
    features = source({"waveform": torch.zeros(2, 3200)}, "features")
    assert features.shape == (2, 32)
    assert seen[0][1] == 10
    assert all(torch.equal(value, before[name]) for name, value in source.state_dict().items())


@pytest.mark.parametrize(("name", "samples"), [("whisper", 3201 + 160), ("whisper", 99), ("whisper", 32000)])
def test_whisper_refuses_a_clip_that_it_cannot_have(folders, name, samples):
    with pytest.raises(InputError, match="a multiple of 320, and at most 16000"):
        load_source(folders[name], samples=samples)


@torch.no_grad()
def test_features_are_what_the_last_layer_reads():
    source = tiny_audio.make_module()
    clip = torch.randn(3, SAMPLES)
    features = source({"waveform": clip}, "features")
    torch.testing.assert_close(source.model.head(features), source({"waveform": clip}, "logits"))


@pytest.mark.filterwarnings("ignore:At least one mel filter")  # AST's own
@pytest.mark.parametrize("seconds", [1, 2])
def test_spectrograms_equal_those_of_the_feature_extractors(seconds):
    from transformers import ASTFeatureExtractor

    clip = np.random.default_rng(0).normal(size=seconds * RATE).astype(np.float32) * 0.1
    clip[len(clip) // 2 :] = 0  # silence, whose logarithm is cut
    for extractor in (WhisperFeatureExtractor(chunk_length=seconds), ASTFeatureExtractor(max_length=seconds * 90)):
        settings, _ = front_end_of(extractor)
        ours = make_front_end(settings, len(clip))(torch.from_numpy(clip)[None])
        theirs = next(iter(extractor(clip, sampling_rate=RATE, return_tensors="pt").values()))
        theirs = theirs if theirs.shape == ours.shape else theirs.transpose(1, 2)
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_gradient_reaches_the_waveform_through_every_front_end(folders):
    for folder in folders.values():
        source, _ = load_source(folder)
        clip = torch.zeros(2, source.spec.samples, requires_grad=True)  # silence is the hardest
        source({"waveform": clip}, "logits").logsumexp(-1).sum().backward()
        assert clip.grad.isfinite().all(), folder


def test_the_keyword_spotter_answers_each_clip_by_itself(folders):
    source, _ = load_source(folders["keyword_spotter"])
    clips = torch.from_numpy(np.stack(tiny_audio.sounds(4, samples=SAMPLES)[0]))
    together = source({"waveform": clips}, "logits")
    torch.testing.assert_close(together[:1], source({"waveform": clips[:1]}, "logits"), rtol=1e-4, atol=1e-5)


class Flat(nn.Module):
    """A network whose output has no row per clip."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, waveform):
        return waveform.mean() * self.scale


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AudioSource(tiny_audio.Bands(), RATE, 0), "samples is 0"),
        (lambda: AudioSource(tiny_audio.Bands(), RATE, 20), "does not take clips of 20 samples"),
        (lambda: AudioSource(tiny_audio.Bands(), RATE, SAMPLES, labels=["one"]), "1 labels for 12 logits"),
        (lambda: AudioSource(tiny_audio.Bands(), RATE, SAMPLES, gives="words"), "gives is 'words'"),
        (lambda: AudioSource(nn.Flatten(), RATE, SAMPLES), "has no weights"),
        (lambda: AudioSource(Flat(), RATE, SAMPLES), "an output of shape"),
        (lambda: load_source(tiny_audio.Bands(), "audio_module"), "pass it as AudioSource"),
        (lambda: tiny_audio.make_module()({"waveform": torch.zeros(1, 5)}, "logits"), "bring clips to this length"),
        (lambda: tiny_audio.make_module()({"waveform": torch.zeros(1, SAMPLES)}, "mask"), "cannot read 'mask'"),
        (lambda: tiny_audio.make_module().spectrogram(torch.zeros(1, SAMPLES)), "no spectrogram of its own"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(make, message):
    with pytest.raises(InputError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
