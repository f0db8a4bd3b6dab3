"""Docstrings can be read by the tools that make tables of them: each entry has its line, each option its meaning."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest
from doctests import one_name_per_entry
from pages import attributes

import hf_reprogram
from hf_reprogram.baselines import BASELINES
from hf_reprogram.methods import METHODS

FILES = sorted(Path(hf_reprogram.__path__[0]).rglob("*.py"))
ENTRY = re.compile(r"    \**[\w.]+(, \**[\w.]+)*( \([^)]*\))?: ")
WITH_A_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef)


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-2:]))
def test_every_entry_of_a_section_begins_its_line(path):
    nodes = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, WITH_A_DOCSTRING)]
    for docstring in filter(None, map(ast.get_docstring, nodes)):
        for section in re.findall(r"(?m)^(?:Attributes|Args|Raises):\n((?:(?:    .*)?\n)*)", docstring + "\n"):
            lines = [line for line in section.split("\n") if re.match(r"    \S", line)]
            assert [line for line in lines if not ENTRY.match(line)] == []


@pytest.mark.parametrize("registry", [METHODS, BASELINES], ids=["methods", "baselines"])
def test_every_option_has_a_meaning(registry):
    for name in registry.names():
        options = registry[name].Options
        meanings = attributes(options)
        assert [field.name for field in fields(options) if not meanings.get(field.name)] == [], name


def test_an_entry_of_two_names_becomes_two():
    text = (
        "Numbers.\n\nArgs:\n    low, high: the ends\n        of the range.\n    step: its step.\n\nOther, text: stays."
    )
    assert one_name_per_entry(text) == (
        "Numbers.\n\nArgs:\n    low: the ends\n        of the range.\n    high: the ends\n        of the range.\n"
        "    step: its step.\n\nOther, text: stays."
    )
