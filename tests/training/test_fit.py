"""One training run: the best epoch wins, whole checkpoints alone are resumed from, numbers are read off the log."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from hf_reprogram import ReprogrammedModel
from hf_reprogram.modalities.text import tokenize
from hf_reprogram.reports.results import markdown, one_class_advice, plus_minus, rows, summarize
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions
from hf_reprogram.tasks.task import Task
from hf_reprogram.training.encode import collator
from hf_reprogram.training.fit import fit, last_whole_checkpoint, learning_curve, plain_attention
from tests.support import tiny

ARGUMENTS = {"learning_rate": 3e-2, "num_train_epochs": 4, "per_device_train_batch_size": 16}


@pytest.fixture
def task(csv_file):
    return load_task(TaskOptions(dataset=str(csv_file), text=["sentence"], label="kind", max_train=64))


def fitted(task, source, folder, **arguments):
    torch.manual_seed(0)
    model, processor = tiny.make_adapter(source)
    data = tokenize(task.splits(0), processor, None)
    return model, fit(model, processor, data, task, {**ARGUMENTS, **arguments}, folder=folder, seed=0, quiet=True)


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("accuracy", [0.1, 0.3, 0.9, 0.5, 0.4, 0.9, 0.9]),
        ("perplexity", [0.95, 0.9, 0.3, 0.5, 0.4, 0.3, 0.3]),
    ],
)
def test_the_epoch_with_the_best_validation_score_is_kept(metric, values, task, source_folder, tmp_path, monkeypatch):
    """The score is dictated: epoch 2 of 4 is the best, whatever the model does, be it the highest or the lowest."""
    dictated, seen, task.metrics = iter(values), [], [metric]
    monkeypatch.setattr(
        Task, "score", lambda self, *_: seen.append(clone(model)) or dict.fromkeys(self.metrics, next(dictated))
    )

    def clone(model):
        return {name: p.detach().clone() for name, p in model.trainable().items()}

    torch.manual_seed(0)
    model, processor = tiny.make_adapter(source_folder("bert"))
    data = tokenize(task.splits(0), processor, None)
    done = fit(model, processor, data, task, ARGUMENTS, folder=tmp_path, seed=0, quiet=True)
    assert done.validation == {metric: values[2]}
    assert done.best_epoch == 2
    kept, epochs = clone(model), seen[1:5]  # after the start
    assert all(torch.equal(kept[name], epochs[1][name]) for name in kept)
    assert all(not torch.equal(kept[name], epochs[3][name]) for name in kept)


def test_what_was_found_is_what_the_kept_model_predicts(task, source_folder, tmp_path):
    model, done = fitted(task, source_folder("bert"), tmp_path)
    validation = task.splits(0)["validation"]
    assert done.logits.shape == (len(validation), 2)
    assert done.validation["accuracy"] == np.mean(done.logits.argmax(1) == np.array(validation["label"]))
    assert done.validation["accuracy"] == max(entry["accuracy"] for entry in done.history)
    assert [entry["epoch"] for entry in done.history] == [0, 1, 2, 3, 4]
    assert done.seconds > 0
    assert all(parameter.isfinite().all() for parameter in model.trainable().values())


def test_checkpoints_are_adapters_that_load(task, source_folder, tmp_path):
    model, _ = fitted(task, source_folder("bert"), tmp_path)
    newest = last_whole_checkpoint(tmp_path)
    assert newest is not None
    loaded = ReprogrammedModel.from_pretrained(newest)
    assert loaded.num_trainable() == model.num_trainable()
    assert len(list(tmp_path.glob("checkpoint-*"))) <= 2  # the best and the newest


@pytest.mark.parametrize(("bf16", "expected"), [(True, "eager"), (False, "sdpa")])
def test_bfloat16_on_a_cpu_trains_with_plain_attention(bf16, expected, task, source_folder, tmp_path):
    """Torch's fused kernel is slow backwards there."""
    model, _ = fitted(task, source_folder("bert"), tmp_path, num_train_epochs=0, bf16=bf16)
    assert model.source.model.config._attn_implementation == expected


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_plain_attention_has_the_same_gradients(family, task, source_folder):
    torch.manual_seed(0)
    model, processor = tiny.make_adapter(source_folder(family))
    data = tokenize(task.splits(0), processor, None)["train"]
    batch = collator(processor)([data[i] for i in range(4)])

    def gradients():
        model.eval().zero_grad()
        model(**batch).loss.backward()
        return [parameter.grad.clone() for parameter in model.trainable().values()]

    before = gradients()
    plain_attention(model)
    for found, wanted in zip(gradients(), before, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------------------------------------------- checkpoints


def write_checkpoint(folder, step: int, state: str | None):
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / "model.safetensors").write_bytes(b"")
    if state is not None:
        (path / "trainer_state.json").write_text(state)
    return str(path)


def test_the_newest_whole_checkpoint_is_found_and_half_written_ones_are_not(tmp_path):
    assert last_whole_checkpoint(tmp_path / "nowhere") is None
    assert last_whole_checkpoint(tmp_path) is None
    whole = {step: write_checkpoint(tmp_path, step, json.dumps({"global_step": step})) for step in (20, 100, 3)}
    write_checkpoint(tmp_path, 200, None)
    write_checkpoint(tmp_path, 300, '{"global_step": 300, "log_hist')
    write_checkpoint(tmp_path, 400, "")
    write_checkpoint(tmp_path, 500, "{}")
    assert last_whole_checkpoint(tmp_path) == whole[100]


# ------------------------------------------------------------------------------------------------ smaller functions


def test_the_learning_curve_has_one_record_an_epoch():
    log = [
        {"loss": 0.9, "learning_rate": 1e-3, "epoch": 1.0, "step": 5},
        {"eval_loss": 0.8, "eval_accuracy": 0.5, "eval_runtime": 2.0, "eval_samples_per_second": 9, "epoch": 1.0},
        {"loss": 0.7, "epoch": 2.0},
        {"eval_loss": 0.6, "eval_accuracy": 0.75, "eval_steps_per_second": 3, "epoch": 2.0},
        {"train_runtime": 3.0, "train_loss": 0.8, "epoch": 2.0},
    ]
    assert learning_curve(log) == [
        {"epoch": 1.0, "loss": 0.9, "eval_loss": 0.8, "accuracy": 0.5},
        {"epoch": 2.0, "loss": 0.7, "eval_loss": 0.6, "accuracy": 0.75},
    ]


def test_one_class_advice_names_the_class_and_ten_times_the_step(task):
    always_good = np.array([[0.1, 0.2], [-3.0, 2.0], [0.0, 9.0]])
    advice = one_class_advice(always_good, 1e-3, task)
    assert "'good' for every validation example" in advice
    assert "training.learning_rate=0.01" in advice
    assert one_class_advice(always_good * [[1], [-1], [1]], 1e-3, task) is None


def test_no_advice_where_there_is_more_than_one_answer_an_example(task):
    task.problem_type = "multi_label_classification"
    assert one_class_advice(np.ones((3, 2)), 1e-3, task) is None
    task.problem_type = "token_classification"
    assert one_class_advice(np.ones((3, 5, 2)), 1e-3, task) is None


def test_summaries_by_hand():
    found = summarize([{"f1": 0.5, "accuracy": 0.7}, {"f1": 0.7, "accuracy": 0.9}, {"f1": 0.9, "accuracy": 0.8}])
    assert found["f1"] == pytest.approx({"mean": 0.7, "std": 0.2, "n": 3})
    assert found["accuracy"] == pytest.approx({"mean": 0.8, "std": 0.1, "n": 3})
    assert summarize([{"f1": 0.5}]) == {"f1": {"mean": 0.5, "std": 0.0, "n": 1}}


@pytest.mark.parametrize("metric", ["accuracy", "pearson", "roc_auc"])
def test_shares_are_written_in_percent_with_their_deviation(metric):
    assert plus_minus({"mean": 0.7123, "std": 0.008, "n": 3}, metric) == "71.2 ± 0.8"
    assert plus_minus({"mean": 0.7123, "std": 0.0, "n": 1}, metric) == "71.2"


@pytest.mark.parametrize("metric", ["rmse", "mae", "perplexity"])
def test_errors_are_written_in_their_own_unit(metric):
    assert plus_minus({"mean": 12.346, "std": 0.504, "n": 2}, metric) == "12.35 ± 0.50"
    assert plus_minus({"mean": 0.93, "std": 0.0, "n": 1}, metric) == "0.93"


def test_the_table_has_a_row_for_every_baseline_and_one_for_the_method(finished):
    table = rows(finished.results)
    assert [row[""] for row in table] == ["majority class", "linear probe", "WARP, untrained start", "WARP"]
    assert table[0]["accuracy"] == "50.0 ± 0.0"
    assert table[3]["bytes"] == f"{finished.results['adapter_bytes']:,}"
    lines = markdown(table).splitlines()
    assert lines[0] == "|  | accuracy | trained numbers | seconds | bytes |"
    assert lines[1] == "|---|---:|---:|---:|---:|"
    assert len(lines) == 6
