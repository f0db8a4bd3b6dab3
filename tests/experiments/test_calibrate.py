"""The command `calibrate`: what it fits, shows and writes, and what it refuses before anything is written."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from datasets import Dataset, Features, Image, Value

from hf_reprogram import InputError, ReprogrammedModel
from hf_reprogram.calibration import CalibrationOptions, calibrated
from hf_reprogram.cli import main
from hf_reprogram.experiments import calibrate
from hf_reprogram.experiments.calibrate import calibrate_adapter
from hf_reprogram.experiments.evaluate import evaluate_adapter, predict_lines
from hf_reprogram.experiments.ood import _predict
from hf_reprogram.hub.push import adapter_files
from hf_reprogram.inspection.adapter import describe, inspect_adapter
from hf_reprogram.training.calibration import MEASURES, ClampingOptions
from hf_reprogram.training.encode import encode
from tests.support import runs, tiny, tiny_vision
from tests.support.ood_runs import LABELS

PIXELS = CalibrationOptions("neural_clamping", 2.0, "pixels", [3, 32, 32])


def clamped(model, *_, **__):
    """A fit of Neural Clamping whose shift is known."""
    calibrated(model, PIXELS, 0.3 * torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0)))
    return PIXELS


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run on texts, whose metrics are measures of calibration too."""
    folder = tmp_path_factory.mktemp("texts")
    source = str(tiny.save_source(folder / "source", "bert"))
    data = runs.write_csv(folder / "films.csv")
    runs.run(source, data, folder / "run", task={"metrics": [*MEASURES]})
    return folder / "run"


@pytest.fixture
def run(finished, tmp_path):
    """A copy of it."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def scores(folder, split):
    found = evaluate_adapter(str(folder), None, [], split, None, True)
    return {name: found[name] for name in MEASURES}


def test_the_command_calibrates_an_adapter_in_its_folder(run, capsys):
    weights = (run / "model.safetensors").read_bytes()
    before = {split: scores(run, split) for split in ("validation", "test")}
    main_returns(["calibrate", str(run), "--test", "test", "-q"])
    shown = capsys.readouterr().out
    calibration = json.loads((run / "config.json").read_text())["calibration"]
    record = calibration["record"]
    for split, state in ("validation", record), ("test", record["test"]):
        assert state["before"] == pytest.approx(before[split])
        assert state["after"] == pytest.approx(scores(run, split), rel=1e-4, abs=1e-6)
        assert state["after"]["accuracy"] == state["before"]["accuracy"]
        assert state["changed"] == 0
    assert record["after"]["nll"] < record["before"]["nll"]
    assert (run / "model.safetensors").read_bytes() == weights
    assert json.loads((run / "results.json").read_text())["calibration"] == calibration
    card = (run / "README.md").read_text()
    sentence = f"fitted on {record['examples']} examples of validation of films. No label changes."
    assert sentence in shown
    assert "## Calibration" in card
    assert sentence in card
    assert f"| test, after | {100 * record['test']['after']['accuracy']:.1f} |" in card
    assert not [path for path in run.iterdir() if path.name.startswith(".")]


def main_returns(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0


def test_results_and_card_have_the_measures_as_metrics(finished):
    results = json.loads((finished / "results.json").read_text())
    assert [*results["test"]] == [*MEASURES]
    assert f"| {results['test']['ece']['mean']:.3f} |" in (finished / "README.md").read_text()
    assert "calibration" not in results
    assert "## Calibration" not in (finished / "README.md").read_text()


def test_predictions_have_calibrated_scores(run):
    model = ReprogrammedModel.from_pretrained(run)
    before = predict_lines(str(run), ["a good film"], None, True)[0]
    calibrate_adapter(str(run), quiet=True)
    after = predict_lines(str(run), ["a good film"], None, True)[0]
    temperature = json.loads((run / "config.json").read_text())["calibration"]["temperature"]
    odds = torch.logit(torch.tensor(before["score"], dtype=torch.float64)) / temperature
    assert after["label"] == before["label"]
    assert after["score"] == pytest.approx(float(odds.sigmoid()), abs=1e-5)
    assert model.config.calibration == {}


def test_inspect_shows_the_temperature(run):
    assert "calibrated" not in describe(inspect_adapter(str(run)))
    calibrate_adapter(str(run), quiet=True)
    temperature = json.loads((run / "config.json").read_text())["calibration"]["temperature"]
    assert f"calibrated: logits are divided by {temperature:.4g}" in describe(inspect_adapter(str(run)))


def test_a_second_calibration_replaces_the_first(run):
    calibrate_adapter(str(run), quiet=True)
    once = files(run)
    calibrate_adapter(str(run), quiet=True)
    assert files(run) == once


def test_a_copy_is_calibrated_and_the_adapter_stays(run, tmp_path):
    before = files(run)
    _, folder = calibrate_adapter(str(run), output=tmp_path / "copies" / "new", quiet=True)
    assert files(run) == before
    assert {"config.json", "model.safetensors", "recipe.json", "results.json", "README.md"} <= {*files(folder)}
    assert scores(folder, "test")["nll"] != scores(run, "test")["nll"]
    with pytest.raises(InputError, match="exists already"):
        calibrate_adapter(str(run), output=folder, quiet=True)


def test_what_is_pushed_is_calibrated(run):
    calibrate_adapter(str(run), quiet=True)
    pushed = adapter_files(run, "me/films", source="me/bert")
    assert json.loads(pushed["config.json"])["calibration"]["temperature"] > 0
    assert "## Calibration" in pushed["README.md"]


def test_other_data_may_be_used_whole(run, tmp_path):
    data = runs.write_csv(tmp_path / "held.csv", count=50, seed=9)
    named = ["task.text=sentence", "task.label=kind"]
    table, _ = calibrate_adapter(str(run), data=str(data), overrides=named, split="all", quiet=True)
    assert "fitted on all 50 examples of held." in table


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"split": "test"}, "nothing may be selected there: calibrate on validation"),
        ({"split": "train"}, "The train split is what the adapter was trained on"),
        ({"split": "dev"}, "Unknown split to calibrate on 'dev'"),
        ({"test": "train"}, "Unknown split to report on 'train'"),
        ({"split": "all"}, "trained on a part of this data set"),
        ({"split": "all", "test": "test"}, "none is left to test on"),
        ({"method": "platt"}, "Unknown method of calibration 'platt'"),
        ({"overrides": ["task.split_seed=3"]}, "draw other splits than those of training"),
        ({"overrides": ["method.name=warp"]}, "write --set task.KEY=VALUE"),
        ({"method": "neural_clamping"}, "takes texts of any length"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_and_nothing_is_written(run, options, sentence):
    before = files(run)
    with pytest.raises(InputError) as refused:
        calibrate_adapter(str(run), quiet=True, **options)
    assert sentence in str(refused.value)
    assert files(run) == before


def test_an_adapter_of_the_hub_needs_a_folder_to_write_into():
    with pytest.raises(InputError, match="is no folder to write into"):
        calibrate_adapter("owner/adapter", quiet=True)


def test_an_adapter_without_a_recipe_needs_data(run):
    (run / "recipe.json").unlink()
    with pytest.raises(InputError, match="name labelled data that it was not trained on with --data"):
        calibrate_adapter(str(run), quiet=True)


def test_an_adapter_of_numbers_is_refused(tmp_path):
    source = str(tiny.save_source(tmp_path / "source", "bert"))
    data = runs.write_csv(tmp_path / "films.csv", count=60, grade=[float(i % 7) for i in range(60)])
    runs.run(
        source, data, tmp_path / "run", task={"label": "grade", "regression": True}, training={"num_train_epochs": 1}
    )
    with pytest.raises(InputError, match="predicts numbers without probabilities"):
        calibrate_adapter(str(tmp_path / "run"), quiet=True)


def test_neural_clamping_of_images(copied, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrate, "fit_clamping", clamped)
    images, labels = tiny_vision.images(100, seed=3)
    names = [LABELS[label ^ (row % 7 == 0)] for row, label in enumerate(labels)]  # some are wrong
    features = Features({"image": Image(), "label": Value("string")})
    Dataset.from_dict({"image": images, "label": names}, features=features).to_parquet(tmp_path / "held.parquet")
    task = ["task.image=image", "task.validation_share=0.5"]
    options = {"data": str(tmp_path / "held.parquet"), "overrides": task, "test": "test", "quiet": True}
    table, folder = calibrate_adapter(
        str(copied), method="neural_clamping", clamping=ClampingOptions(epochs=6), output=tmp_path / "new", **options
    )
    calibration = json.loads((folder / "config.json").read_text())["calibration"]
    record = calibration["record"]
    assert calibration["shape"] == [3, 32, 32]
    assert record["fit"]["epochs"] == 6
    assert "Neural Clamping: one shift of 3 x 32 x 32 is added to the source's pixels" in table
    changes = [*task, f"task.dataset={options['data']}"]
    for split, state in ("validation", record), ("test", record["test"]):
        for adapter, when in (copied, "before"), (folder, "after"):
            found = evaluate_adapter(str(adapter), None, changes, split, None, True)
            assert found["accuracy"] == pytest.approx(state[when]["accuracy"])
    assert record["changed"] > 0
    assert f"The shift changes {record['changed']} of {record['examples']} labels of validation" in table
    assert (folder / "preprocessor_config.json").exists()


def test_a_sweep_of_alphas_reads_calibrated_logits(dual):
    data = encode({"test": dual.task.test}, dual.processor)["test"]
    plain = _predict(dual.model, dual.processor, data, [0.25, 1.0], False, True)
    calibrated(dual.model, CalibrationOptions(temperature=4.0))
    scaled = _predict(dual.model, dual.processor, data, [0.25, 1.0], False, True)
    assert len(plain) == len(scaled) == 2
    for one, other in zip(plain, scaled, strict=True):
        assert other == pytest.approx(one / 4, rel=1e-5)
