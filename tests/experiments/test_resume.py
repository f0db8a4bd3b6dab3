"""A run that was killed goes on as if it had not been; what was cut short is never taken for whole."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from transformers import Trainer
from transformers.trainer_callback import TrainerState

from hf_reprogram import InputError, ReprogrammedModel
from hf_reprogram.experiments.run import train
from hf_reprogram.training.fit import last_whole_checkpoint
from tests.support import runs

EVERY_FEW_STEPS = {f"{what}_{key}": value for what in ("save", "eval", "logging") for key, value in
                   (("strategy", "steps"), ("steps", 5))}  # fmt: skip
TRAIN = """
import json, sys
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
train(make_recipe(json.loads(sys.argv[1])), quiet=True)
"""


def results_of(folder: Path) -> dict:
    return runs.without_clocks(json.loads((folder / "results.json").read_text()))


@pytest.fixture
def steps(monkeypatch):
    """A list that grows by one with every batch that is trained on in this process."""
    done, step = [], Trainer.training_step
    monkeypatch.setattr(Trainer, "training_step", lambda *args, **kwargs: done.append(1) or step(*args, **kwargs))
    return done


def test_a_run_killed_in_mid_training_resumes_to_the_same_bytes(source_folder, csv_file, tmp_path, steps):
    changes = {"training": {"num_train_epochs": 5, **EVERY_FEW_STEPS}, "seeds": [0, 1], "baselines": ["majority"]}
    whole = runs.recipe(source_folder("bert"), csv_file, tmp_path / "whole", **changes)
    train(whole, quiet=True)
    in_all = len(steps)

    cut = runs.recipe(source_folder("bert"), csv_file, tmp_path / "cut", **changes)
    checkpoints = tmp_path / "cut" / "runs" / "seed-0" / "checkpoints"
    process = subprocess.Popen([sys.executable, "-c", TRAIN, json.dumps(asdict(cut))])
    deadline = time.monotonic() + 120
    while last_whole_checkpoint(checkpoints) is None:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut" / "runs" / "seed-0" / "fit.json").exists()
    newest = Path(last_whole_checkpoint(checkpoints))
    for name, truncated in (("checkpoint-9998", "trainer_state.json"), ("checkpoint-9999", "model.safetensors")):
        half = checkpoints / name  # what a kill in the middle of writing leaves behind
        shutil.copytree(newest, half)
        (half / truncated).write_bytes((half / truncated).read_bytes()[:100])
    (checkpoints / "checkpoint-9999" / "trainer_state.json").unlink()

    steps.clear()
    train(cut, resume=True, quiet=True)
    assert len(steps) == in_all - int(newest.name.removeprefix("checkpoint-"))  # none was done twice
    for folder in ("", "runs/seed-0", "runs/seed-1"):
        assert runs.weights(tmp_path / "cut" / folder) == runs.weights(tmp_path / "whole" / folder)
    assert results_of(tmp_path / "cut") == results_of(tmp_path / "whole")


def test_a_finished_run_is_kept_as_it_is_and_a_missing_seed_is_trained_again(finished, tmp_path, steps):
    folder = tmp_path / "films-adapter"
    shutil.copytree(finished.folder, folder)
    shutil.rmtree(folder / "runs" / "seed-1")
    train(runs.replace_output(finished.recipe, folder), resume=True, quiet=True)
    assert len(steps) == 3 * 11  # of one seed
    assert results_of(folder) == results_of(finished.folder)
    assert runs.weights(folder / "runs" / "seed-1") == runs.weights(finished.folder / "runs" / "seed-1")


def test_a_resumed_sweep_takes_up_where_it_was_cut(source_folder, csv_file, tmp_path):
    changes = {"sweep": {"training.learning_rate": [1e-3, 3e-2]}, "training": {"num_train_epochs": 1}, "seeds": [2, 3]}
    recipe = runs.recipe(source_folder("bert"), csv_file, tmp_path / "run", **changes)
    train(recipe, quiet=True)
    expected = results_of(tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    shutil.rmtree(tmp_path / "run" / "runs" / "sweep-1")
    shutil.rmtree(tmp_path / "run" / "runs" / "seed-3")
    train(recipe, resume=True, quiet=True)
    assert results_of(tmp_path / "run") == expected


R2DL = {"name": "r2dl", "tokenizer": "characters", "sparsity": 4}


@pytest.mark.parametrize(
    ("family", "method"),
    [
        ("bert", {**R2DL, "alternating": True}),
        ("bert", {**R2DL, "warmup_epochs": 2, "init": "random"}),
        ("bert-classifier", {"name": "neekhara", "tokenizer": "characters", "temperature_epochs": 3}),
    ],
    ids=["alternating", "warm-up", "temperature"],
)
@pytest.mark.parametrize(
    "every",
    [
        {},
        EVERY_FEW_STEPS,
        pytest.param({**EVERY_FEW_STEPS, "train_sampling_strategy": "random"}, marks=pytest.mark.slow),
    ],
    ids=["epochs", "steps by length", "steps"],
)
def test_what_changes_in_the_course_of_training_resumes_to_the_same_bytes(
    family, method, every, source_folder, csv_file, tmp_path, monkeypatch
):
    """Cut off in the second of three epochs, and taken up at its beginning or within it."""

    def recipe(name):
        made = runs.recipe(
            source_folder(family), csv_file, tmp_path / name, task={"max_train": 64},
            training={"learning_rate": 1e-2, "per_device_train_batch_size": 8, **every},
        )  # fmt: skip
        return replace(made, method=method)

    train(recipe("whole"), quiet=True)
    step, done = Trainer.training_step, []

    def killed(*arguments, **others):
        done.append(1)
        if len(done) > 14:
            raise KeyboardInterrupt
        return step(*arguments, **others)

    monkeypatch.setattr(Trainer, "training_step", killed)
    with pytest.raises(KeyboardInterrupt):
        train(recipe("cut"), quiet=True)
    monkeypatch.setattr(Trainer, "training_step", step)
    newest = last_whole_checkpoint(tmp_path / "cut" / "runs" / "seed-0" / "checkpoints")
    assert newest is not None
    assert newest.endswith("checkpoint-10" if every else "checkpoint-8")
    train(recipe("cut"), resume=True, quiet=True)
    assert runs.weights(tmp_path / "cut") == runs.weights(tmp_path / "whole")
    assert results_of(tmp_path / "cut") == results_of(tmp_path / "whole")


def test_a_full_disk_leaves_what_was_whole(source_folder, csv_file, tmp_path, monkeypatch):
    changes = {"training": {"num_train_epochs": 3, **EVERY_FEW_STEPS}, "task": {"max_train": 64}}
    train(runs.recipe(source_folder("bert"), csv_file, tmp_path / "whole", **changes), quiet=True)
    cut = runs.recipe(source_folder("bert"), csv_file, tmp_path / "cut", **changes)
    write, done = TrainerState.save_to_json, []

    def full(self, path):
        done.append(path)
        if len(done) == 3:  # the first is that of the start
            Path(path).write_text('{"epo')
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, path)

    monkeypatch.setattr(TrainerState, "save_to_json", full)
    with pytest.raises(OSError, match="No space left"):
        train(cut, quiet=True)
    assert Path(last_whole_checkpoint(tmp_path / "cut" / "runs" / "seed-0" / "checkpoints")) == Path(done[1]).parent
    train(cut, resume=True, quiet=True)
    assert runs.weights(tmp_path / "cut") == runs.weights(tmp_path / "whole")


# ------------------------------------------------------------------------------------------ files that were cut short


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of a finished adapter to damage."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(finished.folder / name, folder)
    return folder


def refusal(folder) -> str:
    with pytest.raises(InputError) as refused:
        ReprogrammedModel.from_pretrained(folder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_weights_file_is_refused(kept, copy):
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert "is not a complete safetensors file" in refusal(copy)
    assert str(path) in refusal(copy)


def test_weights_of_another_shape_are_refused_by_name(copy):
    config = json.loads((copy / "config.json").read_text())
    config["transform"]["template"] = "1 $A 1 [MASK] 1 $B 1"
    (copy / "config.json").write_text(json.dumps(config))
    assert "does not fit its config.json in transform.prompts" in refusal(copy)


def test_weights_of_another_kind_are_refused_by_name(copy):
    config = json.loads((copy / "config.json").read_text())
    config["mapping"]["type"] = "dense"
    (copy / "config.json").write_text(json.dumps(config))
    assert "mapping.bias, mapping.linear.bias" in refusal(copy)


def test_parts_and_options_that_do_not_exist_are_refused_with_the_nearest(copy):
    config = json.loads((copy / "config.json").read_text())
    config["transform"]["type"] = "prompt_slot"
    (copy / "config.json").write_text(json.dumps(config))
    assert "transform 'prompt_slot': did you mean 'prompt_slots'" in refusal(copy)
    config["transform"].update(type="prompt_slots", widht=3)
    (copy / "config.json").write_text(json.dumps(config))
    assert "'widht': did you mean 'width'" in refusal(copy)
    del config["transform"]
    (copy / "config.json").write_text(json.dumps(config))
    assert "The config names no transform" in refusal(copy)


def test_saving_that_fails_leaves_the_old_adapter(copy, monkeypatch):
    import transformers

    model = ReprogrammedModel.from_pretrained(copy)
    before = runs.weights(copy), (copy / "config.json").read_bytes()
    names = sorted(path.name for path in copy.iterdir())

    def fail(self, folder, **kwargs):
        (Path(folder) / "model.safetensors").write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(transformers.PreTrainedModel, "save_pretrained", fail)
    with pytest.raises(OSError, match="disk full"):
        model.save_pretrained(copy)
    assert (runs.weights(copy), (copy / "config.json").read_bytes()) == before
    assert sorted(path.name for path in copy.iterdir()) == names
