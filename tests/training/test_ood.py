"""Recipes with a section `ood:` and the command `ood`: what is predicted, reported, kept and refused."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from datasets import Dataset, Features, Image, Value
from PIL import Image as Pillow
from transformers import Trainer

from hf_reprogram import InputError, reprogram
from hf_reprogram.ood.report import average, ood_report
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.shifts import load_shifts
from hf_reprogram.training import ood
from hf_reprogram.training.evaluate import load_adapter, seed_of
from hf_reprogram.training.ood_adapter import ood_adapter
from hf_reprogram.training.predict import predict_logits
from hf_reprogram.training.recipe import make_recipe
from hf_reprogram.training.results import ood_reports, run_reports
from hf_reprogram.training.run import encode, train
from tests import runs, tiny_dual, tiny_vision

LABELS = ["above", "below"]
TRAINING = {"learning_rate": 3e-2, "num_train_epochs": 2, "per_device_train_batch_size": 16}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny ViT and a tiny dual encoder, the file of a task, and sections of two other sets, in folders of PNG files."""
    folder = tmp_path_factory.mktemp("world")
    images, labels = tiny_vision.images(120)
    columns = {"image": images, "label": [LABELS[label] for label in labels]}
    features = Features({"image": Image(), "label": Value("string")})
    Dataset.from_dict(columns, features=features).to_parquet(folder / "halves.parquet")
    for row, (image, label) in enumerate(zip(*tiny_vision.images(20, seed=5, side=12), strict=True)):
        (folder / "large" / LABELS[label]).mkdir(parents=True, exist_ok=True)
        image.save(folder / "large" / LABELS[label] / f"{row}.png")
    random = np.random.default_rng(1)
    (folder / "noise").mkdir()
    for row in range(15):
        noise = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        Pillow.fromarray(noise).save(folder / "noise" / f"{row}.png")
    return SimpleNamespace(
        vit=str(tiny_vision.save_source(folder / "vit", "vit")),
        clip=str(tiny_dual.save_source(folder / "clip", "clip")),
        folder=folder,
        task={"dataset": str(folder / "halves.parquet"), "image": "image"},
        ood={
            "covariate": {"large": {"dataset": str(folder / "large")}},
            "corruptions": {"kinds": ["contrast", "gaussian_noise"], "levels": [1, 5], "images": 10},
            "semantic": {"noise": {"dataset": str(folder / "noise")}},
        },
    )


def recipe(world, output, **changes):
    """Elsayed's program on the tiny ViT; keys may be replaced."""
    values = {
        "source": world.vit,
        "method": {"name": "elsayed", "mapping": "dense", "image_size": 16},
        "task": world.task,
        "training": TRAINING,
        "ood": world.ood,
        "output": str(output),
        **changes,
    }
    return make_recipe(values)


@pytest.fixture(scope="module")
def whole_run(world, tmp_path_factory):
    """A whole run of two seeds with two baselines, of which one does not look at images."""
    folder = tmp_path_factory.mktemp("finished") / "adapter"
    made = recipe(world, folder, seeds=[0, 1], baselines=["majority", "raw_linear"])
    return SimpleNamespace(folder=folder, recipe=made, results=train(made, quiet=True))


@pytest.fixture
def copied(whole_run, tmp_path):
    """A copy of the finished run, which may be changed."""
    shutil.copytree(whole_run.folder, tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.fixture
def made(monkeypatch):
    """A list that grows by one with every record that is made of an adapter."""
    calls, real = [], ood.adapter_record
    monkeypatch.setattr(ood, "adapter_record", lambda *args, **kwargs: calls.append(1) or real(*args, **kwargs))
    return calls


def stored(folder) -> dict:
    return json.loads((folder / "results.json").read_text())


# --------------------------------------------------------------------------------------------------------- whole runs


def test_a_seeds_record_is_the_report_on_its_adapters_logits(whole_run):
    task = load_task(whole_run.recipe.task_options)
    splits = load_shifts(whole_run.recipe.shift_options, task).splits
    model, processor = load_adapter(str(whole_run.folder / "runs" / "seed-1"))
    logits = {
        name: predict_logits(model, processor, encode({name: split}, processor)[name], quiet=True)
        for name, split in {"test": task.test, **splits}.items()
    }
    assert {name: len(found) for name, found in logits.items()} == {
        "test": 24, "covariate/large": 20, "semantic/noise": 15,
        **{f"corruptions/{kind}/{level}": 10 for kind in ("contrast", "gaussian_noise") for level in (1, 5)},
    }  # fmt: skip

    def labelled(name):
        return logits[name], splits[name]["label"]

    expected = ood_report(
        logits["test"],
        task.test["label"],
        {"large": labelled("covariate/large")},
        {
            kind: {level: labelled(f"corruptions/{kind}/{level}") for level in (1, 5)}
            for kind in ("contrast", "gaussian_noise")
        },
        {"noise": logits["semantic/noise"]},
    )
    record = json.loads((whole_run.folder / "runs" / "seed-1" / "ood.json").read_text())
    assert record["report"] == json.loads(json.dumps(expected))
    assert record["report"]["id"] == whole_run.results["seeds"]["1"]["test"]["accuracy"]


def test_results_hold_the_mean_over_seeds_of_the_method_and_of_baselines(whole_run):
    results = whole_run.results
    assert stored(whole_run.folder) == results
    records = [json.loads((whole_run.folder / "runs" / f"seed-{seed}" / "ood.json").read_text()) for seed in (0, 1)]
    assert results["ood"]["report"] == average([record["report"] for record in records])
    assert results["ood"]["report"]["id"]["mean"] == results["test"]["accuracy"]["mean"]
    assert set(results["ood"]) == {"report", "sets"}
    baselines = results["baselines"]
    assert "ood" not in baselines["majority"]  # it says the same of every image
    assert baselines["raw_linear"]["ood"]["id"]["mean"] == baselines["raw_linear"]["test"]["accuracy"]["mean"]
    assert baselines["raw_linear"]["ood"]["images"] == results["ood"]["report"]["images"]
    assert list(run_reports(results)) == [baselines["raw_linear"]["title"], "Elsayed et al."]


def test_tables_and_plots_stand_beside_the_adapter_and_no_paths_in_what_is_shared(whole_run, world):
    names = {path.name for path in whole_run.folder.iterdir() if path.is_file()}
    assert {"ood.md", "ood_roc.png", "ood_scores.png"} <= names
    assert not {"ood.json", "ood_alpha.png"} & names
    table = (whole_run.folder / "ood.md").read_text()
    assert "|  | ID | large | corruptions | FPR95 | AUROC | AUPR | aggregate |" in table
    assert "| Elsayed et al. |" in table
    assert whole_run.results["ood"]["sets"]["semantic"] == {"noise": {"dataset": "noise", "name": None}}
    for name in ("ood.md", "README.md", "results.json"):
        assert str(world.folder) not in (whole_run.folder / name).read_text()


def test_a_finished_report_is_not_made_again(whole_run, copied, made):
    (copied / "results.json").unlink()
    again = train(runs.replace_output(whole_run.recipe, copied), resume=True, quiet=True)
    assert made == []
    assert runs.without_clocks(again) == runs.without_clocks(whole_run.results)


def test_what_is_asked_later_is_reported_without_training(whole_run, world, copied, made, monkeypatch):
    """Other sets belong to a run as other baselines do; those that are kept have to be run again for them."""
    monkeypatch.setattr(Trainer, "train", None)
    later = {**world.ood, "score": "energy", "tpr": 0.8, "corruptions": None}
    changed = recipe(world, copied, seeds=[0, 1], baselines=["majority", "raw_linear"], ood=later)
    results = train(changed, resume=True, quiet=True)
    assert made == [1, 1]
    for report in (results["ood"]["report"], results["baselines"]["raw_linear"]["ood"]):
        assert (report["score"], report["tpr"], report["corruptions"]) == ("energy", 0.8, {})
    assert results["test"] == whole_run.results["test"]
    (copied / "ood_alpha.png").touch()  # of a section that had alphas
    train(changed, resume=True, quiet=True)
    assert not (copied / "ood_alpha.png").exists()
    assert (copied / "ood_roc.png").exists()
    assert made == [1, 1]


def test_results_are_whole_if_the_report_fails(world, tmp_path, monkeypatch):
    made = recipe(world, tmp_path / "run", baselines=["raw_linear"], training={**TRAINING, "num_train_epochs": 1})

    def fails(*args, **kwargs):
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(ood, "adapter_record", fails)
        with pytest.raises(OSError, match="no space"):
            train(made, quiet=True)
    whole = stored(tmp_path / "run")
    assert "ood" not in whole
    assert whole["test"]["accuracy"]["n"] == 1
    assert "ood" in whole["baselines"]["raw_linear"]
    resumed = train(made, resume=True, quiet=True)
    assert {key: value for key, value in resumed.items() if key not in ("ood", "wall_seconds")} == {
        key: value for key, value in whole.items() if key != "wall_seconds"
    }
    assert resumed["ood"]["report"]["id"]["n"] == 1


def test_sets_are_looked_at_before_anything_is_trained(world, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(world.folder / "noise", broken)
    (broken / "3.png").write_bytes((broken / "3.png").read_bytes()[:60])
    asked = {"semantic": {"noise": {"dataset": str(broken)}}}
    with pytest.raises(InputError, match=r"Row \d+ of the semantic/noise split \(.*3\.png\) is no image"):
        train(recipe(world, tmp_path / "run", ood=asked), quiet=True)
    assert not list((tmp_path / "run").rglob("fit.json"))


def test_a_recipe_of_texts_or_with_an_unknown_key_is_refused(world, csv_file, tmp_path):
    with pytest.raises(InputError, match="'semantics': did you mean 'semantic'"):
        recipe(world, tmp_path, ood={"semantics": {}})
    with pytest.raises(InputError, match=r"The recipe's ood must be a mapping of keys to values, not \['dtd'\]"):
        recipe(world, tmp_path, ood=["dtd"])
    task = {"dataset": str(csv_file), "text": "sentence", "label": "kind"}
    with pytest.raises(InputError, match="ood is for images with one class each, and this is a task of texts"):
        recipe(world, tmp_path, method="warp", task=task)


# ------------------------------------------------------------------------------------------------------------- alphas


def test_alphas_without_a_zero_shot_branch_are_refused_before_training(world, tmp_path):
    with pytest.raises(InputError, match=r"ood\.alphas are shares of a zero-shot branch"):
        train(recipe(world, tmp_path / "run", ood={**world.ood, "alphas": [0, 1]}), quiet=True)
    assert not list((tmp_path / "run").rglob("fit.json"))


@pytest.fixture
def dual(world, monkeypatch, tmp_path):
    """A Reprogrammer on the tiny dual encoder, with programs drawn at random, its processor, its task and its sets."""
    monkeypatch.setenv("HF_REPROGRAM_CACHE", str(tmp_path / "cache"))
    asked = {**world.ood, "alphas": [0.75, 0, 1], "corruptions": None}
    made = recipe(world, tmp_path / "run", source=world.clip, method={"name": "reprogrammer", "alpha": 0.25}, ood=asked)
    model, processor = reprogram(world.clip, method="reprogrammer", labels=LABELS, alpha=0.25)
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.normal_(std=0.5)
    task = load_task(made.task_options)
    shifts = load_shifts(made.shift_options, task)
    return SimpleNamespace(model=model.eval(), processor=processor, task=task, shifts=shifts, recipe=made)


def test_each_alpha_has_the_report_of_a_model_with_that_alpha(dual):
    validation = dual.task.splits(0)["validation"]
    record = ood.adapter_record(dual.model, dual.processor, dual.task, dual.shifts, validation, quiet=True)
    assert record["alpha"] == 0.25
    assert dual.model.mapping.alpha() == 0.25  # as before
    assert [entry["alpha"] for entry in record["alphas"]] == [0.75, 0, 1]
    distinct = []
    for alpha, report in ((0.25, record["report"]), *((entry["alpha"], entry["report"]) for entry in record["alphas"])):
        dual.model.mapping.set_alpha(alpha)
        logits = {}
        for name, split in {"test": dual.task.test, "validation": validation, **dual.shifts.splits}.items():
            data = encode({name: split}, dual.processor)[name]
            logits[name] = predict_logits(dual.model, dual.processor, data, quiet=True)
        expected = ood.report_of(dual.shifts, logits["test"], dual.task.test["label"], logits)
        assert close(report, expected)
        distinct.append(logits["test"].round(4).tolist())
        for entry in record["alphas"]:
            if entry["alpha"] == alpha:
                assert entry["validation"] == dual.task.score(logits["validation"], validation["label"])
    assert len({*map(str, distinct)}) == 4


def close(found, expected) -> bool:
    """Whether two reports hold the same numbers."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[key], expected[key]) for key in expected)
    return found == (pytest.approx(expected, abs=1e-6) if isinstance(expected, float) else expected)


def test_a_trained_alpha_cannot_be_swept(world, dual):
    model, _ = reprogram(world.clip, method="reprogrammer", labels=LABELS, alpha=0.4, learn_alpha=True)
    ood.check_alphas(model.mapping, [])
    with pytest.raises(InputError, match="alpha was trained"):
        ood.check_alphas(model.mapping, [0.5])
    dual.shifts.options.alphas = []
    record = ood.adapter_record(model.eval(), dual.processor, dual.task, dual.shifts, None, quiet=True)
    assert record["alpha"] == pytest.approx(0.4)
    assert "alphas" not in record


def test_a_run_sweeps_alpha_and_its_card_says_which_was_chosen(dual):
    results = train(dual.recipe, quiet=True)
    found = results["ood"]
    assert (found["alpha"], [entry["alpha"] for entry in found["alphas"]]) == (0.25, [0.75, 0, 1])
    assert found["chosen_alpha"] == 0.75  # 0 and 1 are other rows' models
    folder = dual.recipe.output
    assert list(run_reports(results)) == ["Residual Reprogrammer, alpha 0.25", "Residual Reprogrammer, alpha 0.75"]
    with open(f"{folder}/README.md", encoding="utf-8") as card:
        said = "Alpha was tried at 0.75, 0, 1: 0.75 was the best on validation of those between 0 and 1."
        assert said in card.read()
    assert (dual.task.title, results["task"]["title"]) == ("halves", "halves")


REPORT = ood_report(np.eye(2), [0, 1], semantic={"noise": np.zeros((1, 2))})


def swept(validations: dict[float, float], own: float = 0.0, reports: dict[float, dict] | None = None) -> dict:
    """A record of a sweep: the accuracy on validation at each alpha."""
    entries = [
        {"alpha": alpha, "validation": {"accuracy": value}, "report": (reports or {}).get(alpha, REPORT)}
        for alpha, value in validations.items()
    ]
    return {"report": REPORT, "alpha": own, "alphas": entries}


def test_the_mean_on_validation_alone_chooses_and_the_first_of_equals(dual):
    wrong = ood_report(np.eye(2), [1, 0], semantic={"noise": np.ones((1, 2)) * [9, 0]})
    first = swept({0.0: 0.9, 0.2: 0.4, 0.4: 0.7, 0.6: 0.6, 1.0: 0.9}, reports={0.4: wrong})
    second = swept({0.0: 0.9, 0.2: 0.6, 0.4: 0.5, 0.6: 0.6, 1.0: 0.9}, reports={0.4: wrong})
    found = ood.summarize_ood([first, second], dual.shifts, dual.task)
    assert found["chosen_alpha"] == 0.4  # though all else is worse there, and 0 and 1 are better on validation
    assert found["alphas"][2]["validation"]["accuracy"]["mean"] == pytest.approx(0.6)
    assert list(ood_reports(found, "ours")) == ["ours", "Residual ours, alpha 0.4"]
    assert ood_reports(found, "ours")["Residual ours, alpha 0.4"]["id"]["mean"] == 0


@pytest.mark.parametrize(
    ("validations", "own", "chosen", "titles"),
    [
        ({0.0: 0.9, 0.5: 0.1, 1.0: 0.9}, 0.0, 0.5, ["ours", "Residual ours, alpha 0.5"]),
        ({0.0: 0.9, 0.4: 0.5, 0.5: 0.1}, 0.4, 0.4, ["Residual ours, alpha 0.4"]),
        ({0.5: 0.6, 0.6: 0.7}, 0.4, 0.6, ["Residual ours, alpha 0.4", "Residual ours, alpha 0.6"]),
        ({0.0: 0.9, 1.0: 0.1}, 0.0, 1.0, ["ours", "Residual ours, alpha 1"]),
        ({0.0: 0.9, 1.0: 0.1}, 0.4, 0.0, ["Residual ours, alpha 0.4", "ours"]),
        ({0.0: 0.9}, 0.0, 0.0, ["ours"]),
    ],
)
def test_a_residual_row_is_always_there_when_there_is_an_alpha_for_it(validations, own, chosen, titles, dual):
    found = ood.summarize_ood([swept(validations, own)] * 3, dual.shifts, dual.task)
    assert (found["alpha"], found["chosen_alpha"]) == (own, chosen)
    assert list(ood_reports(found, "ours")) == titles


def test_an_alpha_of_its_own_is_told_without_a_sweep(dual):
    record = {"report": REPORT, "alpha": 0.5}
    assert list(ood_reports(ood.summarize_ood([record] * 3, dual.shifts, dual.task), "ours")) == [
        "Residual ours, alpha 0.5"
    ]
    trained = [record, {**record, "alpha": 0.25}]
    assert list(ood_reports(ood.summarize_ood(trained, dual.shifts, dual.task), "ours")) == [
        "Residual ours, alpha 0.375"
    ]
    unblended = ood.summarize_ood([{"report": REPORT}], dual.shifts, dual.task)
    assert list(ood_reports(unblended, "ours")) == ["ours"]


# -------------------------------------------------------------------------------------------------------- the command


def report_on(adapter, output=None, inside=None, covariate=(), semantic=(), recipe=None, overrides=()):
    found = ood_adapter(
        str(adapter), inside, list(covariate), list(semantic), recipe, list(overrides), output, None, True
    )
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
    with pytest.raises(InputError, match=r"has no recipe\.json: say what it was trained for with --id or --recipe"):
        report_on(copied, semantic=semantic)
    with pytest.raises(InputError, match=r"There is nothing to compare .* with: give --covariate NAME=DATASET"):
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
            {"overrides": ["task.labels=[below, above]"]},
            "The adapter's labels are above, below, the task's below, above",
        ),
        ({"overrides": ["ood.alphas=[0, 1]"]}, r"ood\.alphas are shares of a zero-shot branch"),
        ({"inside": "digits"}, "The adapter's labels are above, below, the task's 0, 1"),
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
        "hf_reprogram.training.ood_adapter.adapter_record",
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
            InputError, match=r"ood\.alphas are chosen on validation images, and which images this adapter"
        ):
            report_on(folder, tmp_path / "report", **given)
        given = {**given, "overrides": [*given.get("overrides", []), "ood.alphas=[]"]}
        record, _, _ = report_on(folder, tmp_path / "report", **given)
        assert "alphas" not in record
    (folder / "recipe.json").unlink()
    covariate, alphas = [f"large={world.folder / 'large'}"], ["ood.alphas=[0, 1]"]
    with pytest.raises(InputError, match="is known of the task in its recipe alone"):
        report_on(folder, tmp_path / "report", world.task["dataset"], covariate, overrides=alphas)
    record, _, _ = report_on(folder, tmp_path / "report", recipe=other)  # nothing else says what it was trained on
    assert len(record["alphas"]) == 2


def test_the_folder_of_a_seed_knows_its_seed(whole_run):
    assert seed_of(str(whole_run.folder / "runs" / "seed-1")) == 1
    assert seed_of(str(whole_run.folder)) == whole_run.results["best_seed"]


def test_an_adapter_of_texts_is_refused(finished, world):
    with pytest.raises(InputError, match="ood is for images with one class each, and this is a task of texts"):
        report_on(finished.folder, semantic=[f"noise={world.folder / 'noise'}"])
