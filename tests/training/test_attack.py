"""Attacks on examples: they stay in the ball and the region, and never lower the loss."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from hf_reprogram import InputError, reprogram
from hf_reprogram.losses import Batch
from hf_reprogram.modalities.examples import Examples
from hf_reprogram.objectives.adversarial import Adversarial, AdversarialOptions
from hf_reprogram.training.attack import RobustnessOptions, noisy, pgd, radius, region_of
from tests.support import tiny_vision
from tests.support.frozen import bytes_of


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Elsayed's program on a tiny ViT."""
    folder = str(tiny_vision.save_source(tmp_path_factory.mktemp("sources") / "vit", "vit"))
    torch.manual_seed(0)
    made, _ = reprogram(folder, "elsayed", ["a", "b"], mapping="dense", image_size=16, start="none")
    return made.eval()


def losses(model, pixels, labels):
    return F.cross_entropy(model(pixel_values=pixels).logits, labels, reduction="none").detach()


def test_the_attack_stays_in_the_ball_and_in_the_region_and_raises_the_loss(model):
    pixels, labels = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(2)), torch.tensor([0, 1] * 3)
    pixels[0], pixels[1] = 0.0, 1.0  # at the edge of the region
    theta = {name: value.clone() for name, value in model.trainable().items()}
    source = bytes_of(model.source)
    region, eps = region_of("pixel_values"), 8 / 255
    found = {}
    for steps in (1, 10):
        random = torch.Generator().manual_seed(0)
        found[steps] = pgd(lambda x: model(pixel_values=x).logits, pixels, labels, region, eps, steps, random)
        assert (found[steps] - pixels).abs().max() <= eps + 1e-7
        assert found[steps].min() >= 0
        assert found[steps].max() <= 1
        assert not found[steps].requires_grad
    before, noise = losses(model, pixels, labels), losses(model, noisy(pixels, region, eps), labels)
    assert (losses(model, found[1], labels) >= before).all()
    assert (losses(model, found[10], labels) > torch.maximum(before, noise)).all()
    assert losses(model, found[10], labels).mean() > losses(model, found[1], labels).mean()
    assert bytes_of(model.source) == source
    for name, value in model.trainable().items():
        assert torch.equal(value, theta[name])
        assert value.grad is None


def test_tables_are_attacked_in_deviations_of_each_column_within_the_training_data():
    rows = torch.tensor([[0.0, 10.0, 5.0], [2.0, 30.0, 5.0]])
    train = Examples("table_values", lambda numbers: rows.numpy()[numbers], None, 2)
    region = region_of("table_values", train)
    weight = torch.tensor([[0.01, -0.01]]).expand(3, 2)
    asked = torch.tensor([[1.0, 20.0, 5.0], [0.5, 11.0, 5.0], [9.0, 9.0, 9.0]])  # the last is outside of the region
    found = pgd(lambda x: x @ weight, asked, torch.tensor([0, 0, 0]), region, eps=0.1)
    expected = torch.tensor([[0.9, 19.0, 5.0], [0.4, 10.0, 5.0], [8.9, 9.0, 9.0]])
    torch.testing.assert_close(found, expected)
    assert region_of("past_values", Examples("past_values", lambda numbers: rows.numpy()[numbers], None, 2)).high == 30


def test_a_missing_label_leaves_its_example_as_it_is():
    pixels = torch.full((2, 1), 0.5)
    found = pgd(
        lambda x: x @ torch.tensor([[1.0, -1.0]]), pixels, torch.tensor([-100, 0]), region_of("pixel_values"), 0.1
    )
    torch.testing.assert_close(found, torch.tensor([[0.5], [0.4]]))


def test_adversarial_training_minimises_the_loss_of_attacked_examples_alone(model):
    objective = Adversarial(AdversarialOptions(eps="8/255", steps=2))
    objective.region = region_of("pixel_values")
    objective.begin(0, None)
    objective.begin_step(0, 7, 10)
    pixels, labels = torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 0, 1])
    model.train()
    model.objectives = [objective]
    found = model(pixel_values=pixels, labels=labels).loss
    model.eval()
    attacked = pgd(
        lambda x: model(pixel_values=x).logits, pixels, labels, objective.region, 8 / 255, 2, objective.random(1)
    )
    torch.testing.assert_close(found, losses(model, attacked, labels).mean())
    assert found > losses(model, pixels, labels).mean()
    (gradient,) = torch.autograd.grad(found, model.transform.program.weight)
    assert gradient.abs().sum() > 0
    model.objectives = []


def test_what_cannot_be_attacked_is_refused(source_folder):
    region = region_of("pixel_values")
    with pytest.raises(InputError, match="this model takes input_ids"):
        region_of("input_ids")
    with pytest.raises(InputError, match="No gradient reaches"):
        pgd(lambda x: torch.zeros(1, 2, requires_grad=True), torch.zeros(1, 1), torch.tensor([0]), region, 0.1)
    texts, processor = reprogram(source_folder("bert"), "warp", ["no", "yes"], num_prompts=2)
    batch = Batch(dict(processor(["a film"], return_tensors="pt")), torch.tensor([0]), None, torch.zeros(1, 2))
    with pytest.raises(InputError, match="this model takes input_ids"):
        Adversarial().loss(texts, batch)


@pytest.mark.parametrize("value", [0, -1, "0/3", "1/0", "two", True, None, float("nan"), [1]])
def test_a_radius_is_a_number_above_zero(value):
    with pytest.raises(InputError, match="give a number above 0, or a fraction such as 8/255"):
        radius(value, "eps")


@pytest.mark.parametrize("values", [{"eps": []}, {"eps": "8/255"}, {"steps": 0}, {"examples": 0}])
def test_options_of_an_evaluation_are_checked(values):
    with pytest.raises(InputError, match="robustness"):
        RobustnessOptions(**values)
