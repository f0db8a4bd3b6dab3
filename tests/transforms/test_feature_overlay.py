"""Feature overlay: where features are drawn, in which shade, and that the program leaves them alone."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch

from hf_reprogram import InputError, ReprogramConfig, ReprogrammedModel
from hf_reprogram.sources import load_source
from hf_reprogram.transforms.feature_overlay import FeatureOverlay, FeatureOverlayOptions
from tests.support import tiny_vision
from tests.support.training import losses_of


def overlay(start: float = 1.0, fitted: bool = True, **options) -> FeatureOverlay:
    """Five features in 2 x 3 squares on a canvas of 12 x 16, which are drawn as they are if fitted."""
    made = FeatureOverlay(FeatureOverlayOptions(**{"height": 12, "width": 16, "num_features": 5, **options}))
    torch.manual_seed(0)
    torch.nn.init.normal_(made.program.weight, std=start)
    if fitted:
        made.fit([[0.0] * made.options.num_features, [1.0] * made.options.num_features], tail=0)
    return made


def features(count: int = 3, width: int = 5, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, width, generator=torch.Generator().manual_seed(seed))


def pixels(transform, given) -> torch.Tensor:
    return transform({"table_values": given}, None)["pixels"]


SQUARES = [(4, 5), (4, 7), (4, 9), (6, 5), (6, 7)]  # top and left of squares of 2 x 2


def test_features_are_drawn_in_the_middle_and_the_program_everywhere_else():
    made, given = overlay(), features()
    assert made.options.side == 2  # 6 x 8 is the middle half: 2 rows and 3 columns
    found = pixels(made, given)
    free = torch.ones(12, 16, dtype=torch.bool)
    for feature, (top, left) in enumerate(SQUARES):
        square = found[:, :, top : top + 2, left : left + 2]
        assert torch.equal(square, given[:, feature, None, None, None].expand_as(square))
        free[top : top + 2, left : left + 2] = False
    program = 0.5 + 0.5 * torch.tanh(made.program.weight)
    torch.testing.assert_close(found[0][:, free], program)
    torch.testing.assert_close(found[2][:, free], program)
    assert made.program.weight.shape == (3, 12 * 16 - 5 * 4)


def test_features_are_drawn_on_a_base_image_that_the_checkpoint_holds():
    made, given = overlay(base_image=True), features()
    photo = torch.randint(0, 256, (3, 12, 16), dtype=torch.uint8)
    made.base_image.copy_(photo)
    before, after = made.canvas_of(given, programmed=False), pixels(made, given)
    assert torch.equal(before[0, :, :4], photo[:, :4] / 255)
    assert torch.equal(before[:, 0, 4, 5], given[:, 0])
    torch.testing.assert_close(
        after[:, :, :4], (photo[:, :4] / 255 + made.program()[:, :4]).clamp(0, 1).expand(3, 3, 4, 16)
    )
    assert torch.equal(after[:, 0, 4, 5], given[:, 0])
    assert "base_image" in made.state_dict()


def test_before_and_after():
    made, given = overlay(base=0.25), features()
    before, after = made.canvas_of(given, programmed=False), made.canvas_of(given)
    assert before[:, :, 0].unique().tolist() == [0.25]
    torch.testing.assert_close(after, (before + made.program()).clamp(0, 1))


@pytest.mark.parametrize(
    ("options", "side"), [({}, 2), ({"side": 4}, 4), ({"num_features": 1}, 6), ({"num_features": 150}, 1)]
)
def test_the_side_of_a_square(options, side):
    made = overlay(**options)
    assert made.options.side == side
    assert made.program.weight.shape[1] == 12 * 16 - made.options.num_features * side**2


def test_shades_by_hand():
    made = overlay(fitted=False, num_features=4)
    rows = np.zeros((1000, 4))
    rows[:, 0] = np.arange(1000)  # quantiles 9.99 and 989.01
    rows[3, 1] = 1.0  # a flag that is rarely set: 0 and 1
    rows[:, 2] = -7.0  # never changes
    rows[:, 3] = np.arange(1000) % 2
    made.fit(rows)
    given = torch.tensor([[499.5, 0.0, -7.0, 1.0], [5e9, 1.0, 100.0, 0.25], [-3.0, 0.5, -7.0, 0.0]])
    expected = torch.tensor([[0.5, 0.0, 0.5, 1.0], [1.0, 1.0, 0.5, 0.25], [0.0, 0.5, 0.5, 0.0]])
    torch.testing.assert_close(made.scaled(given), expected)
    torch.testing.assert_close(made.low[0].item(), 9.99, rtol=1e-6, atol=0)


def test_the_program_is_bounded_kept_and_the_only_parameter():
    made, given = overlay(50.0, squash="none", amplitude=1.0), features()
    found = pixels(made, given)
    assert (found.min(), found.max()) == (0, 1)
    with torch.no_grad():
        assert torch.equal(pixels(made, given), found)
        assert made.program.frame()[1] is made.program.frame()[1]
    assert [name for name, _ in made.named_parameters()] == ["program.weight"]
    assert set(made.state_dict()) == {"program.weight", "low", "high"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_features": 0}, "num_features is 0"),
        ({"side": 0}, "side is 0: give a whole number, 1 or more"),
        ({"side": 7}, "5 features in 2 x 3 squares of 7 x 7 pixels do not fit on a canvas of 12 x 16"),
        ({"num_features": 193}, "193 features in 14 x 14 squares of 1 x 1 pixels do not fit"),
        ({"num_features": 1, "side": 12, "width": 12}, "The mask leaves no pixel"),
        ({"base": -0.1}, "The value of the empty canvas is -0.1"),
        ({"squash": "logistic"}, "Unknown squash 'logistic'"),
    ],
)
def test_refused_options(options, message):
    with pytest.raises(InputError, match=message):
        overlay(**options)


@pytest.mark.parametrize("use", [lambda made, rows: made.fit(rows), pixels], ids=["fit", "forward"])
def test_refused_features(use):
    with pytest.raises(InputError, match=r"The features are 2 x 4: give \(rows, 5\) numbers"):
        use(overlay(), torch.zeros(2, 4))
    rows = torch.zeros(3, 5)
    rows[2, 1] = torch.nan
    with pytest.raises(InputError, match="Feature 1 of row 2 is nan: fill in missing values first"):
        use(overlay(), rows)


def test_a_range_that_is_not_known_is_refused():
    with pytest.raises(InputError, match="call fit"):
        pixels(overlay(fitted=False), features())
    with pytest.raises(InputError, match="There are no rows"):
        overlay().fit(torch.zeros(0, 5))


def test_theta_trains_and_reloads_with_the_range(tmp_path):
    source, reference = load_source(tiny_vision.save_source(tmp_path / "source", "vit"))
    config = ReprogramConfig(
        source=reference,
        transform={"type": "feature_overlay", **asdict(FeatureOverlayOptions(32, 32, 7))},
        mapping={"type": "dense", "num_labels": 2, "width": source.spec.widths["features"]},
        problem_type="single_label_classification",
    )
    torch.manual_seed(0)
    model = ReprogrammedModel(config, source)
    assert model.main_input_name == "table_values"
    given, labels = 10 * features(6, 7), torch.arange(6) % 2
    model.transform.fit(given.numpy())
    losses = losses_of(model, 0.05, table_values=given, labels=labels)
    assert losses[-1] < losses[0]
    assert model.transform.program.weight.count_nonzero() == 3 * (32 * 32 - 7 * 25)
    assert all(parameter.grad is None for parameter in model.source.parameters())
    model.save_pretrained(tmp_path / "adapter")
    again = ReprogrammedModel.from_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        expected = model.eval()(table_values=given).logits
        assert torch.equal(again(table_values=given).logits, expected)
        alone = torch.cat([again(table_values=row[None]).logits for row in given])
    torch.testing.assert_close(alone, expected, rtol=1e-4, atol=1e-4)
