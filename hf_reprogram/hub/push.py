"""Pushing an adapter's folder to the Hub."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..reports.card import render_card, without_folder

# What belongs in an adapter's repository; runs, checkpoints and baselines stay here.
FILES = (
    "config.json",
    "model.safetensors",
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
    """Upload an adapter, its processor, card and results; returns the address of the commit.

    Args:
        folder: as written by `train` or `save_pretrained`.
        repo_id: "owner/name".
        private, revision, create_pr, message: as for `HfApi.upload_folder`.
        source: Hub id of the source, to record where the adapter was trained on a local copy.

    Raises:
        InputError: the folder holds no adapter, or the Hub cannot be reached or refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    folder = Path(folder)
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise InputError(f"{str(folder)!r} holds no adapter: {name} is missing.")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    name = source or config.get("source", {}).get("name", "")
    if Path(name).is_absolute() or Path(name).is_dir() or name.count("/") > 1:
        raise InputError(
            f"The adapter's source is the folder {name!r}, which nobody else has: say with source=owner/name what it is on the "
            "Hub."
        )
    if repo_id.count("/") != 1:
        raise InputError(f"{repo_id!r} is not a repository: write owner/name.")
    api = HfApi()
    try:
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        config["source"]["name"] = name
        for part in ("method", "transform"):  # a given tokenizer, mask or base image may have been a file here
            config[part] = _without_folders(config.get(part) or {})
        texts = {"config.json": json.dumps(config, indent=2)}
        if (folder / "recipe.json").is_file():
            recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
            recipe["source"] = {key: value for key, value in recipe["source"].items() if key != "token"}
            recipe["source"]["name"] = name
            recipe["method"] = _without_folders(recipe["method"])
            recipe["task"]["dataset"] = without_folder(recipe["task"]["dataset"])
            for kind in ("covariate", "semantic"):
                for given in ((recipe.get("ood") or {}).get(kind) or {}).values():
                    given["dataset"] = without_folder(given["dataset"])
            recipe["init_from"] = without_folder(recipe["init_from"])
            texts["recipe.json"] = json.dumps(recipe, indent=2)
        if (folder / "results.json").is_file():  # the card says how to load the adapter from where it will be
            results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
            results["source"]["name"] = name
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
