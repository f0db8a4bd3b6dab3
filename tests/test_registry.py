"""Registries, strict options, errors and whole files: what the rest is built on."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from hf_reprogram import InputError
from hf_reprogram import registry as module
from hf_reprogram.baselines import BASELINES
from hf_reprogram.errors import unknown
from hf_reprogram.files import staged, write_json, write_text
from hf_reprogram.mappings import MAPPINGS
from hf_reprogram.methods import METHODS
from hf_reprogram.modalities import MODALITIES
from hf_reprogram.options import from_dict
from hf_reprogram.registry import Registry
from hf_reprogram.sources.families import SOURCE_FAMILIES
from hf_reprogram.transforms import TRANSFORMS


def test_an_address_is_imported_when_it_is_asked_for():
    registry = Registry("thing", "things", {"late": "collections:OrderedDict", "missing": "no.such.module:x"})
    assert registry["late"].__name__ == "OrderedDict"
    assert registry.names() == ["late", "missing"]


def test_a_third_party_registers_a_name_once():
    registry = Registry("thing", "things", {})
    assert registry.register("mine", int) is int
    assert registry["mine"] is int
    with pytest.raises(ValueError, match="A thing named 'mine' is registered already"):
        registry.register("mine", str)


def test_entry_points_of_installed_packages_are_found(monkeypatch):
    groups = []

    def entry_points(group):
        groups.append(group)
        return [SimpleNamespace(name="theirs", load=lambda: float)]

    monkeypatch.setattr(module, "entry_points", entry_points)
    registry = Registry("shelf", "shelves", {"ours": "builtins:int"})
    assert registry.names() == ["ours", "theirs"]
    assert registry["theirs"] is float
    assert groups == ["hf_reprogram.shelves"]  # looked for once


def test_the_group_of_entry_points_is_the_registrys_noun_in_the_plural():
    every = (TRANSFORMS, MAPPINGS, METHODS, MODALITIES, SOURCE_FAMILIES, BASELINES)
    groups = [registry.group for registry in every]
    names = ("transforms", "mappings", "methods", "modalities", "source_families", "baselines")
    assert groups == [f"hf_reprogram.{name}" for name in names]
    assert all(group in module.__doc__ for group in groups)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="Unknown thing 'abacu': did you mean 'abacus'"):
        Registry("thing", "things", {"abacus": "x:y", "zebra": "x:y"})["abacu"]


@pytest.mark.parametrize("registry", [TRANSFORMS, MAPPINGS, METHODS, BASELINES], ids=lambda r: r.kind)
def test_every_built_in_part_exists_and_has_options(registry):
    for name in registry.names():
        assert hasattr(registry[name], "Options")


def test_far_names_list_the_choices():
    assert str(unknown("colour", "xyz", ["red", "blue"])) == "Unknown colour 'xyz': choose one of 'blue', 'red'."


@dataclass
class Options:
    """Options with and without a default."""

    width: int
    depth: int = 2


def test_options_are_built_from_plain_data_and_nothing_else():
    assert from_dict(Options, {"width": 3}, "option") == Options(3, 2)
    with pytest.raises(InputError, match="Unknown option of x 'widht': did you mean 'width'"):
        from_dict(Options, {"widht": 3}, "option of x")
    with pytest.raises(InputError, match="Missing option of x: 'width' has no default"):
        from_dict(Options, {"depth": 3}, "option of x")


def test_text_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "file.txt"
    write_text(path, "old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("killed")))
    with pytest.raises(OSError, match="killed"):
        write_text(path, "new")
    assert path.read_text() == "old"


def test_json_is_readable_and_never_nan(tmp_path):
    write_json(tmp_path / "a.json", {"word": "schön", "value": 0.1})
    assert "schön" in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"word": "schön", "value": 0.1}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", {"value": float("nan")})
    assert not (tmp_path / "b.json").exists()


def test_a_stage_moves_its_files_at_the_end_and_the_last_one_last(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("old")
    moved, replace = [], os.replace
    monkeypatch.setattr("os.replace", lambda old, new: moved.append(new.name) or replace(old, new))
    with staged(tmp_path, last="config.json") as stage:
        (stage / "config.json").write_text("new")
        (stage / "weights").write_text("new")
        assert (tmp_path / "config.json").read_text() == "old"
    assert moved == ["weights", "config.json"]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"config.json": "new", "weights": "new"}


def test_a_stage_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), staged(tmp_path, last="config.json") as stage:  # noqa: PT012
        (stage / "config.json").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
