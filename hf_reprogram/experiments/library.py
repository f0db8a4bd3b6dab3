"""The recipes that come with the package, by name: `molecules/bbbp` is the file `molecules/bbbp.yaml` of their folder.

An installed wheel has the folder inside the package, a checkout next to it.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
from pathlib import Path

from ..errors import InputError

_PACKAGE = Path(__file__).resolve().parent.parent


def folder() -> Path:
    """The folder of the recipes.

    Raises:
        InputError: the package was installed without them.
    """
    for path in (_PACKAGE / "recipes", _PACKAGE.parent / "recipes"):
        if path.is_dir():
            return path
    raise InputError(
        f"The package in {str(_PACKAGE)!r} has no recipes: install it again, or give a recipe file of your own."
    )


def names() -> list[str]:
    """The names of all recipes, sorted.

    >>> "molecules/bbbp" in names()
    True
    """
    root = folder()
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))


def find(recipe: str | os.PathLike) -> Path:
    """The file of a recipe: a path of the user's own, or else the name of a recipe that comes with the package.

    A path that ends in `.yaml`, `.yml` or `.json` is always the user's own, whether it exists or not.

    Raises:
        InputError: there is no such recipe.

    >>> find("mine.yaml").name, find("molecules/bbbp").name
    ('mine.yaml', 'bbbp.yaml')
    """
    path = Path(recipe)
    if path.is_file() or path.suffix in (".yaml", ".yml", ".json"):
        return path
    return named(os.fspath(recipe))


def named(name: str) -> Path:
    """The file of a recipe that comes with the package.

    Raises:
        InputError: no recipe has this name; the message names the nearest ones.

    >>> named("molecule/bbbp")
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: Unknown recipe 'molecule/bbbp': did you mean 'molecules/bbbp'?
    """
    known = names()
    if name in known:
        return folder() / f"{name}.yaml"
    near = [other for other in known if other.rpartition("/")[2] == name.rpartition("/")[2]]
    near = near or difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        raise InputError(f"Unknown recipe {name!r}: did you mean {' or '.join(map(repr, near))}?")
    raise InputError(
        f"Unknown recipe {name!r}: choose one that `hf-reprogram recipes` lists, or give a file of your own, which ends in "
        ".yaml."
    )


def summary(name: str) -> str:
    """The first sentence of a recipe's comment, without its full stop.

    >>> summary("vision/mnist")
    "MNIST: Elsayed's program around the image"
    """
    first = named(name).read_text(encoding="utf-8").splitlines()[0]
    return re.split(r"(?<=\.)\s", first.lstrip("# "))[0].rstrip(".")


def copy(name: str, target: str | os.PathLike) -> list[Path]:
    """Copy a recipe, and the scripts that it names, into a folder.

    Args:
        name: the name of a recipe that comes with the package.
        target: the folder, which is made if it does not exist.

    Returns:
        The paths of the new files.

    Raises:
        InputError: no recipe has this name, or the folder already has a file of that name.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     [path.name for path in copy("vision/mnist", folder)]
    ['mnist.yaml']
    """
    file = named(name)
    text = file.read_text(encoding="utf-8")
    files = [file, *(script for script in sorted(file.parent.glob("*.py")) if script.name in text)]
    pairs = [(source, Path(target) / source.name) for source in files]
    for _, to in pairs:
        if os.path.lexists(to):
            raise InputError(f"The file {str(to)!r} exists already: choose another folder, or remove the file.")
    Path(target).mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copyfile(source, to)) for source, to in pairs]
