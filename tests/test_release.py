"""What is published: the declared dependencies, the version, and what an index page shows."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import tomllib
from pathlib import Path

import pytest

import hf_reprogram
from hf_reprogram.cli import main

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}  # where the import has another name


def declared(requirements: list[str]) -> set[str]:
    """Normalized names of the distributions in a list of requirements."""
    return {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in requirements}  # type: ignore[index]


def imported() -> set[str]:
    """Normalized names of the distributions that the package imports, anywhere in its code."""
    modules: set[str] = set()
    for path in (ROOT / "hf_reprogram").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules.add((node.module or "").partition(".")[0])
    others = modules - set(sys.stdlib_module_names) - {"hf_reprogram"}
    return {DISTRIBUTIONS.get(module, module).lower().replace("_", "-") for module in others}


def test_every_import_is_declared():
    extras = {name for lines in PROJECT["optional-dependencies"].values() for name in declared(lines)}
    assert imported() - declared(PROJECT["dependencies"]) - extras == set()


def test_every_dependency_is_imported_and_has_a_lower_bound():
    assert declared(PROJECT["dependencies"]) - imported() == set()
    assert [line for line in PROJECT["dependencies"] if ">=" not in line] == []


def test_the_version_stands_in_one_place(capsys):
    assert "version" in PROJECT["dynamic"]
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert not end.value.code
    assert capsys.readouterr().out == f"hf-reprogram {hf_reprogram.__version__}\n"


def test_a_shell_can_complete_commands_and_recipes(monkeypatch, capsys):
    monkeypatch.setenv("_HF_REPROGRAM_COMPLETE", "complete_bash")
    for words, expected in (("hf-reprogram rec", "recipes"), ("hf-reprogram train molecules/bb", "molecules/bbbp")):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
        with pytest.raises(SystemExit):
            main()
        assert capsys.readouterr().out.split() == [expected]


def test_an_index_page_shows_no_relative_picture_and_no_relative_link():
    spec = importlib.util.spec_from_file_location("hf_reprogram_setup", ROOT / "setup.py")
    setup = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(setup)
    shown = setup.description(
        '# Title\n![plot](docs/a.png)\n<img src="docs/b.png" width="3">\n[guide](docs/guide.md) [paper](https://arxiv.org)\n'
        '<img alt="x" src="https://example.org/c.png">\n[here](#title)\n'
    )
    assert shown == (
        '# Title\nguide [paper](https://arxiv.org)\n<img alt="x" src="https://example.org/c.png">\n[here](#title)\n'
    )
