"""Scoring and applying a finished adapter."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import yaml

from hf_reprogram import InputError, ReprogrammedModel
from hf_reprogram.experiments.evaluate import evaluate_adapter, load_adapter, predict_lines
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions
from hf_reprogram.tasks.task import Task
from hf_reprogram.training.predict import predict_logits
from tests.support import runs, tiny, words
from tests.support.tables import write


def evaluate(adapter, split="test", recipe=None, overrides=(), source=None):
    return evaluate_adapter(str(adapter), recipe, list(overrides), split, source, True)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_adapters_own_task_gives_the_runs_scores(split, finished):
    found = evaluate(finished.folder, split)
    best = finished.results["seeds"][str(finished.results["best_seed"])]
    assert found["accuracy"] == best[split]["accuracy"]
    assert found["examples"] == finished.results["task"]["sizes"][split]
    assert found["split"] == split


def test_a_few_shot_validation_is_the_published_seeds_own(source_folder, csv_file, tmp_path, monkeypatch):
    """Another seed's draw could hold this seed's training examples."""
    results = runs.run(source_folder("bert"), csv_file, tmp_path / "run", seeds=[5], task={"few_shot": 10})
    seeds, splits = [], Task.splits
    monkeypatch.setattr(Task, "splits", lambda task, seed: seeds.append(seed) or splits(task, seed))
    assert evaluate(tmp_path / "run", "validation")["accuracy"] == results["seeds"]["5"]["validation"]["accuracy"]
    assert seeds == [5]


def test_another_task_and_overrides(finished, tmp_path):
    other = runs.write_csv(tmp_path / "other.csv", 50, seed=8)
    recipe = tmp_path / "recipe.yaml"
    task = {"dataset": str(other), "text": ["sentence"], "label": "kind"}
    recipe.write_text(yaml.safe_dump({"source": "unused", "method": "warp", "task": task}))
    assert evaluate(finished.folder, recipe=recipe)["examples"] == 10
    assert evaluate(finished.folder, overrides=["task.max_test=7"])["examples"] == 7


def test_labels_are_matched_with_the_adapters_by_name(finished, tmp_path):
    whole = evaluate(finished.folder)
    assert evaluate(finished.folder, overrides=["task.labels=[good, bad]"]) == whole
    swapped = evaluate(finished.folder, overrides=["task.labels={good: bad, bad: good}"])
    assert swapped["accuracy"] < 0.5 < whole["accuracy"]
    with pytest.raises(InputError, match=r"task\.labels gives good, poor, and the column 'kind' holds bad, good"):
        evaluate(finished.folder, overrides=["task.labels=[good, poor]"])
    with pytest.raises(InputError, match="has the labels poor, and the adapter's labels are bad, good"):
        evaluate(finished.folder, overrides=["task.labels={good: good, bad: poor}"])


def test_data_that_lack_a_class_are_scored_with_the_adapters_labels(finished, tmp_path):
    texts = [text for text, label in zip(*words.texts(80, 8), strict=True) if label]
    path = write(tmp_path / "good.csv", {"sentence": texts, "kind": ["good"] * len(texts)})
    task = load_task(TaskOptions(str(path), text="sentence", label="kind"), ["bad", "good"])
    said = [row["label"] for row in predict_lines(str(finished.folder), task.test["text"][:], None, True)]
    found = evaluate(finished.folder, overrides=[f"task.dataset={path}"])
    assert found["accuracy"] == said.count("good") / len(said)


def test_an_unknown_split_is_refused(finished):
    with pytest.raises(InputError, match="'tests': did you mean 'test'"):
        evaluate(finished.folder, "tests")


def test_an_adapter_without_a_recipe_asks_for_one(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "copy")
    (tmp_path / "copy" / "recipe.json").unlink()
    with pytest.raises(InputError, match=r"has no recipe\.json: name the task to score with --recipe"):
        evaluate(tmp_path / "copy")


def test_a_folder_that_holds_no_adapter_is_one_sentence(source_folder, tmp_path):
    for folder in (str(tmp_path), "nobody/nothing", source_folder("bert")):
        with pytest.raises(InputError) as refused:
            load_adapter(folder)
        assert folder in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_source_that_has_moved_can_be_given(finished, source_folder, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "copy")
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    config["source"]["name"] = str(tmp_path / "gone")
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="gone"):
        evaluate(tmp_path / "copy")
    assert evaluate(tmp_path / "copy", source=source_folder("bert")) == evaluate(finished.folder)


def test_logits_come_in_the_order_of_the_data_whatever_the_batches(finished):
    model, processor = load_adapter(str(finished.folder))
    data = tiny.tokenized(processor, 21)
    expected = [model(**processor(text, return_tensors="pt")).logits[0].tolist() for text in words.texts(21)[0]]
    for batch_size in (1, 4, 64):
        found = predict_logits(model, processor, data, batch_size=batch_size, quiet=True)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_predictions_are_the_most_likely_label_with_its_probability(finished):
    model, processor = load_adapter(str(finished.folder))
    texts, _ = words.texts(5, seed=4)
    records = predict_lines(str(finished.folder), texts, None, True)
    for text, record in zip(texts, records, strict=True):
        with torch.no_grad():
            probabilities = model(**processor(text, return_tensors="pt")).logits[0].softmax(-1)
        assert record["text"] == text
        assert record["label"] == model.label_names[int(probabilities.argmax())]
        assert record["score"] == pytest.approx(float(probabilities.max()), abs=1e-5)


def test_pairs_are_separated_by_a_tab(finished):
    model, processor = load_adapter(str(finished.folder))
    (record,) = predict_lines(str(finished.folder), ["good film\tbad plot"], None, True)
    with torch.no_grad():
        probabilities = model(**processor("good film", "bad plot", return_tensors="pt")).logits[0].softmax(-1)
    assert (record["text"], record["text_pair"]) == ("good film", "bad plot")
    assert record["score"] == pytest.approx(float(probabilities.max()), abs=1e-5)


def test_a_regression_predicts_a_number(source_folder, tmp_path):
    model, processor = tiny.make_adapter(source_folder("bert"), labels=None, problem_type="regression")
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    (record,) = predict_lines(str(tmp_path), ["good film"], None, True)
    with torch.no_grad():
        expected = ReprogrammedModel.from_pretrained(tmp_path)(**processor("good film", return_tensors="pt")).logits
    assert record == {"text": "good film", "value": pytest.approx(expected.item(), abs=1e-6)}


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [(["", "  "], "Every line is empty"), (["a\tb", "c"], "Some lines have a pair and some have none")],
)
def test_texts_that_cannot_be_classified_are_refused(lines, sentence, finished):
    with pytest.raises(InputError, match=sentence):
        predict_lines(str(finished.folder), lines, None, True)


@pytest.mark.parametrize(
    ("problem", "labels", "key"),
    [
        ("multi_label_classification", ["x", "y"], "scores"),
        ("token_classification", ["H", "E"], "labels"),
        ("regression", None, "value"),
    ],
)
def test_predictions_of_every_kind_of_problem(source_folder, tmp_path, problem, labels, key):
    import torch

    from hf_reprogram import reprogram
    from hf_reprogram.experiments.evaluate import predict_lines

    model, processor = reprogram(source_folder("bert"), "r2dl", labels, problem_type=problem, tokenizer="residues")
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    records = predict_lines(str(tmp_path), ["ACDW", "KX"], None, quiet=True)
    with torch.no_grad():
        logits = [model.eval()(**processor(text, return_tensors="pt")).logits[0] for text in ("ACDW", "KX")]
    for record, row in zip(records, logits, strict=True):
        if key == "scores":
            assert record[key] == pytest.approx(dict(zip(labels, row.sigmoid().tolist(), strict=True)), abs=1e-5)
        elif key == "value":
            assert record[key] == pytest.approx(float(row[0]), abs=1e-5)
        else:
            expected = [labels[int(i)] for i in row.argmax(-1)][1:-1]
            assert record["tokens"][0] in "AK"
            assert record[key] == expected[: len(record[key])]
            assert len(record[key]) == len(record["tokens"])


def test_an_infilling_adapter_fills_the_masks_of_a_text(source_folder, tmp_path):
    from hf_reprogram import reprogram
    from hf_reprogram.experiments.evaluate import predict_lines

    model, processor = reprogram(source_folder("bert"), "reprogbert", problem_type="infilling")
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    (record,) = predict_lines(str(tmp_path), [f"AC{processor.mask_token}DW"], None, quiet=True)
    assert len(record["filled"]) == 5
    assert record["filled"].startswith("AC")
    assert record["filled"].endswith("DW")
