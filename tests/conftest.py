"""Fixtures: tiny sources on disk, made once a session. Nothing here needs a network."""

from __future__ import annotations

import os
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_DATASETS_CACHE"] = os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="hf-reprogram-tests-")
os.environ.pop("HF_REPROGRAM_DATA", None)

import pytest

from tests import tiny


@pytest.fixture(scope="session")
def source_folder(tmp_path_factory):
    """A function from a family's name to the folder of its tiny source."""
    made = {}

    def folder(family: str):
        if family not in made:
            made[family] = tiny.save_source(tmp_path_factory.mktemp("sources") / family, family)
        return str(made[family])

    return folder
