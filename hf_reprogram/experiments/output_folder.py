"""The output folder of a run: whose it is, what other folders add to it, and the adapter at its top."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import write_json
from .endpoint import CHANGEABLE, LEDGER
from .recipe import Recipe
from .whole_paths import whole_path, with_whole_paths

# Baselines, OOD sets and attacks may change later, as they do not affect the method's own runs; a search may go on.
_CHANGEABLE = {"baselines", "ood", "robustness", "budget"}


def claim(output: Path, recipe: Recipe, resume: bool) -> None:
    """Write the recipe into its output folder, or check that it is the one there.

    Args:
        output: the folder.
        recipe: the recipe.
        resume: whether a run that is there may go on.

    Raises:
        InputError: the folder holds a run and `resume` is not set, or that of another recipe, or something else.
    """
    current = _as_saved(recipe)
    path = output / "recipe.json"
    if path.exists() and ((output / "runs").exists() or (output / "auto.json").exists()):
        if not resume:
            raise InputError(
                f"The folder {str(output)!r} holds a run already: continue it with --resume, or choose another output."
            )
        if different := _differences(path, current):
            raise InputError(
                f"The folder {str(output)!r} holds the run of another recipe ({', '.join(different)} differ): choose "
                "another output."
            )
    elif not path.exists() and output.is_dir() and any(not file.name.startswith(LEDGER) for file in output.iterdir()):
        raise InputError(f"The folder {str(output)!r} is not empty and holds no run: choose another output.")
    write_json(path, current)


def merge_runs(output: Path, recipe: Recipe, folders: Sequence[str]) -> None:
    """Copy the finished seeds and trials of other runs of a recipe into its output folder. What is there already is kept.

    Args:
        output: the folder.
        recipe: the recipe.
        folders: the output folders of the other runs.

    Raises:
        InputError: a folder holds no run, or the run of another recipe.
    """
    current = _as_saved(recipe)
    for folder in map(Path, folders):
        if not (folder / "recipe.json").exists():
            raise InputError(
                f"The folder {str(folder)!r} holds no run: give the output folders of runs of this recipe."
            )
        if different := _differences(folder / "recipe.json", current):
            raise InputError(
                f"The folder {str(folder)!r} holds the run of another recipe ({', '.join(different)} differ): give runs of "
                "this one."
            )
    for folder in map(Path, folders):
        finished = [run.parent for run in sorted(folder.glob("runs/*/fit.json"))]
        for run in finished:
            target = output / "runs" / run.name
            if not (target / "fit.json").exists():
                partial = target.with_name(f".{target.name}.partial")
                shutil.rmtree(partial, ignore_errors=True)
                shutil.copytree(run, partial)
                shutil.rmtree(target, ignore_errors=True)  # an unfinished run
                partial.rename(target)
        defaults = folder / "runs" / "defaults.json"
        if defaults.exists() and not (output / "runs" / "defaults.json").exists():
            write_json(output / "runs" / "defaults.json", json.loads(defaults.read_text(encoding="utf-8")))


def publish(folder: Path, output: Path) -> None:
    """Copy the adapter of a run to the top of the output folder, its config last.

    Args:
        folder: the folder of the run.
        output: the output folder.
    """
    records = ("fit.json", "test.json", "ood.json", "properties.json")
    names = [p.name for p in folder.iterdir() if p.is_file() and p.name not in records]
    for name in sorted(names, key=lambda name: name == "config.json"):
        temporary = output / f".{name}.tmp"
        shutil.copyfile(folder / name, temporary)
        temporary.replace(output / name)


def _as_saved(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain data, with whole paths and without secrets."""
    current = with_whole_paths(json.loads(json.dumps({k: v for k, v in asdict(recipe).items() if k != "output"})))
    for key in {"labels", "ledger"} & {*current["source"]} if recipe.endpoint else {"name"}:
        current["source"][key] = whole_path(current["source"][key])
    current["source"].pop("token", None)  # a secret is never saved
    current.pop("storage")  # nor a password in a URL
    return current


def _differences(path: Path, current: dict[str, Any]) -> list[str]:
    """The sections in which the recipe in a file differs from another one in what decides the method's own runs."""
    saved = json.loads(path.read_text(encoding="utf-8"))
    keys = {*current, *saved} - _CHANGEABLE
    for values in (saved, current := dict(current)):
        if "endpoint" in values["source"]:
            values["source"] = {key: value for key, value in values["source"].items() if key not in CHANGEABLE}
    return sorted(key for key in keys if current.get(key) != saved.get(key))
