"""The promises of `tests.test_contract` for image sources: every family x transform x mapping, after real training."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import default_collate
from transformers import AutoModelForImageClassification, DataCollatorWithPadding, Trainer, TrainingArguments

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.training.callbacks import Schedule
from tests.support import tiny_dual, words
from tests.support import tiny_vision as tiny
from tests.support.frozen import Watch, bytes_of


class Case(NamedTuple):
    """A source, and a method with its options; `data` is "image", "text" or "table"."""

    family: str
    method: str
    options: dict[str, Any]
    data: str = "image"

    def __str__(self):
        return "-".join([self.family, self.method, *map(str, self.options.values())])


SURROUND = {"image_size": 16}
CASES = [Case(family, "elsayed", {**SURROUND, "label_mapping": "frequency"}) for family in tiny.FAMILIES]
CASES += [Case(family, "kloberdanz", {"reads": "features"}) for family in tiny.FAMILIES]
CASES += [Case(family, "cross_modal", {"mapping": "dense"}, "text") for family in tiny.FAMILIES]
CASES += [
    Case("vit", "elsayed", {**SURROUND, "label_mapping": how})
    for how in ("random", "identity", "optimal", "iterative", "similarity")
]
CASES += [
    Case("vit", "elsayed", {**SURROUND, "aggregate": aggregate, "labels_per_class": 2})
    for aggregate in ("sum_probability", "max_logit", "mean_logit")
]
CASES += [
    Case("dinov2", "blm", SURROUND),
    Case("vit", "blm", {**SURROUND, "label_mapping": "blm"}),
    Case("vit", "ilm_vp", {**SURROUND, "learn_scale": True}),
    Case("vit", "ilm_vp", {"image_size": 10, "copies": 4}),
    Case("vit", "ilm_vp", {**SURROUND, "place": [0, 3]}),
    Case("resnet", "kloberdanz", {"mask": "border", "border": 4, "l2": 0.01}),
    Case("vit", "kloberdanz", {"reads": "probabilities"}),
    Case("vit", "elsayed", {**SURROUND, "mapping": "rvp", "labels_per_class": 3}),
    Case("vit", "smm", {}),
    Case("resnet", "smm", {"mapping": "dense"}),
    Case("vit", "cross_modal", {"tokenizer": "characters"}, "text"),
    Case("vit", "cross_modal", {"bounded": True}, "text"),
    Case("resnet", "cross_modal", {"patch_size": 4}, "text"),
    Case("vit", "fraud", {}, "table"),
    Case("convnext", "fraud", {"mapping": "dense"}, "table"),
]
CASES += [Case(family, "reprogrammer", {}) for family in tiny_dual.FAMILIES]
CASES += [Case(family, "reprogrammer", {"text_program": "context", "size": 3}) for family in tiny_dual.FAMILIES]
CASES += [
    Case("clip", "reprogrammer", {"text_program": "table", "alpha": 0.4}),
    Case("vision-text", "reprogrammer", {"alpha": 0.4, "learn_alpha": True, "resolution": 16}),
    Case("siglip", "reprogrammer", {"loss": "contrastive", "templates": ["a {}", "one {}."]}),
    Case("clip", "reprogrammer", {"image_program": "full", "text_program": "none"}),
    Case("clip", "elsayed", {**SURROUND, "mapping": "dense"}),
    Case("vision-text", "cross_modal", {"mapping": "dense"}, "text"),
]


def save_source(folder: Any, family: str, seed: int = 0) -> Any:
    """A folder with a tiny source of any family."""
    return (tiny_dual if family in tiny_dual.FAMILIES else tiny).save_source(folder, family, seed=seed)


def examples(data: str, processor: Any, count: int = 16) -> tuple[list[dict[str, Any]], Any]:
    """Examples as the Trainer takes them, and their collator."""
    if data == "text":
        texts, labels = words.texts(count)
        rows = [dict(processor(text, truncation=True), labels=label) for text, label in zip(texts, labels, strict=True)]
        return rows, DataCollatorWithPadding(processor)
    if data == "table":
        random = np.random.default_rng(0)
        values = random.normal(size=(count, 3)).astype(np.float32)
        return [{"table_values": row, "labels": int(row[0] > 0)} for row in values], default_collate
    images, labels = tiny.images(count)
    pixels = processor(images)["pixel_values"]
    rows = [{"pixel_values": torch.as_tensor(row), "labels": label} for row, label in zip(pixels, labels, strict=True)]
    return rows, default_collate


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}

    def folder(family: str) -> str:
        if family not in made:
            made[family] = str(save_source(tmp_path_factory.mktemp("vision") / family, family))
        return made[family]

    return folder


@pytest.fixture(scope="module", params=CASES, ids=str)
def trained(request, folders, tmp_path_factory):
    """An adapter after three steps of the stock Trainer, saved, with what was seen on the way."""
    case = request.param
    torch.manual_seed(0)
    texts, _ = words.texts(50)
    model, processor = reprogram(
        folders(case.family),
        method=case.method,
        labels=["bad", "good"],
        texts=texts if case.data == "text" else None,
        features=np.random.default_rng(0).normal(size=(30, 3)) if case.data == "table" else None,
        **case.options,
    )
    rows, collate = examples(case.data, processor)
    before, start = bytes_of(model.source), {name: p.detach().clone() for name, p in model.trainable().items()}
    watch = Watch()
    arguments = TrainingArguments(
        tmp_path_factory.mktemp("trainer"),
        use_cpu=True,
        max_steps=3,
        learning_rate=1e-1,
        per_device_train_batch_size=8,
        remove_unused_columns=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    Trainer(model, arguments, train_dataset=rows, data_collator=collate, callbacks=[Schedule(), watch]).train()
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    batch = collate(rows[:6])
    batch.pop("labels")
    return SimpleNamespace(
        case=case, model=model.eval(), folder=folder, before=before, start=start, watch=watch, batch=dict(batch)
    )


def test_source_bytes_are_unchanged_and_it_is_never_in_training_mode(trained):
    assert bytes_of(trained.model.source) == trained.before
    assert trained.watch.steps == 3
    assert trained.watch.training == set()


def test_only_theta_and_omega_get_gradients_and_all_of_them_move(trained):
    trainable = trained.model.trainable()
    assert trained.watch.gradients == set(trainable)
    assert all(not torch.equal(trainable[name], value) for name, value in trained.start.items())
    assert all(not p.requires_grad for p in trained.model.source.parameters())


@torch.no_grad()
def test_reload_gives_the_same_logits_bit_for_bit(trained):
    again = ReprogrammedModel.from_pretrained(trained.folder)
    assert torch.equal(again(**trained.batch).logits, trained.model(**trained.batch).logits)


@torch.no_grad()
def test_the_source_sees_pixels_from_0_to_1(trained):
    inputs = trained.model.transform(trained.batch, trained.model.source)
    if "pixels" in inputs:
        assert 0 <= inputs["pixels"].min() <= inputs["pixels"].max() <= 1
    else:
        table = trained.model.transform.folded(trained.model.source)
        assert inputs["patches"].shape[-1] == table.shape[-1]


@torch.no_grad()
def test_batch_composition_does_not_change_a_row(trained):
    together = trained.model(**trained.batch).logits
    alone = [
        trained.model(**{name: value[i : i + 1] for name, value in trained.batch.items()}).logits for i in range(6)
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)
    assert together.std(0).min() > 1e-5  # the rows differ, so that equality says something


def test_saved_weights_are_theta_and_omega_with_their_buffers(trained):
    weights = load_file(trained.folder / "model.safetensors")
    assert {name: value.shape for name, value in weights.items()} == {
        name: value.shape for name, value in trained.model.state_dict().items()
    }
    assert not any(name.startswith("source.") for name in weights)
    assert sum(weights[name].numel() for name in trained.model.trainable()) == trained.model.num_trainable()


def test_another_source_is_refused(trained, tmp_path):
    other = save_source(tmp_path / "other", trained.case.family, seed=9)
    with pytest.raises(InputError, match="trained on another source"):
        ReprogrammedModel.from_pretrained(trained.folder, source=other)


def test_pixels_are_normalised_once_whatever_made_them(folders):
    """The canvas and the folded patches give what the plain model gives for the same picture."""
    plain = AutoModelForImageClassification.from_pretrained(folders("vit"))
    model, processor = reprogram(folders("vit"), method="kloberdanz", labels=["a", "b"], reads="logits")
    images, _ = tiny.images(4)
    pixels = processor(images, return_tensors="pt")["pixel_values"]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (tiny.MEAN, tiny.STD))
    with torch.no_grad():
        expected = plain(pixel_values=(pixels - mean) / std).logits
        found = model.source(model.transform({"pixel_values": pixels}, model.source), "logits")
    torch.testing.assert_close(found, expected)


RELOAD = """
import sys, torch
import hf_reprogram
from transformers import AutoModelForImageClassification
for folder in sys.argv[1:]:
    model = AutoModelForImageClassification.from_pretrained(folder)
    with torch.no_grad():
        torch.save(model(**torch.load(folder + "/batch.pt")).logits, folder + "/logits.pt")
"""


def test_every_family_reloads_bit_equal_in_a_fresh_process(folders, tmp_path):
    made = {}
    images, _ = tiny.images(4)
    image, dual = ("elsayed", {"image_size": 16}), ("reprogrammer", {"alpha": 0.4, "resolution": 16})
    for family in (*tiny.FAMILIES, *tiny_dual.FAMILIES):
        method, options = dual if family in tiny_dual.FAMILIES else image
        model, processor = reprogram(folders(family), method=method, labels=["a", "b"], **options)
        for parameter in model.transform.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        model.save_pretrained(tmp_path / family)
        batch = {"pixel_values": processor(images, return_tensors="pt")["pixel_values"]}
        torch.save(batch, tmp_path / family / "batch.pt")
        with torch.no_grad():
            made[family] = model.eval()(**batch).logits
    subprocess.run([sys.executable, "-c", RELOAD, *(str(tmp_path / family) for family in made)], check=True)
    for family, expected in made.items():
        assert torch.equal(torch.load(tmp_path / family / "logits.pt"), expected), family
