"""Omega's start: the probe of what the untrained input transform gives, scored before the first step and never lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding, default_data_collator

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.mappings.label_map import LabelMap, LabelMapOptions
from hf_reprogram.mappings.linear_fit import LinearModel, mean_loss, softness
from hf_reprogram.mappings.positions import Positions, PositionsOptions
from hf_reprogram.schedule import begin_epoch
from hf_reprogram.training.rates import parameter_groups
from tests.support import tiny, tiny_vision

LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def peptides(count: int, labels: str = "class", seed: int = 0):
    """Peptides of which half are rich in lysine, with their class, their share of it, or both as two labels."""
    random = np.random.default_rng(seed)
    rich = np.arange(count) % 2
    pool = [LETTERS, LETTERS + "K" * 20]
    texts = ["".join(random.choice(list(pool[r]), size=random.integers(6, 14))) for r in rich]
    share = np.array([text.count("K") / len(text) for text in texts])
    made = {"class": rich, "number": share, "labels": np.stack([rich, share > 0.2], 1).astype(float)}
    return texts, made[labels]


def loader_of(processor, texts, labels):
    data = Dataset.from_dict({**processor(texts), "labels": labels.tolist()})
    return DataLoader(data, 4, collate_fn=DataCollatorWithPadding(processor))


@torch.no_grad()
def logits_of(model, processor, texts):
    batch = processor(texts, padding=True, return_tensors="pt")
    return model.eval()(**batch).logits


@torch.no_grad()
def features_of(model, processor, texts, reads):
    batch = dict(processor(texts, padding=True, return_tensors="pt"))
    return model.source(model.transform(batch, model.source), reads).numpy()


@pytest.mark.parametrize(
    ("method", "family"), [("warp", "bert"), ("warp", "bert-encoder"), ("r2dl", "bert"), ("r2dl", "gpt2")]
)
def test_the_start_is_logistic_regression_on_the_untrained_features(method, family, source_folder):
    options = {"warp": {"num_prompts": 3}, "r2dl": {"tokenizer": "residues", "sparsity": 4}}[method]
    model, processor = reprogram(source_folder(family), method, ["poor", "rich"], **options)
    if method == "warp":
        texts, labels = tiny.texts(40)
    else:
        texts, labels = peptides(40)
    labels = np.asarray(labels)
    held = loader_of(processor, texts[24:], labels[24:])
    begin_epoch(model, 0, loader_of(processor, texts[:24], labels[:24]), validation=held, soften=False)
    features = features_of(model, processor, texts, model.mapping.reads)
    found = softmax(logits_of(model, processor, texts).numpy(), axis=1)
    distances, losses = [], []
    for strength in np.logspace(-4, 4, 9):
        oracle = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=5000)).fit(
            features[:24], labels[:24]
        )
        expected = oracle.predict_proba(features)
        distances.append(np.abs(found - expected).max())
        losses.append(-np.log(expected[np.arange(24, 40), labels[24:]]).mean())
    assert min(distances) < 0.02
    assert np.argmin(distances) == np.argmin(losses)


@pytest.mark.parametrize("labels", ["number", "labels"])
def test_the_start_of_numbers_and_of_several_labels(labels, source_folder):
    problem = {"number": "regression", "labels": "multi_label_classification"}[labels]
    texts, values = peptides(60, labels)
    model, processor = reprogram(
        source_folder("bert"),
        "r2dl",
        None if labels == "number" else ["rich", "much"],
        problem_type=problem,
        tokenizer="residues",
    )
    if labels == "labels":
        values[::7, 1] = np.nan
    loader = loader_of(processor, texts, values)
    before = logits_of(model, processor, texts)
    begin_epoch(model, 0, loader)
    after = logits_of(model, processor, texts).numpy()
    features = features_of(model, processor, texts, "features")
    if labels == "number":
        errors = [
            np.abs(
                make_pipeline(StandardScaler(), Ridge(1 / s)).fit(features, values).predict(features) - after[:, 0]
            ).max()
            for s in np.logspace(-4, 4, 9)
        ]
        assert min(errors) < 1e-3
    else:
        known = ~np.isnan(values[:, 1])
        assert ((after[known, 1] > 0) == values[known, 1]).mean() > 0.8
        assert ((after[:, 0] > 0) == values[:, 0]).mean() > max(
            0.8, ((before[:, 0].numpy() > 0) == values[:, 0]).mean()
        )


def test_positions_start_from_weights_that_find_the_place(source_folder):
    """The label is the letter in the fourth place, which a plain mean hides."""
    random = np.random.default_rng(0)
    texts = ["".join(random.choice(list("ACGT"), size=12)) for _ in range(240)]
    labels = np.array([text[3] in "AC" for text in texts]).astype(int)
    scores = {}
    for mapping in ("dense", "positions"):
        torch.manual_seed(0)
        model, processor = reprogram(
            source_folder("bert"), "r2dl", ["no", "yes"], tokenizer="characters", alphabet="ACGT", mapping=mapping
        )
        begin_epoch(model, 0, loader_of(processor, texts[:160], labels[:160]))
        predicted = logits_of(model, processor, texts[160:]).argmax(1).numpy()
        scores[mapping] = (predicted == labels[160:]).mean()
    assert scores["positions"] > 0.9
    assert scores["dense"] < scores["positions"] - 0.1


def test_positions_start_alike_when_one_place_has_larger_states(source_folder):
    """With one head, the weights find the fourth place although its states are ten times as large as the others."""
    model, _ = reprogram(source_folder("bert"), "r2dl", ["no", "yes"], tokenizer="residues", mapping="positions")
    source = model.source
    random = torch.Generator().manual_seed(0)
    states = torch.randn(120, 12, 8, generator=random)
    labels = (states[:, 3, 0] > 0).long()
    states[:, 3] *= 10
    mapping = Positions(PositionsOptions(2, 8, 12, heads=1, start="probe"))
    mapping.fit_start(lambda *_: (states[:80], labels[:80]), None, "single_label_classification", source)
    assert mapping(states[80:], source).argmax(1).eq(labels[80:]).float().mean() > 0.9
    assert (1 + mapping.weights[0]).abs().argmax() == 3


def image_loader(processor, count=40, classes=2):
    images, labels = tiny_vision.images(count)
    pixels = processor(images, return_tensors="pt")["pixel_values"]
    rows = [{"pixel_values": each, "labels": label % classes} for each, label in zip(pixels, labels, strict=True)]
    return DataLoader(rows, 8, collate_fn=default_data_collator), pixels, np.array(labels) % classes


def test_a_dense_layer_on_logits_may_start_as_a_label_map():
    source = tiny_vision.make_source("vit")
    model, processor = reprogram(source, "kloberdanz", ["cat", "dog"], start="map")
    loader, pixels, labels = image_loader(processor)
    begin_epoch(model, 0, loader)
    with torch.no_grad():
        outputs = model.source(model.transform({"pixel_values": pixels}, model.source), "logits")
        expected = LabelMap(LabelMapOptions(2, 12, how="frequency", aggregate="mean_logit"))
        expected.fit(outputs, torch.tensor(labels))
        torch.testing.assert_close(model(pixel_values=pixels).logits, expected(outputs, source), atol=1e-4, rtol=1e-4)


def test_weights_of_a_label_map_start_with_a_smaller_loss_than_the_map():
    losses = {}
    for start in ("none", "probe"):
        torch.manual_seed(0)
        model, processor = reprogram(
            tiny_vision.make_source("vit"), "blm", ["cat", "dog"], mapping="rvp", label_mapping="frequency", start=start
        )
        loader, pixels, labels = image_loader(processor)
        begin_epoch(model, 0, loader)
        losses[start] = float(model(pixel_values=pixels, labels=torch.tensor(labels)).loss)
    assert losses["probe"] < losses["none"]


def test_a_start_that_the_mapping_does_not_have_is_refused():
    with pytest.raises(
        InputError, match="start is 'probe', and omega is a mapping 'label_map', which starts from 'map'"
    ):
        reprogram(tiny_vision.make_source("vit"), "ilm_vp", ["cat", "dog"], start="probe")
    with pytest.raises(InputError, match="start='map' is a map of the source's labels, and 'features' is read"):
        reprogram(tiny_vision.make_source("vit"), "ilm_vp", ["cat", "dog"], mapping="dense", start="map")
    with pytest.raises(InputError, match="preset"):
        reprogram(tiny_vision.make_source("vit"), "ilm_vp", ["cat", "dog"], preset="papers")


# ------------------------------------------------------------------------------------------------------ in a Trainer


def trained(source, folder, rate, **options):
    model, processor = reprogram(source, "warp", ["bad", "good"], num_prompts=3, **options)
    data = tiny.tokenized(processor, 32)
    trainer = tiny.trainer_for(
        model,
        processor,
        data,
        folder,
        max_steps=-1,
        num_train_epochs=3,
        learning_rate=rate,
        eval_strategy="epoch",
        save_strategy="epoch",
        eval_on_start=True,
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        eval_dataset=data,
    )
    trainer.train()
    return trainer


def test_the_start_is_kept_where_training_makes_it_worse(source_folder, tmp_path):
    trainer = trained(source_folder("bert"), tmp_path, rate=1e3)
    assert trainer.state.best_global_step == 0
    first = next(record for record in trainer.state.log_history if "eval_loss" in record)
    assert first["epoch"] == 0
    assert 0 < trainer.model.mapping.started < 1  # kept as it was scored, not softened
    assert trainer.evaluate()["eval_loss"] == pytest.approx(first["eval_loss"], abs=1e-5)
    kept = ReprogrammedModel.from_pretrained(tmp_path / "checkpoint-0")
    for name, value in trainer.model.state_dict().items():
        torch.testing.assert_close(value, kept.state_dict()[name])


def test_a_better_epoch_wins_over_the_start(source_folder, tmp_path):
    trainer = trained(source_folder("bert"), tmp_path, rate=1e-1)
    assert trainer.state.best_global_step > 0
    assert trainer.model.mapping.started == 1  # softened before the first step
    losses = [record["eval_loss"] for record in trainer.state.log_history if "eval_loss" in record]
    assert len(losses) == 4
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses), abs=1e-5)


@pytest.mark.parametrize(("method", "family"), [("warp", "bert"), ("r2dl", "bert")])
def test_training_begins_with_a_soft_start_that_decides_the_same(method, family, source_folder):
    """The training loss is 0.7 of that of the classes' frequencies, unless the probe leaves more."""
    options = {"warp": {"num_prompts": 3}, "r2dl": {"tokenizer": "residues", "sparsity": 4}}[method]
    model, processor = reprogram(source_folder(family), method, ["poor", "rich"], **options)
    texts, labels = tiny.texts(40) if method == "warp" else peptides(40)
    labels = np.asarray(labels)
    loader = loader_of(processor, texts, labels)
    begin_epoch(model, 0, loader, soften=False)
    hard, factor = logits_of(model, processor, texts), float(model.mapping.started)
    share = np.bincount(labels) / len(labels)
    least = -0.7 * (share * np.log(share)).sum()
    begin_epoch(model, 0, loader)
    soft = logits_of(model, processor, texts)
    torch.testing.assert_close(soft, factor * hard, atol=1e-5, rtol=1e-3)
    loss = float(torch.nn.functional.cross_entropy(soft, torch.tensor(labels)))
    assert loss == pytest.approx(least, rel=1e-2) if factor < 1 else loss >= least - 1e-3
    begin_epoch(model, 1, loader)
    assert logits_of(model, processor, texts).equal(soft)


def test_softness_of_several_labels_with_missing_ones_and_of_numbers():
    rows = np.random.default_rng(0).normal(size=(30, 40))
    labels = (rows[:, :2] > 0).astype(float)
    labels[::7, 0] = np.nan
    several = LinearModel("multi_label_classification", 100.0, 2).fit(rows, labels)
    share = np.nanmean(labels, 0)
    known = ~np.isnan(labels)
    entropy = -(np.log(np.where(labels == 1, share, 1 - share))[known]).mean()
    factor = softness(several, rows, labels)
    assert mean_loss(factor * several.logits(rows), labels, "multi_label_classification") == pytest.approx(
        0.7 * entropy, rel=1e-3
    )
    number = LinearModel("regression", 100.0, 1).fit(rows, rows[:, 0])
    assert softness(number, rows, rows[:, 0]) == 1
    noise = LinearModel("single_label_classification", 1e-4, 2).fit(rows, np.arange(30) % 2)
    assert softness(noise, rows, np.arange(30) % 2) == 1


def test_an_adapter_that_was_trained_keeps_its_omega(source_folder, tmp_path):
    trainer = trained(source_folder("bert"), tmp_path / "first", rate=1e-1)
    trainer.model.save_pretrained(tmp_path / "adapter")
    again = ReprogrammedModel.from_pretrained(tmp_path / "adapter")
    before = again.mapping.weight.detach().clone()
    begin_epoch(again, 0, trainer.get_train_dataloader())
    assert again.mapping.weight.equal(before)


def test_new_classes_start_on_the_new_data(source_folder, tmp_path):
    trainer = trained(source_folder("bert"), tmp_path / "first", rate=1e-2)
    trainer.model.save_pretrained(tmp_path / "adapter")
    same, _ = reprogram(source_folder("bert"), "warp", ["bad", "good"], num_prompts=3, init_from=tmp_path / "adapter")
    other, _ = reprogram(source_folder("bert"), "warp", ["bad", "fair"], num_prompts=3, init_from=tmp_path / "adapter")
    assert (same.mapping.has_started(), other.mapping.has_started()) == (True, False)
    assert same.transform.prompts.equal(trainer.model.transform.prompts)


def test_a_loop_of_ones_own_without_the_schedule_is_warned_once_and_trains(source_folder):
    model, processor = tiny.make_adapter(source_folder("bert"))
    batch = {**tiny.batch_of(processor, 4), "labels": torch.tensor([0, 1, 0, 1])}
    with pytest.warns(UserWarning, match="Omega starts at random: train with the Trainer"):
        model.train()(**batch).loss.backward()
    loss = model(**batch).loss  # a second warning would be an error here
    assert loss.isfinite()
    begin_epoch(model, 1, DataLoader([{}]))  # nothing to fit any more


def test_theta_and_omega_move_at_their_own_rates(source_folder, tmp_path):
    model, processor = tiny.make_adapter(source_folder("bert"))
    groups = parameter_groups(model, theta_learning_rate=0.1, omega_learning_rate=1e-5)
    trainer = tiny.trainer_for(
        model, processor, tiny.tokenized(processor), tmp_path, max_steps=1, lr_scheduler_type="constant"
    )
    trainer.optimizer = torch.optim.AdamW(groups)
    begin_epoch(model, 0, trainer.get_train_dataloader())
    before = {name: value.detach().clone() for name, value in model.trainable().items()}
    trainer.train()
    moved = {name: float((value - before[name]).abs().max()) for name, value in model.trainable().items()}
    assert moved["transform.prompts"] == pytest.approx(0.1, rel=0.05)
    assert moved["mapping.weight"] == pytest.approx(1e-5, rel=0.05)
    with pytest.raises(InputError, match="A learning rate is 0: give numbers above 0"):
        parameter_groups(model, theta_learning_rate=0, omega_learning_rate=1e-5)


def test_the_presets_of_the_papers_start_at_random(source_folder):
    model, _ = reprogram(source_folder("bert"), "warp", ["bad", "good"], preset="paper")
    assert model.mapping.has_started()
    assert model.mapping.options.unit == 1
    assert Path(model.config.source["name"]).exists()
