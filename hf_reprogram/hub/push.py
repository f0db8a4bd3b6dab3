"""Pushing an adapter's folder to the Hub."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..errors import InputError
from .card import render_card

# What belongs in an adapter's repository; runs, checkpoints and baselines stay here.
FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "README.md",
    "results.json",
    "recipe.json",
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
) -> str:
    """Upload an adapter, its tokenizer, card and results; returns the address of the commit.

    Args:
        folder: as written by `train` or `save_pretrained`.
        repo_id: "owner/name".
        private, revision, create_pr, message: as for `HfApi.upload_folder`.

    Raises:
        InputError: the folder holds no adapter, or the Hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    folder = Path(folder)
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise InputError(f"{str(folder)!r} holds no adapter: {name} is missing.")
    if repo_id.count("/") != 1:
        raise InputError(f"{repo_id!r} is not a repository: write owner/name.")
    api = HfApi()
    try:
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if (folder / "results.json").is_file():  # the card says how to load it from where it will be
            results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
            card = render_card(results, repo_id)
        else:
            card = None
        commit = api.upload_folder(
            folder_path=folder,
            repo_id=repo_id,
            allow_patterns=list(FILES),
            ignore_patterns=["README.md"] if card else None,
            revision=revision,
            create_pr=create_pr,
            commit_message=message,
        )
        if card:
            api.upload_file(
                path_or_fileobj=card.encode(),
                path_in_repo="README.md",
                repo_id=repo_id,
                revision=commit.pr_revision if create_pr else revision,
                commit_message="Model card",
            )
    except (HfHubHTTPError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"Pushing to {repo_id!r} failed ({reason}): check the name, your login and the network."
        ) from error
    return str(commit.pr_url or commit.commit_url)
