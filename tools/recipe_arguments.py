"""The command line that the studies of one recipe share: a recipe, the JSON to write, and overrides."""

from __future__ import annotations

import argparse
from pathlib import Path

from hf_reprogram.experiments.recipe import Recipe, load_recipe
from hf_reprogram.progress import quiet_libraries


def recipe_and_output(description: str | None) -> tuple[Recipe, Path]:
    """The recipe of the command line with its overrides, and the path to write to; libraries are silenced."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a recipe")
    parser.add_argument("output", type=Path, help="the JSON to write")
    parser.add_argument("--set", action="append", default=[], help="an override, as of hf-reprogram train")
    arguments = parser.parse_args()
    quiet_libraries(quiet=True)
    return load_recipe(arguments.recipe, arguments.set), arguments.output
