"""The section `cost` of a run's results."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from hf_reprogram import ReprogrammedModel, reprogram
from hf_reprogram.experiments import cost, seed_runs
from hf_reprogram.experiments.cost import cost_section, numbers_of, rows_sent, uncounted
from hf_reprogram.experiments.job import Job
from hf_reprogram.experiments.run import train
from hf_reprogram.sources import BlackBox, VisionSource
from hf_reprogram.tasks.load import load_task
from hf_reprogram.training.encode import encode
from tests.support import modules, runs, tiny_vision
from tests.support.black_boxes import LABELS, SIDE, Counted

FEW = {"mask": "border", "border": 1, "mapping": "dense", "reads": "logits", "start": "none"}


def test_a_run_of_two_seeds_has_the_section(finished):
    section, model = finished.results["cost"], ReprogrammedModel.from_pretrained(finished.folder)
    frozen = sum(weight.numel() for weight in model.source.parameters())
    assert section["numbers"] == {"theta": 3 * 32, "omega": 2 * 33, "tuned": 0, "frozen": frozen}
    assert section["rows_sent"] == 1
    assert section["shipped_bytes"] == (finished.folder / "model.safetensors").stat().st_size
    assert section["seconds"]["train"] == finished.results["seconds"]
    assert section["seconds"]["prediction"]["n"] == section["memory"]["process"]["n"] == 2
    each = [record["test_seconds"] / 48 for record in finished.results["seeds"].values()]
    assert section["seconds"]["prediction"]["mean"] == pytest.approx(sum(each) / 2)
    assert section["memory"]["process"]["mean"] > 2**20
    probe = finished.results["baselines"]["linear_probe"]
    assert probe["cost"] == {"shipped_bytes": 4 * probe["trainable"]}


def test_the_operations_are_those_of_the_formula_for_the_text_of_median_length(source_folder, csv_file, tmp_path):
    recipe = runs.recipe(source_folder("bert"), csv_file, tmp_path, method={"reads": "features"})
    task = load_task(recipe.task_options)
    splits = task.splits(0)
    (model, processor), (start, _) = (seed_runs.untrained_model(recipe, task, 0, splits) for _ in range(2))
    few = splits["train"].select(range(64))
    lengths = sorted(len(ids) for ids in encode({"train": few}, processor)["train"]["input_ids"])
    shape, tokens = model.source.model.config, lengths[32]
    width, layers = shape.hidden_size, shape.num_hidden_layers
    products = layers * tokens * 2 * (4 * width**2 + 2 * width * shape.intermediate_size)
    attended, omega = layers * 4 * tokens**2 * width, 2 * 2 * width
    assert cost.flops_of(Job(recipe, task, tmp_path, None), model.eval(), lambda: start, processor) == {
        "forward": products + attended + omega,
        "training": 2 * products + 3 * attended + 3 * omega,
        "batch_size": 16,
    }


def test_adapters_are_the_same_with_and_without_counting(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(seed_runs, "flops_of", lambda *_: None)
    again = runs.replace_output(finished.recipe, tmp_path / "films-adapter")
    results = train(again, quiet=True)
    assert results["cost"]["flops"] is None
    for folder in ("runs/seed-0", "runs/seed-1"):
        assert runs.weights(tmp_path / "films-adapter" / folder) == runs.weights(finished.folder / folder)
    without, whole = (runs.without_clocks(found) for found in (results, finished.results))
    assert {**without, "cost": {}} == {**whole, "cost": {}}


def test_counting_draws_no_random_number_and_leaves_the_adapter_as_it_is(finished, tmp_path, monkeypatch):
    counted, states, values = cost.flops_of, [], []

    def watched(job, model, *others):
        def look():
            states.append(torch.get_rng_state())
            values.append({name: weight.clone() for name, weight in model.state_dict().items()})

        look()
        found = counted(job, model, *others)
        look()
        return found

    monkeypatch.setattr(seed_runs, "flops_of", watched)
    folder = tmp_path / "films-adapter"
    shutil.copytree(finished.folder, folder)
    (folder / "runs" / "seed-0" / "test.json").unlink()
    results = train(runs.replace_output(finished.recipe, folder), resume=True, quiet=True)
    assert results["cost"]["flops"] == finished.results["cost"]["flops"]
    assert torch.equal(*states)
    assert all(torch.equal(values[0][name], values[1][name]) for name in values[0])


def test_a_seed_of_an_earlier_version_leaves_gaps(finished, tmp_path):
    folder = tmp_path / "films-adapter"
    shutil.copytree(finished.folder, folder)
    for name, keys in (
        ("fit.json", ("numbers", "rows_sent", "joules", "memory")),
        ("test.json", ("flops", "test_seconds")),
    ):
        path = folder / "runs" / "seed-0" / name
        record = json.loads(path.read_text())
        path.write_text(json.dumps({key: value for key, value in record.items() if key not in keys}))
    section = train(runs.replace_output(finished.recipe, folder), resume=True, quiet=True)["cost"]
    assert section["flops"] is section["numbers"] is section["seconds"]["prediction"] is section["joules"] is None
    assert section["memory"] == {"process": None, "accelerator": None}
    assert section["shipped_bytes"] == finished.results["adapter_bytes"]


def test_a_count_that_fails_costs_its_number_alone(source_folder, csv_file, tmp_path, monkeypatch):
    def fail(run):
        raise RuntimeError("no such kernel\nat all")

    monkeypatch.setattr(cost, "count_flops", fail)
    results = runs.run(source_folder("bert"), csv_file, tmp_path / "run", training={"num_train_epochs": 1})
    assert results["cost"]["flops"] == {
        "forward": None, "training": None, "batch_size": 16, "reason": "no such kernel"
    }  # fmt: skip
    assert results["test"]["accuracy"]["n"] == 1


@pytest.mark.parametrize("gradients", [{"rgf": {"q": 3}}, {"cma_es": {"popsize": 4}}])
def test_an_estimated_gradient_costs_its_forward_passes(gradients, source_folder, csv_file, tmp_path):
    results = runs.run(
        source_folder("bert"), csv_file, tmp_path / "run", gradients=gradients, seeds=[0],
        task={"max_train": 32}, training={"num_train_epochs": 1, "learning_rate": 1.0},
    )  # fmt: skip
    rows = {"rgf": 4, "cma_es": 5}[next(iter(gradients))]
    section = results["cost"]
    assert section["rows_sent"] == rows
    own = 2 * 2 * 32 + 2 * 3 * 96 // 16 if "rgf" in gradients else 0  # of omega's gradient, and of theta's once a batch
    assert section["flops"]["training"] == rows * section["flops"]["forward"] + own


@pytest.mark.parametrize(
    ("gradients", "method"),
    [("rgf", "elsayed"), ("spsa", "elsayed"), ({"cma_es": {"popsize": 6}}, "elsayed")],
    ids=["rgf", "spsa", "cma_es"],
)
def test_the_rows_of_an_estimate_are_those_that_a_step_asks_for(gradients, method):
    source = VisionSource(modules.Convolutions(), tiny_vision.SIDE, tiny_vision.MEAN, tiny_vision.STD)
    model, _ = reprogram(source, method, ["cat", "dog"], gradients=gradients, **FEW)
    model.train()(pixel_values=torch.rand(2, 3, 32, 32), labels=torch.tensor([0, 1]))
    assert rows_sent(model) == model.estimated.asked / 2 > 2


def test_a_black_box_is_asked_for_nothing_and_has_a_reason():
    ask = Counted()
    source = BlackBox(ask, LABELS, image_size=SIDE)
    model, _ = reprogram(source, "bar", ["cat", "dog"], image_size=24, cell=4, gradients={"rgf": {"q": 2}})
    before = sum(ask.rows)
    assert "not in this process" in uncounted(source)
    assert numbers_of(model)["frozen"] is None
    assert rows_sent(model) == 3
    assert sum(ask.rows) == before


def test_tuned_weights_stand_apart(source_folder):
    model, _ = reprogram(source_folder("bert"), "warp", ["no", "yes"], num_prompts=2, tune="norms")
    counts = numbers_of(model)
    assert counts["theta"] + counts["omega"] + counts["tuned"] == model.num_trainable()
    assert counts["tuned"] > 0
    assert counts["tuned"] + counts["frozen"] == sum(weight.numel() for weight in model.source.parameters())


def test_a_seed_without_a_value_leaves_no_mean():
    outcomes = [{"seconds": 1.0, "joules": 2.0, "flops": {"forward": 1}}, {"seconds": 3.0, "joules": None}]
    section = cost_section(outcomes, 100, 10)
    assert section["joules"] is None
    assert section["flops"] == {"forward": 1}
    assert section["seconds"]["train"] == {"mean": 2.0, "std": pytest.approx(2**0.5), "n": 2}
