"""Image towers that are trained: where they start, what pulls them back, where they end, and what they leave alone."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hf_reprogram import InputError
from hf_reprogram.baselines import search, wise_ft
from hf_reprogram.baselines.image_tower import Start, Tower
from hf_reprogram.baselines.l2_sp import Anchored
from hf_reprogram.sources.loading import load_source
from hf_reprogram.tasks.problems import Diverged
from hf_reprogram.training.encode import encode
from tests.support import tiny_dual, tiny_vision
from tests.support.frozen import bytes_of
from tests.support.image_settings import make_baseline, make_setting, run

QUICK = {"learning_rate": [1e-3]}
TRAINED = {"fine_tuning": QUICK, "lp_ft": QUICK, "l2_sp": {**QUICK, "strength": [0.1]}, "wise_ft": QUICK}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A function from a family's name to the folder of its tiny source."""
    made = {}

    def folder(family):
        if family not in made:
            tiny = tiny_dual if family in tiny_dual.FAMILIES else tiny_vision
            made[family] = tiny.save_source(tmp_path_factory.mktemp("sources") / family, family)
        return made[family]

    return folder


@pytest.fixture
def setting(source, tmp_path):
    """A function from a family's name to the setting of one seed."""
    return lambda family="vit", **changes: make_setting(source(family), tmp_path / "task", **changes)


@pytest.fixture
def fits(monkeypatch):
    """Every training that a baseline starts: the network before it, its arguments, and what came of it."""
    seen, fit = [], search.fit

    def watched(network, *arguments, **others):
        first = deepcopy(network)
        done = fit(network, *arguments, **others)
        seen.append((first, arguments[3], done))
        return done

    monkeypatch.setattr(search, "fit", watched)
    return seen


def pixels(made, split="test"):
    data = encode(made.splits, Start(made).processor)[split]
    return torch.from_numpy(data.read(range(len(data))))


def logits(network, images):
    with torch.no_grad():
        return network.eval()(pixel_values=images).logits.numpy()


def moved(first, last):
    """Names of the parameters that training changed."""
    before = dict(first.named_parameters())
    return {name for name, p in last.named_parameters() if not torch.equal(p, before[name])}


# -------------------------------------------------------------------------------------------------------- the network


@pytest.mark.parametrize("family", ["vit", "resnet", "clip", "vision-text"])
def test_logits_are_a_linear_layer_on_centred_and_scaled_features(family, setting):
    made = setting(family)
    tower, (source, _) = Start(made).tower(), load_source(made.recipe.source["name"])
    features = {split: source({"pixels": pixels(made, split)}, "features") for split in ("train", "test")}
    centred = features["test"] - features["train"].mean(0)
    scale = (features["train"] - features["train"].mean(0)).square().mean().sqrt()
    expected = centred / scale @ tower.head.weight.T + tower.head.bias
    np.testing.assert_allclose(logits(tower, pixels(made)), expected.detach(), rtol=1e-3, atol=1e-4)


def test_logits_are_not_rounded_under_autocast(setting):
    made = setting("clip")
    tower, images = Start(made).tower(), pixels(made)
    with torch.autocast("cpu", torch.bfloat16):
        features = tower.source({"pixels": images}, "features").float()
        found = logits(tower, images)
    expected = tower.head((features - tower.mean) / tower.deviation).detach().numpy()
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    assert (found != torch.from_numpy(found).bfloat16().float().numpy()).mean() > 0.9


@pytest.mark.parametrize("family", ["resnet", "siglip"])
def test_a_given_layer_acts_on_the_features_as_they_are(family, setting):
    start = Start(setting(family))
    width = start.features.shape[1]
    layer = nn.Linear(width, 2)
    tower = start.tower().start_from(layer.weight.detach(), layer.bias.detach())
    expected = layer(torch.from_numpy(start.features)).detach()
    np.testing.assert_allclose(logits(tower, pixels(start.setting, "train")), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", ["vit", "dinov2", "resnet", "clip", "siglip", "vision-text"])
def test_every_weight_of_the_tower_is_trained_and_nothing_else(family, setting, fits):
    outcome = run("fine_tuning", setting(family), learning_rate=[1e-2])
    [(first, _, done)] = fits
    last = done.trainer.model
    still = set(dict(last.named_parameters())) - moved(first, last)
    unused = ("text_", "logit_", "classifier", "mask_token", "pooler")
    only_rounding = ("key.bias", "k_proj.bias")  # which a soft-max has no gradient for
    assert all(any(part in name for part in (*unused, *only_rounding)) for name in still), still
    trained = [p for name, p in last.named_parameters() if not any(part in name for part in unused)]
    if family != "vision-text":  # whose tower reads through a pooler, as SigLIP's has a head of its own
        assert outcome.trainable == sum(p.numel() for p in trained)
    assert not any("text_model" in name for name in moved(first, last))


def test_normalisation_keeps_the_pretrained_statistics(setting, fits):
    run("fine_tuning", setting("resnet"), **QUICK)
    [(first, _, done)] = fits
    before, after = dict(first.named_buffers()), dict(done.trainer.model.named_buffers())
    assert sum("running_var" in name for name in before) > 3
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert done.trainer.model.train().source.training is False


def test_numbers_and_several_labels_have_losses_of_their_own():
    features = np.random.default_rng(0).normal(size=(9, 32)).astype(np.float32)
    images, numbers = torch.rand(3, 3, 32, 32), torch.tensor([0.5, 1.0, 2.0])
    found = Tower(tiny_vision.make_source("vit"), features, 1, "regression")(pixel_values=images, labels=numbers)
    torch.testing.assert_close(found.loss, (found.logits[:, 0] - numbers).square().mean())
    several = Tower(tiny_vision.make_source("vit"), features, 2, "multi_label_classification")
    found = several(pixel_values=images, labels=torch.tensor([[0.0, 1.0]] * 3))
    torch.testing.assert_close(
        found.loss, (F.softplus(found.logits[:, 0]) + F.softplus(-found.logits[:, 1])).mean() / 2
    )


# ------------------------------------------------------------------------------------------------- what all have in common


@pytest.mark.parametrize("name", ["fine_tuning", "wise_ft"])
def test_a_seed_decides_everything_and_a_loaded_source_keeps_its_bytes(name, setting):
    made = setting("resnet")
    model, _ = made.make()
    before = bytes_of(model.source)
    first, again = (run(name, made, **TRAINED[name]) for _ in range(2))
    assert np.array_equal(first.test, again.test)
    assert np.array_equal(first.validation, again.validation)
    assert bytes_of(model.source) == before


def test_the_source_that_towers_start_from_keeps_its_bytes(setting):
    start = Start(setting("resnet"))
    before = bytes_of(start.source)
    tower = start.tower()
    tower(pixel_values=pixels(start.setting), labels=torch.zeros(12)).loss.backward()
    torch.optim.SGD(tower.parameters(), 1.0).step()
    assert not any(p.requires_grad for p in start.source.parameters())
    assert bytes_of(start.source) == before != bytes_of(tower.source)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *TRAINED.items(),
        ("linear_probe", {}),
        ("raw_linear", {"side": 8}),
        ("small_network", {"side": 8, "channels": [4], "learning_rate": [1e-2]}),
        ("source_labels", {"labels_per_class": [1]}),
    ],
)
def test_further_splits_are_predicted_as_test_is(name, options, setting):
    made = setting()
    test = made.splits["test"]
    far = test.select([3, 0]).map(lambda row: {"label": -1})  # a label that means nothing here
    made.extra = {"test": test, "far": far.rename_column("label", "wnid").add_column("label", ["x", "y"])}
    outcome = run(name, made, **options)
    assert set(outcome.extra) == {"test", "far"}
    np.testing.assert_allclose(outcome.extra["test"], outcome.test, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(outcome.extra["far"], outcome.test[[3, 0]], rtol=1e-4, atol=1e-5)
    assert outcome.test.std(0).max() > 0
    assert run("majority", made).extra is None


@pytest.mark.parametrize("name", TRAINED)
def test_choices_are_of_validation_and_later_seeds_take_them_over(name, setting, fits):
    grid = {
        "learning_rate": [1e-6, 1e-2],
        **{"l2_sp": {"strength": [0.1]}, "wise_ft": {"alpha": [0.0, 1.0]}}.get(name, {}),
    }
    made = setting()
    outcome = run(name, made, **grid)
    assert len(fits) == 2
    best = max(fits, key=lambda seen: made.task.benefit(seen[2].validation))
    assert outcome.chosen["learning_rate"] == best[1]["learning_rate"]
    fits.clear()
    later = setting(chosen=outcome.chosen)
    assert run(name, later, **grid).chosen == outcome.chosen
    assert [seen[1]["learning_rate"] for seen in fits] == [outcome.chosen["learning_rate"]]


def test_a_choice_that_diverges_is_passed_over(setting):
    made = setting(training={"num_train_epochs": 2, "optim": "sgd", "max_grad_norm": 0})
    assert run("fine_tuning", made, learning_rate=[1e30, 1e-3]).chosen == {"learning_rate": 1e-3}
    with pytest.raises(Diverged, match="diverged with every learning rate that it tried"):
        run("fine_tuning", made, learning_rate=[1e30])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lp_ft", {"learning_rate": []}, "learning_rate of lp_ft is .*: give a list of values above 0"),
        ("lp_ft", {"strengths": [-1.0]}, "strengths of lp_ft is .-1.0.*values above 0"),
        ("l2_sp", {"strength": [0.0]}, "strength of l2_sp"),
        ("l2_sp", {"head_strength": -1.0}, "head_strength is -1.0: give 0 or more"),
        ("wise_ft", {"alpha": [0.5, 1.5]}, "alpha is .*1.5.*from 0 to 1"),
        ("wise_ft", {"alpha": 0.5}, "'alpha' is 0.5: give a list of numbers"),
        ("coop", {"size": 0}, "size of a context text program is 0: give a whole number, 1 or more"),
        ("coop", {"templates": ["a photo"]}, "The template 'a photo' must have {} once"),
        ("coop", {"templates": []}, "templates is empty"),
    ],
)
def test_options_that_cannot_work_are_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        make_baseline(name, **options)


def test_recipes_that_cannot_work_are_refused_before_anything_is_loaded(setting):
    for name in ("fine_tuning", "from_scratch"):
        with pytest.raises(InputError, match="examples of this task are images, and "):
            setting(baselines=[{name: {"tokens": "target"}}])
    for name in ("prompt_tuning", "counts"):
        with pytest.raises(InputError, match="reads texts, and the examples of this task are images: leave it out"):
            setting(baselines=[name])
    numbers = {"dataset": "nowhere", "image": "image", "regression": True}
    for name in ("zero_shot", "coop"):
        with pytest.raises(
            InputError, match="needs one class per example, and the problem of this task is 'regression'"
        ):
            setting(task=numbers, baselines=[name])


def test_a_source_that_a_baseline_cannot_stand_on_is_refused_by_what_it_offers(setting):
    task, gives_logits = setting().task, tiny_vision.make_model("vit")
    from hf_reprogram.sources import VisionSource

    class Twice(nn.Module):  # whose last layer is no linear one
        def __init__(self):
            super().__init__()
            self.model = gives_logits

        def forward(self, pixels):
            return 2 * self.model(pixels).logits

    module = VisionSource(Twice(), tiny_vision.SIDE, tiny_vision.MEAN, tiny_vision.STD).spec
    for name in (*TRAINED, "linear_probe"):
        with pytest.raises(InputError, match="of kind 'image_module'"):
            make_baseline(name).check_source(module, task)
    for name, spec in (("source_labels", tiny_dual.make_source("clip").spec), ("zero_shot", module), ("coop", module)):
        with pytest.raises(InputError, match=f"and a source of kind {spec.kind!r} has none: leave it out"):
            make_baseline(name).check_source(spec, task)
    with pytest.raises(InputError, match="size of coop is 40, and the text tower takes 40 tokens"):
        make_baseline("coop", size=tiny_dual.TOKENS).check_source(tiny_dual.make_source("clip").spec, task)
    make_baseline("coop", size=tiny_dual.TOKENS - 1).check_source(tiny_dual.make_source("clip").spec, task)
    with pytest.raises(InputError, match="12 labels, too few for 2 classes with 7 labels per class"):
        make_baseline("source_labels", labels_per_class=[7]).check_source(module, task)


# ------------------------------------------------------------------------------------------------------------- LP-FT


def test_lp_ft_starts_as_the_linear_probe(setting, fits):
    made = setting("resnet")
    outcome = run("lp_ft", made, **QUICK)
    probe = run("linear_probe", made)
    [(first, _, _)] = fits
    np.testing.assert_allclose(logits(first, pixels(made)), probe.test, rtol=1e-3, atol=1e-3)
    assert outcome.chosen == {**QUICK, "strength": probe.chosen["strength"], "learning_rate": 1e-3}
    assert not np.allclose(outcome.test, probe.test, atol=1e-2)


# ------------------------------------------------------------------------------------------------------------- L2-SP


def test_the_gradient_of_l2_sp_pulls_weights_to_their_start_and_the_layer_to_zero(setting):
    start = Start(setting())
    tower = start.tower(Anchored, strength=0.3, head_strength=0.05)
    first = {name: p.detach().clone() for name, p in tower.named_parameters()}
    torch.manual_seed(0)
    with torch.no_grad():
        for p in tower.parameters():
            p.add_(0.1 * torch.randn_like(p))
    batch = pixels(start.setting), torch.arange(12) % 2
    found = {}
    for training in (True, False):  # outside of training there is no penalty
        tower.train(training).zero_grad()
        tower(pixel_values=batch[0], labels=batch[1]).loss.backward()
        found[training] = {name: p.grad.clone() for name, p in tower.named_parameters() if p.grad is not None}
    assert found[True].keys() == found[False].keys()
    for name, p in tower.named_parameters():
        if name in found[True]:
            pulled = found[True][name] - found[False][name]
            expected = 0.05 * p if name.startswith("head") else 0.3 * (p - first[name])
            torch.testing.assert_close(pulled, expected.detach(), rtol=1e-3, atol=1e-4)
    assert not any("start" in name for name in tower.state_dict())


def test_a_stronger_penalty_keeps_weights_nearer_and_takes_the_place_of_weight_decay(setting, fits):
    steps = {"lr_scheduler_type": "constant", "weight_decay": 0.5, "load_best_model_at_end": False, "max_steps": 12}
    made = setting(training=steps)
    for strength in (1e-6, 1e3):
        run("l2_sp", made, learning_rate=[1e-3], strength=[strength])
    distances = []
    for first, arguments, done in fits:
        assert arguments["weight_decay"] == 0
        pairs = zip(first.pretrained(), done.trainer.model.pretrained(), strict=True)
        distances.append(sum((a - b).square().sum().item() for a, b in pairs))
    assert distances[0] > 2 * distances[1] > 0


# ----------------------------------------------------------------------------------------------------------- WiSE-FT


def test_wise_ft_at_0_is_the_start_and_at_1_the_fine_tuned_network(setting, fits):
    made = setting("resnet")
    at_start, tuned = (run("wise_ft", made, learning_rate=[1e-2], alpha=[alpha]) for alpha in (0.0, 1.0))
    np.testing.assert_allclose(at_start.test, run("linear_probe", made).test, rtol=1e-3, atol=1e-3)
    first, _, _ = fits[0]
    np.testing.assert_allclose(at_start.test, logits(first, pixels(made)), rtol=1e-4, atol=1e-4)
    plain = run("lp_ft", made, learning_rate=[1e-2])  # which starts from the same layer
    assert np.array_equal(tuned.test, plain.test)
    assert np.array_equal(tuned.validation, plain.validation)
    assert not np.allclose(at_start.test, tuned.test, atol=1e-2)


def test_wise_ft_interpolates_weights(setting, fits, monkeypatch):
    """Not logits; the trained ones alone, and every time from the fine-tuned ones."""
    kept, interpolate = {}, wise_ft.interpolate

    def watched(network, first, last, alpha):
        interpolate(network, first, last, alpha)
        kept.update(first=first, last=last, network=network, alpha=alpha)

    monkeypatch.setattr(wise_ft, "interpolate", watched)
    made = setting()
    outcome = run("wise_ft", made, learning_rate=[1e-2], alpha=[0.9, 0.25])
    assert outcome.chosen["alpha"] == kept["alpha"]
    starts = dict(kept["first"].named_parameters())
    for name, p in kept["network"].named_parameters():
        expected = starts[name] + kept["alpha"] * (kept["last"][name] - starts[name])
        torch.testing.assert_close(p, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(outcome.test, logits(kept["network"], pixels(made)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(outcome.validation, logits(kept["network"], pixels(made, "validation")), atol=1e-4)


@pytest.mark.parametrize("family", ["vit", "resnet", "clip"])
def test_from_scratch_trains_random_weights_that_the_seed_draws_and_keeps_batch_norm_alive(setting, fits, family):
    made = setting(family, seed=1)  # the tiny source itself was drawn with 0
    frozen = load_source(made.recipe.source["name"])[0]
    outcome = run("from_scratch", made, **QUICK)
    first = fits[0][0]
    weights, pretrained = dict(first.source.named_parameters()), dict(frozen.named_parameters())
    name = max((name for name in weights if weights[name].requires_grad), key=lambda name: weights[name].numel())
    assert not torch.equal(weights[name], pretrained[name])
    again = run("from_scratch", made, **QUICK)
    np.testing.assert_array_equal(again.test, outcome.test)
    torch.testing.assert_close(dict(fits[1][0].source.named_parameters())[name], weights[name], rtol=0, atol=0)
    norms = [module for module in first.train().modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(module.training for module in norms)
    assert bool(norms) == (family == "resnet")
