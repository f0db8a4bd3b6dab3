"""The examples in docstrings run and print what they say, and every public name of these rooms has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from dataclasses import is_dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

import hf_reprogram
from tests.support import examples

ALONE = (
    "errors",
    "options",
    "files",
    "registry",
    "losses",
    "config",
    "calibration",
    "publishing",
    "figures",
    "progress",
    "hub_arguments",
    "label_names",
    "model",
)


def modules(*rooms: str) -> list[str]:
    """The modules of folders of the package."""
    root = hf_reprogram.__path__[0]
    return [
        info.name
        for room in rooms
        for info in pkgutil.iter_modules([f"{root}/{room}"], f"hf_reprogram.{room}.")
        if info.name != "hf_reprogram.methods.option_types"  # types alone, which are written from the options
    ]


COMPLETE = modules(
    "alignment", "dictionary", "gradients", "ood", "privacy", "sources", "transforms", "mappings", "methods"
)
UPPER = modules("tasks", "training", "baselines", "inspection", "reports", "experiments", "hub", "diagnostics")
UPPER += [name for name in modules("federated") if not name.endswith(".flower") or find_spec("flwr")]
RUN = [*(f"hf_reprogram.{name}" for name in ALONE), *COMPLETE, *UPPER]


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The names that examples use without making them."""
    return examples.names(tmp_path_factory.mktemp("examples"))


@pytest.mark.parametrize("name", RUN)
def test_examples_print_what_they_say(name, names):
    result = doctest.testmod(importlib.import_module(name), extraglobs=names)
    assert result.failed == 0


def test_the_site_explains_every_name(names):
    pages = (Path(__file__).parent.parent / "tools" / "pages.py").read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}`" not in pages] == []


def is_options(value: object) -> bool:
    """Whether a name is a dataclass of options, whose fields say what there is to say."""
    return is_dataclass(value) and value.__name__.endswith("Options")


@pytest.mark.parametrize("name", COMPLETE)
def test_public_names_have_an_example(name):
    module = importlib.import_module(name)
    public = [
        value
        for key, value in vars(module).items()
        if not key.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == name
        and not is_options(value)
    ]
    assert [value.__name__ for value in public if ">>>" not in (value.__doc__ or "")] == []
