"""Time-LLM forecasts in the units of its series, learns, resumes, predicts a file and reloads."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from sklearn.linear_model import Ridge
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.experiments.evaluate import evaluate_adapter, predict_lines
from hf_reprogram.experiments.predictions import iter_predictions, predict_file
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
from hf_reprogram.inspection.adapter import describe, inspect_adapter
from hf_reprogram.modalities.series_extractor import SeriesExtractor
from hf_reprogram.schedule import begin_epoch
from hf_reprogram.sources import load_source
from tests.support import runs, tiny
from tests.support.frozen import bytes_of

SMALL = {"patch": 8, "stride": 4, "d_model": 8, "heads": 2, "d_ff": 8, "prototypes": 20, "sparsity": 4, "prompt": False}
RANDOM = np.random.default_rng(0)
ROWS = 20 + 5 * RANDOM.normal(size=(60, 24))
NEXT = 20 + 5 * RANDOM.normal(size=(60, 4))


def forecaster(folder, **options):
    """An untrained forecast of 4 steps, and its processor."""
    torch.manual_seed(0)
    return reprogram(folder, "time_llm", 4, problem_type="forecast", features=ROWS, **{**SMALL, **options})


@pytest.mark.parametrize("prompt", [False, True])
def test_a_forecast_moves_and_stretches_with_its_series(source_folder, prompt):
    """The source sees the series without its mean and deviation, which the forecast gets back."""
    tokenizer = AutoTokenizer.from_pretrained(source_folder("llama"))
    longer = tiny.make_model("llama", max_position_embeddings=256)
    model, processor = forecaster(longer, prompt=prompt, description="made" if prompt else "", processor=tokenizer)
    assert bool(model.transform.options.prompt) == prompt
    model.mapping.target.fit(NEXT)
    rows = torch.tensor(ROWS[:5], dtype=torch.float32)
    with torch.no_grad():
        plain, moved = model(past_values=rows).logits, model(past_values=3 * rows - 100).logits
    torch.testing.assert_close(moved, 3 * plain - 100, rtol=1e-3, atol=2e-2)
    assert plain.shape == (5, 4)
    assert processor(ROWS[:2].tolist(), return_tensors="pt")["past_values"].dtype == torch.float32


def test_the_loss_is_that_of_the_forecast_in_units_of_the_targets(source_folder):
    model, _ = forecaster(source_folder("bert-encoder"))
    model.mapping.target.fit(NEXT)
    model.mapping.skip_start()
    rows, labels = (torch.tensor(values, dtype=torch.float32) for values in (ROWS, NEXT))
    output = model(past_values=rows, labels=labels)
    torch.testing.assert_close(output.loss, ((output.logits - labels) / NEXT.std()).square().mean().float())


def test_the_start_is_ridge_regression_in_the_units_of_each_series(source_folder):
    model, _ = forecaster(source_folder("bert-encoder"))
    data = [
        {"past_values": torch.tensor(row, dtype=torch.float32), "labels": torch.tensor(label, dtype=torch.float32)}
        for row, label in zip(ROWS, NEXT, strict=True)
    ]
    loader = DataLoader(data, 16)
    begin_epoch(model, 0, loader, validation=loader)  # chosen on the data that it is fitted to: the weakest penalty
    rows = torch.tensor(ROWS, dtype=torch.float32)
    with torch.no_grad():
        states = model.source(model.transform({"past_values": rows}, model.source), "tokens")
        found = model(past_values=rows).logits
    states = states[:, -model.transform.options.number :, :8].flatten(1).double().numpy()
    states = (states - states.mean(0)) / states.std(0)
    mean, deviation = ROWS.mean(1, keepdims=True), ROWS.std(1, keepdims=True)
    ridge = Ridge(alpha=1e-4).fit(states, (NEXT - mean) / deviation)
    np.testing.assert_allclose(found.numpy(), mean + deviation * ridge.predict(states), rtol=1e-3, atol=0.05)


def test_without_the_source_the_same_program_reads_the_patches(source_folder, monkeypatch):
    model, _ = forecaster(source_folder("bert-encoder"), use_source=False, prompt=True)
    assert model.transform.options.prompt == []
    monkeypatch.setattr(model.source.model, "forward", None)
    rows = torch.tensor(ROWS[:3], dtype=torch.float32)
    with torch.no_grad():
        logits = model(past_values=rows).logits
        embeds = model.transform({"past_values": rows}, model.source)["inputs_embeds"]
    inner = model.mapping(embeds, model.source)
    expected = ROWS[:3].mean(1, keepdims=True) + ROWS[:3].std(1, keepdims=True) * inner.detach().numpy()
    np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_a_dense_b_has_a_number_per_word_and_prototype(source_folder):
    sparse, _ = forecaster(source_folder("bert-encoder"))
    dense, _ = forecaster(source_folder("bert-encoder"), preset="paper")
    words = dense.source.spec.vocab_size
    assert dense.num_trainable() - sparse.num_trainable() == 20 * (words - 4)
    assert dense.mapping.options.start == "none"


def test_what_cannot_work_is_refused(source_folder):
    with pytest.raises(InputError, match="use a larger stride, or prompt=False"):
        forecaster(source_folder("bert"), prompt=True)
    with pytest.raises(InputError, match="give the training series as features"):
        reprogram(source_folder("bert"), "time_llm", ["a", "b"])
    with pytest.raises(InputError, match="takes its horizon there, a number of steps"):
        reprogram(source_folder("bert"), "time_llm", 0, problem_type="forecast", features=ROWS)
    with pytest.raises(InputError, match="'lots'"):
        reprogram(source_folder("bert"), "time_llm", 2, features=ROWS, prototype_codes="lots")
    with pytest.raises(InputError, match="does not support the problem type 'forecast'"):
        reprogram(source_folder("bert"), "warp", 4, problem_type="forecast")
    processor = SeriesExtractor(length=24, standardize=False, latest=True)
    with pytest.raises(InputError, match="A series has 3 numbers, and a forecast goes on from the last 24"):
        processor([[1.0, 2.0, 3.0]])


# -------------------------------------------------------------------------------------------------------------- runs


def recipe(source, folder, **changes):
    """A short run on a noisy wave, of which there is a row per hour."""
    steps = np.arange(400)
    wave = 300 + 20 * np.sin(steps * 2 * np.pi / 8) + np.random.default_rng(1).normal(size=400)
    path = folder / "hours.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("hour", "load"), *zip(steps, wave.round(3).tolist(), strict=True)])
    values = {
        "source": source,
        "method": {"name": "time_llm", **SMALL},
        "task": {"dataset": str(path), "series": "load", "horizon": 4, "context": 24, "season": 8},
        "training": {"num_train_epochs": 2, "per_device_train_batch_size": 32, "learning_rate": 1e-3},
        "output": str(folder / "run"),
    }
    return make_recipe({**values, **changes})


@pytest.fixture(scope="module")
def finished(source_folder, tmp_path_factory):
    """A run with its baselines, and the folder that it lies in."""
    folder = tmp_path_factory.mktemp("forecast")
    made = recipe(
        source_folder("bert-encoder"), folder, baselines=["majority", "seasonal_naive", "linear_forecast", "raw_linear"]
    )
    return train(made, quiet=True), folder


def test_a_recipe_learns_and_its_baselines_are_scored(finished):
    results, folder = finished
    assert results["task"]["problem"] == "forecast"
    assert set(results["test"]) == {"mse", "mae", "mase"}
    assert "failed_baselines" not in results
    mse = {name: record["test"]["mse"]["mean"] for name, record in results["baselines"].items()}
    assert results["test"]["mse"]["mean"] < 0.1 < mse["majority"]
    assert mse["linear_forecast"] < mse["seasonal_naive"] < 0.1
    assert results["validation"]["mse"]["mean"] <= results["start"]["validation"]["mse"]["mean"]
    card = (folder / "run" / "README.md").read_text()
    assert "The next 4 steps of a series are predicted." in card
    assert "processor.length" in card


def test_the_plot_shows_windows_of_test_and_the_error_by_step(finished):
    results, folder = finished
    best = results["seeds"][str(results["best_seed"])]
    shown = best["forecasts"]
    rows = np.loadtxt(folder / "hours.csv", delimiter=",", skiprows=1)[:, 1]
    assert shown["season"] == 8
    first, _, last = shown["windows"]
    assert first["context"] == pytest.approx(rows[320 - 24 : 320], rel=1e-4)
    assert last["truth"] == pytest.approx(rows[-4:], rel=1e-4)
    assert len(shown["mae_by_step"]) == len(last["forecast"]) == 4
    deviation = rows[: results["task"]["sizes"]["train"] + 24 + 3].std()
    assert np.mean(shown["mae_by_step"]) == pytest.approx(best["test"]["mae"] * deviation, rel=1e-3)
    assert imread(folder / "run" / "forecasts.png").std() > 0.05  # not a blank page


def test_an_adapter_forecasts_the_end_of_a_file_in_its_own_units(finished, tmp_path):
    adapter, file = str(finished[1] / "run"), str(finished[1] / "hours.csv")
    (record,) = iter_predictions(adapter, file, quiet=True)
    assert len(record["series"]) == 24
    assert len(record["values"]) == 4
    wave = 300 + 20 * np.sin(np.arange(400, 404) * 2 * np.pi / 8)
    np.testing.assert_allclose(record["values"], wave, atol=8)
    line = ",".join(map(str, record["series"]))
    assert predict_lines(adapter, [f"1,2,{line}"], None, quiet=True)[0]["values"] == record["values"]
    for ending in (".jsonl", ".csv", ".parquet"):
        assert predict_file(adapter, file, tmp_path / f"next{ending}", quiet=True) == 1
    assert json.loads((tmp_path / "next.jsonl").read_text())["values"] == record["values"]


def test_an_adapter_is_evaluated_and_described(finished):
    adapter = str(finished[1] / "run")
    scores = evaluate_adapter(adapter, None, [], "test", None, quiet=True)
    best = finished[0]["seeds"][str(finished[0]["best_seed"])]
    assert scores["mse"] == pytest.approx(best["test"]["mse"])
    with pytest.raises(InputError, match=r"The adapter forecasts 4 steps, and task.horizon is 5"):
        evaluate_adapter(adapter, None, ["task.horizon=5"], "test", None, quiet=True)
    assert "series: 6 patches of 8 numbers" in describe(inspect_adapter(adapter))


@pytest.mark.slow
def test_the_source_is_untouched_and_a_fresh_process_forecasts_the_same_bits(finished, source_folder):
    adapter = finished[1] / "run"
    model = ReprogrammedModel.from_pretrained(adapter)
    assert bytes_of(model.source) == bytes_of(load_source(source_folder("bert-encoder"))[0])
    rows = torch.tensor(ROWS, dtype=torch.float32)
    torch.save(rows, adapter / "rows.pt")
    code = (
        "import sys, torch, hf_reprogram\nfrom transformers import AutoModel\nfolder = sys.argv[1]\n"
        "with torch.no_grad():\n"
        "    logits = AutoModel.from_pretrained(folder)(past_values=torch.load(folder + '/rows.pt')).logits\n"
        "torch.save(logits, folder + '/logits.pt')"
    )
    subprocess.run([sys.executable, "-c", code, str(adapter)], check=True)
    with torch.no_grad():
        assert torch.equal(torch.load(adapter / "logits.pt"), model(past_values=rows).logits)
        assert torch.equal(AutoModel.from_pretrained(adapter)(past_values=rows).logits, model(past_values=rows).logits)


def test_a_run_that_stops_after_one_seed_resumes_to_the_same_bytes(source_folder, tmp_path):
    outputs = []
    for name in ("whole", "parts"):
        folder = tmp_path / name
        folder.mkdir()
        made = recipe(source_folder("bert-encoder"), folder, seeds=[0, 1])
        if name == "parts":
            train(made, quiet=True, only_seed=0)
        train(made, quiet=True, resume=name == "parts")
        outputs.append(runs.weights(folder / "run"))
    assert outputs[0] == outputs[1]


def test_a_prompt_is_in_the_words_of_the_source(source_folder):
    tokenizer = AutoTokenizer.from_pretrained(source_folder("llama"))
    model, _ = forecaster(tiny.make_model("llama", max_position_embeddings=256), prompt=True, processor=tokenizer)
    options = model.transform.options
    assert options.prompt[0] == tokenizer.bos_token_id
    assert options.prompt.count(-1) == 12 + len(options.trends[0]) + 5 * 2
    assert tokenizer.convert_ids_to_tokens(options.digits[3])[-1] == "3"
