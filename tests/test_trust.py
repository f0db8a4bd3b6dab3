"""Nothing that lies in an adapter's folder, or in a recipe, lets code run: consent is an argument of the caller."""

from __future__ import annotations

import json
import shutil
import sys
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, pipeline

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.cli import main
from hf_reprogram.experiments.evaluate import evaluate_adapter, predict_lines
from hf_reprogram.experiments.ood_adapter import ood_adapter
from hf_reprogram.experiments.recipe import load_recipe, make_recipe
from hf_reprogram.inspection.adapter import inspect_adapter
from hf_reprogram.mappings import MAPPINGS
from hf_reprogram.methods import METHODS
from hf_reprogram.sources import load_source
from hf_reprogram.training.adapter import load_adapter
from tests.support import tiny

CODE = """
from pathlib import Path
Path({mark!r}).write_text("ran")
from transformers import {base}
class Own({base}):
    pass
"""
TRUST = {"trust_remote_code": True}


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """A file that foreign code writes when it runs; standard input would say yes."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    return tmp_path / "mark"


def edit(path: Path, **values):
    """Set keys of a JSON file, which is made if need be."""
    held = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**held, **values}))


def with_code(folder: Path, mark: Path, file: str, auto_class: str, base: str, **values) -> str:
    """Let a file of a folder name a class that lies beside it, whose module writes the mark."""
    (folder / "own.py").write_text(CODE.format(mark=str(mark), base=base))
    edit(folder / file, auto_map={auto_class: [None, "own.Own"] if "Tokenizer" in auto_class else "own.Own"}, **values)
    return str(folder)


@pytest.fixture
def copy(source_folder, tmp_path):
    """A tiny BERT that may be changed."""
    return Path(shutil.copytree(source_folder("bert"), tmp_path / "source"))


@pytest.fixture
def adapter(copy, tmp_path):
    """A WARP adapter on it."""
    model, processor = reprogram(str(copy), labels=["bad", "good"], num_prompts=2)
    model.save_pretrained(tmp_path / "adapter")
    processor.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.fixture
def foreign_source(copy, mark):
    """The source with a config class of its own, which transformers does not know."""
    return with_code(copy, mark, "config.json", "AutoConfig", "BertConfig", model_type="own")


@pytest.fixture
def trusting(adapter, foreign_source, csv_file):
    """The adapter with a recipe that asks to trust everything."""
    source = {"name": foreign_source, **TRUST, "use_safetensors": False, "attn_implementation": "owner/kernel"}
    task = {"dataset": str(csv_file), "text": ["sentence"], "label": "kind"}
    edit(adapter / "recipe.json", source=source, method={"name": "warp"}, task=task)
    return str(adapter)


@pytest.mark.parametrize(
    "command",
    [
        lambda adapter: evaluate_adapter(adapter, None, [], "test", None, True),
        lambda adapter: ood_adapter(adapter, semantic=["other=images:dtd"], quiet=True),
        lambda adapter: predict_lines(adapter, ["a film"], None, True),
        lambda adapter: inspect_adapter(adapter),
        lambda adapter: load_recipe(f"{adapter}/recipe.json"),
        lambda adapter: AutoModelForSequenceClassification.from_pretrained(adapter),
    ],
    ids=["evaluate", "ood", "predict", "inspect", "train", "auto class"],
)
def test_a_recipe_in_the_adapters_folder_executes_nothing(command, trusting, mark):
    with pytest.raises(InputError, match="trust_remote_code") as refused:
        command(trusting)
    assert not mark.exists()
    assert "\n" not in str(refused.value)


def test_consent_of_the_caller_runs_the_sources_code(adapter, foreign_source, mark):
    with pytest.raises(InputError, match="needs Python code that lies beside it"):
        load_source(foreign_source)
    assert not mark.exists()
    with pytest.raises(InputError):  # this code is no model, but it ran
        load_source(foreign_source, **TRUST)
    assert mark.exists()
    with pytest.raises(InputError, match=r"Unrecognized configuration class .*own\.Own"):
        load_adapter(adapter, trust_remote_code=True)


@pytest.mark.parametrize("value", ["yes", 1])
def test_consent_is_true_or_false(value, source_folder):
    with pytest.raises(InputError, match=f"trust_remote_code is {value!r}: give True"):
        load_source(source_folder("bert"), trust_remote_code=value)


@pytest.mark.parametrize(
    "source",
    [TRUST, {"use_safetensors": False}, {"weights_only": False}, {"attn_implementation": "owner/kernel"}],
    ids=lambda source: next(iter(source)),
)
def test_a_recipe_cannot_consent(source, csv_file):
    values = {"source": {"name": "owner/model", **source}, "method": "warp", "task": {"dataset": str(csv_file)}}
    with pytest.raises(InputError, match=rf"says source\.{next(iter(source))}"):
        make_recipe(values)


def test_the_consent_of_the_caller_reaches_every_copy_of_a_recipe_and_no_file(csv_file):
    values = {"source": "owner/model", "method": "warp", "task": {"dataset": str(csv_file)}}
    recipe = make_recipe(values, trust_remote_code=True).with_values({"training.learning_rate": 1e-3})
    assert recipe.source_kwargs == TRUST
    assert "trust" not in str(recipe.__dict__["source"])
    assert make_recipe(values).source_kwargs == {}


def test_a_tokenizer_with_code_is_refused_in_a_source_and_in_an_adapter(adapter, copy, mark):
    for folder in copy, adapter:
        with_code(folder, mark, "tokenizer_config.json", "AutoTokenizer", "BertTokenizer", tokenizer_class="Own")
    with pytest.raises(InputError, match=r"The tokenizer of .* needs Python code"):
        reprogram(str(copy), labels=2)
    for load in (
        load_adapter,
        ReprogrammedModel.from_pretrained,
        lambda a: pipeline("text-classification", model=str(a)),
    ):
        with pytest.raises(ValueError, match=r"tokenizer_config\.json of the adapter .* nothing in an adapter is run"):
            load(adapter)
    with pytest.raises(InputError):
        load_adapter(adapter, trust_remote_code=True)  # consent is for the source alone
    assert not mark.exists()


def test_an_image_processor_with_code_is_refused(mark, tmp_path):
    from tests.support import tiny_vision

    source = tiny_vision.save_source(tmp_path / "vit", "vit")
    with_code(source, mark, "preprocessor_config.json", "AutoImageProcessor", "ViTImageProcessor")
    with pytest.raises(InputError, match=r"The image processor of .* needs Python code"):
        load_source(str(source))
    assert not mark.exists()


def test_weights_in_a_pickle_are_refused_without_consent(copy, adapter):
    model = tiny.make_model("bert")
    (copy / "model.safetensors").unlink()
    torch.save(model.state_dict(), copy / "pytorch_model.bin")
    for load in load_source, lambda name: ReprogrammedModel.from_pretrained(adapter):
        with pytest.raises(InputError, match=r"not in a safetensors file, and a pickle .* can run code"):
            load(str(copy))
    for consent in {"use_safetensors": False}, TRUST:
        assert load_source(str(copy), **consent)[0].spec.kind == "masked_lm"
        ReprogrammedModel.from_pretrained(adapter, source_kwargs=consent)


@pytest.mark.parametrize("name", ["owner/kernel", "owner/kernel@main:function", "flash|owner/kernel"])
def test_a_kernel_of_a_repository_is_refused_where_a_config_names_it(name, copy, adapter, monkeypatch):
    def fetched(*_, **__):
        raise AssertionError("a kernel was asked for")

    monkeypatch.setattr("transformers.modeling_utils.lazy_import_flash_attention", fetched)
    edit(adapter / "config.json", attn_implementation=name)
    ReprogrammedModel.from_pretrained(adapter)  # of an adapter it means nothing
    config = json.loads((adapter / "config.json").read_text())
    config["source"]["settings"] = {"attn_implementation": name}
    (adapter / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="setting of the adapter's source 'attn_implementation'"):
        ReprogrammedModel.from_pretrained(adapter)
    edit(copy / "config.json", attn_implementation=name)
    with pytest.raises(InputError, match=rf"names '{name.split('|')[0]}.*' as its attn_implementation"):
        load_source(str(copy))
    assert load_source(str(copy), attn_implementation="eager")[0].spec.kind == "masked_lm"


def test_an_adapter_as_a_source_is_refused(adapter, tmp_path):
    chain = Path(shutil.copytree(adapter, tmp_path / "chain"))
    for folder, source in ((adapter, adapter), (chain, adapter)):
        config = json.loads((folder / "config.json").read_text())
        config["source"]["name"] = str(source)
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(InputError, match="is an adapter of hf_reprogram itself"):
            ReprogrammedModel.from_pretrained(folder)
    with pytest.raises(InputError, match="is an adapter of hf_reprogram itself"):
        reprogram(str(adapter), labels=2)


def test_every_command_that_loads_a_source_takes_consent(capsys, trusting, mark):
    for command in ["predict", trusting, "a film"], ["inspect", trusting], ["evaluate", trusting]:
        with pytest.raises(SystemExit):
            main(command)
        assert "--trust-remote-code" in capsys.readouterr().err
        with pytest.raises(SystemExit):
            main([*command, "--trust-remote-code"])
        assert "Unrecognized configuration class" in capsys.readouterr().err  # of the code, which ran
    with pytest.raises(SystemExit):
        main(["train", f"{trusting}/recipe.json"])
    assert "a recipe cannot consent" in capsys.readouterr().err


PLUGIN = """
from pathlib import Path
Path({mark!r}).write_text("ran")
from hf_reprogram.methods.warp import Warp
"""


@pytest.fixture
def plugin(adapter, mark, tmp_path, monkeypatch):
    """An installed package with a mapping and a method, both of which the adapter's files name; it writes the mark."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "strange_parts.py").write_text(PLUGIN.format(mark=str(mark)))
    monkeypatch.syspath_prepend(tmp_path / "site")
    kind = type(ReprogrammedModel.from_pretrained(adapter).mapping)
    for registry, name, what in ((MAPPINGS, "strange", kind.__name__), (METHODS, "strange", "Warp")):
        point = EntryPoint(name, f"strange_parts:{what}", registry.group)
        monkeypatch.setattr(registry, "_points", [point])
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    with (tmp_path / "site" / "strange_parts.py").open("a") as file:
        file.write(f"from {kind.__module__} import {kind.__name__}\n")
    held = json.loads((adapter / "config.json").read_text())
    edit(adapter / "config.json", mapping={**held["mapping"], "type": "strange"})
    yield str(adapter)
    sys.modules.pop("strange_parts", None)


def test_an_installed_part_that_only_an_adapter_names_needs_consent(plugin, mark):
    for load in (ReprogrammedModel.from_pretrained, load_adapter, inspect_adapter):
        with pytest.raises(
            InputError, match=r"code of the installed package 'strange_parts'.* import strange_parts before"
        ):
            load(plugin)
        assert not mark.exists()
    ReprogrammedModel.from_pretrained(plugin, trust_remote_code=True)
    assert mark.exists()


def test_an_installed_part_that_the_caller_imported_needs_no_consent(plugin, mark):
    import_module("strange_parts")
    ReprogrammedModel.from_pretrained(plugin)


def test_a_method_in_the_recipe_beside_an_adapter_needs_consent_and_one_in_a_recipe_none(plugin, copy, mark, csv_file):
    task = {"dataset": str(csv_file), "text": ["sentence"], "label": "kind"}
    recipe = {"source": {"name": str(copy)}, "method": {"name": "strange"}, "task": task}
    edit(Path(plugin) / "recipe.json", **recipe)
    for command in (
        lambda: evaluate_adapter(plugin, None, [], "test", None, True),
        lambda: ood_adapter(plugin, semantic=["other=images:dtd"], quiet=True),
    ):
        with pytest.raises(InputError, match="The method 'strange' is code of the installed package"):
            command()
    assert not mark.exists()
    assert make_recipe(recipe).method["name"] == "strange"
    assert mark.exists()
