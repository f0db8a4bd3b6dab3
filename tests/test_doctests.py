"""The examples in docstrings run and print what they say; every public name of the mathematical rooms has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest

import hf_reprogram

SMALL = ("errors", "options", "files", "registry", "losses", "config", "figures", "hub_arguments")
GROUND = [f"hf_reprogram.{name}" for name in SMALL]
ROOMS = [
    info.name
    for room in ("dictionary", "ood")
    for info in pkgutil.iter_modules([f"{hf_reprogram.__path__[0]}/{room}"], f"hf_reprogram.{room}.")
]
WITHOUT = {
    "SparseTransformer",
    "tensor",
    "Rows",
    "Coarse",
    "Scored",
    "rows",
    "semantic_rows",
    "corruption_rows",
    "note",
}


@pytest.mark.parametrize("name", [*GROUND, *ROOMS])
def test_examples_print_what_they_say(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


@pytest.mark.parametrize("name", ROOMS)
def test_public_names_have_an_example(name):
    module = importlib.import_module(name)
    public = [
        value
        for key, value in vars(module).items()
        if not key.startswith("_")
        and key not in WITHOUT
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == name
    ]
    assert [value.__name__ for value in public if ">>>" not in (value.__doc__ or "")] == []
