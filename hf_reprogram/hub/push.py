"""Pushing an adapter, and a Space in which it can be tried, to the Hub."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..experiments.endpoint import CHANGEABLE as PRIVATE
from ..files import staged
from ..publishing import without_folder
from ..reports.card import render_card
from ..sources.remote import is_address
from .space import space_files

# The files of an adapter's repository. Runs, checkpoints and baselines are not uploaded.
FILES = (
    "config.json",
    "model.safetensors",
    "model-*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "preprocessor_config.json",
    "README.md",
    "recipe.json",
    "results.json",
    "ood.md",
    "*.png",
)


SPACE = "Try a reprogramming adapter"  # the message of the commit of a Space


def push_adapter(
    folder: str | os.PathLike,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    message: str = "Upload a reprogramming adapter",
    source: str | None = None,
) -> str:
    """Upload an adapter with its processor, card and results.

    Args:
        folder: the folder of the adapter, as written by `train` or `save_pretrained`.
        repo_id: the repository, as "owner/name". It is created if it does not exist.
        private: whether a new repository is private.
        revision: the branch to push to.
        create_pr: whether to open a pull request.
        message: the commit message.
        source: the Hub id of the source, if the adapter was trained on a local copy.

    Returns:
        The address of the commit or of the pull request.

    Raises:
        InputError: the folder holds no adapter, its source is a local folder, or the Hub cannot be reached or refuses.

    >>> push_adapter("no/such/folder", "owner/name")
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: 'no/such/folder' holds no adapter: config.json is missing.
    """
    check_adapter(folder, source)
    check_repository(repo_id)
    options = {"commit_message": message, "revision": revision, "create_pr": create_pr}
    return _pushed(repo_id, lambda name: adapter_files(folder, name, source), {"private": private}, options)


def push_space(
    folder: str | os.PathLike, repo_id: str, space: str, *, private: bool = False, source: str | None = None
) -> str:
    """Upload a Space of Gradio in which an adapter can be tried; the app loads the adapter from its repository.

    Args:
        folder: the folder of the adapter.
        repo_id: its repository, as "owner/name".
        space: the repository of the Space, as "owner/name". It is created if it does not exist.
        private: whether a new Space is private.
        source: the Hub id of the source, if the adapter was trained on a local copy.

    Returns:
        The address of the commit.

    Raises:
        InputError: as for `push_adapter`, or there is no page for what the adapter takes.
    """
    check_adapter(folder, source)
    check_repository(space)
    texts = files_of_space(folder, repo_id, space, source)
    new = {"private": private, "repo_type": "space", "space_sdk": "gradio"}
    return _pushed(space, lambda _: texts, new, {"commit_message": SPACE, "repo_type": "space"})


def write_instead(
    target: str | os.PathLike,
    folder: str | os.PathLike,
    repo_id: str,
    space: str | None = None,
    source: str | None = None,
) -> list[Path]:
    """Write what would be pushed into a new folder, and push nothing.

    Args:
        target: the folder, which gets the folders `adapter` and, with a Space, `space`.
        folder, repo_id, source: as for `push_adapter`.
        space: as for `push_space`; None for no Space.

    Returns:
        The folders that were written.

    Raises:
        InputError: as for `push_adapter` and `push_space`, or the target exists.
    """
    check_adapter(folder, source)
    for name in filter(None, (repo_id, space)):
        check_repository(name)
    if os.path.lexists(target):
        raise InputError(f"The folder {str(target)!r} exists already: give a new one.")
    parts: dict[str, Mapping[str, str | Path]] = {"adapter": adapter_files(folder, repo_id, source)}
    if space:
        parts["space"] = files_of_space(folder, repo_id, space, source)
    with staged(target, last="adapter") as stage:
        for part, files in parts.items():
            (stage / part).mkdir()
            for name, content in files.items():
                path = stage / part / name
                if isinstance(content, Path):
                    shutil.copyfile(content, path)
                else:
                    path.write_text(content, encoding="utf-8")
    return [Path(target) / part for part in parts]


def check_space(folder: str | os.PathLike, repo_id: str, space: str, source: str | None = None) -> None:
    """Raise `InputError` if `push_adapter` or `push_space` would refuse these arguments, before anything is pushed."""
    check_adapter(folder, source)
    for name in (repo_id, space):
        check_repository(name)
    files_of_space(folder, repo_id, space, source)


def check_adapter(folder: str | os.PathLike, source: str | None = None) -> str:
    """The name of an adapter's source on the Hub.

    Raises:
        InputError: the folder holds no adapter, or its source is a local folder or an address.
    """
    folder = Path(folder)
    for names in ("config.json",), ("model.safetensors", "model.safetensors.index.json"):
        if not any((folder / name).is_file() for name in names):
            raise InputError(f"{str(folder)!r} holds no adapter: {names[0]} is missing.")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    name: str = source or config.get("source", {}).get("name", "")
    if Path(name).is_absolute() or Path(name).is_dir() or name.count("/") > 1:
        raise InputError(
            f"The adapter's source is the local folder {name!r}, which others do not have: name it on the Hub with "
            "source=owner/name."
        )
    if is_address(called := _public_name(folder, name)):
        raise InputError(
            f"The card would show the address of the adapter's source, {called!r}: give it a public name with source=NAME, or "
            "in the recipe with source.name."
        )
    return name


def _public_name(folder: Path, name: str) -> str:
    """The name of an adapter's source, which is in the results alone if it is a black box."""
    results = folder / "results.json"
    if name or not results.is_file():
        return name
    return str(json.loads(results.read_text(encoding="utf-8"))["source"]["name"])


def check_repository(repo_id: str) -> None:
    """Raise `InputError` unless this is the name of a repository.

    >>> check_repository("adapter")
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: 'adapter' is not the name of a repository: write owner/name.
    """
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repo_id)
        whole = repo_id.count("/") == 1
    except HFValidationError:
        whole = False
    if not whole:
        raise InputError(f"{repo_id!r} is not the name of a repository: write owner/name.")


def adapter_files(folder: str | os.PathLike, repo_id: str, source: str | None = None) -> dict[str, str | Path]:
    """The files of an adapter's repository: texts without paths of this machine, and the paths of all other files.

    Args:
        folder, repo_id, source: as for `push_adapter`.
    """
    folder, name = Path(folder), check_adapter(folder, source)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["source"]["name"] = name
    for part in ("method", "transform"):  # a tokenizer, mask or base image may be a local file
        config[part] = _without_folders(config.get(part) or {})
    texts = {"config.json": json.dumps(config, indent=2)}
    if (folder / "recipe.json").is_file():
        recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
        recipe["source"] = {key: value for key, value in recipe["source"].items() if key not in ("token", *PRIVATE)}
        recipe["source"]["name"] = _public_name(folder, name)
        recipe["method"] = _without_folders(recipe["method"])
        recipe["task"]["dataset"] = without_folder(recipe["task"]["dataset"])
        for kind in ("covariate", "semantic"):
            for section in ((recipe.get("ood") or {}).get(kind) or {}).values():
                section["dataset"] = without_folder(section["dataset"])
        if (recipe.get("unlabelled") or {}).get("dataset"):
            recipe["unlabelled"]["dataset"] = without_folder(recipe["unlabelled"]["dataset"])
        recipe["init_from"] = without_folder(recipe["init_from"])
        texts["recipe.json"] = json.dumps(recipe, indent=2)
    if (folder / "results.json").is_file():  # the card's code loads the adapter from its repository
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        results["source"]["name"] = _public_name(folder, name)
        results["method"] = _without_folders(results["method"])
        texts["results.json"] = json.dumps(results, indent=2)
        texts["README.md"] = render_card(results, repo_id)
    paths = [path for pattern in FILES for path in sorted(folder.glob(pattern))]
    return {path.name: texts.get(path.name, path) for path in paths}


def files_of_space(folder: str | os.PathLike, repo_id: str, space: str, source: str | None = None) -> dict[str, str]:
    """The files of a Space for an adapter; see `hf_reprogram.hub.space.space_files`."""
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    results = folder / "results.json"
    known = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else None
    return space_files(config, repo_id, check_adapter(folder, source), space, known)


def _pushed(
    repo_id: str,
    files: Callable[[str], Mapping[str, str | Path]],
    new: dict[str, Any],
    options: dict[str, Any],
) -> str:
    """Create the repository if there is none, and upload files in one commit; returns the address."""
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    try:
        repo_id = api.create_repo(repo_id, exist_ok=True, **new).repo_id
        operations = [
            CommitOperationAdd(name, str(content) if isinstance(content, Path) else content.encode())
            for name, content in files(repo_id).items()
        ]
        commit = api.create_commit(repo_id, operations, **options)
    except (HfHubHTTPError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"Pushing to {repo_id!r} failed ({reason}): check the name, your login and the network."
        ) from error
    return str(getattr(commit, "pr_url", None) or commit.commit_url)


def _without_folders(options: dict[str, Any]) -> dict[str, Any]:
    return {key: without_folder(value) for key, value in options.items()}
