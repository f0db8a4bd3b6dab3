"""Every registered baseline beside a tiny recipe: it is scored as the method is, or refused before anything is trained."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset, Features, Image, Value

from hf_reprogram import InputError
from hf_reprogram.baselines import BASELINES
from hf_reprogram.experiments import seed_runs
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
from tests.contract.baseline_cases import BASELINE_CASES
from tests.contract.matrix import loaded
from tests.support import runs, tiny_vision, toys

RECIPES = sorted({case.recipe for case in BASELINE_CASES.values()})
REFUSED = [(name, case.refused) for name, case in BASELINE_CASES.items() if case.refused is not None]


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    """The keys of a tiny recipe by name: texts, numbers and letters of texts, few texts, images, time steps, pairs."""
    folder = tmp_path_factory.mktemp("baselines")
    texts = runs.write_csv(folder / "films.csv", 60, score=[0.5] * 60, marks=["ab"] * 60)
    images, labels = tiny_vision.images(60)
    columns = {"image": images, "half": [("above", "below")[label] for label in labels]}
    kinds = Features({"image": Image(), "half": Value("string")})
    Dataset.from_dict(columns, features=kinds).to_parquet(folder / "halves.parquet")
    steps = [10 + (step % 6) + 0.1 * (step % 7) for step in range(120)]
    Dataset.from_dict({"load": steps}).to_parquet(folder / "steps.parquet")
    small = {"patch": 4, "stride": 4, "prototypes": 10, "sparsity": 2, "heads": 2, "d_ff": 4, "prompt": False}
    films = {"dataset": str(texts), "text": ["sentence"], "label": "kind"}
    halves = {"dataset": str(folder / "halves.parquet"), "image": "image", "label": "half"}
    warp = {"name": "warp", "num_prompts": 2}
    r2dl = {"name": "r2dl", "tokenizer": "characters", "sparsity": 2}
    program = {"name": "elsayed", "image_size": 16}
    return {
        "texts": {"source": "bert", "method": warp, "task": films},
        "numbers": {"source": "bert", "method": warp, "task": {**films, "label": "score", "problem": "regression"}},
        "letters": {
            "source": "bert",
            "method": r2dl,
            "task": {**films, "label": "marks", "problem": "token_classification"},
        },
        "few": {
            "source": "bert",
            "method": warp,
            "task": {**films, "train_size": 12},
            "unlabelled": {"from_train": 20},
        },
        "images": {"source": "vit", "method": program, "task": halves},
        "steps": {
            "source": "bert-encoder",
            "method": {"name": "time_llm", **small},
            "task": {"dataset": str(folder / "steps.parquet"), "series": "load", "horizon": 3, "context": 12},
        },
        "pairs": {"source": "clip", "method": "reprogrammer", "task": halves},
    }


def make(keys: dict[str, Any], folder: Path, baselines: list[Any]):
    """A recipe of one epoch with some baselines."""
    training = {"num_train_epochs": 1, "per_device_train_batch_size": 16}
    source = loaded(keys["source"]).reference["name"]
    return make_recipe(
        {**keys, "source": source, "training": training, "baselines": baselines, "output": str(folder / "run")}
    )


def options_of(recipe: str) -> list[dict[str, Any]]:
    """The baselines that stand beside a recipe, as a recipe names them."""
    return [{name: dict(case.options)} for name, case in BASELINE_CASES.items() if case.recipe == recipe]


@pytest.fixture(scope="module", params=RECIPES)
def beside(request, recipes, tmp_path_factory):
    """A run with all the baselines that stand beside its recipe."""
    recipe = make(recipes[request.param], tmp_path_factory.mktemp(request.param), options_of(request.param))
    return SimpleNamespace(recipe=request.param, results=train(recipe, quiet=True), folder=Path(recipe.output))


def test_every_baseline_is_scored_as_the_method_is(beside):
    expected = [name for name, case in BASELINE_CASES.items() if case.recipe == beside.recipe]
    assert "failed_baselines" not in beside.results, beside.results["failed_baselines"]
    assert list(beside.results["baselines"]) == expected
    for name, record in beside.results["baselines"].items():
        assert record["title"] == BASELINES[name].title
        assert set(record["test"]) == set(beside.results["test"]), name
        scores = [score["mean"] for split in ("validation", "test") for score in record[split].values()]
        assert all(math.isfinite(score) for score in scores), name
        assert record["trainable"] >= 0
    assert json.loads((beside.folder / "results.json").read_text())["baselines"] == beside.results["baselines"]


@pytest.mark.parametrize(("name", "refused"), REFUSED)
def test_what_it_cannot_stand_beside_is_refused_before_anything_is_trained(
    name, refused, recipes, tmp_path, monkeypatch
):
    def never(*_, **__):
        raise AssertionError("nothing may be trained")

    monkeypatch.setattr(seed_runs, "fit", never)
    with pytest.raises(InputError) as error:
        train(make(recipes[refused], tmp_path, [{name: dict(BASELINE_CASES[name].options)}]), quiet=True)
    assert "\n" not in str(error.value)
    assert BASELINES[name].title in str(error.value) or name in str(error.value)


class Reader(toys.AlwaysFirst):
    """Notes which baselines results.json holds when it is run."""

    seen: list[Any] = []

    def run(self, setting):
        """See `Baseline.run`."""
        on_disk = json.loads(Path(setting.recipe.output, "results.json").read_text())
        self.seen.append((set(on_disk["test"]), sorted(on_disk["baselines"])))
        return super().run(setting)


class Late(toys.AlwaysFirst):
    """Fails after the method was trained and tested."""

    def run(self, setting):
        """See `Baseline.run`."""
        raise RuntimeError("The disk is full.\nA second line.")


@pytest.fixture
def with_toys(monkeypatch):
    """Three baselines of a third party, two of which look and one of which fails."""
    for name, kind in (("toy_first", Reader), ("toy_late", Late), ("toy_second", Reader)):
        monkeypatch.setitem(BASELINES._entries, name, kind)
    monkeypatch.setattr(Reader, "seen", [])
    return ["toy_first", "toy_late", "toy_second"]


def test_results_are_on_disk_before_the_first_baseline_and_after_each(with_toys, recipes, tmp_path):
    recipe = make(recipes["texts"], tmp_path, with_toys)
    results = train(recipe, quiet=True)
    assert Reader.seen == [({*results["test"]}, []), ({*results["test"]}, ["toy_first"])]


@pytest.mark.filterwarnings("ignore:Training ended at one answer")
def test_a_baseline_that_fails_late_costs_neither_the_run_nor_the_others(with_toys, recipes, tmp_path):
    recipe = make(recipes["texts"], tmp_path, with_toys)
    with pytest.warns(UserWarning, match=r"The baseline toy_late failed and is left out: The disk is full\."):
        results = train(recipe)
    assert results["failed_baselines"] == {"toy_late": "The disk is full."}
    assert sorted(results["baselines"]) == ["toy_first", "toy_second"]
    on_disk = json.loads(Path(recipe.output, "results.json").read_text())
    assert on_disk["failed_baselines"] == results["failed_baselines"]
    assert on_disk["test"] == results["test"]
    assert Path(recipe.output, "README.md").exists()
