"""The programs of a dual encoder: what each does to pixels and embeddings, by hand; constants stay the same objects."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from hf_reprogram import InputError
from hf_reprogram.sources.dual import Texts
from hf_reprogram.transforms import canvas, dual
from hf_reprogram.transforms.dual import Dual, DualOptions
from hf_reprogram.transforms.text_programs import TextProgramOptions, make_text_program
from tests.support import tiny_dual as tiny
from tests.support.replicas import replica
from tests.support.tiny_vision import SIDE, make_source

CLASSES = [["a cat"], ["two dogs."]]


@pytest.fixture(scope="module")
def source():
    return tiny.make_source("clip")


def class_texts(source):
    ids, mask = source.tokenize(tiny.tokenizer(), [text for row in CLASSES for text in row])
    return ids[:, None], mask[:, None]


def make(source, **options):
    ids, mask = class_texts(source)
    transform = Dual(DualOptions(SIDE, SIDE, *ids.shape, **options))
    transform.check(source.spec)
    transform.reset(ids, mask, source)
    return transform


def text_options(kind, size=3, unit=0.5):
    return {"type": kind, "width": tiny.WIDTH, "size": size, "unit": unit}


def perturb(transform):
    with torch.no_grad():
        for parameter in transform.parameters():
            parameter.add_(torch.randn_like(parameter))


IMAGE = {"height": SIDE, "width": SIDE, "image_height": SIDE, "image_width": SIDE, "mask": "border", "border": 3}


def test_a_border_is_added_and_the_middle_is_the_images(source):
    transform = make(source, image=IMAGE)
    perturb(transform)
    pixels = torch.rand(2, 3, SIDE, SIDE)
    inputs = transform({"pixel_values": pixels}, source)
    assert torch.equal(inputs["pixels"][..., 3:-3, 3:-3], pixels[..., 3:-3, 3:-3])
    corner = transform.canvas.program()[:, 0, 0]
    torch.testing.assert_close(inputs["pixels"][0, :, 0, 0], (pixels[0, :, 0, 0] + corner).clamp(0, 1))
    assert torch.equal(inputs["plain"], pixels)
    assert sum(p.numel() for p in transform.parameters()) == 3 * (SIDE**2 - (SIDE - 6) ** 2)


@pytest.mark.parametrize("kind", ["low_rank", "context", "table"])
def test_copies_for_several_devices_train_the_texts(kind, source):
    made = make(source, text=text_options(kind, size=13 if kind == "table" else 3))
    perturb(made)
    with torch.no_grad():
        before = made.texts(source).embeds
    copy = replica(made)
    assert torch.equal(copy.texts(source).embeds, before)
    copy.texts(source).embeds.square().sum().backward()
    assert all(parameter.grad.any() for parameter in made.parameters())
    torch.optim.AdamW(made.parameters(), lr=0.5, fused=True).step()
    with torch.no_grad():
        assert not torch.equal(made.texts(source).embeds, before)


def other_texts(source, classes, **options):
    ids, mask = source.tokenize(tiny.tokenizer(), classes)
    transform = Dual(DualOptions(SIDE, SIDE, *ids[:, None].shape, **options))
    transform.reset(ids[:, None], mask[:, None], source)
    return transform


def test_another_start_brings_its_programs_and_leaves_the_class_texts(source):
    trained = make(source, image=IMAGE, text=text_options("low_rank"))
    perturb(trained)
    fresh = other_texts(source, ["a bus", "three zebras.", "ice"], image=IMAGE, text=text_options("low_rank"))
    before = fresh.ids.clone()
    fresh.start_from(trained)
    assert torch.equal(fresh.ids, before)
    assert torch.equal(fresh.canvas.program.weight, trained.canvas.program.weight)
    assert torch.equal(fresh.text.up, trained.text.up)
    embeds = source.embed(fresh.plain_texts.ids)
    torch.testing.assert_close(
        fresh.texts(source).embeds,
        embeds + 0.5 * (embeds @ trained.text.down.T @ trained.text.up.T + trained.text.bias),
    )


def test_a_table_starts_with_the_rows_of_the_tokens_it_shares(source):
    trained = other_texts(source, ["abc", "ad"], text=text_options("table", size=7))
    perturb(trained)
    fresh = other_texts(source, ["cb", "e"], text=text_options("table", size=6))
    fresh.start_from(trained)
    letters = tiny.tokenizer().convert_ids_to_tokens(fresh.text.tokens.tolist())
    theirs = tiny.tokenizer().convert_ids_to_tokens(trained.text.tokens.tolist())
    for letter, row in zip(letters, fresh.text.rows, strict=True):
        expected = trained.text.rows[theirs.index(letter)] if letter in theirs else torch.zeros_like(row)
        assert torch.equal(row, expected), letter
    assert "e" in letters
    assert "e" not in theirs


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"image": IMAGE}, "has no program of its texts, and this one has one: use the same text_program"),
        ({"image": IMAGE, "text": {**text_options("low_rank"), "unit": 0.25}}, "has unit=0.25, and this one has 0.5"),
        (
            {"image": {**IMAGE, "amplitude": 0.5}, "text": text_options("low_rank")},
            "has amplitude=0.5, and this one has 1.0",
        ),
        (
            {"image": IMAGE, "text": text_options("low_rank"), "resolution": 16},
            "has resolution=16, and this one has None",
        ),
    ],
)
def test_programs_that_mean_something_else_are_no_start(options, sentence, source):
    fresh = make(source, image=IMAGE, text=text_options("low_rank"))
    with pytest.raises(InputError, match=sentence):
        fresh.start_from(make(source, **options))


def test_what_is_kept_of_the_texts_under_autocast_serves_calls_without_it(source):
    made = make(source, text=text_options("low_rank"))
    perturb(made)
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            under = made.texts(source).embeds
        assert made.texts(source).embeds is under
        made.text.bias.add_(0)  # a new version
        assert torch.equal(made.texts(source).embeds, under)


@torch.no_grad()
def test_resolution_takes_an_image_down_and_back_as_pillow_does(source):
    """Up to the rounding to bytes that Pillow does in between."""
    transform = make(source, resolution=16)
    smooth = F.interpolate(torch.rand(1, 3, 5, 5), (SIDE, SIDE), mode="bilinear")
    pixels = (smooth * 255).round() / 255
    found = transform({"pixel_values": pixels}, source)
    image = Image.fromarray((pixels[0] * 255).byte().permute(1, 2, 0).numpy())
    small = image.resize((16, 16), Image.Resampling.BILINEAR).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    expected = torch.tensor(list(small.tobytes()), dtype=torch.float).view(SIDE, SIDE, 3).permute(2, 0, 1) / 255
    assert (found["pixels"][0] - expected).abs().max() < 2 / 255
    assert torch.equal(found["plain"], pixels)


def test_an_images_pixels_are_checked_and_resized_once(source, monkeypatch):
    made = make(source, image=IMAGE, resolution=16)
    perturb(made)
    pixels, seen = torch.rand(2, 3, 20, 24), []
    for module in (canvas, dual):
        monkeypatch.setattr(module, "resized", lambda *given, real=module.resized: seen.append(1) or real(*given))
    inputs = made({"pixel_values": pixels}, source)
    assert len(seen) == 1
    plain = F.interpolate(pixels, (SIDE, SIDE), mode="bilinear", antialias=True)
    torch.testing.assert_close(inputs["plain"], plain)
    lowered = make(source, resolution=16).canvas_of(plain)
    torch.testing.assert_close(inputs["pixels"], made.canvas.canvas_of(lowered))
    torch.testing.assert_close(inputs["pixels"], made.canvas_of(pixels))
    with pytest.raises(InputError, match="pixels go from 0 to 2"):
        made({"pixel_values": 2 * torch.eye(20).expand(2, 3, 20, 20)}, source)


def test_an_image_program_that_is_not_over_the_whole_image_is_refused(source):
    for changed in ({"image_height": SIDE - 4}, {"learn_scale": True}):
        with pytest.raises(InputError, match="image program must cover the image of 32 x 32 pixels"):
            make(source, image={**IMAGE, **changed})


def test_without_programs_nothing_is_changed(source):
    transform = make(source)
    pixels = torch.rand(2, 3, SIDE, SIDE)
    inputs = transform({"pixel_values": pixels}, source)
    assert inputs["pixels"] is inputs["plain"]
    assert torch.equal(inputs["pixels"], pixels)
    assert inputs["texts"] is inputs["plain_texts"]
    assert inputs["texts"].embeds is None
    assert list(transform.parameters()) == []


def test_known_features_take_the_untouched_images_place(source):
    known = torch.rand(2, 24)
    batch = {"pixel_values": torch.rand(2, 3, SIDE, SIDE), "image_features": known}
    assert make(source, image=IMAGE)(batch, source)["plain"] is known


def test_low_rank_is_an_affine_map_of_every_embedding(source):
    transform = make(source, text=text_options("low_rank"))
    embeds = source.embed(class_texts(source)[0])
    program = transform.text
    assert program.down.abs().sum() > 0
    torch.testing.assert_close(transform.texts(source).embeds, embeds)
    perturb(transform)
    expected = embeds + 0.5 * (embeds @ program.down.T @ program.up.T + program.bias)
    torch.testing.assert_close(transform.texts(source).embeds, expected)


def test_context_stands_after_the_first_token(source):
    transform = make(source, text=text_options("context"))
    ids, mask = class_texts(source)
    texts = transform.texts(source)
    embeds = source.embed(ids)
    for row in range(2):
        vectors = 0.5 * transform.text.vectors
        expected = torch.cat([embeds[row, 0, :1], vectors, embeds[row, 0, 1:]])
        torch.testing.assert_close(texts.embeds[row, 0], expected)
        assert texts.mask[row, 0].tolist() == [1, 1, 1, *mask[row, 0].tolist()]
    ends = [row.index(tiny.tokenizer().eos_token_id) for row in texts.ids[:, 0].tolist()]
    assert ends == [len(text[0]) + 1 + 3 for text in CLASSES]  # CLIP reads the state at the first end of a text
    deviation = float(transform.text.vectors.detach().std() * 0.5 / source.embedding.weight.std())
    assert 0.7 < deviation < 1.3


def test_context_takes_the_place_of_padding_where_the_tower_pads_fully():
    source = tiny.make_source("siglip")
    texts = Texts(*source.tokenize(tiny.tokenizer(), ["a cat"]))
    program = make_text_program(text_options("context"))
    found = program(texts, source)
    assert found.ids.shape == texts.ids.shape == (1, tiny.TOKENS)
    torch.testing.assert_close(
        found.embeds[:, 3:], source.embed(texts.ids)[:, :-3]
    )  # SigLIP's texts have no start token


def test_a_table_has_a_row_for_every_token_that_occurs(source):
    ids, _ = class_texts(source)
    occurring = ids.unique()
    transform = make(source, text=text_options("table", size=len(occurring)))
    perturb(transform)
    whole = source.embedding.weight.clone()  # the paper's: the whole table is trained
    whole[occurring] += 0.5 * transform.text.rows.detach()
    torch.testing.assert_close(transform.texts(source).embeds, whole[ids])


@pytest.mark.parametrize("kind", ["low_rank", "context", "table"])
def test_texts_are_the_same_object_until_theta_changes(kind, source):
    size = len(class_texts(source)[0].unique()) if kind == "table" else 2
    transform = make(source, text=text_options(kind, size))
    with torch.no_grad():
        first = transform.texts(source)
        assert transform.texts(source) is first
        perturb(transform)
        assert transform.texts(source) is not first
        again = transform.texts(source)
    assert transform.texts(source).embeds.requires_grad  # with gradients they are made anew
    with torch.no_grad():
        assert transform.texts(source) is not again


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"resolution": SIDE + 1}, "resolution is 33, but the source's image has 32 x 32 pixels"),
        ({"text": text_options("soft")}, "'soft'"),
        ({"text": text_options("context", size=0)}, "size of a context text program is 0"),
        ({"text": text_options("context", unit=0.0)}, "unit is 0.0"),
    ],
)
def test_options_out_of_range_are_refused(options, sentence, source):
    with pytest.raises(InputError, match=sentence):
        make(source, **options)


def test_a_source_without_a_text_tower_or_of_another_size_is_refused(source):
    transform = make(source)
    with pytest.raises(InputError, match="no text tower"):
        transform.check(make_source("vit").spec)
    with pytest.raises(InputError, match="takes 32 x 32"):
        Dual(DualOptions(SIDE, SIDE + 8, 2, 1, 4)).check(source.spec)


def test_unknown_programs_name_the_choices():
    with pytest.raises(InputError, match="low_rank"):
        TextProgramOptions("lowrank", 8, 2)
