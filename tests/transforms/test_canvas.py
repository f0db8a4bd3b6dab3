"""Canvas: where the image lies, where the program acts, what it may become, and what is refused."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from torch.nn import functional as F

from hf_reprogram import InputError, ReprogramConfig, ReprogrammedModel
from hf_reprogram.sources import load_source
from hf_reprogram.transforms.canvas import Canvas, CanvasOptions, mask_of, run_lengths
from hf_reprogram.transforms.program import near_square
from tests.support import tiny, tiny_vision
from tests.support.replicas import replica
from tests.support.training import losses_of


def canvas(start: float | None = 1.0, **options) -> Canvas:
    """A canvas of 6 x 8 with an image of 2 x 4, and a program of normal deviates times `start`."""
    made = Canvas(CanvasOptions(**{"height": 6, "width": 8, "image_height": 2, "image_width": 4, **options}))
    if start:
        torch.manual_seed(0)
        torch.nn.init.normal_(made.program.weight, std=start)
    return made


def images(count: int = 3, height: int = 2, width: int = 4, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def pixels(transform, given) -> torch.Tensor:
    return transform({"pixel_values": given}, None)["pixels"]


def formula(transform, given) -> torch.Tensor:
    """The formula of the module's docstring as it stands, with whole arrays."""
    options = transform.options
    squash = {
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "clamp": lambda w: torch.maximum(torch.minimum(w, torch.tensor(1.0)), torch.tensor(-1.0)),
        "none": torch.clone,
    }[options.squash]
    mask = mask_of(options)
    weight = torch.zeros(3, options.height, options.width)
    weight[:, mask] = transform.program.weight
    placed = torch.full((len(given), 3, options.height, options.width), options.background)
    for rows, columns in options.spots:
        placed[:, :, rows, columns] = given
    return (placed + mask * options.amplitude * squash(weight)).clamp(0, 1)


# ---------------------------------------------------------------------------------------------------------- placement


def test_the_image_lies_in_the_middle_and_is_what_was_given():
    given = images()
    found = pixels(canvas(), given)
    assert found.shape == (3, 3, 6, 8)
    assert torch.equal(found[:, :, 2:4, 2:6], given)


def test_a_canvas_by_hand():
    made = Canvas(CanvasOptions(3, 3, 1, 1, amplitude=0.5, background=0.5))
    with torch.no_grad():
        made.program.weight[0] = torch.tensor([0, 1, -1, 9, -9, 0, 0, 0])
    found = pixels(made, torch.full((1, 3, 1, 1), 0.25))
    half = 0.5 * torch.tanh(torch.tensor(1.0)).item()
    expected = torch.tensor([[0.5, 0.5 + half, 0.5 - half], [1.0, 0.25, 0.0], [0.5, 0.5, 0.5]])
    torch.testing.assert_close(found[0, 0], expected, rtol=0, atol=1e-6)
    assert found[0, 1].tolist() == [[0.5, 0.5, 0.5], [0.5, 0.25, 0.5], [0.5, 0.5, 0.5]]


def test_a_given_place():
    given = images()
    found = pixels(canvas(place=[4, 1]), given)
    assert torch.equal(found[:, :, 4:, 1:5], given)


@pytest.mark.parametrize(
    ("count", "grid"), [(1, (1, 1)), (2, (1, 2)), (3, (2, 2)), (4, (2, 2)), (5, (2, 3)), (9, (3, 3))]
)
def test_grids_are_near_square(count, grid):
    assert near_square(count) == grid


def test_copies_lie_in_the_middle_of_their_cells():
    given = images(2, 2, 2)
    made = canvas(image_width=2, copies=3)
    found = pixels(made, given)
    for top, left in ((0, 1), (0, 5), (3, 1)):  # cells of 3 x 4
        assert torch.equal(found[:, :, top : top + 2, left : left + 2], given)
    assert made.program.weight.shape == (3, 6 * 8 - 3 * 4)
    assert not torch.equal(found[:, :, 3:5, 5:7], given)


def test_an_image_of_another_size_is_resized():
    given = images(2, 9, 7)
    expected = F.interpolate(given, (2, 4), mode="bilinear", antialias=True)
    torch.testing.assert_close(pixels(canvas(), given)[:, :, 2:4, 2:6], expected)


def test_before_and_after():
    made = canvas(background=0.25)
    before, after = made.canvas_of(images(), programmed=False), made.canvas_of(images())
    placed = torch.full((3, 3, 6, 8), 0.25)
    placed[:, :, 2:4, 2:6] = images()
    assert torch.equal(before, placed)
    torch.testing.assert_close(after, (placed + made.program()).clamp(0, 1))


# -------------------------------------------------------------------------------------------------------- the program

GIVEN = torch.arange(48).view(6, 8) % 3 == 0
OPTIONS = [
    {"squash": "tanh", "background": 0.5, "amplitude": 0.5},
    {"squash": "sigmoid"},
    {"squash": "clamp", "amplitude": 2.0},
    {"squash": "none", "background": 1.0},
    {"mask": "full"},
    {"mask": "full", "copies": 2, "background": 0.3},
    {"mask": "border", "border": 2, "image_height": 6, "image_width": 8},
    {"mask": "border", "border": 1, "place": [0, 3], "squash": "sigmoid"},
    {"mask": "given", "mask_runs": run_lengths(GIVEN), "background": 0.5},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_formula_and_its_gradient(options):
    made = canvas(2.0, **options)
    given = images(3, *made.options.image)
    assert made.program.weight.std() > 1
    found, expected = pixels(made, given), formula(made, given)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert found.min() >= 0
    assert found.max() <= 1
    direction = torch.randn(found.shape, generator=torch.Generator().manual_seed(2))
    gradients = [
        torch.autograd.grad((values * direction).sum(), made.program.weight)[0] for values in (found, expected)
    ]
    torch.testing.assert_close(*gradients)
    assert gradients[0].count_nonzero() > 10


def test_the_mask_comes_after_the_squashing():
    found = pixels(canvas(start=None, squash="sigmoid"), images())
    assert torch.equal(found[:, :, 2:4, 2:6], images())  # sigmoid(W * M) would add 0.5
    assert (found[:, :, 0] == 0.5).all()


def test_only_numbers_that_the_mask_lets_act_are_theta():
    border = Canvas(CanvasOptions(224, 224, 224, 224, mask="border", border=16))
    assert {name: value.numel() for name, value in border.state_dict().items()} == {"program.weight": 39_936}
    surround = Canvas(CanvasOptions(224, 224, 28, 28))
    assert sum(parameter.numel() for parameter in surround.parameters()) == 3 * (224 * 224 - 28 * 28)
    assert not surround.program.weight.any()


def test_the_program_is_zero_where_the_mask_is():
    made = canvas(mask="given", mask_runs=run_lengths(GIVEN))
    program = made.program()
    assert program.shape == (3, 6, 8)
    assert torch.equal((program != 0).all(0), GIVEN)
    assert torch.equal(program[:, GIVEN], torch.tanh(made.program.weight))


@pytest.mark.parametrize(
    ("mask", "runs"), [([[0, 0, 1], [1, 0, 1]], [2, 2, 1, 1]), ([[1, 1], [1, 0]], [0, 3, 1]), ([[1, 1]], [0, 2])]
)
def test_run_lengths_of_a_mask_and_back(mask, runs):
    assert run_lengths(mask) == runs
    options = CanvasOptions(len(mask), len(mask[0]), 1, 1, mask="given", mask_runs=runs)
    assert mask_of(options).int().tolist() == mask


def test_the_penalty_is_the_sum_of_squares():
    made = canvas(l2=0.1)
    assert made.penalty().item() == pytest.approx(0.1 * made.program.weight.square().sum().item())
    assert canvas().penalty() == 0


def test_a_unit_scales_the_weights_their_steps_and_their_penalty():
    sizes = {"height": 6, "width": 8, "image_height": 3, "image_width": 4}
    plain, scaled = Canvas(CanvasOptions(**sizes, l2=0.1)), Canvas(CanvasOptions(**sizes, l2=0.1, unit=0.25))
    with torch.no_grad():
        scaled.program.weight.normal_(generator=torch.Generator().manual_seed(0))
        plain.program.weight.copy_(0.25 * scaled.program.weight)
    assert torch.equal(plain.program(), scaled.program())
    assert torch.equal(plain.penalty(), scaled.penalty())
    for each in (plain, scaled):
        each.program().sum().backward()
    torch.testing.assert_close(scaled.program.weight.grad, 0.25 * plain.program.weight.grad)
    with pytest.raises(InputError, match=r"unit is 0: give more than 0\."):
        Canvas(CanvasOptions(**sizes, unit=0))


def test_the_program_is_kept_until_theta_changes():
    made = canvas()
    given = images()
    fresh = pixels(made, given)
    with torch.no_grad():
        kept = pixels(made, given)
        assert torch.equal(kept, fresh)
        assert made.program.frame()[0] is made.program.frame()[0]
    kept.zero_()  # what is handed out is not what is kept
    optimizer = torch.optim.SGD(made.parameters(), lr=0.5)
    (pixels(made, given) * torch.rand(6, 8, generator=torch.Generator().manual_seed(3))).sum().backward()
    with torch.no_grad():
        assert torch.equal(pixels(made, given), fresh)
        optimizer.step()
        stepped = pixels(made, given)
    assert not torch.equal(stepped, fresh)
    torch.testing.assert_close(stepped, formula(made, given))
    other = canvas(0.1)
    made.load_state_dict(other.state_dict())
    with torch.no_grad():
        assert torch.equal(pixels(made, given), pixels(other, given))


def test_what_copies_for_several_devices_train_is_not_hidden_by_what_was_kept():
    made, given = canvas(), images()
    optimizer = torch.optim.AdamW(made.parameters(), lr=0.5, fused=True)
    for _ in range(2):
        with torch.no_grad():
            before = pixels(made, given)
        pixels(replica(made), given).sum().backward()
        optimizer.step()
        with torch.no_grad():
            assert not torch.equal(pixels(made, given), before)
            torch.testing.assert_close(pixels(made, given), formula(made, given))
            assert torch.equal(pixels(replica(made), given), pixels(made, given))


# ------------------------------------------------------------------------------------------------------ trained scale


@pytest.mark.parametrize("options", [{}, {"place": [3, 0]}, {"mask": "full", "background": 0.5}], ids=str)
def test_a_trained_scale_starts_at_the_given_size(options):
    scaled, plain = canvas(learn_scale=True, **options), canvas(**options)
    torch.testing.assert_close(pixels(scaled, images()), pixels(plain, images()), rtol=0, atol=1e-5)
    assert set(scaled.state_dict()) == {"program.weight", "log_scale"}


def test_twice_the_size_by_hand():
    made = canvas(start=None, learn_scale=True, background=0.5)
    with torch.no_grad():
        made.log_scale.fill_(torch.tensor(2.0).log())
    found = pixels(made, torch.ones(1, 3, 2, 4))
    down = torch.tensor([0.25, 0.75, 1, 1, 0.75, 0.25])  # 1 to 5 of 0 to 6, between whose edges two pixels are mixed
    across = torch.tensor([0.75, 1, 1, 1, 1, 1, 1, 0.75])  # 0 to 8
    torch.testing.assert_close(found[0, 2], 0.5 + 0.5 * down[:, None] * across)


def test_the_gradient_of_the_scale_is_that_of_finite_differences():
    made = canvas(learn_scale=True, squash="sigmoid", image_height=3, image_width=3, background=0.2).double()
    given = images(2, 3, 3).double()
    direction = torch.rand(6, 8, generator=torch.Generator().manual_seed(4)).double()

    def value(log_scale: float) -> torch.Tensor:
        with torch.no_grad():
            made.log_scale.fill_(log_scale)
        return (pixels(made, given) * direction).sum()

    value(0.13).backward()
    estimate = (value(0.13 + 1e-5) - value(0.13 - 1e-5)) / 2e-5
    assert made.log_scale.grad.item() == pytest.approx(estimate.item(), rel=1e-5)
    assert abs(estimate.item()) > 0.1


# --------------------------------------------------------------------------------------------------- what is refused

REFUSED = [
    ({"image_height": 7}, "7 x 4 is larger than 6 x 8"),
    ({"copies": 5}, "5 copies of the image do not fit: 2 x 4 is larger than 3 x 2"),
    ({"copies": 2, "learn_scale": True}, "learn_scale is for one image"),
    ({"copies": 0}, "copies is 0: give a whole number, 1 or more"),
    ({"height": 6.0}, "height is 6.0: give a whole number"),
    ({"place": "middle"}, "place is 'middle': give 'center'"),
    ({"place": [1, 2], "copies": 2}, "of a single copy"),
    ({"place": [5, 0]}, r"place is \[5, 0\]: an image of 2 x 4"),
    ({"place": [0, -1]}, "is not within the canvas of 6 x 8"),
    ({"mask": "surrounding"}, "Unknown mask 'surrounding': did you mean 'surround'"),
    ({"mask": "border"}, "border is 0 on a canvas of 6 x 8: give 1 to 2 pixels"),
    ({"mask": "border", "border": 3}, "border is 3 on a canvas of 6 x 8: give 1 to 2 pixels"),
    ({"border": 2}, "border is 2, but mask is 'surround'"),
    ({"mask": "given"}, "mask='given' and mask_runs belong together"),
    ({"mask_runs": [0, 48]}, "mask='given' and mask_runs belong together"),
    ({"mask": "given", "mask_runs": [0, 49]}, "does not cover the 48 pixels"),
    ({"mask": "given", "mask_runs": [-1, 49]}, "does not cover the 48 pixels"),
    ({"mask": "given", "mask_runs": [48]}, "The mask leaves no pixel"),
    ({"image_height": 6, "image_width": 8}, "The mask leaves no pixel"),
    ({"squash": "tan"}, "Unknown squash 'tan': did you mean 'tanh'"),
    ({"amplitude": 0.0}, "amplitude is 0.0: give more than 0"),
    ({"amplitude": float("nan")}, "amplitude is nan"),
    ({"background": 1.5}, "The value of the empty canvas is 1.5"),
    ({"l2": -1.0}, "l2 is -1.0"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda value: str(value))
def test_refused_options(options, message):
    with pytest.raises(InputError, match=message) as refused:
        canvas(**options)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.zeros(3, 2, 4), "The images are 3 x 2 x 4: give"),
        (torch.zeros(2, 1, 2, 4), "The images are 2 x 1 x 2 x 4: give"),
        (
            torch.full((1, 3, 2, 4), -0.5),
            "The pixels go from -0.5 to -0.5, but must go from 0 to 1: use the processor",
        ),
        (torch.full((1, 3, 2, 4), 255, dtype=torch.uint8), "go from 255 to 255"),
        (torch.full((1, 3, 2, 4), torch.nan), "go from nan to nan"),
    ],
    ids=["batch", "grey", "normalised", "bytes", "nan"],
)
def test_refused_images(given, message):
    with pytest.raises(InputError, match=message):
        pixels(canvas(), given)


def test_rounding_is_no_error_and_is_clipped():
    given = torch.full((1, 3, 2, 4), 1.0005)
    assert pixels(canvas(), given)[0, :, 2:4, 2:6].unique().tolist() == [1.0]


def test_another_canvas_and_a_source_of_tokens_are_refused():
    with pytest.raises(InputError, match="The canvas is 6 x 8, but the source takes images of 32 x 32"):
        canvas().check(tiny_vision.make_source("vit").spec)
    from hf_reprogram.sources import TextSource

    with pytest.raises(InputError, match="takes no images"):
        canvas().check(TextSource(tiny.make_model("bert"), "masked_lm").spec)


# ---------------------------------------------------------------------------------------------------- on a source


def adapter(folder, **options) -> ReprogrammedModel:
    """A canvas and a dense layer on a saved source."""
    source, reference = load_source(folder)
    side = tiny_vision.SIDE
    chosen = CanvasOptions(**{"height": side, "width": side, "image_height": 8, "image_width": 8, **options})
    dense = {"type": "dense", "num_labels": 2, "width": source.spec.widths["features"]}
    config = ReprogramConfig(
        source=reference,
        transform={"type": "canvas", **asdict(chosen)},
        mapping=dense,
        id2label={0: "above", 1: "below"},
        label2id={"above": 0, "below": 1},
        problem_type="single_label_classification",
    )
    torch.manual_seed(0)
    return ReprogrammedModel(config, source)


@pytest.mark.parametrize("family", ["vit", "resnet"])
@pytest.mark.parametrize(
    "options",
    [{"learn_scale": True}, {"copies": 4}, {"mask": "given", "mask_runs": [100, 900, 24], "squash": "sigmoid"}],
    ids=str,
)
def test_theta_trains_and_reloads(family, options, tmp_path):
    model = adapter(tiny_vision.save_source(tmp_path / "source", family), background=0.5, amplitude=0.5, **options)
    given, labels = images(6, 8, 8), torch.arange(6) % 2
    start = {name: value.detach().clone() for name, value in model.trainable().items()}
    losses = losses_of(model, 0.05, pixel_values=given, labels=labels)
    assert losses[-1] < losses[0]
    assert all(parameter.grad is None for parameter in model.source.parameters())
    assert all(not torch.equal(value, start[name]) for name, value in model.trainable().items())
    model.save_pretrained(tmp_path / "adapter")
    again = ReprogrammedModel.from_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        expected = model.eval()(pixel_values=given).logits
        assert torch.equal(again(pixel_values=given).logits, expected)
        alone = torch.cat([again(pixel_values=image[None]).logits for image in given])
    torch.testing.assert_close(alone, expected, rtol=1e-4, atol=1e-4)


def test_the_penalty_is_in_the_training_loss_alone(tmp_path):
    model = adapter(tiny_vision.save_source(tmp_path / "source", "vit"), l2=0.5)
    torch.nn.init.constant_(model.transform.program.weight, 0.1)
    given, labels = images(2, 8, 8), torch.tensor([0, 1])
    with torch.no_grad():
        training = model.train()(pixel_values=given, labels=labels).loss
        evaluated = model.eval()(pixel_values=given, labels=labels).loss
    count = 3 * (32 * 32 - 8 * 8)
    assert (training - evaluated).item() == pytest.approx(0.5 * count * 0.01, rel=1e-3)
