"""The recipes that come with the package are found by name from any folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hf_reprogram import InputError
from hf_reprogram.cli import main
from hf_reprogram.experiments import library
from hf_reprogram.experiments.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(capsys, *arguments: str) -> str:
    """What a command prints; it ends well."""
    with pytest.raises(SystemExit) as end:
        main([*arguments])
    assert not end.value.code
    return capsys.readouterr().out


def test_every_recipe_of_the_checkout_has_a_name():
    assert [RECIPES / f"{name}.yaml" for name in library.names()] == sorted(RECIPES.rglob("*.yaml"))


def test_a_wheel_holds_its_recipes_inside_the_package(tmp_path, monkeypatch):
    shutil.copytree(RECIPES / "dna", tmp_path / "package" / "recipes" / "dna")
    monkeypatch.setattr(library, "_PACKAGE", tmp_path / "package")
    assert library.names() == ["dna/promoters", "dna/splice", "dna/splice_positions"]


def test_a_package_without_recipes_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(library, "_PACKAGE", tmp_path / "package")
    with pytest.raises(InputError, match=r"The package in .* has no recipes"):
        library.names()


def test_a_recipe_loads_by_its_name_from_any_folder(elsewhere):
    by_name, by_path = load_recipe("molecules/bbbp", ["seeds=[4]"]), load_recipe(RECIPES / "molecules/bbbp.yaml")
    assert by_name.task == by_path.task
    assert by_name.seeds == [4]
    assert by_name.output == "runs/bbbp"


def test_a_file_of_the_user_comes_before_a_recipe_of_the_same_name(elsewhere):
    (elsewhere / "molecules").mkdir()
    mine = elsewhere / "molecules" / "bbbp"
    mine.write_text("")
    assert library.find("molecules/bbbp").resolve() == mine


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("molecules/bbpp", "did you mean 'molecules/bbbp'"),
        ("bbbp", "did you mean 'molecules/bbbp'"),
        ("splice", "did you mean 'cross_modal/splice' or 'dna/splice'"),
        ("../pyproject", "`hf-reprogram recipes` lists"),
        ("molecules", "`hf-reprogram recipes` lists|did you mean"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(elsewhere, name, hint):
    with pytest.raises(InputError, match=f"Unknown recipe '{name}': .*{hint}"):
        load_recipe(name)


def test_a_missing_file_is_a_missing_file(elsewhere):
    with pytest.raises(InputError, match=r"The recipe 'bbbp.yaml' cannot be read: No such file"):
        load_recipe("bbbp.yaml")


def test_the_list_has_a_line_with_a_sentence_for_each(elsewhere, capsys):
    lines = printed(capsys, "recipes").splitlines()
    assert [line.split()[0] for line in lines] == library.names()
    assert all(len(line.split()) > 3 and not line.endswith(".") for line in lines)
    assert "molecules/clintox                   ClinTox (two labels): R2DL on all-MiniLM-L6-v2" in "\n".join(lines)


def test_show_prints_the_file(elsewhere, capsys):
    assert printed(capsys, "recipes", "show", "dna/splice") == (RECIPES / "dna/splice.yaml").read_text()


def test_copy_brings_the_script_that_a_recipe_needs_and_overwrites_nothing(elsewhere, capsys):
    printed(capsys, "recipes", "copy", "peptides/amp_modlamp", "mine")
    assert sorted(path.name for path in (elsewhere / "mine").iterdir()) == ["amp_modlamp.yaml", "prepare_modlamp.py"]
    assert load_recipe("mine/amp_modlamp.yaml").method["name"] == "r2dl"
    printed(capsys, "recipes", "copy", "peptides/amp", "mine")
    (elsewhere / "mine" / "amp_modlamp.yaml").unlink()
    with pytest.raises(InputError, match=r"prepare_modlamp.py' exists already"):
        library.copy("peptides/amp_modlamp", "mine")
    assert not (elsewhere / "mine" / "amp_modlamp.yaml").exists()


def test_a_task_may_come_from_a_recipe_by_name(elsewhere, finished, capsys):
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(finished.folder), "--recipe", "molecules/bbpp"])
    assert end.value.code == 2
    assert "Unknown recipe 'molecules/bbpp'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main(["ood", str(finished.folder), "--recipe", "ood/cifar11"])
    assert end.value.code == 2
    assert "Unknown recipe 'ood/cifar11'" in capsys.readouterr().err
