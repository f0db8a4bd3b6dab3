"""The command `diagnose`: what it measures, beside what the parts give by themselves, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image

from hf_reprogram import InputError
from hf_reprogram.alignment import mean_risk, null_distance, risk_bound
from hf_reprogram.cli import main
from hf_reprogram.experiments.diagnose import diagnose_adapter
from hf_reprogram.experiments.evaluate import evaluate_adapter
from hf_reprogram.sources import load_source
from hf_reprogram.tasks.options import TaskOptions
from hf_reprogram.tasks.source_data import source_data
from hf_reprogram.training.encode import encode
from tests.support import tiny_vision

NAMES = [f"Thing {i} (n{i:08})" for i in range(12)]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A file of images with the tiny ViT's own labels, and one of a label that it does not have."""
    images, _ = tiny_vision.images(40, seed=7)
    features = Features({"image": Image(), "label": ClassLabel(names=[*NAMES, "nothing"])})
    path = tmp_path_factory.mktemp("own") / "test.parquet"
    Dataset.from_dict({"image": images, "label": [i % 13 for i in range(40)]}, features=features).to_parquet(path)
    return str(path)


@pytest.fixture(scope="module")
def diagnosed(whole_run, own, tmp_path_factory):
    """The tables, the record and the folder of one diagnosis."""
    tables, folder = diagnose_adapter(
        str(whole_run.folder),
        source_dataset=own,
        rows=16,
        examples=8,
        output=tmp_path_factory.mktemp("diagnosis"),
        quiet=True,
    )
    return tables, json.loads((folder / "diagnosis.json").read_text()), folder


def test_files_and_tables_are_written(diagnosed):
    tables, record, folder = diagnosed
    names = {path.name for path in folder.iterdir()}
    assert names == {"calibration.png", "diagnosis.json", "diagnosis.md", "projection.png"}
    assert tables in (folder / "diagnosis.md").read_text()
    assert "W1 minus its null went from" in tables
    assert "it is vacuous here" in tables
    assert [*record["states"]] == ["start", "trained"]


def test_the_trained_state_is_that_of_evaluate(diagnosed, whole_run):
    scores = evaluate_adapter(str(whole_run.folder), None, [], "validation", None, True)
    state = diagnosed[1]["states"]["trained"]
    assert state["accuracy"] == pytest.approx(scores["accuracy"])
    assert state["examples"] == scores["examples"]


def test_the_start_is_the_one_of_the_run(diagnosed, whole_run):
    best = whole_run.results["best_seed"]
    start = whole_run.results["seeds"][str(best)]["start"]["accuracy"]
    assert diagnosed[1]["states"]["start"]["accuracy"] == pytest.approx(start)


def test_the_risk_of_the_source_leaves_out_labels_that_it_does_not_have(diagnosed, own, world):
    source, _ = load_source(world.vit)
    data, labels = source_data(TaskOptions(own), "pixel_values", source.spec.labels, most=32)
    assert (labels >= 0).sum() == sum(label != -1 for label in labels) < len(labels) == 32
    pixels = encode({"test": data}, source.plain_processor(world.vit, {}), None)["test"]
    with torch.no_grad():
        batch = torch.from_numpy(pixels.inputs(np.arange(32))["pixel_values"])
        logits = source(source.plain_inputs({"pixel_values": batch}), "logits")
    named = labels >= 0
    risk = mean_risk(logits[torch.from_numpy(named)], labels[named])
    assert diagnosed[1]["source_risk"] == pytest.approx(risk, rel=1e-5)
    state = diagnosed[1]["states"]["trained"]
    assert state["w1_null"] == pytest.approx(null_distance(logits[: 2 * min(16, state["examples"])]), rel=1e-4)
    assert diagnosed[1]["bound"] == pytest.approx(risk_bound(risk, state["w1"], 12), rel=1e-5)


def test_without_source_data_there_is_no_distance(copied):
    tables, folder = diagnose_adapter(str(copied), rows=8, examples=0, quiet=True)
    assert folder == copied / "diagnosis"
    state = json.loads((folder / "diagnosis.json").read_text())["states"]["trained"]
    assert not {"w1", "alignment"} & {*state}
    assert "W1" not in tables
    assert not (folder / "projection.png").exists()


def test_names_of_labels_meet_the_sources_without_brackets_and_synonyms(own):
    _, labels = source_data(TaskOptions(own), "pixel_values", ["thing 0, a thing", "thing 1", "thing 1"], most=100)
    assert {*labels} == {-1, 0}  # two of one name are none


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 1}, "rows is 1"),
        ({"source_dataset": "no/such/file.parquet"}, "no/such/file"),
        ({"overrides": ["task.max_test=1"], "source_dataset": "x"}, "write --set source_data.KEY=VALUE"),
    ],
)
def test_wrong_arguments_are_refused(copied, changes, message):
    with pytest.raises(InputError, match=message):
        diagnose_adapter(str(copied), quiet=True, **changes)


def test_an_adapter_without_a_recipe_is_refused_on_the_command_line(copied, capsys):
    (copied / "recipe.json").unlink()
    with pytest.raises(SystemExit) as end:
        main(["diagnose", str(copied), "--quiet"])
    assert end.value.code == 2
    assert "has no recipe.json" in capsys.readouterr().err
