"""Recipes: what they mean as plain data, and what they refuse before anything is loaded."""

from __future__ import annotations

import json
import runpy
from dataclasses import asdict
from pathlib import Path

import pytest

from hf_reprogram import InputError
from hf_reprogram.baselines.base import Setting
from hf_reprogram.experiments.recipe import load_recipe, make_recipe
from hf_reprogram.experiments.whole_paths import with_whole_paths
from hf_reprogram.experiments.yaml_text import read_yaml

RECIPES = Path(__file__).parents[2] / "recipes"
PLAIN = {"source": "some/model", "method": "warp", "task": {"dataset": "data.csv", "text": ["sentence"]}}


@pytest.fixture
def recipe_file(tmp_path):
    """A function that writes a recipe from text and returns its path."""

    def write(text: str):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return path

    return write


YAML = """
source: some/model
method: {name: warp, num_prompts: 8}
task: {dataset: nyu-mll/glue, name: rte}
training: {learning_rate: 1e-3, num_train_epochs: 2}
"""


def test_names_alone_are_enough():
    recipe = make_recipe(PLAIN)
    assert recipe.source == {"name": "some/model"}
    assert recipe.method == {"name": "warp"}
    assert recipe.seeds == [0]
    assert recipe.method_options == recipe.source_kwargs == {}
    assert recipe.grid() == [{}]


def test_what_is_beside_a_sources_name_goes_to_its_from_pretrained():
    source = {"name": "some/model", "kind": "encoder", "dtype": "bfloat16", "revision": "abc"}
    recipe = make_recipe({**PLAIN, "source": source})
    assert recipe.source_kwargs == {"dtype": "bfloat16", "revision": "abc"}


def test_numbers_with_an_exponent_are_numbers(recipe_file):
    recipe = load_recipe(recipe_file(YAML))
    assert recipe.training["learning_rate"] == 0.001
    assert read_yaml("[1e-3, 2E5, -1.5e+2, .5e1, 1e5x, 1]", "") == [0.001, 2e5, -150.0, 5.0, "1e5x", 1]


def test_the_output_is_named_after_the_file(recipe_file):
    assert load_recipe(recipe_file(YAML)).output.endswith("runs/mine")
    assert load_recipe(recipe_file(YAML), ["output=elsewhere"]).output == "elsewhere"


def test_overrides_set_keys_at_any_depth(recipe_file):
    overrides = [
        "training.learning_rate=1e-2",
        "method.num_prompts=4",
        "source.dtype=bfloat16",
        "seeds=[3, 4]",
        "task.max_train=100",
        "method.verbalizer.entailment=yes",
    ]
    recipe = load_recipe(recipe_file(YAML), overrides)
    assert recipe.training == {"learning_rate": 0.01, "num_train_epochs": 2}
    assert recipe.method["num_prompts"] == 4
    assert recipe.source == {"name": "some/model", "dtype": "bfloat16"}
    assert recipe.seeds == [3, 4]
    assert recipe.task_options.max_train == 100


def test_an_override_may_hold_an_equals_sign(recipe_file):
    assert load_recipe(recipe_file(YAML), ["output=a=b"]).output == "a=b"


def test_a_recipe_survives_json():
    recipe = make_recipe({**PLAIN, "baselines": ["majority", {"linear_probe": {"reads": "first"}}]})
    assert asdict(make_recipe(json.loads(json.dumps(asdict(recipe))))) == asdict(recipe)


def test_a_sweep_is_every_combination_with_nothing_left_to_sweep():
    sweep = {"training.learning_rate": [1e-3, 1e-2], "method.num_prompts": [0, 8]}
    recipe = make_recipe({**PLAIN, "sweep": sweep})
    assert len(recipe.grid()) == 4
    candidate = recipe.with_values(recipe.grid()[1])
    assert candidate.training["learning_rate"] == 1e-3
    assert candidate.method == {"name": "warp", "num_prompts": 8}
    assert candidate.sweep == {}
    assert recipe.training == {}  # the recipe itself stays


def test_baselines_have_options():
    recipe = make_recipe(
        {**PLAIN, "baselines": ["majority", {"linear_probe": {"reads": "first"}}, {"from_scratch": None}]}
    )
    assert recipe.baseline_list() == [("majority", {}), ("linear_probe", {"reads": "first"}), ("from_scratch", {})]


REFUSED = [
    ({"seed": [0]}, "key of the recipe 'seed': did you mean 'seeds'"),
    ({"task": {"dataset": "x", "txt": "a"}}, "key of task 'txt': did you mean 'text'"),
    ({"training": {"learning_rat": 1}}, "key of training 'learning_rat': did you mean 'learning_rate'"),
    ({"method": "warb"}, "method 'warb': did you mean 'warp'"),
    ({"method": {"name": "warp", "num_prompt": 1}}, "option of warp 'num_prompt': did you mean 'num_prompts'"),
    ({"baselines": ["majorty"]}, "baseline 'majorty': did you mean 'majority'"),
    ({"baselines": [{"linear_probe": {"read": "first"}}]}, "option of linear_probe 'read': did you mean 'reads'"),
    ({"baselines": [{"linear_probe": {"reads": "mask"}}]}, "reads 'mask'"),
    ({"sweep": {"training.learning_rat": [1]}}, "'learning_rat': did you mean 'learning_rate'"),
    ({"sweep": {"method.num_prompts": [1, -2]}}, "num_prompts is -2"),
    ({"sweep": {"method.num_prompts": []}}, "sweep.method.num_prompts is []"),
    ({"sweep": {"method.num_prompts": 3}}, "sweep.method.num_prompts is 3"),
    ({"sweep": {"seeds": [[3]]}}, "sweep.seeds cannot be swept"),
    ({"baselines": ["prompt_tuning"], "method": {"name": "warp", "num_prompts": 0}}, "prompt_tuning needs prompts"),
    ({"method": {"num_prompts": 3}}, "The recipe's method has no name"),
    ({"source": {"dtype": "bfloat16"}}, "The recipe's source has no name"),
    ({"task": {}}, "has no dataset"),
    ({"task": None}, "The recipe's task is None: give a mapping"),
    ({"training": [1]}, "The recipe's training is [1]: give a mapping"),
    ({"source": ["a"]}, "source"),
    ({"method": 5}, "method"),
    ({"baselines": "majority"}, "baselines is 'majority'"),
    ({"baselines": [3]}, "One of the baselines is 3"),
    ({"baselines": [{"linear_probe": 3}]}, "linear_probe"),
    ({"seeds": []}, "seeds is []"),
    ({"seeds": 3}, "seeds is 3"),
    ({"seeds": [0, "1"]}, "seeds is [0, '1']"),
    ({"seeds": [1, 1]}, "seeds is [1, 1]: give every seed once"),
    ({"seeds": [True]}, "seeds is [True]"),
    ({"seeds": [-1]}, "seeds is [-1]"),
    ({"cache_text": "lots"}, "cache_text is 'lots'"),
    *[
        ({"training": {key: 1}}, f"training.{key} is set by the run itself")
        for key in ("output_dir", "seed", "data_seed", "push_to_hub", "resume_from_checkpoint", "report_to")
    ],
    ({"training": {"bf16_full_eval": True}}, "training.bf16_full_eval would round the trained parameters"),
]


@pytest.mark.parametrize(("change", "sentence"), REFUSED, ids=[sentence[:40] for _, sentence in REFUSED])
def test_what_a_recipe_cannot_mean_is_refused_by_name(change, sentence):
    with pytest.raises(InputError) as refused:
        make_recipe({**PLAIN, **change})
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("key", ["source", "method", "task"])
def test_a_missing_section_is_named(key):
    with pytest.raises(InputError, match=f"{key!r} has no default"):
        make_recipe({name: value for name, value in PLAIN.items() if name != key})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("source: [unclosed", "is not valid YAML"),
        ("- a list", "is not a mapping of keys to values"),
        ("", "is not a mapping of keys to values"),
        ("source: !!python/object/apply:os.system [exit]", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_and_nothing_in_it_runs(text, sentence, recipe_file):
    with pytest.raises(InputError) as refused:
        load_recipe(recipe_file(text))
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.yaml' cannot be read: No such file"):
        load_recipe(tmp_path / "nowhere.yaml")


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.yaml'"):
        load_recipe(tmp_path / "binary.yaml")


@pytest.mark.parametrize("override", ["learning_rate", "=3", "training.learning_rat=1", "seeds.x=1"])
def test_overrides_that_cannot_be_are_refused(override, recipe_file):
    with pytest.raises(InputError):
        load_recipe(recipe_file(YAML), [override])


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.yaml")), ids=lambda path: str(path.relative_to(RECIPES)))
def test_every_recipe_of_ours_is_one(path):
    recipe = load_recipe(path)
    assert recipe.output == f"runs/{path.stem}"
    assert path.read_text().startswith("# ")  # the README's table says what it does
    if recipe.sweep:
        assert len(recipe.grid()) > 1


def test_every_run_behind_the_readmes_tables_is_a_recipe():
    plan = runpy.run_path(str(RECIPES.parent / "tools" / "measure.py"))["plan"]
    for _, recipe, source, overrides in plan():
        made = load_recipe(RECIPES / f"{recipe}.yaml", [f"source.name={source}", *overrides])
        assert made.source["name"] == source


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (
            {"name": "elsayed", "label_mapping": "frequncy"},
            "Unknown label mapping of label_map 'frequncy': did you mean",
        ),
        ({"name": "ilm_vp", "mapping": "rvp"}, "Unknown label mapping of rvp 'iterative': choose one of 'frequency'"),
        ({"name": "elsayed", "label_mapping": "response"}, "Unknown label mapping of label_map 'response'"),
        ({"name": "elsayed", "amplitude": "much"}, "The option of elsayed 'amplitude' is 'much': give a number."),
        ({"name": "elsayed", "label_mapping": "given", "assignment": [1, 2]}, "give a list of lists of whole numbers"),
    ],
)
def test_what_an_image_method_cannot_mean_is_refused_before_anything_is_loaded(method, sentence):
    with pytest.raises(InputError) as refused:
        make_recipe({"source": "nowhere", "method": method, "task": {"dataset": "digits"}})
    assert sentence in str(refused.value)


def test_files_of_data_are_recorded_with_their_whole_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "films.csv").touch()
    section = {"task": {"dataset": "films.csv", "name": None}, "ood": {"semantic": {"dots": {"dataset": "owner/dots"}}}}
    assert with_whole_paths(section) == {**section, "task": {"dataset": str(tmp_path / "films.csv"), "name": None}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gradients": "rfg"}, "Unknown estimator of gradients 'rfg': did you mean 'rgf'?"),
        ({"gradients": "rgf", "training": {"bf16": True}}, "which training.bf16 rounds away: leave it out"),
        ({"gradients": "rgf", "tune": "norms"}, "and tune trains the source: leave one of them out"),
        ({"gradients": "rgf", "method": "auto"}, "method: auto trains with exact gradients"),
    ],
)
def test_estimated_gradients_that_cannot_be_are_refused(change, message):
    values = {"source": "owner/model", "method": "warp", "task": {"dataset": "glue", "name": "rte"}}
    with pytest.raises(InputError) as refused:
        make_recipe({**values, **change})
    assert message in str(refused.value)
    assert make_recipe({**values, "gradients": {"rgf": {"q": 5}}}).gradients == {"rgf": {"q": 5}}


RTE = {"source": "owner/model", "task": {"dataset": "glue", "name": "rte"}}
OF_SEARCH = {"optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0.0, "lr_scheduler_type": "constant"}


@pytest.mark.parametrize("method", ["warp", "bbt"])
def test_a_search_brings_its_plain_step_along(method):
    found = make_recipe({**RTE, "method": method, "gradients": {"cma_es": {"popsize": 8}}}).training_arguments
    assert OF_SEARCH.items() <= found.items()


def test_epochs_of_a_recipe_replace_the_steps_of_bbt():
    assert make_recipe({**RTE, "method": "bbt"}).training_arguments["max_steps"] == 400
    found = make_recipe({**RTE, "method": "bbt", "training": {"num_train_epochs": 9}}).training_arguments
    assert "max_steps" not in found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": {"learning_rate": 0.01}}, "by a plain step of SGD, and learning_rate is 0.01: set it to 1.0."),
        ({"training": {"theta_learning_rate": 0.01}}, "and theta_learning_rate is 0.01: leave it out."),
        ({"training": {"gradient_accumulation_steps": 2}}, "and gradient_accumulation_steps is 2: set it to 1."),
        ({"sweep": {"training.learning_rate": [0.01]}}, "and learning_rate is 0.01: set it to 1.0."),
    ],
)
def test_another_step_than_that_of_a_search_is_refused(change, message):
    with pytest.raises(InputError) as refused:
        make_recipe({**RTE, "method": "bbt", **change})
    assert message in str(refused.value)


def test_baselines_take_no_step_of_a_search(tmp_path):
    recipe = make_recipe({**RTE, "method": "bbt"})
    setting = Setting(recipe, None, {}, 0, tmp_path, True, 0, lambda: None)
    assert not {*OF_SEARCH} & {*setting.training({})}
    assert setting.training({"learning_rate": 0.1})["learning_rate"] == 0.1
    theirs = Setting(make_recipe({**RTE, "method": "warp"}), None, {}, 0, tmp_path, True, 0, lambda: None)
    assert theirs.training({})["max_grad_norm"] == 1.0
