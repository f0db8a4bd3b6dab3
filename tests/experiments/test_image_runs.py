"""Whole recipes on images and on a table: resumed, scored, predicted, and described."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from datasets import Dataset, Features, Image, Value
from huggingface_hub import ModelCard
from transformers import Trainer, pipeline

from hf_reprogram import InputError
from hf_reprogram.experiments.evaluate import evaluate_adapter, load_adapter, predict_lines
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
from hf_reprogram.hub.push import FILES
from hf_reprogram.reports.card import render_card
from hf_reprogram.tasks.load import load_task
from tests.support import runs, tiny_vision

TRAINING = {"learning_rate": 3e-2, "num_train_epochs": 3, "per_device_train_batch_size": 8}
METHODS = {
    "images": {"name": "elsayed", "mapping": "dense", "image_size": 16},
    "table": {"name": "fraud", "mapping": "dense"},
}


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """The folder of a tiny ViT."""
    return str(tiny_vision.save_source(tmp_path_factory.mktemp("sources") / "vit", "vit"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The `task:` sections of a file of images and of a file of numbers, both with two classes."""
    folder = tmp_path_factory.mktemp("data")
    images, labels = tiny_vision.images(120)
    features = Features({"scan": Image(), "half": Value("string")})
    columns = {"scan": images, "half": [("above", "below")[label] for label in labels]}
    Dataset.from_dict(columns, features=features).to_parquet(folder / "halves.parquet")
    random = np.random.default_rng(0)
    numbers = {name: (random.normal(size=120) + 3 * np.array(labels)).tolist() for name in "abc"}
    Dataset.from_dict({**numbers, "label": labels}).to_csv(folder / "numbers.csv", index=False)
    return {
        "images": {"dataset": str(folder / "halves.parquet"), "image": "scan", "label": "half"},
        "table": {"dataset": str(folder / "numbers.csv"), "features": ["c", "a", "b"], "labels": ["low", "high"]},
    }


def recipe(vit, data, kind, output, **changes):
    values = {"source": vit, "method": METHODS[kind], "task": data[kind], "training": TRAINING, "output": str(output)}
    return make_recipe({**values, **changes})


@pytest.fixture(scope="module")
def run_on(vit, data, tmp_path_factory):
    """A function that gives a whole run on "images" or "table", made once: its kind, recipe, folder and results."""
    made = {}

    def run(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind) / "adapter"
            chosen = recipe(vit, data, kind, folder, seeds=[0, 1], baselines=["majority"])
            results = train(chosen, quiet=True)
            made[kind] = SimpleNamespace(kind=kind, recipe=chosen, folder=folder, results=results)
        return made[kind]

    return run


@pytest.fixture(params=METHODS)
def run(request, run_on):
    """Each of the two runs."""
    return run_on(request.param)


# ----------------------------------------------------------------------------------------------------------- train


def test_results_say_what_the_examples_are(run):
    task = run.results["task"]
    assert json.loads((run.folder / "results.json").read_text()) == run.results
    assert task["modality"] == {"images": "image", "table": "table"}[run.kind]
    assert task["features"] == {"images": [], "table": ["c", "a", "b"]}[run.kind]
    assert task["labels"] == {"images": ["above", "below"], "table": ["low", "high"]}[run.kind]
    assert task["sizes"] == {"train": 86, "validation": 10, "test": 24}
    assert set(run.results["seeds"]) == {"0", "1"}
    assert run.results["baselines"]["majority"]["test"]["accuracy"]["mean"] == 0.5


def test_training_beats_the_majority(run):
    assert run.results["test"]["accuracy"]["mean"] > 0.7
    losses = [entry["loss"] for entry in run.results["seeds"]["0"]["history"][1:]]
    assert losses[-1] < losses[0]


def test_the_folder_holds_the_processor_and_no_other_files(run):
    names = {path.name for path in run.folder.iterdir() if path.is_file()}
    processor = {"preprocessor_config.json"} if run.kind == "images" else set()
    assert names == {
        "config.json", "model.safetensors", "README.md", "recipe.json", "results.json", "learning_curve.png",
        "confusion_matrix.png", *processor,
    }  # fmt: skip
    assert all(any(Path(name).match(pattern) for pattern in FILES) for name in names)


def test_a_run_that_was_cut_short_resumes_to_the_same_bytes(vit, data, tmp_path, monkeypatch):
    train(recipe(vit, data, "images", tmp_path / "whole"), quiet=True)
    cut, step, done = recipe(vit, data, "images", tmp_path / "cut"), Trainer.training_step, []

    def training_step(*args, **kwargs):
        if len(done) == 15:  # an epoch has 11
            raise KeyboardInterrupt
        done.append(1)
        return step(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "training_step", training_step)
        with pytest.raises(KeyboardInterrupt):
            train(cut, quiet=True)
    train(cut, resume=True, quiet=True)
    assert runs.weights(tmp_path / "cut") == runs.weights(tmp_path / "whole")
    whole, resumed = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "cut"))
    assert runs.without_clocks(resumed) == runs.without_clocks(whole)


@pytest.mark.parametrize(("method", "kind"), [("warp", "images"), ("elsayed", "table"), ("fraud", "images")])
def test_a_method_for_other_data_is_refused_before_anything_is_loaded(method, kind, vit, data, tmp_path):
    takes = {"warp": "texts", "elsayed": "images", "fraud": "rows of numbers"}[method]
    are = {"images": "images", "table": "rows of numbers"}[kind]
    with pytest.raises(
        InputError, match=f"The method '{method}' takes {takes}, and the examples of this task are {are}"
    ):
        recipe(vit, data, kind, tmp_path / "run", method=method)


def test_a_broken_image_is_one_sentence_before_anything_is_trained(vit, tmp_path):
    images, labels = tiny_vision.images(40)
    folder = tmp_path / "scans"
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        image.save(folder / str(label) / f"{row}.png")
    broken = folder / "1" / "39.png"
    broken.write_bytes(broken.read_bytes()[:80])
    made = recipe(vit, {"images": {"dataset": str(folder), "image": "image"}}, "images", tmp_path / "run")
    with pytest.raises(InputError, match=r"Row \d+ of the (train|validation|test) split \(.*39\.png\) is no image"):
        train(made, quiet=True)
    assert not list((tmp_path / "run").rglob("checkpoint*"))


# ------------------------------------------------------------------------------------------------ evaluate, predict


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_adapters_own_task_gives_the_runs_scores(split, run):
    found = evaluate_adapter(str(run.folder), None, [], split, None, True)
    best = run.results["seeds"][str(run.results["best_seed"])]
    assert found["accuracy"] == best[split]["accuracy"]
    assert found["examples"] == run.results["task"]["sizes"][split]


def test_a_task_of_another_kind_is_refused(run, tmp_path, csv_file):
    task = {"dataset": str(csv_file), "text": ["sentence"], "label": "kind"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"source": "unused", "method": "warp", "task": task}))
    takes = {"images": "images", "table": "rows of numbers"}[run.kind]
    with pytest.raises(InputError, match=f"The model takes {takes}, and .*films.csv' holds texts"):
        evaluate_adapter(str(run.folder), tmp_path / "recipe.yaml", [], "test", None, True)


def lines_of(run, folder, count=5) -> list[str]:
    """The first test examples as lines."""
    test = load_task(run.recipe.task_options).test
    if run.kind == "table":
        return [", ".join(map(repr, row)) for row in test[:count]["features"]]
    paths = [str(folder / f"{row} of test.png") for row in range(count)]
    for path, image in zip(paths, test[:count]["image"], strict=True):
        image.save(path)
    return paths


def test_predictions_are_the_models_own(run, tmp_path):
    lines = lines_of(run, tmp_path)
    records = predict_lines(str(run.folder), [*lines, " "], None, True)
    model, processor = load_adapter(str(run.folder))
    test = load_task(run.recipe.task_options).test[:5]
    if run.kind == "table":
        inputs = {"table_values": torch.tensor(test["features"])}
    else:
        inputs = dict(processor([image.convert("RGB") for image in test["image"]], return_tensors="pt"))
    with torch.no_grad():
        probabilities = model(**inputs).logits.softmax(-1)
    key = {"images": "image", "table": "features"}[run.kind]
    for line, record, expected in zip(lines, records, probabilities, strict=True):
        given = line if run.kind == "images" else pytest.approx([float(number) for number in line.split(",")])
        score = pytest.approx(float(expected.max()), abs=1e-5)
        assert record == {key: given, "label": model.label_names[int(expected.argmax())], "score": score}


@pytest.mark.parametrize(
    ("kind", "lines", "said"),
    [
        ("images", ["nowhere.png"], "There is no image file 'nowhere.png'"),
        ("images", ["a\tb"], "There is no image file 'a'"),
        ("table", ["1,2,x"], "'1,2,x' is no row of numbers separated by commas"),
        ("table", ["1,2,3", "1,2"], "There are rows of 3 and of 2 numbers"),
        ("table", ["1,2"], "give (rows, 3) numbers"),
        ("images", ["  "], "Every line is empty"),
    ],
)
def test_lines_that_cannot_be_read_are_refused(kind, lines, said, run_on):
    with pytest.raises(InputError, match=re.escape(said)):
        predict_lines(str(run_on(kind).folder), lines, None, True)


# -------------------------------------------------------------------------------------------------------- the card


def test_the_card_says_how_the_adapter_is_used(run):
    card = ModelCard(render_card(run.results, "me/adapter"))
    assert (run.folder / "README.md").read_text() == render_card(run.results, "adapter")
    if run.kind == "images":
        assert card.data.to_dict()["pipeline_tag"] == "image-classification"
        assert "and the image processor that brings images to their size." in card.text
        assert 'AutoImageProcessor.from_pretrained("me/adapter", backend="pil")' in card.text
        assert "Labels: above, below." in card.text
    else:
        assert card.data.to_dict()["pipeline_tag"] == "tabular-classification"
        assert "bytes).\n" in card.text
        assert "test examples. Features: 3. Labels: low, high." in card.text
        assert "# c, a, b\n" in card.text
    assert "tokenizer" not in card.text
    assert not re.search(r"\{\{|\}\}|\{%|None|nan|undefined", card.text)


def test_the_cards_example_runs_and_gives_what_predict_gives(run, tmp_path, monkeypatch):
    (line,) = lines_of(run, tmp_path, 1)
    (expected,) = predict_lines(str(run.folder), [line], None, True)
    example = re.search(r"```python\n(.+?)```", render_card(run.results, str(run.folder)), re.DOTALL)[1]
    *lines, last = [text for text in example.splitlines() if text]
    if run.kind == "images":
        Path(line).rename(tmp_path / "image.png")
    names: dict = {}
    monkeypatch.chdir(tmp_path)
    exec("\n".join(lines), names)
    if run.kind == "images":
        best, other = eval(last, names)
        assert best == {"label": expected["label"], "score": pytest.approx(expected["score"], abs=1e-5)}
        assert best["score"] + other["score"] == pytest.approx(1)
    else:
        assert names["rows"].shape == (1, 3)
        names["rows"] = torch.tensor([expected["features"]])
        assert eval(last, names).max().item() == pytest.approx(expected["score"], abs=1e-5)


def test_the_pipeline_alone_finds_the_processor(run_on, tmp_path):
    run = run_on("images")
    lines = lines_of(run, tmp_path)
    expected = predict_lines(str(run.folder), lines, None, True)
    found = [answer[0] for answer in pipeline("image-classification", model=str(run.folder), device="cpu")(lines)]
    assert [entry["label"] for entry in found] == [record["label"] for record in expected]


# ------------------------------------------------------------------------------------------------- other problems


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize(
    ("label", "problem", "key"),
    [("number", "regression", "value"), (["up", "down"], "multi_label_classification", "scores")],
)
def test_numbers_and_several_labels(kind, label, problem, key, vit, tmp_path):
    images, labels = tiny_vision.images(40)
    images[0].save(tmp_path / "image.png")
    columns = {"image": images, "a": np.arange(40.0), "number": np.arange(40.0), "up": labels, "down": labels[::-1]}
    kinds = {name: Image() if name == "image" else Value("float64") for name in columns}
    Dataset.from_dict(columns, features=Features(kinds)).to_parquet(tmp_path / "data.parquet")
    inputs = {"images": {"image": "image"}, "table": {"features": ["a"]}}[kind]
    task = {"dataset": str(tmp_path / "data.parquet"), "label": label, "problem": problem, **inputs}
    made = recipe(vit, {kind: task}, kind, tmp_path / "run", training={**TRAINING, "num_train_epochs": 1})
    assert train(made, quiet=True)["task"]["problem"] == problem
    line = str(tmp_path / "image.png") if kind == "images" else "3"
    (record,) = predict_lines(str(tmp_path / "run"), [line], None, True)
    model, processor = load_adapter(str(tmp_path / "run"))
    given = processor(images[0], return_tensors="pt") if kind == "images" else {"table_values": torch.tensor([[3.0]])}
    with torch.no_grad():
        (logits,) = model(**given).logits
    if key == "value":
        assert record[key] == pytest.approx(logits.item(), abs=1e-5)
    else:
        assert record[key] == pytest.approx(dict(zip(label, logits.sigmoid().tolist(), strict=True)), abs=1e-5)
    if (kind, key) == ("images", "scores"):  # this pipeline takes None for 5
        assert 'classify("image.png", top_k=2)' in (tmp_path / "run" / "README.md").read_text()
