"""The command `ood`: whose sets are taken, where alphas may be chosen, and what is refused."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
import yaml

from hf_reprogram import InputError, reprogram
from hf_reprogram.experiments import ood
from hf_reprogram.experiments.evaluate import seed_of
from hf_reprogram.experiments.ood_adapter import ood_adapter


def report_on(adapter, output=None, inside=None, covariate=(), semantic=(), recipe=None, overrides=()):
    sets = {"inside": inside, "covariate": covariate, "semantic": semantic}
    found = ood_adapter(str(adapter), **sets, recipe=recipe, overrides=overrides, output=output, quiet=True)
    return json.loads((found[1] / "ood.json").read_text()), *found


def test_the_adapters_own_recipe_gives_the_report_of_its_run(whole_run, tmp_path):
    record, tables, folder = report_on(whole_run.folder, tmp_path / "report")
    best = whole_run.folder / "runs" / f"seed-{whole_run.results['best_seed']}" / "ood.json"
    own = json.loads(best.read_text())
    assert {key: record[key] for key in ("report", "curves")} == {key: own[key] for key in ("report", "curves")}
    assert folder == tmp_path / "report"
    assert {path.name for path in folder.iterdir()} == {"ood.json", "ood.md", "ood_roc.png", "ood_scores.png"}
    assert tables in (folder / "ood.md").read_text()


def test_sets_named_on_the_command_line_take_the_place_of_the_recipes(whole_run, world, copied):
    given = [f"noise={world.folder / 'noise'}", f"halves={world.folder / 'large'}"]
    record, _, folder = report_on(copied, semantic=given, overrides=["ood.tpr=0.5", "task.max_test=20"])
    assert folder == copied / "ood"
    assert record["report"]["images"] == {
        "id": 20, "covariate": {}, "corruptions": {}, "semantic": {"noise": 15, "halves": 20},
    }  # fmt: skip
    assert record["report"]["tpr"] == 0.5


def test_an_adapter_without_a_recipe_is_told_what_it_was_trained_for(whole_run, world, copied, tmp_path):
    (copied / "recipe.json").unlink()
    covariate, semantic = [f"large={world.folder / 'large'}"], [f"noise={world.folder / 'noise'}"]
    with pytest.raises(
        InputError, match=r"has no recipe\.json: name the task that it was trained for with --id or --recipe"
    ):
        report_on(copied, semantic=semantic)
    with pytest.raises(InputError, match=r"No sets were named to evaluate .* on: give --covariate NAME=DATASET"):
        report_on(copied, inside=world.task["dataset"])
    record, _, _ = report_on(copied, None, world.task["dataset"], covariate, semantic)
    assert record["task"] == "halves"
    own = json.loads((whole_run.folder / "runs" / f"seed-{whole_run.results['best_seed']}" / "ood.json").read_text())
    for part in ("id", "covariate", "semantic"):
        assert record["report"][part] == own["report"][part]
    path = tmp_path / "recipe.yaml"
    values = {"source": "unused", "method": "elsayed", "task": world.task, "ood": {**world.ood, "score": "energy"}}
    path.write_text(yaml.safe_dump(values))
    record, _, _ = report_on(copied, recipe=path, covariate=covariate)
    assert record["report"]["score"] == "energy"
    assert set(record["report"]["semantic"]) == {"noise"}


def test_an_adapter_of_digits_without_a_download(world, tmp_path):
    model, processor = reprogram(world.vit, "elsayed", [str(digit) for digit in range(10)], mapping="dense")
    model.save_pretrained(tmp_path / "adapter")
    processor.save_pretrained(tmp_path / "adapter")
    given = {"semantic": [f"noise={world.folder / 'noise'}"], "overrides": ["task.max_test=30"]}
    record, _, _ = report_on(tmp_path / "adapter", inside="digits", **given)
    assert record["report"]["images"] == {"id": 30, "covariate": {}, "corruptions": {}, "semantic": {"noise": 15}}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"semantic": ["noise"]}, "--semantic is 'noise': write NAME=DATASET, such as textures=images:dtd"),
        ({"covariate": ["=noise"]}, "--covariate is '=noise'"),
        ({"semantic": ["a=one", "a=two"]}, "--semantic names 'a' twice"),
        ({"semantic": ["things=images:nothing"]}, "The data set 'images', 'nothing' is neither a file or folder here"),
        ({"overrides": ["ood.scores=msp"]}, "'scores': did you mean 'score'"),
        ({"overrides": ["training.bf16=true"]}, "Unknown section 'training': choose one of 'ood', 'task'"),
        (
            {"overrides": ["task.labels=[below, over]"]},
            r"task\.labels gives below, over, and the column 'label' holds above, below",
        ),
        ({"overrides": ["ood.alphas=[0, 1]"]}, r"ood\.alphas are shares of a zero-shot branch"),
        ({"inside": "digits"}, "The data has the labels 0, 1, .*, and the adapter's labels are above, below"),
    ],
)
def test_what_cannot_be_reported_on_is_refused(given, said, whole_run, tmp_path):
    with pytest.raises(InputError, match=said):
        report_on(whole_run.folder, tmp_path / "report", **given)
    assert not (tmp_path / "report").exists()


@pytest.fixture
def swept_adapter(world, dual, tmp_path, monkeypatch):
    """The folder of an adapter whose recipe sweeps alpha, and a list of how many validation images chose, call by call."""
    folder, task = tmp_path / "adapter", {**world.task, "validation_max": 7}
    dual.model.save_pretrained(folder)
    dual.processor.save_pretrained(folder)
    values = {"source": world.clip, "method": "reprogrammer", "task": task, "ood": {**world.ood, "alphas": [0, 0.5]}}
    (folder / "recipe.json").write_text(json.dumps(values))
    chose, real = [], ood.adapter_record
    monkeypatch.setattr(
        "hf_reprogram.experiments.ood_adapter.adapter_record",
        lambda model, processor, task, shifts, validation, **others: (
            chose.append(validation and len(validation)) or real(model, processor, task, shifts, validation, **others)
        ),
    )
    return SimpleNamespace(folder=folder, chose=chose, values=values)


def test_alphas_are_chosen_on_the_recipes_own_validation_images(swept_adapter, world, tmp_path):
    """Its test images may be fewer, and --id may name the same data once more."""
    folder, chose = swept_adapter.folder, swept_adapter.chose
    for given in ({}, {"inside": world.task["dataset"]}, {"overrides": ["task.max_test=9", "task.metrics=[accuracy]"]}):
        record, tables, _ = report_on(folder, tmp_path / "report", **given)
        assert [entry["alpha"] for entry in record["alphas"]] == [0, 0.5]
    assert chose == [7, 7, 7]
    assert record["report"]["images"]["id"] == 9
    assert "| Residual adapter, alpha 0.25 |" in tables
    assert "| Residual adapter, alpha 0.5 |" in tables


def test_alphas_are_not_chosen_on_images_that_may_have_been_trained_on(swept_adapter, world, tmp_path):
    folder = swept_adapter.folder
    elsewhere = str(shutil.copy(world.task["dataset"], tmp_path / "again.parquet"))
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump({**swept_adapter.values, "task": world.task}))
    refused = ({"inside": elsewhere}, {"overrides": ["task.validation_max=9"]}, {"recipe": other})
    for given in refused:
        with pytest.raises(
            InputError, match=r"ood\.alphas are chosen on validation images that the adapter was not trained on"
        ):
            report_on(folder, tmp_path / "report", **given)
        given = {**given, "overrides": [*given.get("overrides", []), "ood.alphas=[]"]}
        record, _, _ = report_on(folder, tmp_path / "report", **given)
        assert "alphas" not in record
    (folder / "recipe.json").unlink()
    covariate, alphas = [f"large={world.folder / 'large'}"], ["ood.alphas=[0, 1]"]
    with pytest.raises(InputError, match="are known only for the task of its own recipe"):
        report_on(folder, tmp_path / "report", world.task["dataset"], covariate, overrides=alphas)
    record, _, _ = report_on(folder, tmp_path / "report", recipe=other)  # nothing else says what it was trained on
    assert len(record["alphas"]) == 2


def test_the_folder_of_a_seed_knows_its_seed(whole_run):
    assert seed_of(str(whole_run.folder / "runs" / "seed-1")) == 1
    assert seed_of(str(whole_run.folder)) == whole_run.results["best_seed"]


def test_an_adapter_of_texts_is_refused(finished, world):
    with pytest.raises(InputError, match="ood is for images with one class each, and this is a task of texts"):
        report_on(finished.folder, semantic=[f"noise={world.folder / 'noise'}"])
