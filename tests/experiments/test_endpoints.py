"""Recipes that name an endpoint: budget, ledger, results, and what is never written down."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from datasets import Dataset, Features, Image, Value
from huggingface_hub import constants

from hf_reprogram import InputError
from hf_reprogram.errors import BudgetSpent
from hf_reprogram.experiments.evaluate import evaluate_adapter, predict_lines
from hf_reprogram.experiments.recipe import make_recipe, recorded_recipe
from hf_reprogram.experiments.run import train
from hf_reprogram.reports.card import render_card
from hf_reprogram.sources.answers import FIXED
from hf_reprogram.training.fit import last_whole_checkpoint
from tests.support import runs, tiny_vision
from tests.support.black_boxes import LABELS, SIDE, served
from tests.support.endpoint_process import ROOT, Process

KEY = "sk-never-to-be-seen"
VALIDATION, TEST = 12, 12


@pytest.fixture(autouse=True)
def reachable(monkeypatch):
    """The Hub's client refuses every address in its offline mode, in which the tests run."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("TEST_KEY", KEY)


@pytest.fixture
def server():
    with served() as (made, url):
        made.url = url
        yield made


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """The `task:` section of 24 images for training, 12 for validation and 12 for test."""
    folder = tmp_path_factory.mktemp("halves")
    images, labels = tiny_vision.images(48)
    features = Features({"scan": Image(), "half": Value("string")})
    rows = Dataset.from_dict(
        {"scan": images, "half": [("above", "below")[label] for label in labels]}, features=features
    )
    for name, start, end in (("train", 0, 24), ("validation", 24, 36), ("test", 36, 48)):
        rows.select(range(start, end)).to_parquet(folder / f"{name}.parquet")
    return {"dataset": str(folder), "image": "scan", "label": "half"}


def recipe(task, url, output, source=None, **changes):
    values = {
        "source": {
            "endpoint": url,
            "task": "image-classification",
            "key": "TEST_KEY",
            "labels": LABELS,
            "image_size": SIDE,
            "name": "tiny",
            "price_per_1000": 2.0,
            "wait": 0.01,
            **(source or {}),
        },
        "method": {"name": "bar", "image_size": 24, "cell": 4},
        "gradients": {"rgf": {"q": 2}},
        "task": task,
        "training": {"num_train_epochs": 2, "per_device_train_batch_size": 8},
        "output": str(output),
    }
    return make_recipe({**values, **changes})


def read(folder):
    return json.loads((folder / "results.json").read_text())


def test_a_recipe_trains_on_an_endpoint_and_can_be_replayed_offline(server, task, tmp_path, caplog):
    baselines = ["majority", "source_labels"]
    found = train(recipe(task, server.url, tmp_path / "run", seeds=[0, 1], baselines=baselines), quiet=True)
    usage = found["usage"]
    assert usage["sent"] == server.samples == len({*server.bodies})
    assert usage["cost"] == pytest.approx(2 * usage["sent"] / 1000)
    assert (usage["failed"], usage["left"]) == (0, None)
    assert {*found["baselines"]} == {*baselines}
    assert found["source"]["kind"] == "image_black_box"
    card = (tmp_path / "run" / "README.md").read_text()
    assert f"The source was sent {usage['sent']:,} samples (cost " in card
    assert server.url not in card
    assert "source=source)" in card

    # nothing in a file of the run is the key, and the recipe has the variable's name
    assert server.keys == [f"Bearer {KEY}"] * len(server.keys)
    files = [file for file in (tmp_path / "run").rglob("*") if file.is_file()]
    assert all(KEY.encode() not in file.read_bytes() for file in files)
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["source"]["key"] == "TEST_KEY"
    assert KEY not in caplog.text

    # a repeated run buys nothing, and one that is offline sends nothing
    before = server.samples
    offline = {"offline": True, "ledger": str(tmp_path / "run" / "ledger.sqlite"), "endpoint": "http://127.0.0.1:9/"}
    again = train(recipe(task, server.url, tmp_path / "again", offline, seeds=[0, 1], baselines=baselines), quiet=True)
    for key in ("test", "validation", "gain", "best_seed", "history"):
        assert again.get(key) == found.get(key)
    assert runs.weights(tmp_path / "again") == runs.weights(tmp_path / "run")
    assert server.samples == before
    assert again["usage"]["sent"] == usage["sent"]


def test_a_finished_run_is_taken_up_without_a_request(server, task, tmp_path):
    train(recipe(task, server.url, tmp_path / "run"), quiet=True)
    before = server.samples
    moved = recipe(task, server.url, tmp_path / "run", {"budget": 5000, "timeout": 5.0}, baselines=["majority"])
    again = train(moved, quiet=True, resume=True)
    assert server.samples == before == again["usage"]["sent"]
    assert again["usage"]["left"] == 5000 - before
    with pytest.raises(InputError, match=r"another recipe \(source differ\)"):
        train(recipe(task, server.url, tmp_path / "run", {"version": "2"}), quiet=True, resume=True)


def test_the_budget_ends_training_with_the_best_adapter_and_leaves_further_seeds_out(server, task, tmp_path):
    # 8 fixed inputs, the map, the start, two steps of 3 x 8, validation, and twice the test
    budget = {"budget": FIXED + 24 + VALIDATION + 2 * 24 + VALIDATION + 2 * TEST + 5}
    chosen = recipe(
        task, server.url, tmp_path / "run", budget, seeds=[0, 1, 2], baselines=["majority", "source_labels"]
    )
    found = train(chosen, quiet=True)
    assert server.samples == found["usage"]["sent"] <= budget["budget"]
    assert [*found["seeds"]] == ["0"]
    assert found["seeds"]["0"]["stopped"] is True
    assert [*found["not_run"]] == ["1", "2"]
    assert "raise budget" in found["not_run"]["1"]
    assert [*found["baselines"]] == ["majority"]
    assert "raise budget" in found["failed_baselines"]["source_labels"]
    assert not list((tmp_path / "run" / "runs").glob("seed-[12]/fit.json"))
    assert "The budget ended seed 0 early, and left out 1, 2." in render_card(found, "owner/name")

    # the same answers, offline: it stops where it stopped
    offline = {**budget, "offline": True, "ledger": str(tmp_path / "run" / "ledger.sqlite")}
    again = train(recipe(task, server.url, tmp_path / "again", offline), quiet=True)
    assert again["seeds"]["0"]["stopped"] is True
    assert runs.weights(tmp_path / "again") == runs.weights(tmp_path / "run" / "runs" / "seed-0")

    # with more of it, the seeds that were left out are run, and what was bought is not bought again
    more = recipe(task, server.url, tmp_path / "run", {"budget": 5000}, seeds=[0, 1, 2], baselines=["source_labels"])
    whole = train(more, quiet=True, resume=True)
    assert [*whole["seeds"]] == ["0", "1", "2"]
    assert "not_run" not in whole
    assert server.samples == whole["usage"]["sent"] == len({*server.bodies}) + FIXED  # the provider was checked again


def test_a_budget_that_allows_no_seed_is_told_and_nothing_is_half_written(server, task, tmp_path):
    with pytest.raises(InputError, match=r"one pass over validation and test takes 32: raise it"):
        train(recipe(task, server.url, tmp_path / "small", {"budget": 20}), quiet=True)
    assert server.samples == 0
    with pytest.raises(BudgetSpent, match="raise budget"):
        train(recipe(task, server.url, tmp_path / "run", {"budget": FIXED + 30}), quiet=True)
    assert server.samples <= FIXED + 30
    assert not (tmp_path / "run" / "results.json").exists()
    assert not list((tmp_path / "run").rglob("fit.json"))


@pytest.mark.parametrize("baseline", ["linear_probe", "fine_tuning", "lp_ft", "untrained_probe", "zero_shot"])
def test_a_baseline_that_needs_more_than_answers_is_refused_before_anything_is_sent(server, task, tmp_path, baseline):
    with pytest.raises(InputError, match="leave it out"):
        train(recipe(task, server.url, tmp_path / "run", baselines=[baseline]), quiet=True)
    assert server.samples == 0


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"image_size": None}, "give image_size, and none of samples, sampling_rate, tokenizer"),
        ({"task": "text-classification"}, "give tokenizer, and none of image_size, samples, sampling_rate"),
        ({"task": "audio-classification"}, "give samples and sampling_rate, and none of image_size, tokenizer"),
        ({"task": "object-detection"}, "choose one of image-classification, audio-classification, text-classification"),
        ({"key": "sk-Pasted"}, "no name of an environment variable in capitals"),
        ({"key": "NO_SUCH_KEY"}, "there is no environment variable of this name"),
        ({"endpoint": "http://me:secret@host/"}, "holds a password or a query"),
        ({"labels": ["one"]}, "give at least 2 names"),
        ({"labels": "no/such/file"}, "cannot be read"),
        ({"budget": 3}, "give a whole number of samples, 8 or more"),
        ({"price_per_1000": -1.0}, "give 0 or more"),
        ({"answers": "logits"}, "Unknown key of a source with an endpoint 'answers'"),
        ({"timeout": 0.0}, "give a number of seconds above 0"),
    ],
)
def test_keys_that_cannot_work_are_refused_in_one_sentence(task, tmp_path, source, message):
    with pytest.raises(InputError) as refused:
        train(recipe(task, "http://127.0.0.1:9/", tmp_path / "run", source), quiet=True)
    assert message in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "Pasted" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_labels_may_stand_in_a_file(server, task, tmp_path):
    (tmp_path / "labels.txt").write_text("\n".join(LABELS) + "\n")
    chosen = recipe(task, server.url, tmp_path / "run", {"labels": str(tmp_path / "labels.txt")})
    assert chosen.endpoint.section.spec.labels == tuple(LABELS)


@pytest.mark.parametrize(("key", "value"), [("method", "auto"), ("tune", ["norms"])])
def test_what_needs_more_than_answers_is_refused(task, tmp_path, key, value):
    with pytest.raises(InputError, match="endpoint"):
        recipe(task, "http://127.0.0.1:9/", tmp_path, **{key: value, "gradients": None})


def test_no_file_of_an_adapter_opens_a_connection(server, task, tmp_path):
    train(recipe(task, server.url, tmp_path / "run"), quiet=True)
    before = server.samples
    config = (tmp_path / "run" / "config.json").read_text()
    assert "127.0.0.1" not in config
    assert recorded_recipe(str(tmp_path / "run"))["source"] == {"name": "tiny"}
    with pytest.raises(InputError, match="pass the model with"):
        evaluate_adapter(str(tmp_path / "run"), None, [], "test", None, True)
    assert server.samples == before


def test_a_recipe_file_names_the_source_of_an_adapter(server, task, tmp_path):
    chosen = recipe(task, server.url, tmp_path / "run")
    found = train(chosen, quiet=True)
    file, before = tmp_path / "mine.yaml", server.samples
    file.write_text(json.dumps({**asdict(chosen), "output": str(tmp_path / "run")}))  # JSON is YAML
    score = evaluate_adapter(str(tmp_path / "run"), None, [], "test", str(file), True)
    assert score["accuracy"] == found["test"]["accuracy"]["mean"]
    images, _ = tiny_vision.images(48)
    images[40].save(tmp_path / "scan.png")
    (answer,) = predict_lines(str(tmp_path / "run"), [str(tmp_path / "scan.png")], str(file), True)
    assert answer["label"] in ("above", "below")
    assert server.samples == before + 2 * FIXED  # what is asked at each start; the image was answered in training
    file.write_text(json.dumps({"source": "owner/model", "method": "bar", "task": task}))
    with pytest.raises(InputError, match="has a source with weights: give its name, 'owner/model'"):
        predict_lines(str(tmp_path / "run"), ["scan.png"], str(file), True)


# ------------------------------------------------------------------------------------------------------ processes

TRAIN = """
import json, sys
from huggingface_hub import constants
constants.HF_HUB_OFFLINE = False  # which refuses loopback too
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
train(make_recipe(json.loads(sys.argv[1])), quiet=True, resume=len(sys.argv) > 2)
"""
STEPS = {
    "num_train_epochs": 2,
    "per_device_train_batch_size": 8,
    **{f"{what}_strategy": "steps" for what in ("save", "eval")},
    **{f"{what}_steps": 2 for what in ("save", "eval")},
}


def child(chosen, *resume):
    command = [sys.executable, "-c", TRAIN, json.dumps(asdict(chosen)), *resume]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_killed_trainers_and_servers_never_make_it_pay_twice(task, tmp_path):
    server = Process(tmp_path / "requests.log", delay=0.02)
    server.start()
    try:
        wait = {"wait": 0.5, "retries": 8}
        changes = {"training": STEPS, "seeds": [0, 1], "baselines": ["source_labels"]}
        whole = train(recipe(task, server.url, tmp_path / "whole", wait, **changes), quiet=True)
        assert len(server.requests()) == whole["usage"]["sent"]
        server.log.unlink()
        server.kill()
        server.start()

        cut = recipe(task, server.url, tmp_path / "cut", wait, **changes)
        checkpoints = tmp_path / "cut" / "runs" / "seed-0" / "checkpoints"
        first = child(cut)
        while last_whole_checkpoint(checkpoints) is None:
            assert first.poll() is None, first.stderr.read()
            time.sleep(0.01)
        time.sleep(0.1)
        first.send_signal(signal.SIGKILL)
        first.wait()

        again = child(cut, "resume")
        seen = len(server.requests())
        while len(server.requests()) < seen + 30:
            assert again.poll() is None, again.stderr.read()
            time.sleep(0.01)
        server.kill()
        time.sleep(0.3)
        server.start()
        assert again.wait(300) == 0, again.stderr.read()

        found = read(tmp_path / "cut")
        for folder in ("", "runs/seed-0", "runs/seed-1"):
            assert runs.weights(tmp_path / "cut" / folder) == runs.weights(tmp_path / "whole" / folder)
        for key in ("test", "validation", "start", "gain", "best_epochs", "best_seed"):
            assert found[key] == whole[key]
        requests, usage = server.requests(), found["usage"]
        under_way = 2 * cut.endpoint.section.concurrency  # at the two kills
        twice = len(requests) - len({*requests})
        assert FIXED <= twice <= FIXED + under_way  # the provider was checked once more
        assert usage["failed"] >= 1
        assert len(requests) <= usage["sent"] <= len(requests) + usage["failed"] + under_way
        assert usage["sent"] - usage["failed"] - under_way <= len({*requests}) + FIXED
    finally:
        server.kill()


@pytest.mark.slow
def test_two_runs_with_one_ledger_never_exceed_the_budget_together(task, tmp_path):
    server = Process(tmp_path / "requests.log", delay=0.01)
    server.start()
    try:
        shared = {"ledger": str(tmp_path / "shared.sqlite"), "budget": 300}
        long = {"num_train_epochs": 5, "per_device_train_batch_size": 8}
        both = [
            child(recipe(task, server.url, tmp_path / str(seed), shared, seeds=[seed], training=long))
            for seed in (0, 1)
        ]
        ended = [process.wait(300) for process in both]
        assert len(server.requests()) <= 300
        for seed, status in enumerate(ended):
            if status == 0:
                found = read(tmp_path / str(seed))
                assert found["seeds"][str(seed)]["stopped"] is True
                assert found["usage"]["sent"] <= 300
            else:
                assert "raise budget" in both[seed].stderr.read()
                assert not Path(tmp_path / str(seed) / "results.json").exists()
                more = recipe(
                    task, server.url, tmp_path / str(seed), {**shared, "budget": 5000}, seeds=[seed], training=long
                )
                assert [*train(more, quiet=True, resume=True)["seeds"]] == [str(seed)]
    finally:
        server.kill()
