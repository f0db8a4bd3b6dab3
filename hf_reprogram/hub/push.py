"""Pushing an adapter to the Hub."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..experiments.endpoint import CHANGEABLE as PRIVATE
from ..publishing import without_folder
from ..reports.card import render_card
from ..sources.remote import is_address

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
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    folder = Path(folder)
    for names in ("config.json",), ("model.safetensors", "model.safetensors.index.json"):
        if not any((folder / name).is_file() for name in names):
            raise InputError(f"{str(folder)!r} holds no adapter: {names[0]} is missing.")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    name = source or config.get("source", {}).get("name", "")
    if Path(name).is_absolute() or Path(name).is_dir() or name.count("/") > 1:
        raise InputError(
            f"The adapter's source is the local folder {name!r}, which others do not have: name it on the Hub with "
            "source=owner/name."
        )
    results = (
        json.loads((folder / "results.json").read_text(encoding="utf-8"))
        if (folder / "results.json").is_file()
        else None
    )
    called = name or (results["source"]["name"] if results else "")
    if is_address(called):
        raise InputError(
            f"The card would show the address of the adapter's source, {called!r}: give it a public name with source=NAME, or "
            "in the recipe with source.name."
        )
    if repo_id.count("/") != 1:
        raise InputError(f"{repo_id!r} is not the name of a repository: write owner/name.")
    api = HfApi()
    try:
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        config["source"]["name"] = name
        for part in ("method", "transform"):  # a tokenizer, mask or base image may be a local file
            config[part] = _without_folders(config.get(part) or {})
        texts = {"config.json": json.dumps(config, indent=2)}
        if (folder / "recipe.json").is_file():
            recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
            recipe["source"] = {key: value for key, value in recipe["source"].items() if key not in ("token", *PRIVATE)}
            recipe["source"]["name"] = called
            recipe["method"] = _without_folders(recipe["method"])
            recipe["task"]["dataset"] = without_folder(recipe["task"]["dataset"])
            for kind in ("covariate", "semantic"):
                for section in ((recipe.get("ood") or {}).get(kind) or {}).values():
                    section["dataset"] = without_folder(section["dataset"])
            recipe["init_from"] = without_folder(recipe["init_from"])
            texts["recipe.json"] = json.dumps(recipe, indent=2)
        if results is not None:  # the card's code loads the adapter from its repository
            results["source"]["name"] = called
            results["method"] = _without_folders(results["method"])
            texts["results.json"] = json.dumps(results, indent=2)
            texts["README.md"] = render_card(results, repo_id)
        commit = api.create_commit(
            repo_id,
            [
                CommitOperationAdd(path.name, texts[path.name].encode() if path.name in texts else str(path))
                for pattern in FILES
                for path in sorted(folder.glob(pattern))
            ],
            commit_message=message,
            revision=revision,
            create_pr=create_pr,
        )
    except (HfHubHTTPError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"Pushing to {repo_id!r} failed ({reason}): check the name, your login and the network."
        ) from error
    return str(commit.pr_url or commit.commit_url)


def _without_folders(options: dict[str, Any]) -> dict[str, Any]:
    return {key: without_folder(value) for key, value in options.items()}
