"""A dual encoder's features are transformers' own, normalised; constants are computed once; texts are no longer than needed."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from hf_reprogram import InputError, reprogram
from hf_reprogram.sources import DualSource, dual, load_source, restore_source
from hf_reprogram.sources.dual import Texts
from tests.support import tiny_dual as tiny
from tests.support import tiny_vision

TEXTS = ["a photo of a cat.", "a dog, sitting"]


@pytest.fixture(params=tiny.FAMILIES)
def source(request):
    return tiny.make_source(request.param)


def tokens(source, texts=TEXTS):
    return Texts(*source.tokenize(tiny.tokenizer(), texts))


def padded_fully(texts=TEXTS):
    found = tiny.tokenizer()(texts, padding="max_length", max_length=tiny.TOKENS, return_tensors="pt")
    return found["input_ids"], found["attention_mask"]


@torch.no_grad()
def test_image_features_are_transformers_own_normalised_once(source):
    pixels = torch.rand(3, 3, tiny_vision.SIDE, tiny_vision.SIDE)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (tiny_vision.MEAN, tiny_vision.STD))
    expected = source.model.get_image_features(pixel_values=(pixels - mean) / std).pooler_output
    found = source({"pixels": pixels}, "features")
    torch.testing.assert_close(found, F.normalize(expected, dim=-1))
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(3))


@torch.no_grad()
def test_text_features_are_those_of_fully_padded_texts(source):
    """CLIP's and BERT's do not depend on padding, so it is cut; SigLIP's do, and get all of it and no mask."""
    ids, mask = padded_fully()
    mask = None if source.pads_fully else mask
    expected = source.model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
    texts = tokens(source)
    assert texts.ids.shape[1] == (tiny.TOKENS if source.pads_fully else max(map(len, TEXTS)) + 2)
    torch.testing.assert_close(source.text_features(texts), F.normalize(expected, dim=-1), rtol=1e-5, atol=1e-6)


def test_given_embeddings_take_the_place_of_the_ids(source):
    texts = tokens(source)
    embeds = source.embed(texts.ids).clone().requires_grad_()
    with torch.no_grad():
        expected = source.text_features(texts)
    found = source.text_features(texts._replace(embeds=embeds))
    torch.testing.assert_close(found, expected)
    (found * torch.randn_like(found)).sum().backward()
    assert embeds.grad.abs().sum() > 0
    with torch.no_grad():
        other = source.text_features(texts._replace(embeds=embeds + torch.randn_like(embeds)))
    assert (other - expected).abs().max() > 1e-2


def test_texts_are_encoded_once_until_they_change(source, monkeypatch):
    calls = []
    encode = DualSource._encode
    monkeypatch.setattr(DualSource, "_encode", lambda *given: calls.append(1) or encode(*given))
    texts = tokens(source)
    first = source.text_features(texts)
    assert source.text_features(texts) is first
    assert not first.requires_grad
    assert len(calls) == 1
    texts.ids[0, 1] = texts.ids[1, 1] + 3
    assert not torch.equal(source.text_features(texts)[0], first[0])
    assert len(calls) == 2
    with torch.no_grad():
        frozen = texts._replace(embeds=source.embed(texts.ids))
        source.text_features(frozen), source.text_features(frozen), source.text_features(texts)
    assert len(calls) == 3
    trained = texts._replace(embeds=source.embed(texts.ids).requires_grad_())
    source.text_features(trained), source.text_features(trained)
    assert len(calls) == 5


@torch.no_grad()
@pytest.mark.parametrize("given", ["ids", "embeds"])
def test_many_constant_texts_are_encoded_in_parts(given, source, monkeypatch):
    sizes, tower = [], type(source)._read_texts
    monkeypatch.setattr(
        type(source), "_read_texts", lambda self, texts: sizes.append(len(texts.ids)) or tower(self, texts)
    )
    texts = tokens(source, [f"a {animal}{end}" for animal in ("cat", "old dog", "bird") for end in ("", ".", "!")])
    texts = Texts(*(part.unflatten(0, (3, 3)) for part in texts if part is not None))
    if given == "embeds":
        texts = texts._replace(embeds=source.embed(texts.ids) + 0.1 * torch.randn(3, 1, 1, tiny.WIDTH))
    expected = source.text_features(texts)
    monkeypatch.setattr(dual, "CHUNK", 4)
    found = source.text_features(Texts(*(part if part is None else part.clone() for part in texts)))
    assert sizes == [9, 4, 4, 1]
    assert found.shape == (3, 3, source.spec.widths["pair"])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_a_pair_holds_both_branches(source):
    texts, other = tokens(source), tokens(source, ["a b", "c"])
    pixels, plain = torch.rand(2, 2, 3, tiny_vision.SIDE, tiny_vision.SIDE)
    inputs = {"pixels": pixels, "plain": plain, "texts": texts, "plain_texts": other}
    pair = source(inputs, "pair")
    assert pair.plain_image is None
    assert pair.plain_text is None
    residual = source(inputs, "residual")
    features = source({"pixels": plain}, "features")
    assert torch.equal(residual.image, pair.image)
    assert torch.equal(residual.plain_image, features)
    assert torch.equal(residual.plain_text, source.text_features(other))
    known = source({**inputs, "plain": features + 1}, "residual")
    assert torch.equal(known.plain_image, features + 1)  # taken as they are
    assert source({**inputs, "plain": pixels}, "residual").plain_image.equal(pair.image)
    torch.testing.assert_close(pair.scale, torch.tensor(2.0).exp())


def test_it_loads_by_name_and_is_recognised_by_both_towers(tmp_path):
    folder = tiny.save_source(tmp_path / "source", "clip")
    source, reference = load_source(folder)
    assert source.spec.kind == "dual"
    assert source.spec.canvas() == (tiny_vision.SIDE, tiny_vision.SIDE)
    assert (source.spec.vocab_size, source.spec.max_tokens) == (len(tiny.tokenizer()), tiny.TOKENS)
    assert reference["settings"]["crop"] is None
    restore_source(reference)
    other = tiny.make_model("clip")
    with torch.no_grad():
        other.text_model.get_input_embeddings().weight[0, 0] += 1
    with pytest.raises(InputError, match="trained on another source"):
        restore_source(reference, DualSource(other, tiny_vision.SIDE, tiny_vision.MEAN, tiny_vision.STD, resample=2))


@pytest.mark.parametrize(
    ("family", "weight"),
    [("clip", "visual_projection"), ("clip", "text_projection"), ("siglip", "text_model.head")],
)
def test_other_projections_are_another_source(family, weight):
    source, other = tiny.make_source(family), tiny.make_source(family)
    assert source.fingerprint() == other.fingerprint()
    with torch.no_grad():
        other.model.get_parameter(f"{weight}.weight")[0, 0] += 1
    assert source.fingerprint() != other.fingerprint()


def test_a_source_on_two_devices_is_refused():
    model = tiny.make_model("clip")
    model.text_model.to("meta")
    with pytest.raises(InputError, match="on the devices cpu, meta, and it must be on one"):
        DualSource(model, tiny_vision.SIDE, tiny_vision.MEAN, tiny_vision.STD)


def test_some_settings_are_given_and_the_others_read(tmp_path):
    folder = tiny.save_source(tmp_path / "source", "clip")
    given = {"image_size": tiny_vision.SIDE, "resample": 2, "crop": 1.0}
    source, reference = load_source(folder, "dual", **given)
    assert reference["settings"] == {**source.settings, "resample": 2, "crop": 1.0}
    assert reference["settings"]["mean"] == pytest.approx(list(tiny_vision.MEAN))


@torch.no_grad()
def test_a_tower_that_takes_channels_the_other_way_round_gets_them_so(tmp_path):
    folder = tiny.save_source(tmp_path / "source", "clip")
    plain, _ = load_source(folder)
    turned, _ = load_source(folder, bgr=True, image_size=tiny_vision.SIDE, mean=[0.5] * 3, std=[0.5] * 3)
    pixels = torch.rand(2, 3, tiny_vision.SIDE, tiny_vision.SIDE)
    same, _ = load_source(folder, image_size=tiny_vision.SIDE, mean=[0.5] * 3, std=[0.5] * 3)
    expected = same({"pixels": pixels.flip(1)}, "features")
    torch.testing.assert_close(turned({"pixels": pixels}, "features"), expected)
    assert not torch.allclose(plain({"pixels": pixels}, "features"), expected)


def test_a_processor_of_images_and_texts_tokenizes(source):
    class Both:
        tokenizer = tiny.tokenizer()

    for found, expected in zip(source.tokenize(Both(), TEXTS), source.tokenize(tiny.tokenizer(), TEXTS), strict=True):
        assert torch.equal(found, expected)


def test_what_an_image_depends_on_is_the_image_tower(source):
    """The key of cached image features: with the image side changed they change, with the text side they do not."""
    names = {name for name, _ in source.image_weights()}
    assert all(not name.startswith("text_model") for name in names)
    pixels = torch.rand(2, 3, tiny_vision.SIDE, tiny_vision.SIDE)
    with torch.no_grad():
        before = source({"pixels": pixels}, "features")
        for name, weight in source.model.state_dict(keep_vars=True).items():
            if name not in names and weight.is_floating_point():
                weight.add_(torch.randn_like(weight))
        assert torch.equal(source({"pixels": pixels}, "features"), before)


def test_what_is_no_dual_encoder_is_refused():
    with pytest.raises(InputError, match="not a known dual encoder"):
        DualSource(tiny_vision.make_model("vit"), tiny_vision.SIDE, tiny_vision.MEAN, tiny_vision.STD)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_text_longer_than_the_tower_takes_is_refused(family):
    source = tiny.make_source(family)
    with pytest.raises(InputError, match="has 52 tokens, but the text tower takes 40"):
        source.tokenize(tiny.tokenizer(), ["a cat", "b" * 50])


@torch.no_grad()
@pytest.mark.parametrize("legacy", [False, True])
def test_clip_reads_the_state_at_the_end_of_a_text(legacy):
    """Both of its configurations: the end token's own id, and 2, which means the largest id of all."""
    source = tiny.make_source("clip")
    if legacy:
        source.model.text_model.eos_token_id = source.model.config.text_config.eos_token_id = 2
    short, mask = source.tokenize(tiny.tokenizer(), ["a cat"])
    end = tiny.tokenizer().eos_token_id
    padded = torch.cat([short, torch.full((1, 5), end)], 1)  # CLIP's padding is its end token
    more = torch.cat([mask, torch.zeros(1, 5, dtype=mask.dtype)], 1)
    expected = source.text_features(Texts(short, mask))
    torch.testing.assert_close(source.text_features(Texts(padded, more)), expected)
    other, mask = source.tokenize(tiny.tokenizer(), ["a cab"])
    assert (source.text_features(Texts(other, mask)) - expected).abs().max() > 1e-3


def test_constants_first_made_in_inference_mode_serve_training_too():
    source = tiny.make_source("clip")
    texts = tokens(source)
    with torch.inference_mode():
        first = source.text_features(texts)
    assert source.text_features(texts) is first
    assert not first.is_inference()


def test_another_dtype_makes_other_constants():
    source = tiny.make_source("vision-text")
    texts = tokens(source)
    source.text_features(texts)
    source.to(torch.bfloat16)
    assert source.text_features(texts).dtype == torch.bfloat16


def test_a_hook_on_the_embedding_stays():
    """As accelerate puts one there for sources on several devices."""
    source = tiny.make_source("clip")
    texts, called = tokens(source), []
    plain = source.embedding.forward
    source.embedding.forward = lambda ids: called.append(1) or plain(ids)
    source.text_features(texts._replace(embeds=source.embed(texts.ids)))
    source.embed(texts.ids)
    assert len(called) == 2


def test_an_image_is_resized_and_cropped_as_the_sources_processor_does(tmp_path):
    folder = tiny.save_source(tmp_path / "source", "clip")
    side = tiny_vision.SIDE
    processor = tiny_vision.processor_of()
    processor.size, processor.crop_size = {"shortest_edge": 2 * side}, {"height": side, "width": side}
    processor.do_center_crop, processor.resample = True, 3
    processor.save_pretrained(folder)
    _, reference = load_source(folder)
    assert reference["settings"]["crop"] == 2
    _, ours = reprogram(folder, method="reprogrammer", labels=["cat", "dog"])
    images, _ = tiny_vision.images(2, side=50)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (tiny_vision.MEAN, tiny_vision.STD))
    expected = processor(images, return_tensors="pt")["pixel_values"] * std + mean
    torch.testing.assert_close(ours(images, return_tensors="pt")["pixel_values"], expected, rtol=0, atol=1e-5)


def test_a_tokenizer_without_padding_is_refused():
    words = tiny.tokenizer()
    words.pad_token = None
    with pytest.raises(InputError, match="no padding token"):
        tiny.make_source("clip").tokenize(words, TEXTS)
