"""What inspection says of a program is what it does to pixels, and the pictures show the same."""

from __future__ import annotations

import json
from math import tanh

import numpy as np
import pytest
import torch
from torch import nn

from hf_reprogram import InputError, reprogram
from hf_reprogram.inspection.adapter import describe, inspect_model
from hf_reprogram.sources import VisionSource
from hf_reprogram.transforms.drawing import grey_card
from tests.support import tiny, tiny_vision
from tests.support.inspecting import KINDS, LABELS, ROWS, TEXTS, label_table, look, make, picture

# ------------------------------------------------------------------------------------------------------ in numbers


def test_a_program_around_an_image_by_hand(folder):
    model, processor = make(folder, "elsayed", fill=0.7, image_size=8)
    found = inspect_model(model, processor)
    assert found["canvas"] == {"size": [32, 32], "holds": "image", "number": 1, "each": [8, 8], "at": [12, 12]}
    program = found["program"]
    assert (program["numbers"], program["example"]) == (3 * (32 * 32 - 64), "a test card")
    assert program["share"] == 1 - 64 / 1024
    assert program["mean_change"] == pytest.approx(tanh(0.7) / 2)
    assert program["largest_change"] == pytest.approx(tanh(0.7) / 2)


def test_what_the_pixels_range_cuts_off_is_no_change(folder, tmp_path):
    model, processor = make(folder, "kloberdanz", fill=9.0)
    for value, change in ((255, 0.0), (0, 1.0), (51, 0.8)):
        example = picture(tmp_path / "plain.png", value)
        program = inspect_model(model, processor, example=example)["program"]
        assert program["mean_change"] == pytest.approx(change, abs=1e-6)
        assert (program["share"], program["example"]) == (1, "plain.png")


@pytest.mark.parametrize(
    ("options", "canvas"),
    [
        ({"image_size": 6, "copies": 5}, {"number": 5, "each": [6, 6], "at": [5, 2]}),
        ({"image_size": [4, 10], "place": [3, 20]}, {"number": 1, "each": [4, 10], "at": [3, 20]}),
        ({"learn_scale": True}, {"number": 1, "each": [8, 8], "at": [12, 12], "scale": 2.0}),
        ({"mask": "border", "border": 4}, {"number": 1, "each": [32, 32], "at": [0, 0]}),
    ],
)
def test_where_images_lie(folder, options, canvas):
    model, processor = make(folder, "elsayed", **options)
    if "scale" in canvas:
        model.transform.log_scale.data.fill_(np.log(2))
    found = inspect_model(model, processor)["canvas"]
    assert found == {"size": [32, 32], "holds": "image", **{k: pytest.approx(v) for k, v in canvas.items()}}


def test_a_masked_program_is_measured_on_the_example(folder, tmp_path):
    model, processor = make(folder, "smm")
    file = picture(tmp_path / "grey.png", 100)
    views = look(model, processor, file)
    pixels = torch.full((1, 3, 32, 32), 100 / 255)
    torch.testing.assert_close(views.before[None], pixels)
    torch.testing.assert_close(views.after, model.transform.canvas_of(pixels)[0].detach())
    program = inspect_model(model, processor, example=file)["program"]
    assert program["largest_change"] == pytest.approx(float((views.after - 100 / 255).abs().max()))
    assert program["numbers"] == sum(p.numel() for p in model.transform.parameters()) > 3 * 32 * 32


def test_a_row_of_numbers_is_drawn_and_measured_around_its_squares(folder):
    model, processor = make(folder, "fraud", features=ROWS, side=4, fill=-0.3)
    found = inspect_model(model, processor)
    assert found["canvas"] == {"size": [32, 32], "holds": "feature", "number": 3, "each": [4, 4], "at": [12, 12]}
    assert found["program"]["share"] == 1 - 3 * 16 / 1024
    assert found["program"]["mean_change"] == pytest.approx(tanh(0.3) / 2)
    views = look(model, processor, "0.5, 100,-2")
    assert views.example == "a row of 3 numbers"
    for shade, (row, column) in zip((0.5, 1.0, 0.0), ((12, 12), (12, 16), (16, 12)), strict=True):
        square = views.after[:, row : row + 4, column : column + 4]
        torch.testing.assert_close(square, torch.full((3, 4, 4), shade))


def test_without_a_row_features_go_from_the_least_to_the_greatest(folder):
    model, processor = make(folder, "fraud", features=ROWS, side=4)
    shades = look(model, processor).after[0, [12, 12, 16], [12, 16, 12]]
    torch.testing.assert_close(shades, torch.tensor([0.0, 0.5, 1.0]))


def test_a_text_is_its_tokens_patches(folder):
    model, processor = make(folder, "cross_modal", texts=TEXTS)
    views = look(model, processor, "the film was bad")
    ids = [*processor.convert_tokens_to_ids(["the", "film", "was", "bad"]), *[processor.pad_token_id] * 12]
    for place, index in enumerate(ids):
        top, left = 8 * (place // 4), 8 * (place % 4)
        expected = 0.5 + 0.5 * model.transform.table[index].tanh()
        torch.testing.assert_close(views.after[:, top : top + 8, left : left + 8], expected.detach())
    assert (views.before == 0.5).all()
    program = inspect_model(model, processor, example="the film was bad")["program"]
    assert program["mean_change"] == pytest.approx(float((views.after - 0.5).abs().mean()))
    assert program["example"] == "'the film was bad'"


def test_a_pair_of_texts_is_one_row_of_tokens(folder):
    model, processor = make(folder, "cross_modal", texts=TEXTS)
    torch.testing.assert_close(
        look(model, processor, "the film\twas bad").after, look(model, processor, "the film was bad").after
    )


def test_without_a_text_the_vocabulary_is_shown(folder):
    model, processor = make(folder, "cross_modal", texts=TEXTS)
    views = look(model, processor)
    names = ["the", "was", "film", "and", ",", "bad", "dull", "good", "long", "plot", "thin"]
    assert views.example == "the first 11 tokens of the vocabulary"  # without the unknown token and padding
    assert list(views.added) == names[:10]
    torch.testing.assert_close(views.after, look(model, processor, " ".join(names)).after)


def test_a_bounded_program_is_measured_from_its_base(folder, tmp_path):
    file = picture(tmp_path / "base.png", 51)
    model, processor = make(folder, "cross_modal", texts=TEXTS, bounded=True, base_image=file, fill=50.0)
    views = look(model, processor, "good")
    torch.testing.assert_close(views.before, torch.full((3, 32, 32), 0.2))
    moved = (views.after - views.before).mean((1, 2))
    torch.testing.assert_close(moved, 0.2 * torch.tensor(tiny_vision.STD))


def test_the_test_card_by_hand():
    card = grey_card(4, 16)[0]
    assert torch.equal(card[0], card[2])
    torch.testing.assert_close(card[0, 0], torch.linspace(0, 1, 16))
    torch.testing.assert_close(card[0, 3, ::2], torch.linspace(1, 0, 8), atol=0.15, rtol=0)
    assert card[0, 3].unique().numel() == 8
    assert grey_card(1, 1).shape == (1, 3, 1, 1)


@pytest.mark.parametrize(
    ("method", "options", "example", "message"),
    [
        ("elsayed", {}, "nothing.png", "The example 'nothing.png' is no image that can be read"),
        ("fraud", {"features": ROWS}, "1,x,3", "'1,x,3' is no row of numbers separated by commas"),
        ("fraud", {"features": ROWS}, "1,2", "give \\(rows, 3\\) numbers"),
        ("fraud", {"features": ROWS}, "1,nan,2", "Feature 1 of row 0 is nan"),
    ],
)
def test_another_example_is_refused(folder, method, options, example, message):
    with pytest.raises(InputError, match=message):
        inspect_model(*make(folder, method, **options), example=example)


def test_an_example_of_text_prompts_is_refused(source_folder):
    with pytest.raises(InputError, match="leave it out"):
        inspect_model(*tiny.make_adapter(source_folder("bert")), example="good")


# ------------------------------------------------------------------------------------------------------ label maps


def test_the_label_map_has_the_sources_names(folder):
    model, _ = make(folder, "elsayed", labels_per_class=3)
    assert label_table(model, top=2) == {
        "above": {"number": 3, "labels": [("thing 0", 0.333), ("thing 1", 0.333)]},
        "below": {"number": 3, "labels": [("thing 3", 0.333), ("thing 4", 0.333)]},
    }


def test_weights_are_listed_the_heaviest_first(folder):
    model, processor = make(folder, "blm")
    assert label_table(model) is None
    assert "label map (blm_plus): still to be fitted" in describe(inspect_model(model, processor))
    labels = torch.tensor([0, 1] * 20)
    outputs = torch.zeros(40, 12)
    outputs[range(40), 3 + 5 * labels] = 9.0
    model.mapping.fit(outputs, labels)
    table = label_table(model)
    weights = model.mapping.weights()
    assert [table[name]["labels"][0] for name in LABELS] == [
        ("thing 3", round(float(weights[0, 3]), 3)),
        ("thing 8", round(float(weights[1, 8]), 3)),
    ]
    assert "  above        " + f"{weights[0, 3]:.2f} thing 3" in describe(inspect_model(model, processor))


def test_trained_weights_may_be_negative(folder):
    model, processor = make(folder, "elsayed", mapping="rvp")
    with torch.no_grad():
        model.mapping.between.copy_(torch.tensor([[0.0, -2.0], [0.5, 0.0]]))
    text = describe(inspect_model(model, processor))
    assert "source labels of each class, with their weights (identity):" in text
    assert "  above        -2.00 thing 1; 1.00 thing 0" in text
    assert "  below        1.00 thing 1; 0.50 thing 0" in text


def test_labels_without_names_are_numbered():
    network = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 6))
    source = VisionSource(network, 32, tiny_vision.MEAN, tiny_vision.STD)
    model, processor = reprogram(source, "elsayed", LABELS)
    assert label_table(model)["below"] == {"number": 1, "labels": [("1", 1.0)]}
    assert "1.00 0\n" in describe(inspect_model(model, processor))


# --------------------------------------------------------------------------------------------------------- the text


@pytest.mark.parametrize("method", KINDS)
def test_every_kind_of_image_adapter_can_be_inspected_and_stays_as_it_is(folder, method):
    model, processor = make(folder, method, **KINDS[method])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = inspect_model(model, processor)
    assert json.loads(json.dumps(found)).keys() == found.keys()
    text = describe(found)
    assert text.startswith(f"{method} on ")
    assert f"program: {found['program']['numbers']:,} numbers" in text
    assert "canvas: 32 x 32 pixels" in text
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_text_says_where_and_how_far(folder):
    text = describe(inspect_model(*make(folder, "elsayed", fill=0.7, image_size=8)))
    assert "canvas: 32 x 32 pixels; the image of 8 x 8, 12 from the top and 12 from the left\n" in text
    assert (
        "program: 2,880 numbers, on 94% of the canvas; it changes a pixel by 0.302 on average and 0.302 at most, of 1 "
        "(on a test card)" in text
    )
    text = describe(inspect_model(*make(folder, "elsayed", image_size=6, copies=5)))
    assert "; 5 images, each of 6 x 6, the first 5 from the top and 2 from the left\n" in text
    assert "32 x 32 pixels, which the image fills\n" in describe(inspect_model(*make(folder, "smm")))
