"""Baselines on a dual encoder's class texts: zero-shot, CoOp, and WiSE-FT's start."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer

from hf_reprogram.baselines import search
from hf_reprogram.baselines.image_tower import Start
from hf_reprogram.training.encode import encode
from tests.support import tiny_dual, tiny_vision
from tests.support.frozen import bytes_of
from tests.support.image_settings import CLASSES, make_setting, run

TEMPLATES = ["a photo of {}.", "{} in the picture."]


@pytest.fixture(params=["clip", "vision-text"])
def made(request, tmp_path):
    """The setting of one seed on a tiny dual encoder."""
    folder = tiny_dual.save_source(tmp_path / "source", request.param)
    return make_setting(folder, tmp_path / "task", method={"name": "reprogrammer", "templates": TEMPLATES})


def by_hand(setting, split, templates=TEMPLATES):
    """Scaled cosine similarities of the images with the mean of each class's texts, by the plain model."""
    name = setting.recipe.source["name"]
    model, tokenizer = AutoModel.from_pretrained(name).eval(), AutoTokenizer.from_pretrained(name)
    data = encode(setting.splits, Start(setting).processor)[split]
    pixels = torch.from_numpy(data.read(range(len(data))))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (tiny_vision.MEAN, tiny_vision.STD))
    with torch.no_grad():
        images = F.normalize(model.get_image_features(pixel_values=(pixels - mean) / std).pooler_output, dim=-1)
        rows = []
        for label in setting.task.labels:
            texts = [tokenizer(template.replace("{}", label), return_tensors="pt") for template in templates]
            found = [F.normalize(model.get_text_features(**text).pooler_output, dim=-1) for text in texts]
            rows.append(F.normalize(torch.cat(found).mean(0), dim=-1))
        return (model.logit_scale.exp() * images @ torch.stack(rows).T).numpy()


def test_zero_shot_is_the_similarity_with_the_recipes_class_texts(made):
    made.extra = {"again": made.splits["test"]}
    outcome = run("zero_shot", made)
    assert made.task.labels == list(CLASSES)
    assert outcome.trainable == 0
    for split, found in (("validation", outcome.validation), ("test", outcome.test)):
        np.testing.assert_allclose(found, by_hand(made, split), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(outcome.extra["again"], outcome.test, rtol=1e-5, atol=1e-6)
    other = make_setting(made.recipe.source["name"], made.folder.parent, method={"name": "reprogrammer"})
    np.testing.assert_allclose(
        run("zero_shot", other).test, by_hand(other, "test", ["a photo of a {}."]), rtol=1e-3, atol=1e-4
    )
    assert not np.allclose(run("zero_shot", other).test, outcome.test, atol=1e-3)


def test_wise_ft_starts_as_the_zero_shot_classifier(made, monkeypatch):
    outcome = run("wise_ft", made, learning_rate=[1e-3], alpha=[0.0])
    np.testing.assert_allclose(outcome.test, by_hand(made, "test"), rtol=1e-3, atol=1e-3)
    tuned = run("wise_ft", made, learning_rate=[1e-3], alpha=[1.0])
    assert not np.allclose(tuned.test, outcome.test, atol=1e-2)


def test_coop_trains_its_context_vectors_alone(made, monkeypatch):
    kept, fit = {}, search.fit

    def watched(model, *arguments, **others):
        kept.update(model=model, start={name: p.detach().clone() for name, p in model.named_parameters()})
        kept["source"] = bytes_of(model.source)
        return fit(model, *arguments, **others)

    monkeypatch.setattr(search, "fit", watched)
    made.extra = {"again": made.splits["test"]}
    outcome = run("coop", made, size=3, learning_rate=[1e-2])
    model, start = kept["model"], kept["start"]
    assert outcome.trainable == model.num_trainable() == 3 * tiny_dual.WIDTH
    assert all(not torch.equal(p, start[name]) for name, p in model.trainable().items())
    assert bytes_of(model.source) == kept["source"]
    assert outcome.chosen == {"learning_rate": 1e-2}
    np.testing.assert_allclose(outcome.extra["again"], outcome.test, rtol=1e-5, atol=1e-6)
    again = run("coop", made, size=3, learning_rate=[1e-2])
    assert np.array_equal(again.test, outcome.test)


def test_coop_reads_its_vectors_before_the_name_of_the_class(made, monkeypatch):
    """Compared with a text tower that is called with the same embeddings side by side."""
    kept, fit = {}, search.fit
    monkeypatch.setattr(search, "fit", lambda model, *a, **k: kept.update(model=model) or fit(model, *a, **k))
    outcome = run("coop", made, size=2, learning_rate=[1e-2])
    source, program = kept["model"].source, kept["model"].transform.text
    table, tokenizer = source.embedding.weight, AutoTokenizer.from_pretrained(made.recipe.source["name"])
    rows = []
    for label in made.task.labels:
        ids = tokenizer(f"{label}.", return_tensors="pt")["input_ids"]
        embeds = torch.cat([table[ids[0, :1]], program.options.unit * program.vectors, table[ids[0, 1:]]])[None]
        longer = torch.cat([ids[:, :1], ids[:, 1:2].expand(1, 2), ids[:, 1:]], 1)
        handle = source.embedding.register_forward_hook(lambda *_, embeds=embeds: embeds)
        with torch.no_grad():
            found = source.model.get_text_features(input_ids=longer, attention_mask=torch.ones_like(longer))
        handle.remove()
        rows.append(F.normalize(found.pooler_output[0], dim=-1))
    data = encode(made.splits, Start(made).processor)["test"]
    with torch.no_grad():
        images = source({"pixels": torch.from_numpy(data.read(range(len(data))))}, "features")
        expected = source.scale * images @ torch.stack(rows).T
    np.testing.assert_allclose(outcome.test, expected.numpy(), rtol=1e-3, atol=1e-4)
