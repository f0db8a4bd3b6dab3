"""Fixtures of inspection."""

from __future__ import annotations

import pytest

from tests.support import tiny_vision


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tiny_vision.save_source(tmp_path_factory.mktemp("vision") / "vit", "vit"))
