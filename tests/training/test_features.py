"""Zero-shot features from the cache are those computed anew; they are never stale and never half-written."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from datasets import Dataset, Image
from safetensors import SafetensorError
from safetensors.numpy import save_file

from hf_reprogram import InputError, reprogram
from hf_reprogram.training import features as module
from hf_reprogram.training.encode import collator, encode
from hf_reprogram.training.features import add_zero_shot_features, folder, write_features, zero_shot_features
from hf_reprogram.training.predict import predict_logits
from tests.support import tiny_dual, tiny_vision


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_REPROGRAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def computed(monkeypatch):
    """A list that grows by one for every split that is computed."""
    calls = []
    compute = module._compute
    monkeypatch.setattr(module, "_compute", lambda *args: calls.append(1) or compute(*args))
    return calls


def make(seed=0, **options):
    torch.manual_seed(0)
    options = {"alpha": 0.4, "resolution": 16, **options}
    source = tiny_dual.make_source("clip", seed)
    model, processor = reprogram(
        source, method="reprogrammer", labels=["cat", "dog"], processor=tiny_dual.tokenizer(), **options
    )
    with torch.no_grad():
        for parameter in model.transform.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return model.eval(), processor


def examples(processor, seed=0, count=9):
    images, labels = tiny_vision.images(count, seed=seed)
    split = Dataset.from_dict({"image": images, "label": labels}).cast_column("image", Image())
    return encode({"test": split}, processor)["test"]


def test_cached_and_uncached_runs_agree(cache, computed):
    model, processor = make()
    data = examples(processor)
    expected = predict_logits(model, processor, data, quiet=True)
    for _ in range(2):
        data = examples(processor)
        add_zero_shot_features(model, processor, {"test": data}, quiet=True)
        np.testing.assert_allclose(predict_logits(model, processor, data, quiet=True), expected, rtol=1e-5, atol=1e-5)
    assert len(computed) == 1
    assert len(list(cache.iterdir())) == 1
    row = data[3]
    with torch.no_grad():
        pixels = torch.tensor(row["pixel_values"])[None]
        found = model.source({"pixels": model.transform.canvas_of(pixels, programmed=False)}, "features")
    np.testing.assert_allclose(row["image_features"], found[0].numpy(), rtol=1e-5, atol=1e-6)


def test_with_features_the_source_sees_every_image_once(cache, monkeypatch):
    model, processor = make()
    data = examples(processor)
    add_zero_shot_features(model, processor, {"test": data}, quiet=True)
    seen = []
    run = type(model.source)._run
    monkeypatch.setattr(type(model.source), "_run", lambda self, pixels: seen.append(len(pixels)) or run(self, pixels))
    predict_logits(model, processor, data, quiet=True)
    assert sum(seen) == len(data)


@pytest.mark.parametrize("change", ["image", "weights", "dtype", "size", "bf16"])
def test_what_the_features_depend_on_makes_another_file(change, cache, computed):
    model, processor = make()
    zero_shot_features(model, processor, examples(processor), quiet=True)
    if change == "weights":
        with torch.no_grad():
            next(model.source.model.vision_model.encoder.parameters()).add_(0.1)
    if change == "dtype":
        model.source.bfloat16()
    if change == "size":
        processor.resample = 0
    data = examples(processor, seed=int(change == "image"))
    zero_shot_features(model, processor, data, quiet=True, bf16=change == "bf16")
    assert len(computed) == 2
    assert len(list(cache.iterdir())) == 2


def test_the_text_side_and_theta_do_not(cache, computed):
    model, processor = make()
    zero_shot_features(model, processor, examples(processor), quiet=True)
    with torch.no_grad():
        model.source.embedding.weight.add_(0.1)
        for parameter in model.transform.parameters():
            parameter.add_(1)
    zero_shot_features(model, processor, examples(processor), quiet=True)
    assert len(computed) == 1


def test_a_crash_while_writing_leaves_nothing_behind(cache, monkeypatch):
    model, processor = make()

    def half(tensors, name, **_):
        with open(name, "wb") as file:
            file.write(b"\x08")
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.numpy.save_file", half)
    with pytest.raises(KeyboardInterrupt):
        zero_shot_features(model, processor, examples(processor), quiet=True)
    assert list(cache.iterdir()) == []


def test_features_are_used_where_they_cannot_be_kept(cache, computed):
    cache.write_text("a file where the folder would be")
    model, processor = make()
    with pytest.warns(UserWarning, match=r"cannot be kept in '.*cache' \(File exists\).*HF_REPROGRAM_CACHE") as said:
        found = [zero_shot_features(model, processor, examples(processor), quiet=True) for _ in range(2)]
    assert len(said) == 1
    assert len(computed) == 2
    pixels = torch.stack([torch.as_tensor(row["pixel_values"]) for row in examples(processor)])
    with torch.no_grad():
        expected = model.source({"pixels": pixels}, "features")
    for features in found:
        np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)


def test_a_full_disk_is_no_crash(cache, monkeypatch):
    def full(*_, **__):
        raise SafetensorError("Error while serializing: No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    model, processor = make()
    with pytest.warns(UserWarning, match="No space left on device"):
        assert zero_shot_features(model, processor, examples(processor), quiet=True).shape == (9, 24)
    assert list(cache.iterdir()) == []


def test_a_damaged_file_is_computed_anew(cache, computed, tmp_path):
    model, processor = make()
    first = np.array(zero_shot_features(model, processor, examples(processor), quiet=True))
    path = next(cache.iterdir())
    path.write_bytes(path.read_bytes()[:40])
    np.testing.assert_array_equal(zero_shot_features(model, processor, examples(processor), quiet=True), first)
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[-5] ^= 64  # one bit of one number
    shorter = tmp_path / "shorter"
    write_features(first[:5], shorter)
    save_file({"other": first}, tmp_path / "other")
    for damage in (bytes(changed), shorter.read_bytes(), (tmp_path / "other").read_bytes()):
        path.write_bytes(damage)
        np.testing.assert_array_equal(zero_shot_features(model, processor, examples(processor), quiet=True), first)
        assert path.read_bytes() == whole
    assert len(computed) == 5


def test_only_what_blends_reads_them_and_train_only_where_alpha_is_trained(cache):
    model, processor = make(alpha=0.0)
    data = {"train": examples(processor), "test": examples(processor)}
    add_zero_shot_features(model, processor, data, quiet=True)
    assert not any(split.further for split in data.values())
    model, _ = make()
    add_zero_shot_features(model, processor, data, quiet=True)
    assert [bool(split.further) for split in data.values()] == [False, True]
    model, _ = make(learn_alpha=True)
    add_zero_shot_features(model, processor, data, quiet=True)
    assert all(split.further for split in data.values())


def test_a_program_of_texts_alone_trains_on_features(cache, monkeypatch):
    """The image tower sees every image once, and the loss and its gradient are those of the images."""
    model, processor = make(alpha=0.0, image_program="none", text_program="context", size=2, resolution=None)
    plain, known = examples(processor), examples(processor)
    add_zero_shot_features(model, processor, {"train": known}, quiet=True)
    gradients, seen = [], []
    run = type(model.source)._run
    monkeypatch.setattr(type(model.source), "_run", lambda self, pixels: seen.append(len(pixels)) or run(self, pixels))
    for data in (plain, known):
        model.zero_grad()
        batch = collator(processor)([data[row] for row in range(9)])
        model.train()(**batch).loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad]))
    assert seen == [9]
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)


def test_the_folder_is_beside_the_hubs_cache(monkeypatch):
    monkeypatch.delenv("HF_REPROGRAM_CACHE", raising=False)
    assert folder().name == "hf_reprogram"


def test_features_used_longest_ago_make_room(cache, computed, monkeypatch):
    model, processor = make()
    splits = [examples(processor, seed) for seed in range(3)]
    size = None
    for split in (*splits[:2], splits[0], splits[2]):  # the second is the one that waits longest
        zero_shot_features(model, processor, split, quiet=True)
        size = size or next(cache.glob("*.safetensors")).stat().st_size
        monkeypatch.setenv("HF_REPROGRAM_CACHE_GIB", str(2.5 * size / 2**30))
    assert len(computed) == 3
    assert len([*cache.glob("*.safetensors")]) == 2
    for split, calls in ((splits[0], 3), (splits[2], 3), (splits[1], 4)):
        zero_shot_features(model, processor, split, quiet=True)
        assert len(computed) == calls


@pytest.mark.parametrize("given", ["-1", "much", "nan"])
def test_a_limit_that_is_none_is_told(given, cache, monkeypatch):
    monkeypatch.setenv("HF_REPROGRAM_CACHE_GIB", given)
    model, processor = make()
    with pytest.raises(InputError, match="HF_REPROGRAM_CACHE_GIB is"):
        zero_shot_features(model, processor, examples(processor), quiet=True)
